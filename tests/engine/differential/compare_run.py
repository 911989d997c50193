"""Compares the engine with an oracle on random cases.

`python tests/engine/differential/compare_run.py --oracle host --seed 1 --cases 100000` prints every difference and a
summary.
"""

from __future__ import annotations

import argparse
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from attrs import evolve, frozen
from engine_under_test import WITH_ERROR, EngineUnderTest, describe_context
from host_oracle import (
    CONTEXT,
    RESULT,
    VECTOR_NEVER,
    VECTOR_SYSCALL,
    VECTOR_TIMEOUT,
    HostOracle,
    host_flags,
    host_vendor,
)
from instruction_generator import Case, Generator
from undefined_results import C0, C1, C3, Undefined
from unicorn_oracle import UnicornOracle

from vmcore.engine import FEATURES, CpuModel, InstructionForm, disassemble

BATCH: Final = 2000

HOST_NAMES: Final = {
    "SSE3": "pni", "SHA": "sha_ni", "MMXEXT": "mmxext", "3DNOWPREFETCH": "3dnowprefetch", "PDPE1GB": "pdpe1gb",
    "3DNOW": "3dnow", "3DNOWEXT": "3dnowext",
}  # fmt: skip
"""Features whose word in /proc/cpuinfo is another one."""

NEVER_CLAIMED: Final = frozenset(
    [
        "AVX",
        "AVX2",
        "FMA",
        "F16C",
        "GFNI",
        "VAES",
        "VPCLMULQDQ",
        "XOP",
        "FMA4",
        "TBM",
        "SVM",
        "VMX",
        "SKINIT",
        "LA57",
        "PKU",
        "XSAVES",
        "CLZERO",
        "XSAVEERPTR",
        "MOVDIRI",
        "MOVDIR64B",
        "MISALIGNSSE",
        "CR8_LEGACY",
    ]
)


def host_features() -> frozenset[str]:
    """Features of `FEATURES` that the host has and the engine may have."""
    flags = host_flags()
    found = {"I486", "I586", "I686"} | {name for name in FEATURES if HOST_NAMES.get(name, name.lower()) in flags}
    if host_vendor() == "AuthenticAMD":
        found.add("VENDOR_AMD")
    return frozenset(found) - NEVER_CLAIMED


class Oracle(Protocol):
    """Runs cases."""

    def run(self, cases: list[bytes]) -> list[bytes]: ...


# Why a form is not compared with the host.
HOST_EXCLUDED: Final = {
    "the kernel answers it": "syscall sysenter sysexit sysret int",
    "the answer is the host's own": "cpuid rdtsc rdtscp rdpmc rdrand rdseed rdpid xgetbv sgdt sidt sldt str smsw "
    "lar lsl verr verw",
    "it would change the oracle's own segments": "wrfsbase wrgsbase rdfsbase rdgsbase lfs lgs lss les lds far",
    "segments are the host's": "mov_sreg push_sreg pop_sreg iret retf",
    "the saved image has fields that differ by processor": "fxsave fxrstor xsave xsavec xsaveopt xsaves xrstor "
    "xrstors fnsave fnstenv frstor fldenv",
    "approximations differ by processor: see test_approximations": "rcpps rcpss rsqrtps rsqrtss",
    "not documented: AMD's does not mark stack underflow": "fstpnce",
    "hypervisors of AMD processors report the address of INT1 itself": "int1",
    "it waits": "umonitor umwait tpause monitor mwait monitorx mwaitx",
}


def host_excluded(form: InstructionForm) -> bool:
    """Forms that the host cannot judge."""
    name = form.mnemonic
    words = {word for group in HOST_EXCLUDED.values() for word in group.split()}
    segments = {"ES", "CS", "SS", "DS", "FS", "GS", "Sw"}
    if name in words or segments & set(form.operands):
        return True
    if form.encoding in ("D9 D8+i", "0F 0D /r"):  # FSTPNCE; reserved NOP of Intel, #UD of AMD
        return True
    return name in ("call", "jmp") and bool({"Mp", "Ap"} & set(form.operands))


