"""Events of the management model around disks, block jobs, quorums and trays.

Members are those of QEMU 7.2; what only the older event catalogue has is marked deprecated.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from attrs import frozen

from vmcore.model.events import Event, event
from vmcore.model.jobs import JobType
from vmcore.model.wire import DEPRECATED, Int, enum

__all__ = [
    "BlockDeviceIoStatus",
    "BlockErrorAction",
    "BlockImageCorrupted",
    "BlockIoError",
    "BlockJobCancelled",
    "BlockJobCompleted",
    "BlockJobError",
    "BlockJobReady",
    "BlockdevOnError",
    "DeviceTrayMoved",
    "IoOperationType",
    "QuorumFailure",
    "QuorumOpType",
    "QuorumReportBad",
]


@enum
class IoOperationType(StrEnum):
    """Direction of a disk request."""

    READ = "read"
    WRITE = "write"


@enum
class BlockdevOnError(StrEnum):
    """What is done about a failed disk request: tell the guest, go on as if nothing were, stop the machine on a full
    host file system and tell the guest else, stop the machine, or what the device thinks best.
    """

    REPORT = "report"
    IGNORE = "ignore"
    ENOSPC = "enospc"
    STOP = "stop"
    AUTO = "auto"


@enum
class BlockDeviceIoStatus(StrEnum):
    """Whether a drive has stopped the machine, and why."""

    OK = "ok"
    FAILED = "failed"
    NOSPACE = "nospace"


@enum
class BlockErrorAction(StrEnum):
    """What was done about a failed disk request."""

    IGNORE = "ignore"
    REPORT = "report"
    STOP = "stop"


@event("BLOCK_IMAGE_CORRUPTED")
@frozen(kw_only=True)
class BlockImageCorrupted(Event):
    """An image was found to be damaged.

    device, node_name: which; msg: how; offset, size: the access that showed it; fatal: it is not used any further.
    """

    device: str
    node_name: str | None = None
    msg: str
    offset: Int | None = None
    size: Int | None = None
    fatal: bool


@event("BLOCK_IO_ERROR")
@frozen(kw_only=True)
class BlockIoError(Event):
    """A disk request failed.

    device: the disk, "" if it has no name; node_name: where in its graph; operation: what was asked; action: what is
    done (a Stop follows if it says so); nospace: the host's file system is full; reason: the host's text.
    """

    device: str
    node_name: str | None = None
    operation: IoOperationType
    action: BlockErrorAction
    nospace: bool | None = None
    reason: str


@event("BLOCK_JOB_COMPLETED")
@frozen(kw_only=True)
class BlockJobCompleted(Event):
    """A block job ended by itself.

    len, offset: how far it could and did get, equal if it did all; speed: its limit in bytes per second, 0 for none;
    error: why it failed.
    """

    type: JobType
    device: str
    len: Int
    offset: Int
    speed: Int
    error: str | None = None


@event("BLOCK_JOB_CANCELLED")
@frozen(kw_only=True)
class BlockJobCancelled(Event):
    """A block job was cancelled.  Members as in BlockJobCompleted."""

    type: JobType
    device: str
    len: Int
    offset: Int
    speed: Int


@event("BLOCK_JOB_ERROR")
@frozen(kw_only=True)
class BlockJobError(Event):
    """A request of a block job failed.  action: it goes on, gives up, or waits."""

    device: str
    operation: IoOperationType
    action: BlockErrorAction


@event("BLOCK_JOB_READY")
@frozen(kw_only=True)
class BlockJobReady(Event):
    """A block job can be completed.  Members as in BlockJobCompleted."""

    type: JobType
    device: str
    len: Int
    offset: Int
    speed: Int


@event("DEVICE_TRAY_MOVED")
@frozen(kw_only=True)
class DeviceTrayMoved(Event):
    """The tray of a drive went out (tray_open) or in.  device: the medium's back end; id: the drive."""

    device: str
    id: str
    tray_open: bool


@enum
class QuorumOpType(StrEnum):
    """Which request of a quorum."""

    READ = "read"
    WRITE = "write"
    FLUSH = "flush"


@event("QUORUM_FAILURE")
@frozen(kw_only=True)
class QuorumFailure(Event):
    """Too few copies agreed.

    reference: the quorum; sector_num, sectors_count: what was asked for; sector_count: the same under its older name.
    """

    reference: str
    sector_num: Int
    sectors_count: Int
    sector_count: Annotated[Int | None, DEPRECATED] = None


@event("QUORUM_REPORT_BAD")
@frozen(kw_only=True)
class QuorumReportBad(Event):
    """A copy differed from the others or failed.

    error: why it failed, None if it differed; node_name: the copy; the rest as in QuorumFailure.
    """

    type: QuorumOpType
    error: str | None = None
    node_name: str
    sector_num: Int
    sectors_count: Int
    sector_count: Annotated[Int | None, DEPRECATED] = None
