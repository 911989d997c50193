"""Model-specific registers, CPUID, control registers and the paging modes that they choose."""

from __future__ import annotations

import struct

import pytest
from attrs import evolve
from system_bench import CODE, DATA, PML4, Bench

from vmcore.engine import Activity, Cpu, CpuModel, PhysicalMemory, find_model, model_names


@pytest.mark.parametrize(
    ("model", "index", "value"),
    [
        ("max", 0xFE, 0x508),
        ("max", 0x1B, 0xFEE00900),
        ("max", 0x3A, 1),
        ("max", 0x8B, 1 << 32),
        ("max", 0x10A, 0x400000000D10E179),
        ("max", 0x179, 0x0100010A),
        ("max", 0x1A0, 1),
        ("max", 0xC0000080, 0),
        ("Nehalem", 0x179, 0x0100010A),
        ("qemu64", 0xC0010015, 1 << 24),
        ("qemu64", 0x8B, 0x01000065),
        ("qemu64", 0xC0010055, 0),
        ("pentium", 0x0, 0),
    ],
)
def test_a_register_reads_as_its_model_has_it(model: str, index: int, value: int) -> None:
    assert Cpu(PhysicalMemory(), 0, model=model).read_msr(index) == value


@pytest.mark.parametrize(
    ("model", "index"),
    [
        *[("486", 0x10), ("pentium", 0xFE), ("pentium", 0x1A0), ("pentium3", 0xC0000080), ("qemu64", 0x1A0)],
        *[("Nehalem", 0xC0000103), ("Nehalem", 0x10A), ("Nehalem", 0x6E0), ("max", 0x800), ("max", 0xC0010015)],
    ],
)
def test_a_register_that_a_model_lacks_is_refused(model: str, index: int) -> None:
    with pytest.raises(KeyError):
        Cpu(PhysicalMemory(), 0, model=model).read_msr(index)


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (0xC0000100, 0x123456789000),
        (0xC0000101, 0xFFFF800000000000),
        (0xC0000102, 0x7FFFFFFFFFFF),
        (0xC0000103, 0xFFFFFFFF),
        (0x174, 0x10),
        (0x175, 0xFFFFFFFF80000000),
        (0x200, 0x80000006),
        (0x201, 0xFF80000800),
        (0x250, 0x0606060606060606),
        (0x26F, 0x0505050505050505),
        (0x2FF, 0xC06),
        (0x277, 0x0007010600070106),
        (0x400, 0),
        (0x17A, 7),
        (0x1B, 0xFEE00800),
    ],
)
def test_a_register_keeps_what_is_written(index: int, value: int) -> None:
    cpu = Bench("long").cpu
    cpu.write_msr(index, value)
    assert cpu.read_msr(index) == value


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (0xC0000100, 0x800000000000),
        (0xC0000082, 1 << 63),
        (0xC0000103, 1 << 32),
        (0x250, 0x0202020202020202),
        (0x200, 2),
        (0x201, 1 << 45),
        (0x2FF, 0x102),
        (0x1B, 0xFEE00C00),
        (0x2FF, 7),
        (0x277, 3),
        (0x401, 1),
        (0x17B, 5),
        (0x1B, 0x10000000800 << 8),
        (0xFE, 0),
        (0x179, 0),
        (0xC0000080, 1 << 1),
        (0xC0000080, 1 << 12),
    ],
)
def test_a_register_refuses_reserved_bits(index: int, value: int) -> None:
    with pytest.raises(ValueError, match="exception 13"):
        Cpu(PhysicalMemory(), 0, model="max").write_msr(index, value)


def test_the_local_apic_changes_mode_in_the_allowed_order_only() -> None:
    model = evolve(find_model("max"), features=find_model("max").features | {"X2APIC"})
    cpu = Cpu(PhysicalMemory(), 0, model=model)
    for value, good in (
        (0xFEE00C00, True),
        (0xFEE00800, False),
        (0xFEE00000, True),
        (0xFEE00C00, False),
        (0xFEE00800, True),
    ):
        if good:
            cpu.write_msr(0x1B, value)
        else:
            with pytest.raises(ValueError, match="exception 13"):
                cpu.write_msr(0x1B, value)


