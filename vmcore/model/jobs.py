"""Types of the management model around jobs: operations that go on after their command was answered."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

from vmcore.model.events import Event, event
from vmcore.model.wire import Int, enum, struct

__all__ = ["JobInfo", "JobStatus", "JobStatusChange", "JobType"]


@enum
class JobType(StrEnum):
    """What a job does."""

    COMMIT = "commit"
    STREAM = "stream"
    MIRROR = "mirror"
    BACKUP = "backup"
    CREATE = "create"
    AMEND = "amend"
    SNAPSHOT_LOAD = "snapshot-load"
    SNAPSHOT_SAVE = "snapshot-save"
    SNAPSHOT_DELETE = "snapshot-delete"


@enum
class JobStatus(StrEnum):
    """How far a job is."""

    UNDEFINED = "undefined"
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    READY = "ready"
    STANDBY = "standby"
    WAITING = "waiting"
    PENDING = "pending"
    ABORTING = "aborting"
    CONCLUDED = "concluded"
    NULL = "null"


@struct
@frozen(kw_only=True)
class JobInfo:
    """A job.  current_progress, total_progress: in a unit of its own; error: why it failed."""

    id: str
    type: JobType
    status: JobStatus
    current_progress: Int
    total_progress: Int
    error: str | None = None


@event("JOB_STATUS_CHANGE")
@frozen(kw_only=True)
class JobStatusChange(Event):
    """A job came to another status."""

    id: str
    status: JobStatus