@frozen
class Difference:
    """What one case showed."""

    case: Case
    fields: dict[str, tuple[int, int]]

    def __str__(self) -> str:
        bits = self.case.mode
        text = "; ".join(str(i.text) for i in disassemble(self.case.code, self.case.rip, bits))
        rows = [f"{bits}-bit {self.case.code.hex()} {text}   [{', '.join(f.text for f in self.case.forms)}]"]
        before = describe_context(self.case.packed[: CONTEXT.size])
        for name, (ours, theirs) in self.fields.items():
            was = f" (was {before[name]:#x})" if name in before else ""
            rows.append(f"    {name}: {ours:#x}, expected {theirs:#x}{was}")
        return "\n".join(rows)


# Bits of the result that count.  RF in a pushed image is compared apart from the rest: see SDM Vol. 3A 6.8.3.
FLAGS_COMPARED: Final = 0x8D5 | 0x400 | 0x40000
FX_COMPARED: Final = bytes(
    0xFF if i < 5 or 24 <= i < 28 or (32 <= i < 160 and i % 16 < 10) or 160 <= i < 416 else 0 for i in range(512)
)


def _mask(undefined: Undefined, mode: int) -> int:
    gpr = [~0 & (1 << 64) - 1] * 16
    if mode != 64:
        gpr = [0xFFFF_FFFF] * 8 + [0] * 8  # upper halves are undefined outside 64-bit mode (SDM Vol. 1 3.4.1.1)
    if mode == 16:
        gpr[4] = 0xFFFF  # the kernel's return to 16-bit stacks damages the rest of ESP
    fx = bytearray(FX_COMPARED)
    fx[3] &= ~undefined.fsw >> 8
    for i in range(160, 416):
        if i % 16 >= undefined.xmm_low:
            fx[i] = 0
    context = CONTEXT.pack(*gpr, 0xFFFF_FFFF_FFFF_FFFF, FLAGS_COMPARED & ~undefined.flags, bytes(fx))
    return int.from_bytes(
        RESULT.pack(context, (1 << 64) - 1, (1 << 64) - 1, (1 << 64) - 1, b"\xff" * (RESULT.size - CONTEXT.size - 24)),
        "little",
    )


_masks: dict[tuple[Undefined, int], int] = {}


def compare(case: Case, ours: bytes, theirs: bytes) -> Difference | None:
    """None where they agree in all that is defined."""
    if ours == theirs or case.undefined.everything:
        return None
    key = (case.undefined, case.mode)
    mask = _masks.get(key)
    if mask is None:
        mask = _masks[key] = _mask(*key)
    if not (int.from_bytes(ours, "little") ^ int.from_bytes(theirs, "little")) & mask:
        return None
    fields: dict[str, tuple[int, int]] = {}
    masked = [
        RESULT.unpack((int.from_bytes(side, "little") & mask).to_bytes(RESULT.size, "little"))
        for side in (ours, theirs)
    ]
    a, b = (describe_context(side[0]) for side in masked)
    for name, value in a.items():
        if value != b[name]:
            fields[name] = (value, b[name])
    for index, name in enumerate(("vector", "error", "cr2"), 1):
        if masked[0][index] != masked[1][index]:
            fields[name] = (masked[0][index], masked[1][index])
    for at in range(0, len(masked[0][4]), 8):
        x, y = (struct.unpack_from("<Q", side[4], at)[0] for side in masked)
        if x != y:
            fields[f"window+{at:#x}"] = (x, y)
    return Difference(case, fields)


MMX_FIRST: Final = frozenset({"mmx", "sse"})


