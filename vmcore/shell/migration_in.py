"""A guest that comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import trio

from vmcore.machine.guest_stream import OKAY, Arrival, Decoder, fail
from vmcore.model.errors import ImageError, MigrationError, UsageError, VmcoreError
from vmcore.model.migration import Migration as MigrationEvent
from vmcore.model.migration import MigrationInfo, MigrationStatus
from vmcore.model.run_state import RunState
from vmcore.shell.standstill import settle

if TYPE_CHECKING:
    from vmcore.shell.channels import Channel, Listener
    from vmcore.shell.moving import Migration
    from vmcore.vm import VirtualMachine

__all__ = ["Incoming"]

LINGER_SECONDS: Final = 5
"""How long the other side has to read why its guest was refused."""


@final
class Incoming:
    """One guest that is waited for, until it has come or cannot."""

    def __init__(self, vm: VirtualMachine, migration: Migration) -> None:
        self._vm = vm
        self._migration = migration
        self.name = ""
        self.listener: Listener | None = None
        self.channel: Channel | None = None
        self.scope: Final = trio.CancelScope()
        self.over: Final = trio.Event()
        self.error: Exception | None = None
        self.status = MigrationStatus.NONE
        self._set(MigrationStatus.SETUP)

    @property
    def failed(self) -> bool:
        """Whether it ended without a guest: another may be waited for."""
        return self.over.is_set() and self.status is not MigrationStatus.COMPLETED

    @property
    def info(self) -> MigrationInfo:
        """How it goes."""
        where = None if self.listener is None or self.over.is_set() else (self.listener.address,)
        waiting = self.status is MigrationStatus.SETUP
        return MigrationInfo(
            status=None if waiting else self.status,
            error_desc=None if self.error is None else str(self.error),
            socket_address=where,
        )

    def _set(self, status: MigrationStatus) -> None:
        self.status = status
        self._migration.say(MigrationEvent(status=status))

    async def run(self) -> None:
        """Wait for it and take it."""
        try:
            with self.scope:
                if self.channel is None:
                    assert self.listener is not None
                    self.channel = await self.listener.accept()
                self._set(MigrationStatus.ACTIVE)
                await self._take(self.channel)
                return
            self.error = MigrationError("the waiting was given up")
        except (VmcoreError, OSError) as error:
            self.error = error
            if self.channel is not None and self.channel.answers:
                with trio.move_on_after(LINGER_SECONDS):
                    await self._refuse(self.channel, str(error))
        finally:
            if self.channel is not None:
                self.channel.close()
            if self.listener is not None:
                self.listener.close()
            if self.status is not MigrationStatus.COMPLETED:
                self._set(MigrationStatus.FAILED)
            self.over.set()

    async def _take(self, channel: Channel) -> None:
        vm, decoder = self._vm, Decoder(self.name)
        async with vm.parked() as machine:
            arrival = Arrival(machine, self.name)
        told = False
        while not arrival.released:
            data = await channel.receive()
            if not data:
                decoder.end()
                raise ImageError(self.name, "length", decoder.received, "more: the sender has not let go of the guest")
            async with vm.parked():
                self._check_waiting()
                for section in decoder.feed(data):
                    if arrival.released:
                        raise ImageError(self.name, "section", section.tag, "nothing behind GO__")
                    arrival.section(section)
            if arrival.ready and not told:
                told = True
                if channel.answers:
                    await channel.send(OKAY)
        if channel.whole:
            # What follows in a file belongs to nothing.
            while data := await channel.receive():
                decoder.received += len(data)
                raise ImageError(self.name, "length", decoder.received, "nothing behind GO__")
            decoder.end()
        # The guest is ours: nothing may come between now and its being here.
        with trio.CancelScope(shield=True):
            async with vm.parked() as machine:
                self._check_waiting()
                if channel.whole and arrival.runs:
                    # A guest in a file can be had another time, when nobody else has its disks.
                    machine.block.activate()
                settle(vm, arrival.take())
                self._set(MigrationStatus.COMPLETED)

    def _check_waiting(self) -> None:
        if self._vm.state is not RunState.INMIGRATE:
            raise UsageError("the machine does not wait for a guest any more")

    async def _refuse(self, channel: Channel, reason: str) -> None:
        """Say why, and let the other side read it: what was said is lost where unread bytes are left at the end."""
        try:
            await channel.send(fail(reason))
            while await channel.receive():
                pass
        except MigrationError:
            return  # it has gone already
