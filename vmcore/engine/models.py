"""CPU models: named processors with the CPUID leaves that they present.

Where vendors differ, a model behaves as its vendor's processors do: `qemu64` and `Opteron_G1` as AMD's, all others as
Intel's (SYSCALL outside 64-bit mode, SYSENTER in long mode, CPUID beyond the last leaf, model-specific registers).

The leaves of all but `max` are those that the QEMU 7.2 models of the same names present to a guest, except for what
this engine does not have (SVM in `qemu64`) and the hypervisor's own leaves.  `max` has everything that the engine
implements.  Leaves that a table leaves out below its highest are zero.

Sources: SDM Vol. 2A CPUID; AMD APM Vol. 3 appendix E.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from math import gcd
from pathlib import Path
from typing import Final

from attrs import evolve, field, frozen

from vmcore.engine.topology import CpuTopology
from vmcore.model.errors import UsageError

__all__ = ["CpuModel", "CpuidRow", "FeatureBit", "feature_bits", "find_model", "model_names"]

CpuidRow = tuple[int, int | None, int, int, int, int]
"""Leaf, subleaf (None: any), EAX, EBX, ECX, EDX."""

_HYPERVISOR: Final = b"vmcorevmcore"
_MASK32: Final = 0xFFFFFFFF
_LEAF_4_CACHES: Final = (
    (0, 0x121, 0x01C0003F, 0x3F, 1),
    (1, 0x122, 0x01C0003F, 0x3F, 1),
    (2, 0x143, 0x03C0003F, 0xFFF, 1),
    (3, 0x163, 0x03C0003F, 0x3FFF, 6),
)  # L1D 32 KiB, L1I 32 KiB, L2 4 MiB, L3 16 MiB


@frozen
class FeatureBit:
    """Where CPUID announces a feature: `register` is 0 to 3 for EAX to EDX."""

    leaf: int
    subleaf: int
    register: int
    bit: int


@cache
def feature_bits() -> dict[str, FeatureBit | None]:
    """All features by name, in the engine's order; None where CPUID has no bit for it (tables/features.def)."""
    result: dict[str, FeatureBit | None] = {}
    for line in (Path(__file__).parent / "tables" / "features.def").read_text(encoding="utf-8").splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        name, place = words
        if place == "-":
            result[name] = None
        else:
            leaf, subleaf, register, bit = place.split(".")
            result[name] = FeatureBit(
                int(leaf, 16), int(subleaf, 16), ("eax", "ebx", "ecx", "edx").index(register), int(bit)
            )
    return result