def explained(case: Case, difference: Difference, result: bytes) -> str | None:
    """Why the host (an AMD processor under Linux) may differ, or None."""
    form, fields = case.forms[-1], difference.fields
    names = fields.keys()
    ours, theirs = fields.get("vector", (0, 0))
    if (ours, theirs) == (12, 13) and any(f.attributes & {"sse", "mmx"} for f in case.forms):
        return "MMX and SSE operands beyond the limit of SS: AMD raises #GP (SDM Vol. 3A 6.15 has #SS)"
    if any(f.mnemonic == "cmps" for f in case.forms) and (names == {"cr2"} or (ours, theirs) == (17, 13)):
        return "which of the two operands of CMPS is read first is not specified"
    if ours == 14 and theirs in (12, 13) and fields.get("cr2", (0, 0))[0] >= 0xFFFF_FFF0 and case.mode == 32:
        return "an access across 4 GiB with a limit of 4 GiB: may fault or wrap (SDM Vol. 3A 5.3)"
    if (ours, theirs) == (17, 14):
        return "#AC and #PF of one access: the order is not specified (SDM Vol. 3A table 6-2)"
    if 0xF0 in case.code and any({"Cd"} & set(f.operands) for f in case.forms) and (ours, theirs) == (6, 13):
        return "AMD: LOCK MOV CR0 is MOV CR8 where CPUID says so; the engine does not have that"
    if any(f.mnemonic == "movsxd" for f in case.forms) and theirs == 17:
        return "AMD reads 32 bits of memory for MOVSXD of 16 bits"
    touched = all(name.startswith("st") or name in ("fsw", "ftw") for name in names)
    if touched and any(operand[0] in "PQN" for f in case.forms for operand in f.operands):
        return "AMD makes the transition to MMX before a fault, Intel after it"
    if form.mnemonic == "cvtpi2ps" and touched:
        return "CVTPI2PS from memory: no transition to MMX on AMD, as CVTPI2PD; Intel makes one"
    if form.mnemonic == "ldmxcsr" and (ours, theirs) == (13, 6):
        return "AMD: MXCSR bit 17 comes with MISALIGNSSE, which the engine does not have"
    if form.mnemonic.startswith("sha") and ours == 13 and theirs in (6, 14):
        return "AMD does not check the alignment of SHA operands"
    if form.mnemonic in ("fprem", "fprem1") and names == {"fsw"}:
        ours, theirs = fields["fsw"]
        if not (ours ^ theirs) & ~(C0 | C1 | C3) and (
            theirs & 1 or struct.unpack_from("<H", result, 184)[0] & 0x7FFF == 0x7FFF
        ):
            return "a NaN has no quotient"
    if form.mnemonic in ("fcomi", "fcomip", "fucomi", "fucomip") and names == {"rflags"}:
        image = CONTEXT.unpack_from(case.packed)[18]
        if not image[0] & 1:
            return "AMD sets the flags although the invalid operation is unmasked, Intel does not"
    return None


def adjust_host(ours: bytes, theirs: bytes) -> bytes | None:
    """The host's result without what the kernel hides or leaves over; None where there is none."""
    context, vector, error, cr2, window = RESULT.unpack(theirs)
    if vector in (VECTOR_NEVER, VECTOR_SYSCALL):
        return None
    _, our_vector, our_error, _, _ = RESULT.unpack(ours)
    if vector == 14 and our_vector == 14 and cr2 >= 1 << 47:
        error = our_error  # the kernel reports its own half of the address space as present
    if vector not in WITH_ERROR:
        error = 0  # left over from an earlier one
    return RESULT.pack(context, vector, error, cr2, window)


# Why a form is not compared with Unicorn 2 (which is QEMU 5).
UNICORN_EXCLUDED: Final = {
    "it runs at privilege level 0 without descriptor tables": "in out ins outs hlt cli sti lgdt lidt lldt ltr lmsw "
    "clts invlpg invd wbinvd rdmsr wrmsr xsetbv invpcid arpl swapgs clac stac pushf popf",
    "computes in double precision, where the x87 has 64 bits (SDM Vol. 1 8.3.8)":
        "f2xm1 fcos fsin fsincos fptan fpatan fyl2x fyl2xp1 fprem fprem1 fscale fxtract fsqrt",
}  # fmt: skip


def unicorn_excluded(form: InstructionForm) -> bool:
    """Forms that Unicorn cannot judge."""
    words = {word for group in UNICORN_EXCLUDED.values() for word in group.split()}
    if form.encoding in ("F6 /1", "F7 /1", "C0 /6", "C1 /6", "D0 /6", "D1 /6", "D2 /6", "D3 /6"):
        return True  # aliases of TEST and SHL: #UD there
    if "mmx" in form.attributes and form.features == "SSSE3":
        return True  # no transition from x87 to MMX there (SDM Vol. 1 9.5.1)
    return host_excluded(form) or form.mnemonic in words or bool({"Cd", "Dd"} & set(form.operands))


