"""Moving the guest to another machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmcore.model.errors import CommandError
from vmcore.model.migration import (
    MigrateSetParameters,
    MigrationCapabilityStatus,
    MigrationInfo,
    MigrationParameters,
    MigrationStatus,
)
from vmcore.qmp.registry import command

if TYPE_CHECKING:
    from vmcore.qmp.server import Monitor
    from vmcore.vm import VirtualMachine


@command("migrate", since="0.14")
async def migrate(
    vm: VirtualMachine,
    *,
    uri: str,
    blk: bool | None = None,
    inc: bool | None = None,
    detach: bool | None = None,
    resume: bool | None = None,
    monitor: Monitor | None = None,
) -> None:
    """Begin to send the guest; query-migrate and the events tell how it goes.

    uri: "file:PATH", "unix:PATH", "tcp:HOST:PORT", or "fd:NAME" of a descriptor from getfd; blk, inc: with its disks,
    which cannot be; detach: changes nothing; resume: go on with one that was paused, which cannot be.
    """
    if blk or inc:
        raise CommandError(
            "GenericError", "QEMU compiled without old-style (blk/-b, inc/-i) block migration"
        )
    await vm.migration.start(uri, named=None if monitor is None else monitor.named, resume=bool(resume))


@command("migrate-incoming", since="2.3")
async def migrate_incoming(vm: VirtualMachine, *, uri: str, monitor: Monitor | None = None) -> None:
    """Begin to wait for a guest; for a machine that was started with `--incoming defer`.

    uri: as that of migrate; a file must be there.
    """
    await vm.migration.listen(uri, named=None if monitor is None else monitor.named)


@command("migrate_cancel", since="0.14")
async def migrate_cancel(vm: VirtualMachine) -> None:
    """Keep the guest that is on its way.  Nothing happens if there is none."""
    await vm.migration.cancel()


@command("migrate-continue", since="2.11")
async def migrate_continue(vm: VirtualMachine, *, state: MigrationStatus) -> None:
    """Let a migration go on that waits because of the capability `pause-before-switchover`.

    state: where it waits; GenericError if it is not there.
    """
    await vm.migration.go_on(state)


@command("migrate-start-postcopy", since="2.5")
async def migrate_start_postcopy(vm: VirtualMachine) -> None:
    """Send the guest's processors before its memory.  There is no such capability: always a GenericError."""
    raise CommandError("GenericError", "Enable postcopy with migrate_set_capability before the start of migration")


@command("migrate-pause", allow_oob=True, since="3.0")
async def migrate_pause(vm: VirtualMachine) -> None:
    """Pause a migration that is in postcopy, which none is: always a GenericError."""
    raise CommandError("GenericError", "migrate-pause is currently only supported during postcopy-active state")


@command("migrate-recover", allow_oob=True, since="3.0")
async def migrate_recover(vm: VirtualMachine, *, uri: str) -> None:
    """Wait for a paused migration to go on, which none is: always a GenericError."""
    raise CommandError("GenericError", "Migrate recover can only be run when postcopy is paused.")


@command("query-migrate", since="0.14")
async def query_migrate(vm: VirtualMachine) -> MigrationInfo:
    """How the latest migration goes, or went."""
    return vm.migration.progress


@command("query-migrate-capabilities", since="1.2")
async def query_migrate_capabilities(vm: VirtualMachine) -> tuple[MigrationCapabilityStatus, ...]:
    """Which ways of migrating are on."""
    return tuple(
        MigrationCapabilityStatus(capability=capability, state=on)
        for capability, on in vm.migration.capabilities.items()
    )


@command("migrate-set-capabilities", since="1.2")
async def migrate_set_capabilities(
    vm: VirtualMachine, *, capabilities: tuple[MigrationCapabilityStatus, ...]
) -> None:
    """Switch ways of migrating on and off.  GenericError for one that there is not, or while a guest is on its way."""
    vm.migration.set_capabilities({item.capability: item.state for item in capabilities})


@command("query-migrate-parameters", since="2.4")
async def query_migrate_parameters(vm: VirtualMachine) -> MigrationParameters:
    """How migrations are done."""
    return vm.migration.parameters


@command("migrate-set-parameters", boxed="changes", since="2.4")
async def migrate_set_parameters(vm: VirtualMachine, *, changes: MigrateSetParameters) -> None:
    """Change how migrations are done, also of a guest on its way.  GenericError for a value out of range."""
    vm.migration.set_parameters(changes)