@frozen
class CpuModel:
    """A processor: what it can do and what CPUID says of it.

    features: names out of tables/features.def; cpuid: rows (leaf, subleaf or None where it does not matter, EAX, EBX,
    ECX, EDX); phys_bits, lin_bits: widths of physical and linear addresses; tsc_hz: nominal frequency of the time-stamp
    counter; summary: one line for a list.
    """

    name: str
    features: frozenset[str]
    cpuid: tuple[CpuidRow, ...] = field(repr=False, default=())
    phys_bits: int = 40
    lin_bits: int = 48
    tsc_hz: int = 1_000_000_000
    summary: str = ""

    def leaf(self, leaf: int, subleaf: int = 0) -> tuple[int, int, int, int] | None:
        """EAX to EDX of a leaf as the table has it; None if it is not in the table."""
        for row in self.cpuid:
            if row[0] == leaf and row[1] in (None, subleaf):
                return row[2:]
        return None

    @property
    def vendor(self) -> str:
        """The twelve characters of leaf 0; empty without CPUID."""
        row = self.leaf(0)
        return struct.pack("<3I", row[1], row[3], row[2]).decode("ascii") if row else ""

    @property
    def _signature(self) -> int:
        row = self.leaf(1)
        return row[0] if row else 0

    @property
    def family(self) -> int:
        """Display family: with the extended family where the base family is 15."""
        base = self._signature >> 8 & 15
        return base + (self._signature >> 20 & 0xFF) if base == 15 else base

    @property
    def model(self) -> int:
        """Display model: with the extended model where the family is 6 or 15."""
        low = self._signature >> 4 & 15
        return low | (self._signature >> 12 & 0xF0) if (self._signature >> 8 & 15) in (6, 15) else low

    @property
    def stepping(self) -> int:
        return self._signature & 15

    def with_cpus(self, count: int) -> CpuModel:
        """The same processor as one of `count` cores of one package."""
        if not 1 <= count <= 255:
            raise UsageError(f"a package has 1 to 255 cores, not {count}")
        return self.with_topology(CpuTopology(cores=count))

    def with_topology(self, topology: CpuTopology) -> CpuModel:
        """The same processor as one of a machine so arranged (leaves 1, 4, 0Bh, 1Fh, 8000_0001h, 8000_0008h).

        Leaf 1Fh tells of dies: a model that has leaf 0Bh gets it where a package has several.
        """
        count = topology.package
        if count == 1:
            return self
        amd = self.vendor == "AuthenticAMD"
        core_shift, shift = topology.core_shift, topology.package_shift
        dies = topology.dies > 1 and self.leaf(0xB) is not None
        rows: list[CpuidRow] = []
        for leaf, subleaf, a, b, c, d in self.cpuid:
            if leaf == 0 and dies:
                a = max(a, 0x1F)
            elif leaf == 1:
                b = (b & 0xFF00FFFF) | (count & 0xFF) << 16
                d |= 1 << 28
            elif leaf == 4 and a & 0x1F:
                # Cores that there is room for in a package, and threads that share the cache: one's own core's, but
                # those of the die at the third level.
                a |= min((1 << shift - core_shift) - 1, 0x3F) << 26
                a |= ((topology.cores * topology.threads if subleaf == 3 else topology.threads) - 1) << 14
            elif leaf == 0xB and subleaf == 0:
                a, b = core_shift, topology.threads
            elif leaf == 0xB and subleaf == 1:
                a, b = shift, count
            elif leaf == 0x80000001 and amd:
                c |= 2
            elif leaf == 0x80000008:
                c = shift << 12 | (count - 1)
            rows.append((leaf, subleaf, a & _MASK32, b, c, d))
        if dies:
            # Level types are 1 for threads, 2 for cores and 5 for dies (SDM Vol. 2A, CPUID leaf 1Fh).
            rows.append((0x1F, 0, core_shift, topology.threads, 0x100, 0))
            rows.append((0x1F, 1, topology.die_shift, topology.cores * topology.threads, 0x201, 0))
            rows.append((0x1F, 2, shift, count, 0x502, 0))
            rows.sort(key=lambda row: (row[0], row[1] or 0))
        added = {"HTT", "CMP_LEGACY"} if amd else {"HTT"}
        return evolve(self, cpuid=tuple(rows), features=self.features | added)

    def with_tsc(self, hertz: int) -> CpuModel:
        """The same processor with another TSC frequency (leaves 15h and 16h where there are any)."""
        rows = tuple(
            (leaf, subleaf, *_tsc_leaf(hertz))
            if leaf == 0x15
            else (leaf, subleaf, *_frequency_leaf(hertz))
            if leaf == 0x16
            else (leaf, subleaf, a, b, c, d)
            for leaf, subleaf, a, b, c, d in self.cpuid
        )
        return evolve(self, cpuid=rows, tsc_hz=hertz)

    @property
    def brand(self) -> str:
        """The name that the processor gives itself (leaves 8000_0002h to 8000_0004h); empty where it has none."""
        rows = [self.leaf(0x80000002 + part) for part in range(3)]
        return b"".join(struct.pack("<4I", *row) for row in rows if row).rstrip(b"\0").decode("ascii")

    def including(self, *names: str) -> CpuModel:
        """The same processor with more features; leaves of CPUID that announce them are added where there are none."""
        bits = feature_bits()
        rows = {(row[0], row[1] or 0): row for row in self.cpuid}
        for name in names:
            if name not in bits:
                raise UsageError(f"unknown CPU feature {name!r}")
            place = bits[name]
            if place is None:
                continue
            if name == "XSAVE":
                rows.setdefault((0xD, 0), (0xD, 0, 3, 576, 576, 0))
            key = (place.leaf, place.subleaf)
            with_subleaves = place.leaf in (7, 0xD)
            row = rows.get(key, (place.leaf, place.subleaf if with_subleaves else None, 0, 0, 0, 0))
            values = list(row[2:])
            values[place.register] |= 1 << place.bit
            rows[key] = (row[0], row[1], values[0], values[1], values[2], values[3])
            # The first leaf of each class tells the last one.
            first = (place.leaf & 0xF0000000, 0)
            _, _, last, b, c, d = rows.get(first, (first[0], None, 0, 0, 0, 0))
            last = max(last, *(leaf for leaf, _ in rows if leaf & 0xF0000000 == first[0]))
            rows[first] = (first[0], None, last, b, c, d)
        cpuid = tuple(rows[key] for key in sorted(rows))
        return evolve(self, features=self.features | set(names), cpuid=cpuid)

    def without(self, *names: str) -> CpuModel:
        """The same processor lacking some features; CPUID does not announce them and their instructions raise #UD."""
        bits = feature_bits()
        rows = list(self.cpuid)
        for name in names:
            if name not in bits:
                raise UsageError(f"unknown CPU feature {name!r}")
            place = bits[name]
            if place is None:
                continue
            for index, row in enumerate(rows):
                if row[0] == place.leaf and row[1] in (None, place.subleaf):
                    values = list(row[2:])
                    values[place.register] &= ~(1 << place.bit)
                    rows[index] = (row[0], row[1], values[0], values[1], values[2], values[3])
        return evolve(self, features=self.features - set(names), cpuid=tuple(rows))