UNICORN_BUGS: Final = {
    **dict.fromkeys(("extrq", "insertq"), "lengths and positions are taken from the wrong bits (APM Vol. 4)"),
    **dict.fromkeys(("blsi", "blsr", "blsmsk"), "CF is wrong (SDM Vol. 2)"),
    **dict.fromkeys(("cmpxchg8b", "cmpxchg16b"), "flags other than ZF change (SDM Vol. 2)"),
    "bextr": "fields that reach beyond the operand (SDM Vol. 2)",
    "bzhi": "CF and the index beyond the operand size are wrong (SDM Vol. 2)",
    **dict.fromkeys(
        ("cvtpi2ps", "cvtpi2pd"), "a transition to MMX although the operand is memory (SDM Vol. 2 CVTPI2PD)"
    ),
    "emms": "TOP moves (SDM Vol. 2: only the tags change)",
    **dict.fromkeys(("sahf", "lahf"), "with REX the register is SPL and not AH (SDM Vol. 2)"),
    "neg": "CF, SF and ZF of the locked form are those of another subtraction (SDM Vol. 2)",
    "fbstp": "the indefinite BCD value and the sign of zero differ (SDM Vol. 1 table 4-4)",
    "cmpxchg": "the accumulator is written although it was equal (SDM Vol. 2)",
    **dict.fromkeys(
        ("phaddw", "phaddd", "phaddsw", "phsubw", "phsubd", "phsubsw"), "wrong where both operands are one register"
    ),
    **dict.fromkeys(
        ("pcmpestri", "pcmpestrm", "pcmpistri", "pcmpistrm"), "64-bit lengths and some aggregations (SDM Vol. 2 4.1)"
    ),
    **dict.fromkeys(("pdep", "pext"), "the upper half of 32-bit results is not cleared"),
    **dict.fromkeys(("bsf", "bsr"), "a zero operand: 32-bit forms clear the upper half (SDM Vol. 2 leaves it open)"),
    **dict.fromkeys(("maskmovq", "maskmovdqu"), "an empty mask faults or not as the processor likes (SDM Vol. 2)"),
    **dict.fromkeys(("clflush", "clflushopt", "clwb"), "the address is not translated: no fault (SDM Vol. 2)"),
    "nop": "the hint NOPs 0F 18-1F with a register are #UD (SDM Vol. 2 appendix A)",
}
"""Instructions whose differences from Unicorn are bugs of Unicorn, and what is wrong.  The host agrees with the
engine."""

UNICORN_FEATURES: Final = frozenset(
    [
        "I486",
        "I586",
        "I686",
        "FPU",
        "TSC",
        "MSR",
        "PAE",
        "NX",
        "CX8",
        "SEP",
        "CMOV",
        "CLFLUSH",
        "MMX",
        "FXSR",
        "SSE",
        "SSE2",
        "SSE3",
        "PCLMULQDQ",
        "SSSE3",
        "CX16",
        "SSE4_1",
        "SSE4_2",
        "MOVBE",
        "POPCNT",
        "AES",
        "BMI1",
        "BMI2",
        "ADX",
        "SYSCALL",
        "LM",
        "LAHF_LM",
        "ABM",
        "SSE4A",
        "CLFLUSHOPT",
        "CLWB",
        "3DNOWPREFETCH",
        "MMXEXT",
    ]
)


def judge_host(case: Case, ours: bytes, theirs: bytes) -> Difference | None:
    """A difference from the host that nothing explains."""
    adjusted = adjust_host(ours, theirs)
    if adjusted is None:
        return None
    difference = compare(case, ours, adjusted)
    return difference if difference is not None and explained(case, difference, ours) is None else None


# What Unicorn 2 (QEMU 5) does not model, one by one.  Everything else is compared.
UNICORN_NO_FLOAT_STATUS: Final = bytes(
    0xFF if (32 <= i < 160 and i % 16 < 8) or 160 <= i < 416 else 0 for i in range(512)
)
"""Its SSE code keeps no exception flags in MXCSR (SDM Vol. 1 10.2.3.1), its x87 code sets tags, IE and SF
differently (8.5.1), and MMX
writes leave the exponents alone (9.2.2): of these registers the significands and XMM are compared."""


