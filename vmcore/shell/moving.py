"""`vm.migration`: a guest moves from one virtual machine to another.

The guest runs on while its memory is sent, pass after pass: first all that is not zero, then what it wrote meanwhile.
When so little is left that it can be sent within `downtime_limit`, the guest is stopped (FINISH_MIGRATE), the rest and
the state of all else follow, and the machine is left in POSTMIGRATE.  Whatever goes wrong before the very end, or
`cancel`, leaves the guest where it is and as it is.  The bytes are those of `vmcore.machine.guest_stream`.

Over a socket the destination says whether it can take the guest, and the guest is let go of only then.

Whoever watches sees in `progress` how it goes, and in the events Migration and MigrationPass where the capability
EVENTS is on.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Final, final

from vmcore.model.errors import MigrationError, UsageError
from vmcore.model.events import Event
from vmcore.model.migration import (
    MigrateSetParameters,
    MigrationCapability,
    MigrationInfo,
    MigrationParameters,
    MigrationStatus,
)
from vmcore.model.run_state import RunState
from vmcore.shell.channels import Address, open_descriptor, open_file
from vmcore.shell.migration import DEFER
from vmcore.shell.migration_in import Incoming
from vmcore.shell.migration_out import Outgoing
from vmcore.shell.migration_settings import DEFAULT_PARAMETERS, changed_capabilities, changed_parameters
from vmcore.shell.standstill import expects_guest

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine

__all__ = ["Migration"]

IN_PROGRESS: Final = "There's a migration process in progress"

@final
class Migration:
    """Moving the guest, out and in: one at a time.

    Addresses are "file:PATH", "unix:PATH", "tcp:HOST:PORT" and "fd:N".  named: descriptors that "fd:NAME" may name;
    the one that is used is taken out.
    """

    def __init__(self, vm: VirtualMachine) -> None:
        self._vm = vm
        self._capabilities: frozenset[MigrationCapability] = frozenset()
        self._parameters = DEFAULT_PARAMETERS
        self._outgoing: Outgoing | None = None
        self._incoming: Incoming | None = None

    # --- how

    @property
    def capabilities(self) -> Mapping[MigrationCapability, bool]:
        """Which ways of migrating are on."""
        return {capability: capability in self._capabilities for capability in MigrationCapability}

    def set_capabilities(self, changes: Mapping[MigrationCapability, bool]) -> None:
        """Switch some on or off; the others stay.  UsageError for one that there is not, or while a guest moves."""
        if self.busy:
            raise UsageError(IN_PROGRESS)
        self._capabilities = changed_capabilities(self._capabilities, changes)

    def has(self, capability: MigrationCapability) -> bool:
        """Whether a capability is on."""
        return capability in self._capabilities

    @property
    def parameters(self) -> MigrationParameters:
        """How fast, how long, how much."""
        return self._parameters

    def set_parameters(self, changes: MigrateSetParameters) -> None:
        """Change some; the others stay.  Holds at once, also for a guest on its way.  UsageError for a bad value."""
        self._parameters = changed_parameters(self._parameters, changes)

    # --- how it goes

    @property
    def busy(self) -> bool:
        """Whether a guest is on its way out, or one is coming."""
        return (self._outgoing is not None and self._outgoing.busy) or (
            self._incoming is not None and self._incoming.status is MigrationStatus.ACTIVE
        )

    @property
    def status(self) -> MigrationStatus:
        """How far the latest migration is."""
        if self._outgoing is not None:
            return self._outgoing.status
        return MigrationStatus.NONE if self._incoming is None else self._incoming.status

    @property
    def progress(self) -> MigrationInfo:
        """How the latest migration goes, in numbers; without a status where there was none."""
        if self._outgoing is not None:
            return self._outgoing.info
        return MigrationInfo() if self._incoming is None else self._incoming.info

    def say(self, event: Event) -> None:
        """Publish an event about migrations where these are wanted."""
        if MigrationCapability.EVENTS in self._capabilities:
            self._vm.announce(event)

    async def wait(self) -> MigrationInfo:
        """Wait until the latest migration, out or in, has ended; its numbers.  Raises what made it fail."""
        latest = self._outgoing or self._incoming
        if latest is None:
            raise UsageError("no migration was begun")
        await latest.over.wait()
        if latest.error is not None:
            raise latest.error
        return latest.info

    # --- out

    async def start(self, uri: str, *, named: MutableMapping[str, int] | None = None, resume: bool = False) -> None:
        """Begin to send the guest, and return while it is on its way.

        UsageError or MigrationError where it cannot even begin; what goes wrong later is in `progress`, and `wait`
        raises it.
        """
        self._vm.peek()
        if resume:
            raise UsageError("Cannot resume if there is no paused migration")
        if self._outgoing is not None and self._outgoing.busy:
            raise UsageError(IN_PROGRESS)
        if self._vm.state is RunState.INMIGRATE:
            raise UsageError("Guest is waiting for an incoming migration")
        if self._vm.state is RunState.POSTMIGRATE:
            raise UsageError("Can't migrate the vm that was paused due to previous migration")
        self._outgoing = outgoing = Outgoing(self._vm, self)
        unknown = "Parameter 'uri' expects a valid migration protocol"
        try:
            address = Address.parse(uri, unknown)
            if address.kind == "file":
                outgoing.channel = open_file(address.rest, write=True)
            elif address.kind == "fd":
                outgoing.channel = open_descriptor(address.rest, named)
            if self._parameters.tls_creds:
                raise MigrationError(f"No TLS credentials with id '{self._parameters.tls_creds}'")
        except (UsageError, MigrationError) as error:
            outgoing.refuse(error, told=str(error) != unknown)
            raise
        outgoing.address = address
        self._vm.start_soon(outgoing.run, "vmcore migration")

    async def send(self, uri: str) -> MigrationInfo:
        """Send the guest and wait until it has gone; the numbers.  Cancelling this cancels the migration."""
        await self.start(uri)
        try:
            return await self.wait()
        except BaseException:
            await self.cancel()
            raise

    async def cancel(self) -> None:
        """Keep the guest.  Nothing happens if none is on its way, or if it is gone already.

        Returns at once; `wait` waits until all is as before.
        """
        if self._outgoing is not None:
            self._outgoing.cancel()

    async def go_on(self, status: MigrationStatus = MigrationStatus.PRE_SWITCHOVER) -> None:
        """Let a migration go on that waits, in this status, because of the capability PAUSE_BEFORE_SWITCHOVER."""
        if self.status is not status:
            raise UsageError(f"Migration not in expected state: {self.status.value}")
        if self._outgoing is not None:
            self._outgoing.go_on.set()

    # --- in

    async def begin(self, incoming: str) -> None:
        """What a machine does that was built to take a guest: nothing for DEFER, read a file, else wait for it."""
        if incoming != DEFER:
            await self.listen(incoming)
            if incoming.startswith("file:"):
                await self.wait()

    async def listen(self, uri: str, *, named: MutableMapping[str, int] | None = None) -> None:
        """Begin to wait for a guest, for a machine in state INMIGRATE, and return while it is waited for.

        UsageError or MigrationError where that cannot even begin.
        """
        if not expects_guest(self._vm):
            raise UsageError("'-incoming' was not specified on the command line")
        self._vm.peek()
        if self._vm.state is not RunState.INMIGRATE or (self._incoming is not None and not self._incoming.failed):
            raise UsageError("The incoming migration has already been started")
        self._incoming = incoming = Incoming(self._vm, self)
        try:
            address = Address.parse(uri, f"unknown migration protocol: {uri}")
            if address.kind == "file":
                incoming.channel = open_file(address.rest, write=False)
            elif address.kind == "fd":
                incoming.channel = open_descriptor(address.rest, named)
            else:
                incoming.listener = await address.listen()
        except BaseException:
            self._incoming = None
            raise
        incoming.name = str(address)
        self._vm.start_soon(incoming.run, "vmcore migration")

    async def receive(self, uri: str) -> MigrationInfo:
        """Wait for a guest and take it; the numbers.  Cancelling this ends the waiting.

        ImageError for what is no guest of such a machine, MigrationError where the other side went away; the machine
        is as before then.
        """
        await self.listen(uri)
        assert self._incoming is not None
        try:
            return await self.wait()
        except BaseException:
            self._incoming.scope.cancel()
            raise
