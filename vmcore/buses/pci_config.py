"""Configuration space of a PCI function: header, capabilities, and which bits a guest's writes change.

Source: PCI Local Bus Specification 3.0, section 6.1 (header), 6.2 (its fields) and 6.7 (capabilities).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntFlag
from typing import Final, final

from attrs import frozen

__all__ = ["BASE_ADDRESSES", "Command", "ConfigSpace", "PciHeader", "Status"]

HEADER: Final = 0x40
SPACE: Final = 256
EXPRESS_SPACE: Final = 4096

COMMAND: Final = 0x04
STATUS: Final = 0x06
HEADER_TYPE: Final = 0x0E
MULTIFUNCTION: Final = 0x80
BASE_ADDRESSES: Final = 0x10
EXPANSION_ROM: Final = 0x30
CAPABILITIES: Final = 0x34
INTERRUPT_LINE: Final = 0x3C
INTERRUPT_PIN: Final = 0x3D


class Command(IntFlag):
    """The command register (6.2.2)."""

    IO = 1 << 0
    MEMORY = 1 << 1
    MASTER = 1 << 2
    PARITY = 1 << 6
    SERR = 1 << 8
    INTX_DISABLE = 1 << 10


class Status(IntFlag):
    """The status register (6.2.3)."""

    INTERRUPT = 1 << 3
    CAPABILITIES = 1 << 4
    MASTER_PARITY_ERROR = 1 << 8
    SIGNALLED_TARGET_ABORT = 1 << 11
    RECEIVED_TARGET_ABORT = 1 << 12
    RECEIVED_MASTER_ABORT = 1 << 13
    SIGNALLED_SYSTEM_ERROR = 1 << 14
    PARITY_ERROR = 1 << 15


WRITABLE_COMMAND: Final = (
    Command.IO | Command.MEMORY | Command.MASTER | Command.PARITY | Command.SERR | Command.INTX_DISABLE
)
CLEARED_BY_ONES: Final = (
    Status.MASTER_PARITY_ERROR
    | Status.SIGNALLED_TARGET_ABORT
    | Status.RECEIVED_TARGET_ABORT
    | Status.RECEIVED_MASTER_ABORT
    | Status.SIGNALLED_SYSTEM_ERROR
    | Status.PARITY_ERROR
)


@frozen(kw_only=True)
class PciHeader:
    """Who a function is.  Its numbers are those of PCI ID tables (and of QEMU's model of the same device).

    class_code: base class, subclass and programming interface, such as 0x010180.  interrupt_pin: 1 to 4 for INTA# to
    INTD#, 0 for none.  status: fixed bits of the status register.  command: bits that are set and cannot be cleared.
    """

    vendor: int
    device: int
    class_code: int
    revision: int = 0
    subsystem_vendor: int = 0x1AF4
    subsystem: int = 0x1100
    interrupt_pin: int = 0
    status: int = 0
    command: int = 0
    header_type: int = 0

    def pack(self) -> bytes:
        """The first 64 bytes of configuration space."""
        head = struct.pack(
            "<HHHHBBBBBBBB",
            self.vendor,
            self.device,
            self.command,
            self.status,
            self.revision,
            self.class_code & 0xFF,
            self.class_code >> 8 & 0xFF,
            self.class_code >> 16,
            0,
            0,
            self.header_type,
            0,
        )
        whole = bytearray(head.ljust(HEADER, b"\0"))
        if self.header_type & 0x7F == 0:
            whole[0x2C:0x30] = struct.pack("<HH", self.subsystem_vendor, self.subsystem)
        whole[INTERRUPT_PIN] = self.interrupt_pin
        return bytes(whole)


@final
class ConfigSpace:
    """The bytes of one function: power-on values, bits that a guest's writes store, and bits that its ones clear."""

    __slots__ = ("_chain", "_next", "clears", "data", "initial", "writable")

    def __init__(self, header: bytes, writable: Mapping[int, int] | None = None, size: int = SPACE) -> None:
        """header: the first bytes; the rest is zero.  writable: masks of bytes by offset."""
        self.initial = bytearray(header.ljust(size, b"\0"))
        """Power-on values.  Who builds the function may change them, and `data` along with them, by `set`."""
        self.writable = bytearray(size)
        self.clears = bytearray(size)
        self.data = bytearray(self.initial)
        """What the guest reads."""
        self._chain = CAPABILITIES
        self._next = HEADER
        for offset, mask in (writable or {}).items():
            self.writable[offset] = mask

    @classmethod
    def of(cls, header: PciHeader, size: int = SPACE) -> ConfigSpace:
        """The space of a function with the usual rules for its header."""
        space = cls(header.pack(), size=size)
        space.allow(COMMAND, 2, WRITABLE_COMMAND & ~header.command)
        space.clears[STATUS : STATUS + 2] = int(CLEARED_BY_ONES).to_bytes(2, "little")
        space.allow(0x0C, 2, 0xF8FF)
        space.allow(INTERRUPT_LINE, 1, 0xFF)
        return space

    def allow(self, offset: int, size: int, mask: int) -> None:
        """From now on the guest's writes change these bits, and only these, of `size` bytes."""
        self.writable[offset : offset + size] = int(mask).to_bytes(size, "little")

    def set(self, offset: int, size: int, value: int) -> None:
        """A power-on value, for who builds the function."""
        self.initial[offset : offset + size] = self.data[offset : offset + size] = value.to_bytes(size, "little")

    def add_capability(self, kind: int, body: bytes, offset: int | None = None, writable: bytes = b"") -> int:
        """Append a capability: `kind`, the link, and `body` after them; returns its offset.

        offset: where it lies, if not at the next free doubleword; writable: masks of the bytes of `body`.
        """
        at = self._next if offset is None else offset
        end = at + 2 + len(body)
        if at % 4 or at < HEADER or end > SPACE:
            raise ValueError(f"capability {kind:#x} of {len(body)} bytes at {at:#x}: expected {HEADER:#x}-{SPACE:#x}")
        self.set(at, end - at, int.from_bytes(bytes((kind, 0)) + body, "little"))
        self.writable[at + 2 : end] = writable.ljust(len(body), b"\0")
        self.set(self._chain, 1, at)
        self.set(STATUS, 2, int.from_bytes(self.initial[STATUS : STATUS + 2], "little") | Status.CAPABILITIES)
        self._chain = at + 1
        self._next = max(self._next, end + -end % 4)
        return at

    def reset(self) -> None:
        """Power-on."""
        self.data[:] = self.initial

    def get(self, offset: int, size: int) -> int:
        """What is stored; `size` bytes anywhere."""
        return int.from_bytes(self.data[offset : offset + size], "little")

    def put(self, offset: int, size: int, value: int) -> None:
        """The device's own way to change it, free of the rules that bind the guest."""
        self.data[offset : offset + size] = value.to_bytes(size, "little")

    def read(self, offset: int, size: int) -> int:
        """Read `size` bytes that lie within one doubleword."""
        return int.from_bytes(self.data[offset : offset + size], "little")

    def write(self, offset: int, value: int, size: int) -> None:
        """A guest's write of `size` bytes that lie within one doubleword."""
        for at in range(offset, offset + size):
            byte, mask = value & 0xFF, self.writable[at]
            self.data[at] = self.data[at] & ~mask & ~(byte & self.clears[at]) | byte & mask
            value >>= 8