def judge_unicorn(case: Case, ours: bytes, theirs: bytes) -> Difference | None:
    """A difference from Unicorn that nothing explains."""
    context, vector, _, _, window = RESULT.unpack(theirs)
    our_context, our_vector, error, cr2, _our_window = RESULT.unpack(ours)
    if vector in (VECTOR_NEVER, VECTOR_TIMEOUT):
        return None  # it counts the repetitions of string instructions as instructions
    if len(case.forms) > 1 and any(bug_in_sequence(form, case.mode) for form in case.forms):
        return None
    theirs = RESULT.pack(context, vector, error, cr2, window)
    form = case.forms[-1]
    if 0xF0 in case.code and (len(case.forms) > 1 or "lock" not in form.attributes):
        return None  # LOCK before an instruction that does not allow it is no #UD there
    if our_vector not in (6, vector):
        if unicorn_misses_fault(case, our_vector):
            return None
        difference = compare(case, ours, theirs)
        return difference if difference is not None and unicorn_bug(case, difference, ours) is None else None
    if our_vector != 6:
        return None  # It faulted: Unicorn keeps no exact state then.
    if form.attributes & {"x87", "mmx", "sse"}:
        (status,) = struct.unpack_from("<H", our_context, 146)
        if "x87" in form.attributes and status & 0x41:
            return None
        context = context[:144] + bytes(
            y if keep else x
            for x, y, keep in zip(our_context[144:], context[144:], UNICORN_NO_FLOAT_STATUS, strict=True)
        )
        theirs = RESULT.pack(context, vector, error, cr2, window)
    difference = compare(case, ours, theirs)
    return difference if difference is not None and unicorn_bug(case, difference, ours) is None else None


def bug_in_sequence(form: InstructionForm, mode: int) -> bool:
    """Forms that Unicorn gets wrong under some operands only, see unicorn_bug()."""
    return (
        form.encoding in ("C6 /0", "C7 /0")
        or form.mnemonic in ("clflush", "clflushopt", "clwb")
        or form.mnemonic in ("loope", "loopne")  # after ADC and SBB the flags are other ones; the host agrees with us
        or form.mnemonic in ("rorx", "shrd", "shld")
        or (
            mode == 16
            and (form.encoding.startswith("VEX") or form.mnemonic in ("adcx", "adox", "movbe", "popcnt", "crc32"))
        )
    )


def unicorn_misses_fault(case: Case, vector: int) -> bool:
    """Faults that Unicorn does not raise: limits in real mode and of stacks (12, 13), alignment of SSE operands
    (13), x87 and SSE
    exceptions (16, 19); fetches from unmapped memory (14) end differently.
    """
    return vector in (12, 13, 16, 19) or (vector == 14 and case.forms[-1].mnemonic in ("call", "jmp", "ret"))


def unicorn_bug(case: Case, difference: Difference, result: bytes) -> str | None:
    """The known bug of Unicorn that a difference shows, or None."""
    form, names = case.forms[-1], difference.fields.keys()
    (end,) = struct.unpack_from("<Q", result, 128)
    if end == case.rip and "rip" in names and 0xF0 in case.code[:4]:
        return "LOCK before an instruction that does not allow it is no #UD (SDM Vol. 2 LOCK)"
    if form.mnemonic in UNICORN_BUGS:
        return UNICORN_BUGS[form.mnemonic]
    only_xmm = "sse" in form.attributes and all(name.startswith("xmm") for name in names)
    if only_xmm and all(nan_lanes(*values) for values in difference.fields.values()):
        return "which NaN is taken: it uses the rule of the x87 (SDM Vol. 1 table 4-7)"
    if "x87" in form.attributes:
        image = CONTEXT.unpack_from(case.packed)[18]
        if any(image[39 + 16 * i] & 0x80 and not (image[40 + 16 * i] | image[41 + 16 * i] & 0x7F) for i in range(8)):
            return "pseudo-denormals are taken for denormals (SDM Vol. 1 8.2.2)"
    if form.attributes & {"sse", "mmx"} and difference.fields.get("vector") == (6, 14):
        return "it reads 8 or 16 bytes where the operand is smaller (SDM Vol. 2 ROUNDSS, PUNPCKLBW and others)"
    if case.mode == 16 and form.mnemonic in ("movbe", "popcnt", "crc32", "adcx", "adox"):
        return "the operand size follows the 66 prefix as if the mode were 32-bit"
    if form.encoding in ("C6 /0", "C7 /0") and "rip" in names:
        return "#UD with REX.R, which means nothing here (SDM Vol. 2 2.2.1.2)"
    if form.mnemonic in ("rorx", "shrd", "shld") and case.mode == 64:
        return "RIP-relative operands are counted from before the immediate (SDM Vol. 2 2.2.1.6)"
    if form.encoding.startswith("VEX") and case.mode == 16:
        return "it runs 16-bit code in real mode, where VEX is LES or LDS"
    if form.mnemonic.startswith("cmp") and form.attributes & {"sse"} and case.code[-1] > 7:
        return "reserved bits of the predicate are ignored by processors, #UD there"
    if form.mnemonic in ("fcomi", "fcomip", "fucomi", "fucomip") and names == {"rflags"}:
        ours, theirs = difference.fields["rflags"]
        if not (ours ^ theirs) & ~0x890:
            return "FCOMI clears OF, SF, AF (SDM Vol. 2), there it does not"
    return None


