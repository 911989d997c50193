"""Drives: error policies, what is held and tried again, trays, counts."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from attrs import define, field

from vmcore.block.drive import Done, Drive, DriveKind, Failed, Held
from vmcore.block.filters import DebugNode
from vmcore.block.node import Fault
from vmcore.block.protocols import MemoryNode, NullNode
from vmcore.model.block import BlockDeviceIoStatus, BlockdevOnError, BlockErrorAction, BlockIoError, DeviceTrayMoved
from vmcore.model.errors import CommandError
from vmcore.model.events import Event


@define
class Log:
    """Everything that a drive says, to whomever."""

    said: list[Any] = field(factory=list)

    def event(self, event: Event) -> None:
        self.said.append(event)

    def stop(self) -> None:
        self.said.append("stop")

    def retry(self) -> None:
        self.said.append("retry")

    def medium_changed(self, loaded: bool) -> None:
        self.said.append(("medium", loaded))

    def eject_requested(self) -> None:
        self.said.append("eject")

    def resized(self) -> None:
        self.said.append("resized")


def make(log: Log, *faults: Fault, **more: Any) -> Drive:
    drive = Drive(
        "hd0", medium=DebugNode("node", NullNode("n", 1 << 20), faults=faults), emit=log.event, stop=log.stop, **more
    )
    drive.controller = log
    return drive


REPORT, IGNORE, ENOSPC, STOP = (
    BlockdevOnError.REPORT, BlockdevOnError.IGNORE, BlockdevOnError.ENOSPC, BlockdevOnError.STOP,
)  # fmt: skip
NOSPC = errno.ENOSPC


@pytest.mark.parametrize(
    ("policy", "code", "action", "nospace"),
    [
        (REPORT, errno.EIO, BlockErrorAction.REPORT, None),
        (REPORT, NOSPC, BlockErrorAction.REPORT, None),
        (IGNORE, errno.EIO, BlockErrorAction.IGNORE, None),
        (ENOSPC, errno.EIO, BlockErrorAction.REPORT, False),
        (ENOSPC, NOSPC, BlockErrorAction.STOP, True),
        (STOP, errno.EIO, BlockErrorAction.STOP, False),
        (STOP, NOSPC, BlockErrorAction.STOP, True),
    ],
)
def test_what_is_done_about_a_failed_write(
    policy: BlockdevOnError, code: int, action: BlockErrorAction, nospace: bool | None
) -> None:
    log = Log()
    drive = make(log, Fault(operation="write", errno=code, count=1), write_error=policy)
    outcome = drive.write(0, bytes(512))
    event = log.said[0]
    assert isinstance(event, BlockIoError)
    assert (event.device, event.node_name, event.operation.value) == ("hd0", "node", "write")
    assert (event.action, event.nospace) == (action, nospace)
    assert event.reason == ("No space left on device" if code == NOSPC else "Input/output error")
    if action is BlockErrorAction.STOP:
        assert outcome == Held()
        assert drive.save().io_status is (BlockDeviceIoStatus.NOSPACE if code == NOSPC else BlockDeviceIoStatus.FAILED)
        assert log.said[1:] == ["stop"]
        drive.resume()
        assert drive.save().io_status is BlockDeviceIoStatus.OK
        assert log.said[1:] == ["stop", "retry"]
        drive.resume()
        assert log.said[1:] == ["stop", "retry"], "a request is tried again once"
        assert drive.write(0, bytes(512)) == Done()
    else:
        assert outcome == (Done() if action is BlockErrorAction.IGNORE else Failed(code))
        assert drive.io_status is BlockDeviceIoStatus.OK
        assert len(log.said) == 1
    assert drive.statistics.write.failed == 1


def test_reads_have_a_policy_of_their_own() -> None:
    log = Log()
    drive = make(log, Fault(operation="read"), read_error=IGNORE, write_error=STOP)
    assert drive.read(0, 1024) == Done(bytes(1024))
    assert log.said[0].action is BlockErrorAction.IGNORE
    assert drive.write(0, bytes(512)) == Done()


def test_a_failed_flush_counts_as_a_write() -> None:
    log = Log()
    drive = make(log, Fault(operation="flush", count=1), write_error=STOP)
    assert drive.flush() == Held()
    assert log.said[0].operation.value == "write"
    drive.resume()
    assert drive.flush() == Done()
    assert (drive.statistics.flush.failed, drive.statistics.flush.operations) == (1, 1)


def test_a_held_drive_is_so_in_a_copy() -> None:
    log, elsewhere = Log(), Log()
    drive, twin = make(log, Fault(), read_error=STOP), make(elsewhere, Fault(), read_error=STOP)
    assert drive.read(0, 512) == Held()
    twin.restore(drive.save(), twin.medium)
    assert elsewhere.said == []
    twin.resume()
    assert elsewhere.said == ["retry"]


def test_what_is_counted() -> None:
    now = [100]
    drive = Drive("d", medium=NullNode("n"), now=lambda: now[0])
    drive.read(0, 4096)
    now[0] = 350
    drive.write(1 << 20, bytes(512), since=100)
    counts = drive.statistics
    assert (counts.read.operations, counts.read.bytes, counts.read.time_ns) == (1, 4096, 0)
    assert (counts.write.operations, counts.write.bytes, counts.write.time_ns) == (1, 512, 250)
    assert counts.last_ns == 350
    assert drive.medium is not None
    assert drive.medium.statistics.highest_offset == (1 << 20) + 512


def tray(log: Log) -> Drive:
    drive = Drive("cd0", kind=DriveKind.CDROM, medium=MemoryNode("m", bytes(2048)), emit=log.event, qdev="ide1-cd0")
    drive.controller = log
    return drive


def moved(open: bool) -> DeviceTrayMoved:
    return DeviceTrayMoved(device="cd0", id="ide1-cd0", tray_open=open)


def test_the_user_changes_a_medium() -> None:
    log = Log()
    drive = tray(log)
    with pytest.raises(CommandError, match="Tray of device 'cd0' is not open"):
        drive.remove()
    assert drive.open_tray()
    assert drive.open_tray()
    assert log.said == [moved(True), ("medium", False)]
    assert drive.save().tray_open
    with pytest.raises(CommandError, match="There already is a medium in the device"):
        drive.insert(NullNode("other"))
    drive.remove()
    drive.insert(NullNode("other"))
    drive.close_tray()
    assert log.said[2:] == [moved(False), ("medium", True)]
    assert drive.present
    with pytest.raises(CommandError, match="Tray of the device is not open"):
        drive.insert(NullNode("third"))


def test_a_locked_tray_opens_by_force_alone() -> None:
    log = Log()
    drive = tray(log)
    drive.guest_lock(True)
    assert not drive.open_tray()
    assert log.said == ["eject"]
    assert drive.open_tray(force=True)
    assert log.said == ["eject", moved(True), ("medium", False)]


def test_the_guest_moves_the_tray_and_is_not_told_about_it() -> None:
    log = Log()
    drive = tray(log)
    drive.guest_tray(True)
    drive.guest_tray(True)
    drive.guest_tray(False)
    assert log.said == [moved(True), moved(False)]


def test_disks_have_no_tray() -> None:
    drive = make(Log())
    for action in (drive.open_tray, drive.close_tray, drive.remove):
        with pytest.raises(CommandError, match="Device 'hd0' is not removable"):
            action()
