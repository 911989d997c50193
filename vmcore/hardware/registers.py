"""Declared registers.

A register is declared once, in the body of its device's class.  The dispatch of guest accesses, reset values, names in
traces and errors, and the documentation come from that declaration.

    class Widget(Device[WidgetState]):
        CONTROL = Register(offset=0, width=8, writable=0x03, bits={"ENABLE": 0, "MODE": 1}, doc="...")
        STATUS = Register(offset=1, width=8, access=RO, reset=0x40, doc="...")

        @CONTROL.on_write
        def _control(self, value: int) -> None: ...

Without handlers a register is storage, which the engine serves by itself (see `cells`).  On an instance,
`widget.CONTROL` is the stored value, and assigning to it is the device's own way to change it, free of the rules that
bind the guest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Self, TypeVar, final, overload

if TYPE_CHECKING:
    from vmcore.hardware.device import Device

Reader = TypeVar("Reader", bound=Callable[[Any], int])
Writer = TypeVar("Writer", bound=Callable[[Any, int], None])


class Access(Enum):
    """What the guest may do with a register."""

    RO = "read only"
    WO = "write only"
    RW = "read and write"


RO, WO, RW = Access.RO, Access.WO, Access.RW


@final
class Register:
    """One register of a device.

    offset: bytes from the start of the device's range; width: bits (8, 16, 32 or 64); access: what the guest may do;
    reset: value after power-on; writable: bits that a write stores (all of them unless told otherwise);
    clears: bits that a write of one clears; bits: names of bits (a position) or fields (lowest and highest position).
    """

    __slots__ = (
        "access",
        "bits",
        "clears",
        "doc",
        "name",
        "offset",
        "read_handler",
        "reset",
        "width",
        "writable",
        "write_handler",
    )

    def __init__(
        self,
        offset: int,
        width: int = 8,
        access: Access = RW,
        reset: int = 0,
        writable: int | None = None,
        clears: int = 0,
        bits: Mapping[str, int | tuple[int, int]] | None = None,
        doc: str = "",
    ) -> None:
        full = (1 << width) - 1
        if width not in (8, 16, 32, 64):
            raise ValueError(f"register at {offset:#x}: width {width}: expected 8, 16, 32 or 64 bits")
        if not 0 <= (reset | clears | (writable or 0)) <= full:
            raise ValueError(f"register at {offset:#x}: bits outside of its {width}")
        self.name = ""
        self.offset = offset
        self.width = width
        self.access = access
        self.reset = reset
        self.clears = clears
        self.writable = (full & ~clears) if writable is None else writable
        self.bits = dict(bits or {})
        self.doc = doc
        self.read_handler: str | None = None
        self.write_handler: str | None = None

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @property
    def size(self) -> int:
        """Bytes."""
        return self.width >> 3

    @property
    def mask(self) -> int:
        """A one for each bit of the register."""
        return (1 << self.width) - 1

    def on_read(self, method: Reader) -> Reader:
        """Decorator: the method gives the value of a guest's read, in place of the stored one."""
        self.read_handler = method.__name__
        return method

    def on_write(self, method: Writer) -> Writer:
        """Decorator: the method gets the value of a guest's write, in place of storing it (see `store`)."""
        self.write_handler = method.__name__
        return method

    def store(self, device: Device[Any], value: int) -> None:
        """Store a guest's write as the declaration says: writable bits taken, ones in `clears` clear, the rest kept."""
        kept = self.load(device) & ~self.writable & ~(value & self.clears)
        self.__set__(device, kept | (value & self.writable))

    def load(self, device: Device[Any]) -> int:
        """The stored value."""
        values = device.write_only if self.access is WO else device.cells.values
        if self.width == 8:
            return values[self.offset]
        return int.from_bytes(values[self.offset : self.offset + self.size], "little")

    @overload
    def __get__(self, device: None, owner: type) -> Self: ...
    @overload
    def __get__(self, device: Device[Any], owner: type) -> int: ...
    def __get__(self, device: Device[Any] | None, owner: type) -> Self | int:
        return self if device is None else self.load(device)

    def __set__(self, device: Device[Any], value: int) -> None:
        values = device.write_only if self.access is WO else device.cells.values
        if self.width == 8:
            values[self.offset] = value & 0xFF
        else:
            values[self.offset : self.offset + self.size] = (value & self.mask).to_bytes(self.size, "little")

    def __repr__(self) -> str:
        return f"<Register {self.name} at {self.offset:#x}, {self.width} bits, {self.access.value}>"
