"""What character devices are plugged into: serial ports and debug consoles of the guest, and sockets of the process."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, final

import trio

from vmcore.devices.debugcon import Debugcon
from vmcore.machine.inputs import SerialBreak
from vmcore.shell.chardevs.base import Frontend

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine

__all__ = ["DebugconFrontend", "LinkFrontend", "SerialFrontend"]

WAITING: Final = 4096
"""Bytes that may wait for a UART before no more are taken from the host."""


@final
class SerialFrontend(Frontend):
    """A serial port.  Gets what the guest sends beside its stream, which is not affected."""

    def __init__(self, vm: VirtualMachine, index: int) -> None:
        super().__init__(f"serial{index}")
        self._vm = vm
        self._index = index
        self._stream = vm.serial[index]
        self._stream.taps += (self.output,)
        self._port = vm.peek().serial[index]

    def unplug(self) -> None:
        """The port is no longer listened to."""
        self._stream.taps = tuple(tap for tap in self._stream.taps if tap != self.output)

    async def receive(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        await super().receive(b"", descriptors)
        async with self._vm.parked() as machine:
            machine.serial[self._index].send(data)
        if self._port.waiting > WAITING:
            room = trio.Event()
            self._port.on_drained = lambda: self._vm.soon(room.set)
            if self._port.waiting > 0:  # The guest runs: it may have taken all meanwhile.
                await room.wait()
            self._port.on_drained = None

    async def receive_break(self) -> None:
        async with self._vm.parked() as machine:
            machine.apply(SerialBreak(self._index))


@final
class DebugconFrontend(Frontend):
    """A debug console of the guest: output alone."""

    def __init__(self, device: Debugcon, name: str) -> None:
        super().__init__(name)
        self._device = device
        self._before = device.sink
        device.sink = self.output

    def unplug(self) -> None:
        """The console says what it says where it did before."""
        self._device.sink = self._before


@final
class LinkFrontend(Frontend):
    """A protocol that wants a socket, on any character device: what the device brings goes through a pair of sockets.

    begin: serves one end of a pair; called for each client of the device, with the socket, which it closes.
    """

    swaps = False

    def __init__(self, vm: VirtualMachine, name: str, begin: Callable[[socket.socket], Awaitable[None]]) -> None:
        super().__init__(name)
        self._vm = vm
        self._begin = begin
        self._near: socket.socket | None = None

    def opened(self) -> None:
        self.closed()
        near, far = socket.socketpair()
        near.setblocking(False)
        self._near = near
        self._vm.start_soon(lambda: self._begin(far), self.name)
        self._vm.start_soon(lambda: self._carry(near), f"{self.name} output")

    def closed(self) -> None:
        near, self._near = self._near, None
        if near is not None:
            near.shutdown(socket.SHUT_WR)

    async def _carry(self, near: socket.socket) -> None:
        """Carry bytes from the other end to the character device."""
        with near:
            while True:
                await trio.lowlevel.wait_readable(near)
                try:
                    data = near.recv(1 << 16)
                except OSError:
                    break
                if not data:
                    break
                if self._near is near:
                    self.output(data)
            if self._near is near:
                self._near = None

    async def receive(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        near = self._near
        try:
            if near is not None:
                await _send(near, data, descriptors)
        except OSError:
            return  # The other end has gone; `_carry` sees it.
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


async def _send(near: socket.socket, data: bytes, descriptors: Sequence[int]) -> None:
    while data:
        try:
            if descriptors:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
                data, descriptors = data[near.sendmsg([data], rights) :], ()
            else:
                data = data[near.send(data) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(near)
