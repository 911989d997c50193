"""Packages, dies, cores and threads: APIC IDs, and what CPUID tells of them."""

from __future__ import annotations

import pytest
from test_system_registers import cpuid

from vmcore import UsageError
from vmcore.engine import Cpu, PhysicalMemory, find_model
from vmcore.engine.topology import CpuPlace, CpuTopology


def test_threads_count_fastest() -> None:
    topology = CpuTopology(sockets=2, dies=2, cores=3, threads=2)
    assert topology.total == 24
    assert topology.package == 12
    assert topology.place(0) == CpuPlace(0, 0, 0, 0)
    assert topology.place(1) == CpuPlace(0, 0, 0, 1)
    assert topology.place(2) == CpuPlace(0, 0, 1, 0)
    assert topology.place(23) == CpuPlace(1, 1, 2, 1)
    assert [topology.index(topology.place(index)) for index in range(24)] == list(range(24))


def test_apic_ids_have_gaps_where_numbers_are_no_powers_of_two() -> None:
    topology = CpuTopology(sockets=2, dies=1, cores=3, threads=2)
    assert [topology.apic_id(index) for index in range(12)] == [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]
    assert CpuTopology(cores=64).apic_id(63) == 63
    with pytest.raises(UsageError):
        CpuTopology(threads=0)


def made(topology: CpuTopology, index: int, model: str = "Nehalem") -> tuple[Cpu, PhysicalMemory]:
    memory = PhysicalMemory()
    memory.map_ram(0, 0x100000)
    cpu = Cpu(memory, index, model=find_model(model).with_topology(topology), apic_id=topology.apic_id(index))
    return cpu, memory


def test_cpuid_tells_of_threads_cores_and_packages() -> None:
    topology = CpuTopology(sockets=2, cores=3, threads=2)
    cpu, memory = made(topology, 7)  # the second thread of the first core of the second package
    assert (cpu.index, cpu.apic_id) == (7, 9)
    assert cpuid(cpu, memory, 0)[0] == 0xB
    assert cpuid(cpu, memory, 1)[1] == 0x09060800
    assert cpuid(cpu, memory, 1)[3] >> 28 & 1
    assert cpuid(cpu, memory, 4, 0)[0] == 0x0C004121  # room for four cores, two threads share the first level
    assert cpuid(cpu, memory, 4, 3)[0] == 0x0C014163  # six the third
    assert cpuid(cpu, memory, 0xB, 0) == (1, 2, 0x100, 9)
    assert cpuid(cpu, memory, 0xB, 1) == (3, 6, 0x201, 9)
    assert cpuid(cpu, memory, 0xB, 2) == (0, 0, 2, 9)


def test_leaf_1f_tells_of_dies() -> None:
    cpu, memory = made(CpuTopology(dies=2, cores=2, threads=2), 5)
    assert cpuid(cpu, memory, 0)[0] == 0x1F
    assert cpuid(cpu, memory, 0xB, 1) == (3, 8, 0x201, 5)
    assert cpuid(cpu, memory, 0x1F, 0) == (1, 2, 0x100, 5)
    assert cpuid(cpu, memory, 0x1F, 1) == (2, 4, 0x201, 5)
    assert cpuid(cpu, memory, 0x1F, 2) == (3, 8, 0x502, 5)
    assert cpuid(cpu, memory, 0x1F, 3) == (0, 0, 3, 5)


def test_packages_of_one_thread_are_told_as_lone_processors() -> None:
    model = find_model("max")
    assert model.with_topology(CpuTopology(sockets=4)) is model
