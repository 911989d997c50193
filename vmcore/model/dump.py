"""Types and events of the management model around dumps of guest memory."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

from vmcore.model.events import Event, event
from vmcore.model.wire import Int, enum, struct

__all__ = ["DumpCompleted", "DumpGuestMemoryCapability", "DumpGuestMemoryFormat", "DumpQueryResult", "DumpStatus"]


@enum
class DumpGuestMemoryFormat(StrEnum):
    """Format of a dump: ELF core, the three of kdump, or that of Windows."""

    ELF = "elf"
    KDUMP_ZLIB = "kdump-zlib"
    KDUMP_LZO = "kdump-lzo"
    KDUMP_SNAPPY = "kdump-snappy"
    WIN_DMP = "win-dmp"


@enum
class DumpStatus(StrEnum):
    """How far the latest dump is."""

    NONE = "none"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"


@struct
@frozen(kw_only=True)
class DumpQueryResult:
    """completed, total: bytes written and to be written."""

    status: DumpStatus
    completed: Int
    total: Int


@struct
@frozen(kw_only=True)
class DumpGuestMemoryCapability:
    """formats: those that can be written."""

    formats: tuple[DumpGuestMemoryFormat, ...]


@event("DUMP_COMPLETED")
@frozen(kw_only=True)
class DumpCompleted(Event):
    """A dump that went on in the background ended.  error: why it failed."""

    result: DumpQueryResult
    error: str | None = None
