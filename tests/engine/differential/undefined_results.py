"""What the manuals leave undefined, instruction by instruction.  Intel SDM Vol. 2 under each instruction, "Flags
Affected"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import evolve, frozen

from vmcore.engine import InstructionForm

if TYPE_CHECKING:
    from instruction_generator import Encoder, Setup

CF, PF, AF, ZF, SF, OF = 1, 4, 0x10, 0x40, 0x80, 0x800
ALL: Final = CF | PF | AF | ZF | SF | OF

FLAGS: Final[dict[str, int]] = {
    "and": AF, "or": AF, "xor": AF, "test": AF,
    "mul": SF | ZF | AF | PF, "imul": SF | ZF | AF | PF,
    "div": ALL, "idiv": ALL,
    "bsf": ALL & ~ZF, "bsr": ALL & ~ZF,
    "bt": OF | SF | AF | PF, "bts": OF | SF | AF | PF, "btr": OF | SF | AF | PF, "btc": OF | SF | AF | PF,
    "lzcnt": OF | SF | PF | AF, "tzcnt": OF | SF | PF | AF,
    "andn": AF | PF, "bextr": AF | SF | PF, "blsi": AF | PF, "blsmsk": AF | PF, "blsr": AF | PF, "bzhi": AF | PF,
    "aaa": OF | SF | ZF | PF, "aas": OF | SF | ZF | PF,
    "aam": OF | AF | CF, "aad": OF | AF | CF,
    "daa": OF, "das": OF,
    "shl": AF, "shr": AF, "sar": AF, "shld": AF, "shrd": AF,
}  # fmt: skip
"""Flags that an instruction leaves undefined whatever its operands are."""


C0, C1, C2, C3 = 0x100, 0x200, 0x400, 0x4000
FSW: Final[dict[str, int]] = {
    **dict.fromkeys(
        ["fcmovb", "fcmove", "fcmovbe", "fcmovu", "fcmovnb", "fcmovne", "fcmovnbe", "fcmovnu"], C0 | C1 | C2 | C3
    ),
    # Intel clears C1, AMD leaves it (APM Vol. 5).
    **dict.fromkeys(["fcomi", "fcomip", "fucomi", "fucomip"], C1),
    **dict.fromkeys(["ffree", "ffreep"], C0 | C1 | C2 | C3),
}
"""Condition codes of the x87 that an instruction leaves undefined."""

XMM_LOW: Final = {"extrq": 8, "insertq": 8}
"""AMD APM Vol. 4: the upper half of the destination is undefined."""

CONSUMERS: Final = frozenset(
    [
        "adc",
        "sbb",
        "rcl",
        "rcr",
        "cmc",
        "lahf",
        "pushf",
        "into",
        "salc",
        "daa",
        "das",
        "aaa",
        "aas",
        "adcx",
        "adox",
        "loope",
        "loopne",
        "int",
        "int3",
        "int1",
        "fcmovb",
        "fcmove",
        "fcmovbe",
        "fcmovu",
        "fcmovnb",
        "fcmovne",
        "fcmovnbe",
        "fcmovnu",
    ]
)
"""What reads flags, besides Jcc, SETcc and CMOVcc."""


@frozen
class Undefined:
    """flags: bits of RFLAGS; everything: nothing can be compared."""

    flags: int = 0
    everything: bool = False
    fsw: int = 0
    xmm_low: int = 16
    """Bytes of the XMM registers, from the lowest, that are defined."""

    def then(self, form: InstructionForm, other: Undefined) -> Undefined:
        """This and what the next instruction leaves undefined."""
        name = form.mnemonic
        reads = name in CONSUMERS or (name[0] == "j" and name != "jmp") or name.startswith(("set", "cmov"))
        if self.flags and reads:
            return evolve(self, everything=True)
        return Undefined(
            self.flags | other.flags,
            self.everything or other.everything,
            self.fsw | other.fsw,
            min(self.xmm_low, other.xmm_low),
        )


def undefined_of(form: InstructionForm, encoder: Encoder, setup: Setup, *, first: bool) -> Undefined:
    """What `form` as encoded leaves undefined.  first: the setup is the state before it."""
    name = form.mnemonic
    flags = FLAGS.get(name, 0)
    if name in FSW or name in XMM_LOW:
        return Undefined(flags, fsw=FSW.get(name, 0), xmm_low=XMM_LOW.get(name, 16))
    if name not in ("shl", "shr", "sar", "rol", "ror", "rcl", "rcr", "shld", "shrd"):
        return Undefined(flags)
    size = 8 if form.operands[0].endswith("b") else encoder.operand_size
    if "1" in form.operands:
        count: int | None = 1
    elif encoder.immediates:
        count = encoder.immediates[-1]
    else:
        count = setup.gpr[1] if first else None
    if count is not None:
        count &= 63 if size == 64 else 31
        if count == 0:
            return Undefined(0)
    if count != 1:
        flags |= OF
    if name in ("shl", "shr", "shld", "shrd") and (count is None or count >= size):
        flags |= CF
    if name in ("shld", "shrd") and size == 16 and (count is None or count > 16):
        return Undefined(ALL, everything=True)
    return Undefined(flags)
