"""A drive: what a disk controller sees of the block layer.

A controller asks `read`, `write` and `flush` and is told one of three things:

- `Done`: the request is done; go on.
- `Failed`: it failed and the guest is to be told: end the command with an error.
- `Held`: it failed and the machine stops, as the drive's policy says.  The controller leaves the command as it is,
  unfinished and repeatable, and does nothing else about it.  Once the guest goes on, the drive calls the controller's
  `retry`, and the controller makes the same request again.  Nothing is lost in between: that a command is unfinished
  is part of the controller's state, that the drive holds is part of the drive's.

Where the policy is to ignore errors the controller is told `Done`; a read gives zeros then.

Drives of removable media have a tray.  The guest moves it through the controller (`guest_tray`, `guest_lock`), the
user by `open_tray`, `close_tray`, `remove` and `insert`; the controller hears of the user's doings by `medium_changed`
and `eject_requested`.  A controller looks at `present` each time: the medium may be gone at any time.
"""

from __future__ import annotations

import errno as errnos
import os
from collections.abc import Callable
from enum import StrEnum
from typing import Final, Protocol, TypeAlias

from attrs import define, field, frozen

from vmcore.block.node import BlockNode
from vmcore.model.block import (
    BlockDeviceIoStatus,
    BlockdevOnError,
    BlockErrorAction,
    BlockIoError,
    DeviceTrayMoved,
    IoOperationType,
)
from vmcore.model.errors import CommandError
from vmcore.model.events import Event

__all__ = [
    "Controller",
    "Done",
    "Drive",
    "DriveKind",
    "DriveState",
    "DriveStatistics",
    "Failed",
    "Held",
    "Nobody",
    "Outcome",
]


class DriveKind(StrEnum):
    """What a drive is."""

    DISK = "disk"
    CDROM = "cdrom"
    FLOPPY = "floppy"


@frozen
class Done:
    """The request is done.  data: what was read."""

    data: bytes = b""


@frozen
class Failed:
    """The request failed, and the guest is to be told.  errno: the host's reason."""

    errno: int


@frozen
class Held:
    """The request failed and the machine stops: leave it unfinished until `retry`."""


Outcome: TypeAlias = Done | Failed | Held

DONE: Final = Done()
HELD: Final = Held()


class Controller(Protocol):
    """What a drive tells its controller."""

    def retry(self) -> None:
        """The guest goes on: make the held request again."""

    def medium_changed(self, loaded: bool) -> None:
        """The user has closed the tray, with or without a medium in it (loaded), or has opened it (not loaded)."""

    def eject_requested(self) -> None:
        """The user wants the medium, but the guest has locked the tray."""

    def resized(self) -> None:
        """The medium has another size now."""


class Nobody:
    """A controller that does not care for what its drive says, or none."""

    def retry(self) -> None:
        pass

    def medium_changed(self, loaded: bool) -> None:
        pass

    def eject_requested(self) -> None:
        pass

    def resized(self) -> None:
        pass


@define
class Counter:
    """One kind of request: how many were done, their bytes and guest time; how many failed, or could not be at all."""

    operations: int = 0
    bytes: int = 0
    time_ns: int = 0
    failed: int = 0
    invalid: int = 0


@define
class DriveStatistics:
    """What a drive has done, by kind of request.  last_ns: guest time of the latest one, None before the first."""

    read: Counter = field(factory=Counter)
    write: Counter = field(factory=Counter)
    flush: Counter = field(factory=Counter)
    last_ns: int | None = None


@frozen
class DriveState:
    """State of a drive.  medium: node name of what is in it; held: a request waits for the guest to go on."""

    medium: str | None
    tray_open: bool
    locked: bool
    io_status: BlockDeviceIoStatus
    held: bool


