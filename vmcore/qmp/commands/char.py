"""Character devices."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from vmcore.model.char import ChardevBackend, ChardevBackendInfo, ChardevInfo, ChardevReturn, DataFormat
from vmcore.model.errors import CommandError
from vmcore.model.wire import Int
from vmcore.qmp.registry import command
from vmcore.qmp.text_bytes import from_base64, from_text, to_text

if TYPE_CHECKING:
    from vmcore.qmp.server import Monitor
    from vmcore.vm import VirtualMachine
else:
    Monitor = VirtualMachine = object  # the registry resolves annotations


@command("query-chardev", allow_preconfig=True, since="0.14")
async def query_chardev(vm: VirtualMachine) -> tuple[ChardevInfo, ...]:
    """The character devices, and what each is connected to."""
    return vm.chardevs.query()


@command("query-chardev-backends", since="2.0")
async def query_chardev_backends(vm: VirtualMachine) -> tuple[ChardevBackendInfo, ...]:
    """The kinds of character devices that can be had."""
    return vm.chardevs.backends()


@command("chardev-add", since="1.4")
async def chardev_add(vm: VirtualMachine, *, monitor: Monitor, id: str, backend: ChardevBackend) -> ChardevReturn:
    """Make a character device.  A server that is to wait for its client answers when that has come.

    id: its label, which no other has; backend: what is at the host's end.
    """
    return await vm.chardevs.add(id, backend, descriptors=monitor.named)


@command("chardev-change", since="2.10")
async def chardev_change(vm: VirtualMachine, *, monitor: Monitor, id: str, backend: ChardevBackend) -> ChardevReturn:
    """Put something else at the host's end of a character device; the guest's end stays plugged in.

    Where the new end cannot be opened the old one stays.
    """
    return await vm.chardevs.change(id, backend, descriptors=monitor.named)


@command("chardev-remove", since="1.4")
async def chardev_remove(vm: VirtualMachine, *, id: str) -> None:
    """Close a character device that nothing uses."""
    vm.chardevs.remove(id)


@command("chardev-send-break", since="2.10")
async def chardev_send_break(vm: VirtualMachine, *, id: str) -> None:
    """Let the guest see a break, as if the host's end of a character device had sent one."""
    await vm.chardevs.send_break(id)


@command("ringbuf-write", since="1.4")
async def ringbuf_write(vm: VirtualMachine, *, device: str, data: str, format: DataFormat | None = None) -> None:
    """Write to the memory of a ringbuf.

    data: the bytes as text; format: how the text stands for them, `utf8` unless it is said.
    """
    ring = vm.chardevs.ring(device)
    ring.write(from_base64(data) if format is DataFormat.BASE64 else from_text(data))


@command("ringbuf-read", since="1.4")
async def ringbuf_read(vm: VirtualMachine, *, device: str, size: Int, format: DataFormat | None = None) -> str:
    """Take the oldest bytes out of a ringbuf, at most `size`.

    As `utf8`, the text ends before a byte of zero, and what is no character is shown as U+FFFD.
    """
    ring = vm.chardevs.ring(device)
    if size <= 0:
        raise CommandError("GenericError", "size must be greater than zero")
    data = ring.read(size)
    if format is DataFormat.BASE64:
        return base64.b64encode(data).decode()
    return to_text(data)


@command("add_client", since="0.14")
async def add_client(
    vm: VirtualMachine,
    *,
    monitor: Monitor,
    protocol: str,
    fdname: str,
    skipauth: bool | None = None,
    tls: bool | None = None,
) -> None:
    """Hand a connected socket, which `getfd` gave a name, to a server of this machine as its client.

    protocol: label of a character device that is a socket; `spice` and `@dbus-display` are refused as not in use;
    skipauth, tls: concern displays alone.  The descriptor is closed where it is not taken.
    """
    if fdname not in monitor.named:
        raise CommandError("GenericError", f"File descriptor named '{fdname}' has not been found")
    vm.chardevs.add_client(protocol, monitor.named.pop(fdname))
