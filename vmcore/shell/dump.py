"""Guest memory into files of the host, by `vm.dump`.

The guest stands still while it is written, so that a file is one moment's.  The writing is done in the engine thread,
piece by piece: whoever is cancelled meanwhile leaves a short file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, final

from vmcore.model.errors import CommandError, GuestError

if TYPE_CHECKING:
    from vmcore.machine.machine import Machine
    from vmcore.vm import VirtualMachine

__all__ = ["Dump"]

PIECE: Final = 4 << 20
VIRTUAL_PIECE: Final = 256 << 10
END: Final = 1 << 52
"""End of physical addresses."""


def open_for_writing(path: str) -> int:
    """A descriptor of a new or emptied file.  Never waits, whatever kind of file it is."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise CommandError("GenericError", f"Could not open '{path}': {reason}") from error


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, or raise CommandError."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError as error:
        raise CommandError("GenericError", f"Could not write: {os.strerror(error.errno or 0)}") from error


@final
class Dump:
    """`vm.dump`: memory of the guest, in files.  CommandError where that fails."""

    __slots__ = ("_vm",)

    def __init__(self, vm: VirtualMachine) -> None:
        self._vm = vm

    async def physical(self, path: str, address: int, size: int) -> None:
        """Write `size` bytes of physical memory to a file.  Holes and devices read as ones."""
        self._check(address, size)

        def pieces(machine: Machine) -> Iterator[bytes]:
            at, end = address, address + size
            while at < end:
                part = min(PIECE, end - at)
                yield machine.memory.read(at, part) if at + part <= END else b"\xff" * part
                at += part

        await self._write(path, pieces)

    async def virtual(self, path: str, address: int, size: int, cpu: int = 0) -> None:
        """Write `size` bytes at a linear address to a file, as a vCPU's page tables map them."""
        if not 0 <= cpu < self._vm.config.cpus:
            raise CommandError("GenericError", "Parameter 'cpu-index' expects a CPU number")
        self._check(address, size)

        def pieces(machine: Machine) -> Iterator[bytes]:
            at, end = address, address + size
            while at < end:
                part = min(VIRTUAL_PIECE, end - at)
                try:
                    yield machine.cpus[cpu].read_virtual(at, part)
                except (GuestError, OverflowError) as error:
                    raise self._invalid(address, size) from error
                at += part

        await self._write(path, pieces)

    def _check(self, address: int, size: int) -> None:
        if size < 0:
            raise self._invalid(address, size)

    @staticmethod
    def _invalid(address: int, size: int) -> CommandError:
        text = f"Invalid addr 0x{address % (1 << 64):016x}/size {size} specified"
        return CommandError("GenericError", text)

    async def _write(self, path: str, pieces: Callable[[Machine], Iterable[bytes]]) -> None:
        descriptor = open_for_writing(path)
        try:
            async with self._vm.parked() as machine:
                for data in pieces(machine):
                    await self._vm.in_engine_thread(lambda data=data: write_all(descriptor, data))  # type: ignore[misc]
        finally:
            os.close(descriptor)