@define(eq=False)
class Drive:
    """A drive and what is in it.

    name: of the back end, as management calls it, "" if it has none; kind: disk, cdrom or floppy; boot_index: firmware
    tries drives that have one first, in this order; read_error,
    write_error: what is done about failures; write_error is also for flushes; emit: where events go; now: guest time;
    stop: called when the machine has to stop because of a failure.
    """

    name: str
    kind: DriveKind = DriveKind.DISK
    medium: BlockNode | None = None
    read_error: BlockdevOnError = BlockdevOnError.REPORT
    write_error: BlockdevOnError = BlockdevOnError.ENOSPC
    serial: str | None = None
    boot_index: int | None = None
    emit: Callable[[Event], None] = field(default=lambda event: None, repr=False)
    now: Callable[[], int] = field(default=lambda: 0, repr=False)
    stop: Callable[[], None] = field(default=lambda: None, repr=False)

    qdev: str | None = None
    """How management calls the device: its id or its path in the object tree."""
    controller: Controller = field(factory=Nobody, init=False, repr=False)
    tray_open: bool = field(default=False, init=False)
    locked: bool = field(default=False, init=False)
    """The guest does not let the tray open."""
    io_status: BlockDeviceIoStatus = field(default=BlockDeviceIoStatus.OK, init=False)
    held: bool = field(default=False, init=False)
    statistics: DriveStatistics = field(factory=DriveStatistics, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.medium is not None:
            self.medium.users.append(self)

    # --- what a controller asks

    @property
    def present(self) -> bool:
        """Whether a medium is in the drive and the tray is closed."""
        return self.medium is not None and not self.tray_open

    @property
    def removable(self) -> bool:
        """Whether media can be changed."""
        return self.kind is not DriveKind.DISK

    @property
    def has_tray(self) -> bool:
        """Whether it has a tray that opens and closes; a floppy drive has just a slot."""
        return self.kind is DriveKind.CDROM

    @property
    def size(self) -> int:
        """Bytes of the medium, 0 without one."""
        return self.medium.size if self.medium is not None else 0

    @property
    def read_only(self) -> bool:
        """Whether the medium cannot be written."""
        return self.medium is None or self.medium.read_only

    def read(self, offset: int, length: int, since: int | None = None) -> Outcome:
        """Read bytes of the medium.  since: guest time at which the guest asked for them."""
        try:
            data = self._medium().read(offset, length)
        except OSError as error:
            outcome = self._failed(error, IoOperationType.READ, self.statistics.read)
            return Done(bytes(length)) if outcome is DONE else outcome
        self._account(self.statistics.read, length, since)
        return Done(data)

    def write(self, offset: int, data: bytes, since: int | None = None) -> Outcome:
        """Write bytes to the medium, which is not read only."""
        try:
            medium = self._medium()
            if medium.read_only:
                raise OSError(errnos.EROFS, os.strerror(errnos.EROFS))
            medium.write(offset, data)
        except OSError as error:
            return self._failed(error, IoOperationType.WRITE, self.statistics.write)
        medium.statistics.highest_offset = max(medium.statistics.highest_offset, offset + len(data))
        self._account(self.statistics.write, len(data), since)
        return DONE

    def flush(self, since: int | None = None) -> Outcome:
        """Make everything written so far safe from a crash of the host."""
        try:
            if self.medium is not None:
                self.medium.flush()
        except OSError as error:
            return self._failed(error, IoOperationType.WRITE, self.statistics.flush)
        self._account(self.statistics.flush, 0, since)
        return DONE

    def refused(self, operation: IoOperationType) -> None:
        """For the statistics: the guest asked for what cannot be, such as sectors behind the end."""
        counter = self.statistics.read if operation is IoOperationType.READ else self.statistics.write
        counter.invalid += 1

    def _medium(self) -> BlockNode:
        if self.medium is None:
            raise OSError(errnos.ENOMEDIUM, os.strerror(errnos.ENOMEDIUM))
        return self.medium

    def _account(self, counter: Counter, length: int, since: int | None) -> None:
        now = self.now()
        counter.operations += 1
        counter.bytes += length
        counter.time_ns += now - since if since is not None else 0
        self.statistics.last_ns = now

    # --- failures

    @property
    def reports_status(self) -> bool:
        """Whether `io_status` means anything to management: not for floppies, nor where no failure stops the guest."""
        if self.kind is DriveKind.FLOPPY:
            return False
        stops = (BlockdevOnError.STOP, BlockdevOnError.ENOSPC)
        return self.write_error in stops or self.read_error in stops

    def _failed(self, error: OSError, operation: IoOperationType, counter: Counter) -> Outcome:
        code = error.errno or errnos.EIO
        policy = self.read_error if operation is IoOperationType.READ else self.write_error
        counter.failed += 1
        action = BlockErrorAction.REPORT
        if policy is BlockdevOnError.IGNORE:
            action = BlockErrorAction.IGNORE
        elif policy is BlockdevOnError.STOP or (policy is BlockdevOnError.ENOSPC and code == errnos.ENOSPC):
            action = BlockErrorAction.STOP
            if self.io_status is BlockDeviceIoStatus.OK:
                full = code == errnos.ENOSPC
                self.io_status = BlockDeviceIoStatus.NOSPACE if full else BlockDeviceIoStatus.FAILED
            self.held = True
        self.emit(
            BlockIoError(
                device=self.name,
                node_name=None if self.medium is None else self.medium.name,
                operation=operation,
                action=action,
                nospace=code == errnos.ENOSPC if self.reports_status else None,
                reason=os.strerror(code),
            )
        )
        if action is BlockErrorAction.STOP:
            self.stop()
            return HELD
        return DONE if action is BlockErrorAction.IGNORE else Failed(code)

    def resume(self) -> None:
        """The guest goes on: what was held is tried again."""
        self.io_status = BlockDeviceIoStatus.OK
        if self.held:
            self.held = False
            self.controller.retry()

    def forget(self) -> None:
        """The controller was reset: no request of it waits any more."""
        self.held = False

    # --- the tray, from inside

    def guest_tray(self, open: bool) -> None:
        """The guest moves the tray."""
        self._move_tray(open)

    def guest_lock(self, locked: bool) -> None:
        """The guest locks or unlocks the tray."""
        self.locked = locked

    def _move_tray(self, open: bool) -> None:
        if self.tray_open is not open:
            self.tray_open = open
            self.emit(DeviceTrayMoved(device=self.name, id=self.qdev or "", tray_open=open))

    # --- the tray, from outside

    def known_as(self) -> str:
        """How errors call the drive."""
        return self.name or self.qdev or ""

    def check_removable(self) -> None:
        """CommandError for a drive whose medium cannot be changed."""
        if not self.removable:
            raise CommandError("GenericError", f"Device '{self.known_as()}' is not removable")

    def open_tray(self, force: bool = False) -> bool:
        """Open the tray.  False where the guest has locked it: it is asked to let go then, unless force is used."""
        self.check_removable()
        if self.tray_open or not self.has_tray:
            return True
        if self.locked and not force:
            self.controller.eject_requested()
            return False
        self._move_tray(True)
        self.controller.medium_changed(False)
        return True

    def close_tray(self) -> None:
        """Close the tray, with what is in it."""
        self.check_removable()
        if self.tray_open:
            self._move_tray(False)
            self.controller.medium_changed(self.medium is not None)

    def remove(self) -> None:
        """Take the medium out of the open tray."""
        self.check_removable()
        if not self.tray_open and self.has_tray:
            raise CommandError("GenericError", f"Tray of device '{self.known_as()}' is not open")
        self.take_out()

    def take_out(self) -> None:
        """The medium is gone, whatever the tray does."""
        if self.medium is not None:
            self.medium.users.remove(self)
            self.medium = None
            if self.kind is DriveKind.FLOPPY:
                self.controller.medium_changed(False)

    def insert(self, node: BlockNode) -> None:
        """Put a medium into the open tray."""
        self.check_removable()
        if not self.tray_open and self.has_tray:
            raise CommandError("GenericError", "Tray of the device is not open")
        if self.medium is not None:
            raise CommandError("GenericError", "There already is a medium in the device")
        self.medium = node
        node.users.append(self)
        if self.kind is DriveKind.FLOPPY:
            self.controller.medium_changed(True)

    # --- state

    def save(self) -> DriveState:
        """The state as a value."""
        medium = None if self.medium is None else self.medium.name
        return DriveState(medium, self.tray_open, self.locked, self.io_status, self.held)

    def restore(self, state: DriveState, medium: BlockNode | None) -> None:
        """Take a saved state; `medium` is the node that it names.  Tells nobody."""
        if medium is not self.medium:
            if self.medium is not None:
                self.medium.users.remove(self)
            if medium is not None:
                medium.users.append(self)
            self.medium = medium
        self.tray_open, self.locked = state.tray_open, state.locked
        self.io_status, self.held = state.io_status, state.held