def _text(text: str, first_leaf: int, size: int) -> list[CpuidRow]:
    data = text.encode("ascii").ljust(size, b"\0")
    return [(first_leaf + i // 16, None, *struct.unpack_from("<4I", data, i)) for i in range(0, size, 16)]


def _name(vendor: str) -> tuple[int, int, int]:
    """EBX, ECX, EDX of leaf 0."""
    b, d, c = struct.unpack("<3I", vendor.encode("ascii"))
    return b, c, d


def _hypervisor() -> list[CpuidRow]:
    b, c, d = struct.unpack("<3I", _HYPERVISOR)
    return [(0x40000000, None, 0x40000001, b, c, d), (0x40000001, None, 0, 0, 0, 0)]


def _leaf_4() -> list[CpuidRow]:
    return [(4, i, a, b, c, d) for i, a, b, c, d in _LEAF_4_CACHES]


def _leaf_b() -> list[CpuidRow]:
    # Level 0: threads of a core; level 1: cores of the package.  EDX is the APIC ID, given by the engine.
    return [(0xB, 0, 0, 1, 0x100, 0), (0xB, 1, 0, 1, 0x201, 0)]


def _tsc_leaf(hertz: int) -> tuple[int, int, int, int]:
    """Leaf 15h: the TSC against a clock of 1 GHz, which is that of the local APIC's timer, too."""
    crystal = 1_000_000_000
    part = gcd(hertz, crystal)
    if hertz // part <= _MASK32:
        return crystal // part, hertz // part, crystal, 0
    return 1, max(1, round(hertz / crystal)), crystal, 0


def _frequency_leaf(hertz: int) -> tuple[int, int, int, int]:
    """Leaf 16h: base and maximum frequency and the bus' in MHz."""
    mhz = max(1, hertz // 1_000_000) & 0xFFFF
    return mhz, mhz, 100, 0


def _build(name: str, rows: list[CpuidRow], behaviour: set[str], phys_bits: int, summary: str) -> CpuModel:
    """A model whose features are what the rows announce and `behaviour`."""
    model = CpuModel(name, frozenset(), tuple(sorted(rows, key=lambda r: (r[0], r[1] or 0))))
    features = set(behaviour)
    for feature, place in feature_bits().items():
        if place is not None:
            row = model.leaf(place.leaf, place.subleaf)
            if row is not None and row[place.register] >> place.bit & 1:
                features.add(feature)
    if model.vendor == "AuthenticAMD":
        features.add("VENDOR_AMD")
    return evolve(model, features=frozenset(features), phys_bits=phys_bits, summary=summary)


_INTEL: Final = "GenuineIntel"
_AMD: Final = "AuthenticAMD"
_P6: Final = {"I486", "I586", "I686"}
_CACHES_2: Final[CpuidRow] = (2, None, 1, 0, 0x4D, 0x2C307D)
_L1: Final[CpuidRow] = (0x80000005, None, 0x01FF01FF, 0x01FF01FF, 0x40020140, 0x40020140)
_L2: Final[CpuidRow] = (0x80000006, None, 0, 0x42004200, 0x02008140, 0x00808140)


def _base() -> CpuModel:
    return _build("base", [], set(), 32, "no features, not even CPUID: what expanded models are told against")


def _486() -> CpuModel:
    rows: list[CpuidRow] = [(0, None, 1, *_name(_INTEL)), (1, None, 0x480, 0x800, 0x80000000, 9), *_hypervisor()]
    return _build("486", rows, {"I486"}, 32, "Intel 486DX4 with CPUID and large pages")


def _pentium() -> CpuModel:
    rows: list[CpuidRow] = [
        (0, None, 1, *_name(_INTEL)),
        (1, None, 0x543, 0x800, 0x80000000, 0x008003BD),
        *_hypervisor(),
    ]
    return _build("pentium", rows, {"I486", "I586"}, 32, "Intel Pentium with MMX")


def _pentium2() -> CpuModel:
    rows: list[CpuidRow] = [
        (0, None, 2, *_name(_INTEL)),
        (1, None, 0x652, 0x800, 0x80000000, 0x0183FBFD),
        _CACHES_2,
        *_hypervisor(),
    ]
    return _build("pentium2", rows, _P6, 36, "Intel Pentium II")


def _pentium3() -> CpuModel:
    rows: list[CpuidRow] = [
        (0, None, 3, *_name(_INTEL)),
        (1, None, 0x673, 0x800, 0x80000000, 0x0383FBFD),
        _CACHES_2,
        *_hypervisor(),
    ]
    return _build("pentium3", rows, _P6, 36, "Intel Pentium III")


def _qemu32() -> CpuModel:
    rows: list[CpuidRow] = [
        (0, None, 4, *_name(_INTEL)),
        (1, None, 0x663, 0x800, 0x80000001, 0x0781ABFD),
        _CACHES_2,
        *_leaf_4(),
        (0x80000000, None, 0x80000004, *_name(_INTEL)),
        (0x80000001, None, 0x663, 0, 0, 0),
        *_text("QEMU Virtual CPU version 2.5+", 0x80000002, 48),
        *_hypervisor(),
    ]
    return _build("qemu32", rows, _P6, 36, "32-bit processor with SSE3")


def _qemu64() -> CpuModel:
    rows: list[CpuidRow] = [
        (0, None, 0xD, *_name(_AMD)),
        (1, None, 0x60FB1, 0x800, 0x80002001, 0x078BFBFD),
        (5, None, 0, 0, 3, 0),
        *_leaf_b(),
        (0x80000000, None, 0x80000008, *_name(_AMD)),
        (0x80000001, None, 0x60FB1, 0, 1, 0x2193FBFD),
        *_text("QEMU Virtual CPU version 2.5+", 0x80000002, 48),
        _L1,
        _L2,
        (0x80000008, None, 0x3028, 0, 0, 0),
        *_hypervisor(),
    ]
    return _build("qemu64", rows, _P6, 40, "64-bit processor of AMD's behaviour with SSE3 (x86-64-v1)")


def _opteron() -> CpuModel:
    rows: list[CpuidRow] = [
        (0, None, 5, *_name(_AMD)),
        (1, None, 0xF61, 0x800, 0x80000001, 0x078BFBFD),
        (5, None, 0, 0, 3, 0),
        (0x80000000, None, 0x80000008, *_name(_AMD)),
        (0x80000001, None, 0xF61, 0, 0, 0x2193FBFD),
        *_text("AMD Opteron 240 (Gen 1 Class Opteron)", 0x80000002, 48),
        _L1,
        _L2,
        (0x80000008, None, 0x3028, 0, 0, 0),
        *_hypervisor(),
    ]
    return _build("Opteron_G1", rows, _P6, 40, "AMD Opteron of the first generation: SSE3, no LAHF in 64-bit mode")


def _core(
    name: str, top: int, signature: int, ecx: int, text: str, summary: str, *, arat: bool = False
) -> Callable[[], CpuModel]:
    """One of Intel's 64-bit processors: they differ in the features of leaf 1 and in the highest leaf."""

    def make() -> CpuModel:
        rows: list[CpuidRow] = [
            (0, None, top, *_name(_INTEL)),
            (1, None, signature, 0x800, ecx, 0x078BFBFD),
            _CACHES_2,
            *_leaf_4(),
            (5, None, 0, 0, 3, 0),
            *([(6, None, 4, 0, 0, 0)] if arat else []),
            *(_leaf_b() if top >= 0xB else []),
            (0x80000000, None, 0x80000008, *_name(_INTEL)),
            (0x80000001, None, signature, 0, 1, 0x20100800),
            *_text(text, 0x80000002, 48),
            _L1,
            _L2,
            (0x80000008, None, 0x3028, 0, 0, 0),
            *_hypervisor(),
        ]
        return _build(name, rows, _P6, 40, summary)

    return make


# Everything that the engine has and CPUID announces by a bit.  (No X2APIC: the local APIC speaks xAPIC alone.)
_MAX_FEATURES: Final = (
    "FPU VME DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFLUSH MMX FXSR SSE SSE2 SS "
    "SSE3 PCLMULQDQ SSSE3 CX16 PCID SSE4_1 SSE4_2 MOVBE POPCNT TSC_DEADLINE AES XSAVE RDRAND HYPERVISOR ARAT "
    "FSGSBASE TSC_ADJUST BMI1 SMEP BMI2 ERMS INVPCID RDSEED ADX SMAP CLFLUSHOPT CLWB SHA UMIP RDPID FSRM "
    "ARCH_CAPABILITIES XSAVEOPT XSAVEC XGETBV1 SYSCALL NX PDPE1GB RDTSCP LM LAHF_LM ABM 3DNOWPREFETCH INVARIANT_TSC"
)


def _max() -> CpuModel:
    """Everything.

    It calls itself family 6, model 1Ch: Intel's in-order Atom, of which operating systems know that it does not
    speculate and needs none of their mitigations.  That is what is true of this engine.
    """
    registers: dict[tuple[int, int], list[int]] = {}
    for name in _MAX_FEATURES.split():
        place = feature_bits()[name]
        assert place is not None
        registers.setdefault((place.leaf, place.subleaf), [0, 0, 0, 0])[place.register] |= 1 << place.bit

    def bits(leaf: int, subleaf: int = 0) -> list[int]:
        return registers.get((leaf, subleaf), [0, 0, 0, 0])

    hertz = 1_000_000_000
    seven, xsave, extended = bits(7), bits(0xD, 1), bits(0x80000001)
    rows: list[CpuidRow] = [
        (0, None, 0x16, *_name(_INTEL)),
        (1, None, 0x106CA, 0x800, bits(1)[2], bits(1)[3]),
        _CACHES_2,
        *_leaf_4(),
        (5, None, 0, 0, 3, 0),
        (6, None, bits(6)[0], 0, 0, 0),
        (7, 0, 0, seven[1], seven[2], seven[3]),
        *_leaf_b(),
        (0xD, 0, 3, 576, 576, 0),  # x87 and SSE; EBX follows XCR0
        (0xD, 1, xsave[0], 576, 0, 0),
        (0x15, None, *_tsc_leaf(hertz)),
        (0x16, None, *_frequency_leaf(hertz)),
        (0x80000000, None, 0x80000008, *_name(_INTEL)),
        (0x80000001, None, 0, 0, extended[2], extended[3]),
        *_text("vmcore virtual processor", 0x80000002, 48),
        (0x80000006, None, 0, 0, 0x10006040, 0),  # L2: 4 MiB, 8 ways, lines of 64 bytes
        (0x80000007, None, 0, 0, 0, bits(0x80000007)[3]),
        (0x80000008, None, 0x3028, 0, 0, 0),
        *_hypervisor(),
    ]
    return _build("max", rows, _P6, 40, "everything that the engine implements")


_MAKERS: Final = {
    "base": _base,
    "486": _486,
    "pentium": _pentium,
    "pentium2": _pentium2,
    "pentium3": _pentium3,
    "qemu32": _qemu32,
    "qemu64": _qemu64,
    "Opteron_G1": _opteron,
    "Conroe": _core(
        "Conroe",
        0xA,
        0x6F3,
        0x80000201,
        "Intel Celeron_4x0 (Conroe/Merom Class Core 2)",
        "Intel Core 2 (Conroe): SSSE3",
    ),
    "Penryn": _core(
        "Penryn",
        0xA,
        0x10673,
        0x80082201,
        "Intel Core 2 Duo P9xxx (Penryn Class Core 2)",
        "Intel Core 2 (Penryn): SSE4.1",
    ),
    "Nehalem": _core(
        "Nehalem",
        0xB,
        0x106A3,
        0x80982201,
        "Intel Core i7 9xx (Nehalem Class Core i7)",
        "Intel Core i7 9xx: SSE4.2 and POPCNT (x86-64-v2)",
    ),
    "Westmere": _core(
        "Westmere",
        0xB,
        0x206C1,
        0x82982203,
        "Westmere E56xx/L56xx/X56xx (Nehalem-C)",
        "Intel Xeon 56xx: Nehalem with AES and PCLMULQDQ",
        arat=True,
    ),
    "max": _max,
}


def model_names() -> tuple[str, ...]:
    """Names that `find_model` knows."""
    return tuple(_MAKERS)


@cache
def find_model(name: str) -> CpuModel:
    """The model of a name.  UsageError, with the names there are, if there is none."""
    maker = _MAKERS.get(name)
    if maker is None:
        raise UsageError(f"unknown CPU model {name!r}; there are {', '.join(_MAKERS)}")
    return maker()