def nan_lanes(ours: int, theirs: int) -> bool:
    """Whether two vectors differ in NaNs alone, taken as singles or as doubles."""

    def agree(bits: int, exponent: int) -> bool:
        for shift in range(0, 128, bits):
            x, y = (value >> shift & (1 << bits) - 1 for value in (ours, theirs))
            if x != y and not (x & exponent == exponent and y & exponent == exponent):
                return False
        return True

    return agree(32, 0x7F80_0000) or agree(64, 0x7FF << 52)


@frozen
class Outcome:
    """What a comparison found.  vectors: how many cases ended by which vector."""

    instructions: int
    differences: list[Difference]
    vectors: Counter[int]


def compare_with(
    oracle_name: str,
    seed: int,
    count: int,
    length: int = 1,
    *,
    modes: tuple[int, ...] = (64, 64, 32, 16),
    only: str | None = None,
    report: Callable[[Difference], None] | None = None,
) -> Outcome:
    """Run `count` random cases here and on "host" or "unicorn"."""
    features = host_features() if oracle_name == "host" else UNICORN_FEATURES
    engine = EngineUnderTest(CpuModel(oracle_name, features))
    outcome = Outcome(0, [], Counter())
    instructions = 0
    not_judged, judge = (host_excluded, judge_host) if oracle_name == "host" else (unicorn_excluded, judge_unicorn)

    def excluded(form: InstructionForm) -> bool:
        if (
            oracle_name == "unicorn"
            and length > 1
            and (form.attributes & {"x87", "mmx", "sse"} or form.mnemonic in UNICORN_BUGS)
        ):
            return True  # what Unicorn does not model would spread
        return not_judged(form) or (only is not None and form.mnemonic not in only.split(","))

    with HostOracle() if oracle_name == "host" else UnicornOracle() as oracle:
        if isinstance(oracle, HostOracle) and not oracle.has_16bit:
            modes = tuple(mode for mode in modes if mode != 16)
        generator = Generator(seed, features, excluded, modes, calm=oracle_name == "unicorn")
        for done in range(0, count, BATCH):
            cases = [generator.case(length) for _ in range(min(BATCH, count - done))]
            packed = [case.packed for case in cases]
            for case, ours, theirs in zip(cases, engine.run(packed), oracle.run(packed), strict=True):
                instructions += len(case.forms)
                outcome.vectors[RESULT.unpack(ours)[1]] += 1
                difference = judge(case, ours, theirs)
                if difference is not None:
                    # Once more, alone: it may have read what another case left in the code, where the oracle had to
                    # start anew.
                    difference = judge(case, engine.run([case.packed])[0], oracle.run([case.packed])[0])
                if difference is not None:
                    outcome.differences.append(difference)
                    if report is not None:
                        report(difference)
    return evolve(outcome, instructions=instructions)


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--oracle", choices=("host", "unicorn"), default="host")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--length", type=int, default=1, help="instructions of a case")
    parser.add_argument("--only", help="mnemonics, separated by commas")
    parser.add_argument("--mode", type=int, choices=(16, 32, 64))
    parser.add_argument("--show", type=int, default=20, help="differences to print")
    options = parser.parse_args()
    shown: Counter[str] = Counter()

    def report(difference: Difference) -> None:
        key = " ".join(form.text for form in difference.case.forms)
        shown[key] += 1
        if shown[key] <= 2 and len(shown) <= options.show:
            print(difference, flush=True)

    began = time.perf_counter()
    modes = (options.mode,) if options.mode else (64, 64, 32, 16)
    found = compare_with(
        options.oracle, options.seed, options.cases, options.length, modes=modes, only=options.only, report=report
    )
    seconds = time.perf_counter() - began
    print(
        f"{found.instructions} instructions in {options.cases} cases, {len(found.differences)} differences, "
        f"{seconds:.1f} s, {options.cases / seconds:.0f} cases/s; ends by vector: {dict(sorted(found.vectors.items()))}"
    )
    for name, times in shown.most_common(60):
        print(f"{times:6} {name}")
    return 1 if found.differences else 0


if __name__ == "__main__":
    sys.exit(main())
