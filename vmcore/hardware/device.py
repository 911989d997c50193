"""The base of every device: dispatch of guest accesses to declared registers, reset, save and restore."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from functools import cache, partial
from typing import Any, Generic, TypeVar, final

from vmcore.hardware.cells import READ, WRITE, Cells, Counter, IndexedRegisters
from vmcore.hardware.registers import Access, Register

S = TypeVar("S")


class Device(ABC, Generic[S]):
    """A device model; `S` is the frozen attrs class of its state.

    Concrete devices are attrs classes: `@define(eq=False) class Widget(Device[WidgetState])`.  Their registers hold the
    reset values as soon as `__init__` runs; what else they need they make in `__attrs_post_init__`.

    Guest accesses come in by `port_read`/`port_write` or `mmio_read`/`mmio_write`, with an offset into the device's
    range, a size of 1, 2, 4 or 8 bytes, and unsigned little-endian values.  They never raise, whatever the guest does.
    An access that is exactly a register goes to that register.  Any other is cut into bytes, as an ISA bridge does it
    for a device that does not claim the width: bytes of a wider register read as parts of it and are merged into it;
    bytes where there is no register read as ones and swallow writes.
    """

    __slots__ = ("_readers", "_writers", "cells", "counter", "write_only")

    cells: Cells
    """Stored values of the registers that a guest can read, and what the engine may do with them by itself."""
    counter: Counter | None
    """A register that counts guest time, for the engine to read by itself; made before the device is connected."""
    write_only: bytearray
    """Stored values of the others.  They may be at the same offsets."""

    def __attrs_pre_init__(self) -> None:
        span = max((register.offset + register.size for register in self.registers()), default=0)
        self.cells = cells = Cells(span)
        self.write_only = bytearray(span)
        self.counter = None
        self._readers: dict[tuple[int, int], Callable[[], int]] = {}
        self._writers: dict[tuple[int, int], Callable[[int], None]] = {}
        # A device with dispatch of its own may mean something else by its registers than their declarations say.
        reads, writes = self._dispatches("port_read", "mmio_read"), self._dispatches("port_write", "mmio_write")
        for register in self.registers():
            register.__set__(self, register.reset)
            offset, size, rules = register.offset, register.size, 0
            if register.access is not Access.WO:
                if register.read_handler is None:
                    self._readers[offset, size] = partial(register.load, self)
                    rules = READ if reads else 0
                else:
                    self._readers[offset, size] = getattr(self, register.read_handler)
            if register.access is not Access.RO:
                if register.write_handler is None:
                    self._writers[offset, size] = partial(register.store, self)
                    if register.access is Access.RW and writes:
                        rules |= WRITE
                else:
                    self._writers[offset, size] = getattr(self, register.write_handler)
            if register.access is Access.RW:
                cells.writable[offset : offset + size] = register.writable.to_bytes(size, "little")
                cells.clears[offset : offset + size] = register.clears.to_bytes(size, "little")
            if rules:
                cells.allow(offset, size, rules)

    def _dispatches(self, *methods: str) -> bool:
        """Whether these are the ones of this class."""
        return all(getattr(type(self), method) is getattr(Device, method) for method in methods)

    @property
    def register_values(self) -> MutableMapping[str, int]:
        """Stored values of declared registers, by name."""
        return _RegisterValues(self)

    def count_by(self, counter: Counter) -> Counter:
        """Let the engine read a register that counts guest time.  Before the device is connected."""
        self.counter = counter
        return counter

    # What a device owes

    @abstractmethod
    def reset(self) -> None:
        """Take the state after power-on.  A device calls `super().reset()` for its declared registers."""
        for register in self.registers():
            register.__set__(self, register.reset)

    @abstractmethod
    def save(self) -> S:
        """The whole state as an immutable value: equal values mean devices that behave alike from here on."""

    @abstractmethod
    def restore(self, state: S) -> None:
        """Take a saved state.  Tells nobody: lines take their level by `IrqLine.assume`, timers by `Timer.restore`."""

    # Guest accesses

    def port_read(self, offset: int, size: int) -> int:
        """The guest reads `size` bytes at port `offset` of the device's range."""
        reader = self._readers.get((offset, size))
        return reader() if reader is not None else self._read_bytes(offset, size)

    def port_write(self, offset: int, value: int, size: int) -> None:
        """The guest writes `size` bytes at port `offset` of the device's range."""
        writer = self._writers.get((offset, size))
        if writer is not None:
            writer(value)
        else:
            self._write_bytes(offset, value, size)

    def mmio_read(self, offset: int, size: int) -> int:
        """The guest reads `size` bytes of memory at `offset` of the device's range."""
        return self.port_read(offset, size)

    def mmio_write(self, offset: int, value: int, size: int) -> None:
        """The guest writes `size` bytes of memory at `offset` of the device's range."""
        self.port_write(offset, value, size)

    def readers(self) -> Mapping[tuple[int, int], Callable[[], int]]:
        """What the engine may call, by offset and size, in place of `port_read` and `mmio_read`."""
        return self._readers if self._dispatches("port_read", "mmio_read") else {}

    def writers(self) -> Mapping[tuple[int, int], Callable[[int], None]]:
        """What the engine may call, by offset and size, in place of `port_write` and `mmio_write`."""
        return self._writers if self._dispatches("port_write", "mmio_write") else {}

    def indexed(self) -> Sequence[IndexedRegisters]:
        """Registers behind indices that the engine may write by itself."""
        return ()

    # Declarations

    @classmethod
    def registers(cls) -> tuple[Register, ...]:
        """The declared registers, by offset."""
        return _registers(cls)

    @classmethod
    def register_at(cls, offset: int, without: Access | None = None) -> Register | None:
        """The register that covers the byte at `offset`, leaving out those of access `without`."""
        return next((r for r in cls.registers() if 0 <= offset - r.offset < r.size and r.access is not without), None)

    # Accesses that are not exactly a register

    def _read_bytes(self, offset: int, size: int) -> int:
        value = 0
        read: dict[Register, int] = {}  # A register that is read in parts of one access is read once.
        for lane in range(size):
            register = self.register_at(offset + lane, without=Access.WO)
            byte = 0xFF
            if register is not None:
                if register not in read:
                    read[register] = self._readers[register.offset, register.size]()
                byte = read[register] >> 8 * (offset + lane - register.offset) & 0xFF
            value |= byte << 8 * lane
        return value

    def _write_bytes(self, offset: int, value: int, size: int) -> None:
        merged: dict[Register, int] = {}
        for lane in range(size):
            register = self.register_at(offset + lane, without=Access.RO)
            if register is not None:
                # Bytes not written keep their value; in bits that a one clears, that means a zero.
                old = merged.get(register, register.load(self) & ~register.clears)
                shift = 8 * (offset + lane - register.offset)
                merged[register] = old & ~(0xFF << shift) | (value >> 8 * lane & 0xFF) << shift
        for register, whole in merged.items():
            self._writers[register.offset, register.size](whole)


@final
class _RegisterValues(MutableMapping[str, int]):
    """The registers of a device as a mapping."""

    __slots__ = ("_device", "_registers")

    def __init__(self, device: Device[Any]) -> None:
        self._device = device
        self._registers = {register.name: register for register in device.registers()}

    def __getitem__(self, name: str) -> int:
        return self._registers[name].load(self._device)

    def __setitem__(self, name: str, value: int) -> None:
        self._registers[name].__set__(self._device, value)

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"{name}: registers cannot be taken away")

    def __iter__(self) -> Iterator[str]:
        return iter(self._registers)

    def __len__(self) -> int:
        return len(self._registers)


@cache
def _registers(cls: type[Device[Any]]) -> tuple[Register, ...]:
    names = {name: value for base in reversed(cls.__mro__) for name, value in vars(base).items()}
    found = {name: value for name, value in names.items() if isinstance(value, Register)}
    return tuple(sorted(found.values(), key=lambda register: register.offset))
