"""The vCPU as the rest of vmcore sees it: the native one with named segments, models, virtual memory and states."""

from __future__ import annotations

import hashlib
from typing import Any, Final, Self

from attrs import asdict, astuple

from vmcore.engine import _native
from vmcore.engine.memory import PAGE_SIZE, PhysicalMemory
from vmcore.engine.models import CpuModel, find_model
from vmcore.engine.registers import SEGMENT_NAMES, CpuState, RunExit, Segment, TableRegister
from vmcore.model.errors import GuestError, UsageError

__all__ = ["FEATURES", "Cpu"]

FEATURES: Final = _native.FEATURES
"""Names of all processor features, in the order of tables/features.def."""

_INDEX: Final = {name: index for index, name in enumerate(FEATURES)}
_EXITS: Final = tuple(RunExit)


def _segment(index: int) -> property:
    def get(cpu: Cpu) -> Segment:
        return Segment(*cpu.segment(index))

    def set_(cpu: Cpu, value: Segment) -> None:
        cpu.set_segment(index, value.selector, value.base, value.limit, value.attributes)

    return property(get, set_, doc=f"{SEGMENT_NAMES[index].upper()} with its hidden part.")


def _table(index: int, name: str) -> property:
    def get(cpu: Cpu) -> TableRegister:
        return TableRegister(*cpu.table_register(index))

    def set_(cpu: Cpu, value: TableRegister) -> None:
        cpu.set_table_register(index, value.base, value.limit)

    return property(get, set_, doc=f"{name}: where the descriptor table is.")


class Cpu(_native.Cpu):
    """One vCPU on a `PhysicalMemory`.

    Registers are attributes: `rax` to `r15` and their parts (`eax`, `ax`, `al`, `ah`, `r8d`, `r8w`, `r8b`), `rip`,
    `rflags`, `cr0` to `cr8`, `efer`, `dr0` to `dr7`, `es` to `gs`, `ldtr`, `tr` (`Segment`), `gdtr`, `idtr`
    (`TableRegister`), `xmm0` to `xmm15` (unsigned 128-bit integers), `mm0` to `mm7`, `st0` to `st7` (80 bits as they
    lie in memory), `fcw`, `fsw`, `fpu_valid`, `mxcsr`.  Setting a control register has the consequences that the
    instruction has, and a ValueError where that would fault.

    While `run()` executes, the GIL is released, and other threads get a UsageError for all but `request_stop()` and
    `instructions`.
    """

    __slots__ = ("_number", "model")

    _number: int
    model: CpuModel
    """The processor that this is."""

    def __new__(
        cls,
        memory: PhysicalMemory,
        index: int = 0,
        *,
        model: str | CpuModel = "max",
        seed: int = 0,
        apic_id: int | None = None,
    ) -> Self:
        if isinstance(model, str):
            model = find_model(model)
        unknown = model.features - _INDEX.keys()
        if unknown:
            raise UsageError(f"CPU model {model.name}: unknown features {', '.join(sorted(unknown))}")
        cpu = super().__new__(
            cls,
            memory,
            # All that the engine knows of the number is what it shows to the guest: the APIC ID.
            index if apic_id is None else apic_id,
            features=[_INDEX[name] for name in sorted(model.features)],
            cpuid=model.cpuid,
            phys_bits=model.phys_bits,
            lin_bits=model.lin_bits,
            seed=seed,
            tsc_hz=model.tsc_hz,
        )
        cpu._number = index
        cpu.model = model
        return cpu

    @property
    def apic_id(self) -> int:
        """The APIC ID that CPUID tells; the local APIC's register may hold another."""
        return super().index

    @property
    def index(self) -> int:
        """Number of the vCPU in its machine."""
        return self._number

    es = _segment(0)
    cs = _segment(1)
    ss = _segment(2)
    ds = _segment(3)
    fs = _segment(4)
    gs = _segment(5)
    ldtr = _segment(6)
    tr = _segment(7)
    gdtr = _table(0, "GDTR")
    idtr = _table(1, "IDTR")

    def run(self, instructions: int) -> RunExit:
        """Run the guest until `instructions` are retired or something happens (see `RunExit`).

        An exception raised by a callback ends the run at the next instruction boundary and is raised here.
        """
        return _EXITS[super().run(instructions)]

    def step(self, instructions: int = 1) -> RunExit:
        """Run one instruction, or as many as told."""
        return _EXITS[super().run(instructions)]

    # Virtual memory

    def read_virtual(self, address: int, size: int) -> bytes:
        """`size` bytes at a linear address, through the page tables but without rights or side effects.

        GuestError where a page is not mapped.
        """
        return b"".join(self.memory.read(place, part) for place, part in self._pieces(address, size, "read"))

    def write_virtual(self, address: int, data: bytes) -> None:
        """Write at a linear address, read-only pages and ROM included.

        GuestError, and nothing written, where a page is not mapped.
        """
        done = 0
        for place, part in self._pieces(address, len(data), "write"):
            self.memory.load(place, data[done : done + part])
            done += part

    def _pieces(self, address: int, size: int, access: str) -> list[tuple[int, int]]:
        pieces = []
        end = address + size
        while address < end:
            part = min(end - address, PAGE_SIZE - address % PAGE_SIZE)
            place = self.translate(address)
            if place is None:
                raise GuestError("the page is not mapped", pc=self.rip, address=address, access=access)
            pieces.append((place, part))
            address += part
        return pieces

    # State

    def save(self) -> CpuState:
        """The whole state, as an immutable value."""
        return CpuState(**self.state())

    def restore(self, state: CpuState) -> None:
        """Take a saved state.  ValueError, and nothing changed, where it cannot be one."""
        values: dict[str, Any] = asdict(state, recurse=False)
        self.set_state(values)

    def digest(self) -> bytes:
        """16 bytes that depend on the whole state."""
        return hashlib.blake2b(repr(astuple(self.save())).encode(), digest_size=16).digest()
