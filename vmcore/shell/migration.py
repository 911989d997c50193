"""Moving a guest in one step, and where one can come from.  `vmcore.shell.moving` is what can do more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmcore.shell.channels import Address

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine

__all__ = ["DEFER", "check_incoming", "migrate", "migrate_incoming"]

DEFER: Final = "defer"
_ADDRESSES: Final = '"file:PATH", "unix:PATH", "tcp:HOST:PORT" or "fd:N"'


def check_incoming(uri: str | None) -> None:
    """UsageError for what no guest can come from."""
    if uri is not None and uri != DEFER:
        Address.parse(uri, f'incoming={uri!r}: expected {_ADDRESSES}, or "defer"')


async def migrate(vm: VirtualMachine, uri: str) -> None:
    """Send the guest, and wait until it has gone."""
    await vm.migration.send(uri)


async def migrate_incoming(vm: VirtualMachine, uri: str) -> None:
    """Wait for a guest, and take it."""
    await vm.migration.receive(uri)
