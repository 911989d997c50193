"""`vm.chardevs`: the character devices of a machine by their labels."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, final

import trio

from vmcore.chardev.text import Wanted, parse
from vmcore.devices.debugcon import Debugcon
from vmcore.model.char import (
    ChardevBackend,
    ChardevBackendInfo,
    ChardevBackendKind,
    ChardevInfo,
    ChardevMux,
    ChardevMuxWrapper,
    ChardevReturn,
)
from vmcore.model.errors import CommandError, UsageError
from vmcore.shell.chardevs.base import Chardev
from vmcore.shell.chardevs.frontends import DebugconFrontend, LinkFrontend, SerialFrontend
from vmcore.shell.chardevs.mux import MuxChardev
from vmcore.shell.chardevs.sockets import SocketChardev, UdpChardev
from vmcore.shell.chardevs.streams import (
    FileChardev,
    NullChardev,
    PipeChardev,
    PtyChardev,
    RingbufChardev,
    SerialChardev,
    StdioChardev,
)

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine

__all__ = ["Chardevs"]

_K = ChardevBackendKind

_KINDS: Final[Mapping[ChardevBackendKind, Callable[..., Chardev]]] = {
    _K.NULL: NullChardev,
    _K.FILE: FileChardev,
    _K.PIPE: PipeChardev,
    _K.SOCKET: SocketChardev,
    _K.UDP: UdpChardev,
    _K.PTY: PtyChardev,
    _K.STDIO: StdioChardev,
    _K.SERIAL: SerialChardev,
    _K.RINGBUF: RingbufChardev,
    _K.MEMORY: RingbufChardev,
}

_DISPLAYS: Final = {"spice": "SPICE", "@dbus-display": "D-Bus display"}
"""Servers that `add_client` knows and this machine has not."""


@final
class Chardevs:
    """Character devices: `add`, `remove`, `change`; `attach` plugs one into a port of the guest.

    A label that does not exist, a device that is in use and a host's end that does not open are UsageErrors, in the
    words that management clients know.
    """

    def __init__(self, vm: VirtualMachine, wanted: Sequence[str | Wanted], attach: Mapping[str, str]) -> None:
        self._vm = vm
        self._wanted = tuple(parse(one) if isinstance(one, str) else one for one in wanted)
        self._attach = dict(attach)
        self._devices: dict[str, Chardev] = {}
        self._frontends: dict[str, SerialFrontend | DebugconFrontend] = {}
        self._changed = trio.lowlevel.ParkingLot()
        self._making: set[str] = set()

    # --- for the machine

    async def _open(self) -> None:
        """Make what was asked for when the virtual machine was."""
        for wanted in self._wanted:
            await self.add(wanted.label, wanted.backend, mux=wanted.mux)

    async def _plug(self) -> None:
        """Plug them into the ports of the machine, once it is built."""
        for port, label in self._attach.items():
            await self.attach(port, label)

    def _end(self) -> None:
        # Those on top of others first.
        for device in reversed(list(self._devices.values())):
            device.close()
        self._devices.clear()
        for frontend in self._frontends.values():
            frontend.unplug()
        self._frontends.clear()

    # --- for the devices

    @property
    def vm(self) -> VirtualMachine:
        """The machine that they belong to."""
        return self._vm

    def changed(self) -> None:
        """Wake whoever waits in `wait_changed`."""
        self._changed.unpark_all()

    async def wait_changed(self) -> None:
        """Wait until a front end, a client or an end of input has come or gone."""
        await self._changed.park()
        await trio.lowlevel.checkpoint_if_cancelled()  # The device may have been closed meanwhile.

    # --- looking

    def __getitem__(self, label: str) -> Chardev:
        if label not in self._devices:
            raise UsageError(f"Chardev '{label}' not found")
        return self._devices[label]

    def __contains__(self, label: object) -> bool:
        return label in self._devices

    def __iter__(self) -> Iterator[str]:
        return iter(self._devices)

    def __len__(self) -> int:
        return len(self._devices)

    def query(self) -> tuple[ChardevInfo, ...]:
        """All of them."""
        return tuple(
            ChardevInfo(label=label, filename=device.filename, frontend_open=device.frontend_open)
            for label, device in self._devices.items()
        )

    @staticmethod
    def backends() -> tuple[ChardevBackendInfo, ...]:
        """The kinds that can be had."""
        return tuple(ChardevBackendInfo(name=kind.value) for kind in (*_KINDS, _K.MUX))

    @property
    def input_may_come(self) -> bool:
        """Whether any device that is plugged into something could bring it another byte."""
        return any(device.frontend_open and device.input_may_come for device in self._devices.values())

    # --- making

    async def add(
        self,
        label: str,
        backend: ChardevBackend | str,
        *,
        mux: bool = False,
        descriptors: dict[str, int] | None = None,
    ) -> ChardevReturn:
        """Make a device.

        backend: what it is, also as text ("socket,path=/tmp/c,server=on"); mux: several front ends may share it;
        descriptors: by name, for addresses that are descriptors; what is used is taken out.
        """
        if isinstance(backend, str):
            wanted = parse(f"{backend},id={label}")
            backend, mux = wanted.backend, mux or wanted.mux
        if mux:
            await self.add(f"{label}-base", backend, descriptors=descriptors)
            backend = ChardevMuxWrapper(data=ChardevMux(chardev=f"{label}-base"))
        # A server may wait for its client: the label is taken meanwhile.
        if label in self._devices or label in self._making:
            raise UsageError(f"Chardev with id '{label}' already exists")
        self._making.add(label)
        try:
            device = self._devices[label] = await self._made(label, backend, descriptors)
        except UsageError as error:
            raise UsageError(f"Failed to add chardev '{label}': {error}") from error
        finally:
            self._making.discard(label)
        return ChardevReturn(pty=device.pty)

    async def _made(self, label: str, backend: ChardevBackend, descriptors: dict[str, int] | None) -> Chardev:
        data: Any = getattr(backend, "data", None)
        if isinstance(backend, ChardevMuxWrapper):
            below = self._devices.get(data.chardev)
            if below is None:
                raise UsageError(f"mux: base chardev {data.chardev} not found")
            device: Chardev = MuxChardev(self, label, backend, below)
        elif backend.type in _KINDS:
            device = _KINDS[backend.type](self, label, backend)
        elif backend.type is _K.SPICEPORT:
            raise UsageError("spice not enabled")
        else:
            raise UsageError(f"'{backend.type.value}' is not a valid char driver name")
        device.descriptors = descriptors
        await device.open()
        return device

    def remove(self, label: str) -> None:
        """Close a device that nothing uses."""
        device = self[label]
        if device.busy:
            raise UsageError(f"Chardev '{label}' is busy")
        del self._devices[label]
        device.close()

    async def change(
        self, label: str, backend: ChardevBackend, *, descriptors: dict[str, int] | None = None
    ) -> ChardevReturn:
        """Put another device in the place of one, under the front end that it has; where that fails nothing changes."""
        old = self._devices.get(label)
        if old is None:
            raise UsageError(f"Chardev '{label}' does not exist")
        if isinstance(old, MuxChardev):
            raise UsageError("Mux device hotswap not supported yet")
        frontend = old.frontend
        if frontend is not None and not frontend.swaps:
            raise UsageError("Chardev user does not support chardev hotswap")
        try:
            new = await self._made(label, backend, descriptors)
        except UsageError as error:
            if frontend is not None:
                raise
            raise UsageError(f"Failed to add chardev '{label}': {error}") from error
        self._devices[label] = new
        if frontend is not None:
            old.detach(frontend)
            new.attach(frontend)
        old.close()
        self.changed()
        return ChardevReturn(pty=new.pty)

    # --- using

    async def attach(self, port: str, label: str) -> None:
        """Plug a device into "serial0" to "serial3", or into a debug console by its id or as "debugcon0" and so on."""
        if port in self._frontends:
            raise UsageError(f"{port} has a character device already: detach it first")
        device = self[label]
        async with self._vm.parked():
            frontend = self._frontend(port)
        try:
            device.attach(frontend)
        except UsageError:
            frontend.unplug()
            raise
        self._frontends[port] = frontend

    def _frontend(self, port: str) -> SerialFrontend | DebugconFrontend:
        serials = {f"serial{index}": index for index in range(len(self._vm.serial))}
        if port in serials:
            return SerialFrontend(self._vm, serials[port])
        consoles = self._consoles()
        for index, (identity, console) in enumerate(consoles):
            if port in (f"debugcon{index}", identity):
                return DebugconFrontend(console, port)
        there = [*serials, *(f"debugcon{index}" for index in range(len(consoles)))]
        raise UsageError(f"{port!r}: expected {' or '.join(there) or 'nothing: this machine has no ports'}")

    def _consoles(self) -> list[tuple[str | None, Debugcon]]:
        """The debug consoles with their ids, in the order of the configuration."""
        by_name = {node.name: node.value for node in self._vm.devices.root.walk() if isinstance(node.value, Debugcon)}
        named = {option.id for option in self._vm.config.devices} - {None}
        nameless = iter([console for name, console in by_name.items() if name not in named])
        return [
            (option.id, by_name[option.id] if option.id is not None else next(nameless))
            for option in self._vm.config.devices
            if option.model == "isa-debugcon" and option.id in (None, *by_name)
        ]

    async def detach(self, port: str) -> None:
        """Pull out what `attach` has plugged into a port."""
        frontend = self._frontends.pop(port, None)
        if frontend is None:
            raise UsageError(f"{port} has no character device")
        async with self._vm.parked():
            frontend.unplug()
        if frontend.chardev is not None:
            frontend.chardev.detach(frontend)

    def serve_qmp(self, label: str) -> None:
        """Serve QMP on a device, to each of its clients anew."""
        self[label].attach(LinkFrontend(self._vm, f"QMP on {label}", self._serve_qmp))

    async def _serve_qmp(self, far: socket.socket) -> None:
        with far:
            await self._vm.serve_qmp(f"fd:{far.fileno()}")

    def serve_monitor(self, label: str) -> None:
        """Serve the human monitor on a device."""
        # The monitor is on a floor above this one: named here, not imported.
        self[label].attach(import_module("vmcore.qmp.hmp_server").MonitorFrontend(self._vm))

    async def send_break(self, label: str) -> None:
        """Let the guest see a break, as if the host's end had sent one."""
        await self[label].send_break()

    def ring(self, label: str) -> RingbufChardev:
        """The device if it is memory."""
        device = self._devices.get(label)
        if device is None:
            raise UsageError(f"Device '{label}' not found")
        if not isinstance(device, RingbufChardev):
            raise UsageError(f"{label} is not a ringbuf device")
        return device

    def add_client(self, label: str, descriptor: int) -> None:
        """Give a connected socket to a device as its client.  The descriptor is closed where that fails."""
        device = self._devices.get(label)
        taken = False
        try:
            if label in _DISPLAYS:
                raise CommandError("DeviceNotActive", f"{_DISPLAYS[label]} is not in use")
            if device is None:
                raise CommandError("GenericError", f"protocol '{label}' is invalid")
            taken = device.add_client(descriptor)
            if not taken:
                raise UsageError("failed to add client")
        finally:
            if not taken:
                os.close(descriptor)
