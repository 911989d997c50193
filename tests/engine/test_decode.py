"""The decoder against capstone: random bytes in every mode.

Where both know an instruction the lengths must agree; where only one does, there must be a reason in the lists below.
"""

from __future__ import annotations

import random
from typing import Any, Final

import capstone
import pytest

from vmcore.engine import FEATURES, Cpu, CpuModel, PhysicalMemory

NOT_BUILT: Final = frozenset(
    [
        "femms",
        "getsec",
        "vmread",
        "vmwrite",
        "vmptrst",
        "vmptrld",
        "vmclear",
        "vmxon",
        "vmmcall",
        "vmload",
        "vmsave",
        "vmrun",
        "stgi",
        "clgi",
        "skinit",
        "invlpga",
        "vmcall",
        "vmlaunch",
        "vmresume",
        "vmxoff",
        "vmfunc",
        "invept",
        "invvpid",
        "movdiri",
        "movdir64b",
        "xrstors",
        "xsaves",
        "wrssd",
        "wrssq",
        "wrussd",
        "wrussq",
        "rstorssp",
        "saveprevssp",
        "setssbsy",
        "clrssbsy",
        "incsspd",
        "incsspq",
        "rdsspd",
        "rdsspq",
        "endbr32",
        "endbr64",
        "xabort",
        "xbegin",
        "xend",
        "xtest",
        "wrpkru",
        "rdpkru",
        "enclv",
        "enclu",
        "encls",
        "ptwrite",
        "montmul",
        "xsha1",
        "xsha256",
        "xstore",
        "xcryptctr",
        "xcryptecb",
        "xcryptcbc",
        "xcryptcfb",
        "xcryptofb",
        "umonitor",
        "umwait",
        "tpause",
        "mwaitx",
        "monitorx",
        "clzero",
        "rdpru",
        "enqcmd",
        "enqcmds",
        "cldemote",
        "bndmk",
        "bndcl",
        "bndcu",
        "bndcn",
        "bndmov",
        "bndldx",
        "bndstx",
        "pconfig",
        "wbnoinvd",
        "serialize",
        "xsusldtrk",
        "xresldtrk",
        "mcommit",
        "pvalidate",
        "psmash",
        "rmpadjust",
        "rmpupdate",
        "gf2p8affineinvqb",
        "gf2p8affineqb",
        "gf2p8mulb",
        "llwpcb",
        "slwpcb",
        "lwpins",
        "lwpval",
    ]
)
GROUPS_NOT_BUILT: Final = frozenset(
    ["3dnow", "vm", "avx", "avx2", "avx512", "fma", "fma4", "xop", "tbm", "rtm", "hle", "novlx", "f16c", "mpx"]
)

# Prefixes that the manual forbids (NP in SDM Vol. 2) and that capstone passes over.  The host agrees with the engine.
NP_FORMS: Final = frozenset(
    [
        "rcpps",
        "rsqrtps",
        "fxsave",
        "fxrstor",
        "fxsave64",
        "fxrstor64",
        "xsave",
        "xrstor",
        "xsavec",
        "xsaveopt",
        "xsave64",
        "xrstor64",
        "xsavec64",
        "xsaveopt64",
        "movnti",
        "ldmxcsr",
        "stmxcsr",
        "emms",
        "movlhps",
        "movhlps",
        "movmskps",
        "clac",
        "stac",
        "xgetbv",
        "xsetbv",
        "sha1msg1",
        "sha1msg2",
        "sha1nexte",
        "sha1rnds4",
        "sha256msg1",
        "sha256msg2",
        "sha256rnds2",
        "swapgs",
        "extrq",
        "insertq",
        "maskmovq",
        "movntq",
        "movntps",
        "movlps",
        "movhps",
        "cvtps2pi",
        "cvttps2pi",
        "cvtpi2ps",
        "pshufw",
        "pmovmskb",
        "movq",
        "andps",
        "andnps",
        "orps",
        "xorps",
        "unpcklps",
        "unpckhps",
        "ucomiss",
        "comiss",
        "cmpps",
        "shufps",
        "sqrtps",
        "invpcid",
        "movntdqa",
        "rdpid",
        "vmread",
        "lddqu",
    ]
)

# Valid, but not known to capstone: aliases and hints of appendix A, fences with any register field, far too long
# lists of its own.
CAPSTONE_LACKS: Final = frozenset(
    [
        "nop",
        "fstp",
        "fxch",
        "fcomp",
        "fcom",
        "prefetchw",
        "mov",
        "bsr",
        "bsf",
        "lfence",
        "mfence",
        "sfence",
        "salc",
        "int1",
        "ffreep",
        "fneni",
        "fndisi",
        "fnsetpm",
        "test",
        "shl",
        "push",
        "pop",
        "prefetchnta",
        "clflushopt",
        "clwb",
        "tzcnt",
        "lzcnt",
    ]
)