def test_the_time_stamp_counter_follows_guest_time_and_writes() -> None:
    bench = Bench("long")
    cpu = bench.cpu
    cpu.set_time(5_000, 3, 0, 2, 0)
    before = cpu.read_msr(0x10)
    bench.write("nop; nop; nop; nop")
    cpu.run(4)
    assert cpu.read_msr(0x10) - before == 4 * 3 * 2
    cpu.write_msr(0x10, 1_000_000)
    assert cpu.read_msr(0x10) == 1_000_000
    adjust = cpu.read_msr(0x3B)
    cpu.write_msr(0x3B, adjust + 500)
    assert cpu.read_msr(0x10) == 1_000_500


def test_guest_time_does_not_overflow() -> None:
    bench = Bench("long")
    cpu = bench.cpu
    cpu.set_time(0, 10**12, 10, 5 * 10**9, 32)
    bench.write("nop; nop")
    cpu.run(2)
    assert cpu.guest_ns == 2 * 10**12 >> 10


def cpuid(cpu: Cpu, memory: PhysicalMemory, leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
    cpu.reset()
    memory.load(0xFFFF0, b"\x0f\xa2")
    cpu.cs = type(cpu.cs)(0xF000, 0xF0000, 0xFFFF, 0x93)
    cpu.rip, cpu.rax, cpu.rcx, cpu.activity = 0xFFF0, leaf, subleaf, Activity.ACTIVE
    cpu.run(1)
    return cpu.eax, cpu.ebx, cpu.ecx, cpu.edx


def made(model: str | CpuModel, index: int = 0) -> tuple[Cpu, PhysicalMemory]:
    memory = PhysicalMemory()
    memory.map_ram(0, 0x100000)
    return Cpu(memory, index, model=model), memory


def test_cpuid_beyond_the_last_leaf_answers_as_the_vendor_does() -> None:
    intel, amd = made("Nehalem"), made("qemu64")
    assert cpuid(*intel, 0x12345) == cpuid(*intel, 0xB)
    assert cpuid(*intel, 0x80000055) == cpuid(*intel, 0xB)
    assert cpuid(*amd, 0x12345) == (0, 0, 0, 0)


def test_cpuid_names_the_processor_that_asks() -> None:
    cpu, memory = made(find_model("Nehalem").with_cpus(4), 2)
    assert cpuid(cpu, memory, 1)[1] == 0x02040800
    assert cpuid(cpu, memory, 0xB, 0) == (0, 1, 0x100, 2)
    assert cpuid(cpu, memory, 0xB, 1) == (2, 4, 0x201, 2)
    assert cpuid(cpu, memory, 0xB, 2) == (0, 0, 2, 2)
    assert cpuid(cpu, memory, 4, 3)[0] == 0x0C00C163


def test_cpuid_follows_the_apic_and_the_operating_system() -> None:
    bench = Bench("long")
    cpu = bench.cpu

    def leaf_1() -> tuple[int, int]:
        cpu.rip, cpu.rax, cpu.rcx = CODE, 1, 0
        bench.run("cpuid")
        return cpu.ecx >> 27 & 1, cpu.edx >> 9 & 1

    assert leaf_1() == (0, 1)
    cpu.cr4 |= 1 << 18
    assert leaf_1() == (1, 1)
    cpu.write_msr(0x1B, 0xFEE00000)
    assert leaf_1() == (1, 0)


@pytest.mark.parametrize("name", model_names())
def test_every_feature_of_a_model_is_announced_and_no_other(name: str) -> None:
    model = find_model(name)
    cpu, memory = made(model)
    from vmcore.engine.models import feature_bits

    for feature, place in feature_bits().items():
        if place is None:
            continue
        top = cpuid(cpu, memory, place.leaf & 0xF0000000)[0]
        if place.leaf > top:
            assert feature not in model.features
            continue
        announced = cpuid(cpu, memory, place.leaf, place.subleaf)[place.register] >> place.bit & 1
        assert bool(announced) == (feature in model.features), feature


def test_a_model_without_a_feature_neither_announces_nor_executes_it() -> None:
    model = find_model("max").without("RDTSCP", "SMAP")
    assert model.leaf(0x80000001) is not None
    bench = Bench("long", model=model)
    assert bench.run("rdtscp") == "UD"
    assert Bench("long").run("rdtscp") == ""
    bare = find_model("486").without("PSE")
    assert Bench("prot", model=bare).run("mov eax, cr4") == "UD"


@pytest.mark.parametrize(
    ("model", "code", "expected"),
    [
        ("486", "rdtsc", "UD"),
        ("486", "cpuid", ""),
        ("486", "bswap eax", ""),
        ("486", "mov eax, cr4", ""),
        ("486", "wbinvd", ""),
        ("pentium", "rdtsc", ""),
        ("pentium", "cmovc eax, ebx", "UD"),
        ("pentium", "cmpxchg8b [0xa000]", ""),
        ("486", "cmpxchg8b [0xa000]", "UD"),
        ("pentium", "sysenter", "UD"),
        ("pentium3", "cmovc eax, ebx", ""),
        ("pentium3", "clflush [0xa000]", "UD"),
        ("pentium3", "movaps xmm0, xmm1", "UD"),
        ("qemu32", "pause", ""),
        ("Nehalem", "rdtscp", "UD"),
        ("qemu64", "popcnt eax, ebx", "UD"),
        ("Nehalem", "popcnt eax, ebx", ""),
    ],
)
def test_an_instruction_exists_where_the_model_has_it(model: str, code: str, expected: str) -> None:
    assert Bench("prot", model=model).run(code) == expected


def test_names_and_numbers_of_a_model() -> None:
    model = find_model("qemu64")
    assert (model.vendor, model.family, model.model, model.stepping) == ("AuthenticAMD", 15, 0x6B, 1)
    assert find_model("Nehalem").model == 0x1A
    faster = find_model("max").with_tsc(2_500_000_000)
    assert faster.leaf(0x15) == (2, 5, 1_000_000_000, 0)
    assert faster.leaf(0x16) == (2500, 2500, 100, 0)


# Paging as the control registers choose it


def test_pae_paging_loads_its_four_pointers_with_cr3_and_checks_them() -> None:
    bench = Bench("prot")
    table = 0x46000
    bench.memory.load(table, struct.pack("<4Q", 0x42001, 0, 0, 0))
    bench.cpu.cr4 = 0x20
    bench.cpu.cr3 = table
    bench.cpu.cr0 |= 1 << 31
    assert bench.run("mov eax, [0xa000]") == ""
    # Changing the entries does nothing before the next load of CR3.
    bench.memory.write(table, struct.pack("<4Q", 0x42001 | 2, 0, 0, 0))
    assert bench.run("mov ebx, [0xb000]") == ""
    bench.cpu.rax = table
    assert bench.run("mov cr3, eax") == "GP(0)"


def test_entering_long_mode_needs_pae_and_leaving_it_compatibility_mode() -> None:
    bench = Bench("prot")
    bench.cpu.cr3 = PML4
    bench.cpu.write_msr(0xC0000080, 0x100)
    bench.cpu.rax = 0x80000011
    assert bench.run("mov cr0, eax") == "GP(0)"
    bench = Bench("prot")
    bench.cpu.cr3 = PML4
    bench.cpu.cr4 = 0x20
    bench.cpu.write_msr(0xC0000080, 0x100)
    bench.cpu.rax = 0x80000011
    assert bench.run("mov cr0, eax") == ""
    assert bench.cpu.efer == 0x500
    bench.cpu.rax = 0x11
    assert bench.run("mov cr0, eax") == ""
    assert bench.cpu.efer == 0x100


def test_a_change_of_cr0_wp_takes_effect_at_once() -> None:
    bench = Bench("prot", paging=True)
    bench.memory.load(0x45000 + 4 * 0xA, struct.pack("<I", DATA | 5))
    assert bench.run("mov [0xa000], eax") == ""
    bench.cpu.rax = 0x80010011
    assert bench.run("mov cr0, eax; mov [0xa000], ebx", 2) == "PF(3)"


def test_smap_and_smep_keep_the_supervisor_off_user_pages() -> None:
    bench = Bench("long")
    for place in range(0, 0x1000, 8):  # supervisor pages but for the first 2 MiB
        bench.memory.load(0x42000 + place, struct.pack("<Q", (place // 8) << 21 | 0x83))
    bench.memory.load(0x42008, struct.pack("<Q", 1 << 21 | 0x87))
    bench.cpu.cr4 |= 0x300000
    bench.cpu.cr3 = PML4
    assert bench.run("mov eax, [0x200000]") == "PF(1)"
    bench = Bench("long")
    bench.memory.load(0x42000, struct.pack("<Q", 0x83))
    bench.cpu.cr4 |= 0x300000
    bench.cpu.cr3 = PML4
    assert bench.run(bytes.fromhex("0f01cb") + b"\x8b\x04\x25\x00\x00\x20\x00", 2) == ""  # stac
    assert bench.run(bytes.fromhex("0f01ca") + b"\x8b\x04\x25\x00\x00\x20\x00", 2) == "PF(1)"  # clac
    bench.cpu.rip, bench.cpu.rax = CODE, 0x200000
    assert bench.run("jmp rax", 2) == "PF(11)"


def test_the_task_priority_register_reaches_the_embedder() -> None:
    bench = Bench("long")
    seen: list[int] = []
    bench.cpu.on_cr8_write = seen.append
    bench.cpu.rax = 9
    bench.run("mov cr8, rax")
    assert seen == [9]
    assert bench.cpu.cr8 == 9


# PCID, UMIP, MONITOR


def pcid_bench() -> Bench:
    bench = Bench("long")
    bench.cpu.cr4 |= 1 << 17
    return bench


def test_pcid_needs_long_mode_and_a_clean_cr3_to_be_switched_on() -> None:
    bench = Bench("long")
    bench.cpu.cr3 = PML4 | 0x18
    bench.cpu.rax = bench.cpu.cr4 | 1 << 17
    assert bench.run("mov cr4, rax") == "GP(0)"
    bench = pcid_bench()
    bench.cpu.rax = PML4 | 5 | 1 << 63
    assert bench.run("mov cr3, rax") == ""
    assert bench.cpu.cr3 == PML4 | 5
    bench.cpu.rax = 0x11
    assert bench.run("mov cr0, rax") == "GP(0)"


@pytest.mark.parametrize(
    ("kind", "descriptor", "expected"),
    [
        *[(0, (0, 0x1000), ""), (1, (7, 0), ""), (2, (0, 0), ""), (3, (0, 0), ""), (4, (0, 0), "GP(0)")],
        *[(1, (1 << 12, 0), "GP(0)"), (0, (0, 1 << 63), "GP(0)")],
    ],
)
def test_invpcid_checks_its_operands(kind: int, descriptor: tuple[int, int], expected: str) -> None:
    bench = pcid_bench()
    bench.memory.load(DATA, struct.pack("<2Q", *descriptor))
    bench.cpu.rax, bench.cpu.rbx = kind, DATA
    assert bench.run(bytes.fromhex("660f388203")) == expected


def test_invlpg_drops_one_translation() -> None:
    bench = Bench("prot", paging=True)
    bench.memory.load(0xB000, b"\x77")
    assert bench.run("mov al, [0xa000]") == ""
    bench.memory.load(0x45000 + 4 * 0xA, struct.pack("<I", 0xB007))
    assert bench.run("invlpg [0xa000]; mov al, [0xa000]", 2) == ""
    assert bench.cpu.al == 0x77


@pytest.mark.parametrize("code", ["sgdt [0xa000]", "sidt [0xa000]", "sldt ax", "str ax", "smsw ax"])
def test_umip_keeps_the_user_from_looking_at_system_registers(code: str) -> None:
    bench = Bench("prot", 3)
    assert bench.run(code) == ""
    bench = Bench("prot", 3)
    bench.cpu.cr4 |= 1 << 11
    assert bench.run(code) == "GP(0)"


def test_mwait_waits_after_monitor() -> None:
    model = evolve(find_model("max"), features=find_model("max").features | {"MONITOR"})
    bench = Bench("long", model=model)
    bench.cpu.rax = DATA
    assert bench.run(bytes.fromhex("0f01c8")) == ""  # monitor
    assert bench.run(bytes.fromhex("0f01c9"), 2) == "HALT"  # mwait
    bench = Bench("long", model=model)
    assert bench.run(bytes.fromhex("0f01c990"), 2) == ""  # nothing armed: mwait does not wait
    bench.cpu.rip, bench.cpu.rcx = CODE, 1
    assert bench.run(bytes.fromhex("0f01c8")) == "GP(0)"
    assert Bench("long").run(bytes.fromhex("0f01c8")) == "UD"


def test_tables_are_stored_as_they_were_loaded() -> None:
    bench = Bench("prot")
    bench.memory.load(DATA, struct.pack("<HI", 0x123, 0x89ABCDEF))
    assert bench.run(bytes.fromhex("0f011d00a00000 0f010d10a00000"), 2) == ""
    assert bench.memory.read(DATA + 16, 6) == struct.pack("<HI", 0x123, 0x89ABCDEF)
    bench = Bench("prot")
    bench.memory.load(DATA, struct.pack("<HI", 0x123, 0x89ABCDEF))
    assert bench.run(bytes.fromhex("660f011d00a00000 0f010d10a00000"), 2) == ""  # with 16-bit operands: 24 bits
    assert bench.memory.read(DATA + 16, 6) == struct.pack("<HI", 0x123, 0xABCDEF)
