"""Guest memory into files of the host, by `vm.dump`.

The guest stands still while it is written, so that a file is one moment's.  The writing is done in the engine thread,
piece by piece: whoever is cancelled meanwhile leaves a short file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, final

import trio

from vmcore.machine.core_dump import headers, ram_blocks, segments
from vmcore.model.dump import DumpCompleted, DumpGuestMemoryFormat, DumpQueryResult, DumpStatus
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


def write_some(descriptor: int, data: memoryview) -> int:
    """Write as much as the file takes now; how much that was."""
    try:
        return os.write(descriptor, data)
    except BlockingIOError:
        return 0
    except OSError as error:
        raise CommandError("GenericError", f"Could not write: {os.strerror(error.errno or 0)}") from error


@final
class Dump:
    """`vm.dump`: memory of the guest, in files.  CommandError where that fails."""

    __slots__ = ("_completed", "_status", "_total", "_vm")

    def __init__(self, vm: VirtualMachine) -> None:
        self._vm = vm
        self._status = DumpStatus.NONE
        self._completed = self._total = 0

    # --- the whole guest

    formats: Final = (DumpGuestMemoryFormat.ELF,)
    """Formats that there are."""

    @property
    def progress(self) -> DumpQueryResult:
        """How far the latest dump of the guest is."""
        return DumpQueryResult(status=self._status, completed=self._completed, total=self._total)

    async def guest(
        self, descriptor: int, *, paging: bool = False, begin: int | None = None, length: int | None = None
    ) -> None:
        """Write a core dump of the guest, which stands still meanwhile, and tell of its end with DumpCompleted.

        descriptor: where to; it is closed.  paging: show memory where the vCPUs' page tables map it, not by physical
        addresses; begin, length: only this physical memory.
        """
        was_running = self._vm.free_running
        try:
            os.set_blocking(descriptor, False)
            self.check_idle()
            self._status, self._completed, self._total = DumpStatus.ACTIVE, 0, 0
            await self._vm.stop()
            try:
                await self._core(descriptor, paging, begin, length)
            except BaseException as error:
                self._status = DumpStatus.FAILED
                self._vm.announce(DumpCompleted(result=self.progress, error=str(error)))
                raise
            self._status = DumpStatus.COMPLETED
            self._vm.announce(DumpCompleted(result=self.progress))
        finally:
            os.close(descriptor)
            if was_running:
                with trio.CancelScope(shield=True):
                    await self._vm.start()

    def check_idle(self) -> None:
        """CommandError while a dump of the guest is under way."""
        if self._status is DumpStatus.ACTIVE:
            raise CommandError("GenericError", "There is a dump in process, please wait.")

    async def check_memory(self, begin: int | None, length: int | None) -> None:
        """CommandError where there is no memory to dump."""
        if not ram_blocks(self._vm.peek(), begin, length):
            raise CommandError("GenericError", "dump: no guest memory to dump")

    async def _core(self, descriptor: int, paging: bool, begin: int | None, length: int | None) -> None:
        async with self._vm.parked() as machine:
            blocks = ram_blocks(machine, begin, length)
            head = headers(machine, blocks, segments(machine, blocks) if paging else ())
            self._total = len(head) + sum(block.size for block in blocks)
            await self._send(descriptor, head)
            self._completed = len(head)
            for block in blocks:
                for at in range(block.physical, block.physical + block.size, PIECE):
                    part = min(PIECE, block.physical + block.size - at)
                    await self._send(descriptor, machine.memory.read(at, part))
                    self._completed += part

    async def _send(self, descriptor: int, data: bytes) -> None:
        """Write all of it, waiting for who reads if it is a pipe or socket."""
        view = memoryview(data)
        while view:
            written = await self._vm.in_engine_thread(lambda view=view: write_some(descriptor, view))  # type: ignore[misc]
            if not written:
                await trio.lowlevel.wait_writable(descriptor)
            view = view[written:]

    # --- memory as it is

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
        if cpu not in self._vm.peek().present_cpus:
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
                    await self._send(descriptor, data)
        finally:
            os.close(descriptor)