@pytest.fixture(scope="module")
def cpu() -> Cpu:
    return Cpu(PhysicalMemory(), model=CpuModel("all", frozenset(FEATURES)))


def _bytes(r: random.Random) -> bytes:
    data = bytearray(r.randbytes(16))
    kind = r.random()
    if kind < 0.5:
        data[0] = 0x0F
        if kind < 0.1:
            data[1] = r.choice((0x38, 0x3A))
    elif kind < 0.7:
        data[0] = r.choice((0x66, 0xF2, 0xF3, 0x67, 0x48, 0x41, 0x2E))
        data[1] = r.choice((0x0F, data[1]))
    elif kind < 0.75:
        data[0] = r.randrange(0xD8, 0xE0)
    return bytes(data)


def _explained(data: bytes, bits: int, ours: tuple[int, str | None], theirs: Any, groups: set[str]) -> bool:
    _length, form = ours
    if theirs is None:
        assert form is not None
        # SSE2 with an operand-size prefix in 16-bit code: capstone takes the prefix for the size alone.
        return form.split()[0] in CAPSTONE_LACKS or (bits == 16 and 0x66 in data[:4])
    mnemonic = theirs.mnemonic.split()[-1]
    if form is None:
        if mnemonic in NOT_BUILT or groups & GROUPS_NOT_BUILT or mnemonic.startswith(("v", "k", "bnd")):
            return True
        if mnemonic in NP_FORMS and {0x66, 0xF2, 0xF3} & set(data[:4]):
            return True
        if 0xF0 in data[:4]:
            return True  # LOCK where it is not allowed
        return mnemonic == "swapgs" and bits != 64
    if mnemonic in ("ud0", "ud1"):
        return True  # with a ModRM byte (SDM Vol. 2 UD)
    # The operand-size prefix of near jumps is ignored in 64-bit mode, as Intel has it; capstone follows AMD.
    return bits == 64 and 0x66 in data[:4] and (mnemonic.startswith("j") or mnemonic == "call")


def test_lengths_and_validity_are_those_of_capstone(cpu: Cpu) -> None:
    r = random.Random(7)
    modes = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
    engines = {bits: capstone.Cs(capstone.CS_ARCH_X86, mode) for bits, mode in modes.items()}
    for engine in engines.values():
        engine.detail = True
    agreed = 0
    wrong = []
    for _ in range(12_000):
        bits = r.choice((16, 32, 64))
        data = _bytes(r)
        ours = cpu.decode(data, bits)
        assert ours is not None
        theirs = next(engines[bits].disasm(data, 0, 1), None)
        if theirs is None and ours[1] is None:
            continue
        if theirs is not None and ours[1] is not None and ours[0] == theirs.size:
            agreed += 1
            continue
        groups = {theirs.group_name(group) for group in theirs.groups} if theirs is not None else set()
        if not _explained(data, bits, ours, theirs, groups):
            text = f"{theirs.size} bytes {theirs.mnemonic} {theirs.op_str}" if theirs is not None else "nothing"
            wrong.append(f"{bits}-bit {data.hex()}: {ours}, capstone {text}")
    assert not wrong, "\n".join(wrong)
    assert agreed > 6_000


def test_a_cut_instruction_needs_more_and_fifteen_bytes_are_the_limit(cpu: Cpu) -> None:
    assert cpu.decode(bytes.fromhex("48b8112233445566"), 64) is None
    assert cpu.decode(bytes.fromhex("48b81122334455667788"), 64) == (10, "mov Zv,Iv")
    assert cpu.decode(b"\x66" * 14 + b"\x90", 64) == (15, "xchg Zv,rAX")
    assert cpu.decode(b"\x66" * 15 + b"\x90", 64) == (15, None)
    assert cpu.decode(b"", 64) is None
    with pytest.raises(ValueError, match="bits"):
        cpu.decode(b"\x90", 8)


def test_every_form_of_the_tables_can_be_reached(cpu: Cpu) -> None:
    """Random bytes reach most forms of the one- and two-byte maps: a form that shadows another would show as a gap."""
    r = random.Random(3)
    seen = set()
    for _ in range(40_000):
        found = cpu.decode(_bytes(r), r.choice((32, 64)))
        if found is not None and found[1] is not None:
            seen.add(found[1])
    assert len(seen) > 600
