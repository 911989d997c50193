"""Types and events of the management model around migration."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from attrs import frozen

from vmcore.model.events import Event, event
from vmcore.model.net import SocketAddress
from vmcore.model.wire import (
    UNSTABLE,
    Int,
    Named,
    Size,
    StrOrNull,
    UInt8,
    UInt32,
    UInt64,
    enum,
    struct,
)

__all__ = [
    "BitmapMigrationBitmapAlias",
    "BitmapMigrationBitmapAliasTransform",
    "BitmapMigrationNodeAlias",
    "COLOMode",
    "CompressionStats",
    "MigrateSetParameters",
    "Migration",
    "MigrationCapability",
    "MigrationCapabilityStatus",
    "MigrationInfo",
    "MigrationParameters",
    "MigrationPass",
    "MigrationStats",
    "MigrationStatus",
    "MultiFDCompression",
    "VfioStats",
    "XBZRLECacheStats",
]


@enum
class MigrationStatus(StrEnum):
    """How far a migration is."""

    NONE = "none"
    SETUP = "setup"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    ACTIVE = "active"
    POSTCOPY_ACTIVE = "postcopy-active"
    POSTCOPY_PAUSED = "postcopy-paused"
    POSTCOPY_RECOVER = "postcopy-recover"
    COMPLETED = "completed"
    FAILED = "failed"
    COLO = "colo"
    PRE_SWITCHOVER = "pre-switchover"
    DEVICE = "device"
    WAIT_UNPLUG = "wait-unplug"


@struct
@frozen(kw_only=True)
class MigrationStats:
    """Memory that was and is to be sent.

    transferred, remaining, total: bytes; duplicate, normal, skipped: pages that were one byte over and over, were
    sent whole, or not at all; normal_bytes: of the whole ones; dirty_pages_rate: pages that the guest writes in a
    second; mbps: megabits per second; dirty_sync_count: passes; the others: of parts and of ways of sending.
    """

    transferred: Int
    remaining: Int
    total: Int
    duplicate: Int
    skipped: Int
    normal: Int
    normal_bytes: Int
    dirty_pages_rate: Int
    mbps: float
    dirty_sync_count: Int
    postcopy_requests: Int
    page_size: Int
    multifd_bytes: UInt64
    pages_per_second: UInt64
    precopy_bytes: UInt64
    downtime_bytes: UInt64
    postcopy_bytes: UInt64
    dirty_sync_missed_zero_copy: UInt64


@struct
@frozen(kw_only=True)
class XBZRLECacheStats:
    """Of the cache that makes differences of pages."""

    cache_size: Size
    bytes: Int
    pages: Int
    cache_miss: Int
    cache_miss_rate: float
    encoding_rate: float
    overflow: Int


@struct
@frozen(kw_only=True)
class CompressionStats:
    """Of compression."""

    pages: Int
    busy: Int
    busy_rate: float
    compressed_size: Int
    compression_rate: float


@struct
@frozen(kw_only=True)
class VfioStats:
    """Of devices of the host.  transferred: bytes."""

    transferred: Int


@struct
@frozen(kw_only=True)
class MigrationInfo:
    """How a migration goes; a member that does not apply is None.

    ram, disk, vfio: what was sent of each; total_time, expected_downtime, downtime, setup_time: milliseconds;
    cpu_throttle_percentage: how much the guest is held back; error_desc: why it failed; blocked_reasons: why none can
    be; socket_address: where it is waited for.
    """

    status: MigrationStatus | None = None
    ram: MigrationStats | None = None
    disk: MigrationStats | None = None
    vfio: VfioStats | None = None
    xbzrle_cache: XBZRLECacheStats | None = None
    total_time: Int | None = None
    expected_downtime: Int | None = None
    downtime: Int | None = None
    setup_time: Int | None = None
    cpu_throttle_percentage: Int | None = None
    error_desc: str | None = None
    blocked_reasons: tuple[str, ...] | None = None
    postcopy_blocktime: UInt32 | None = None
    postcopy_vcpu_blocktime: tuple[UInt32, ...] | None = None
    compression: CompressionStats | None = None
    socket_address: tuple[SocketAddress, ...] | None = None


@enum(value_features={"x-colo": UNSTABLE, "x-ignore-shared": UNSTABLE})
class MigrationCapability(StrEnum):
    """A way of migrating that can be switched on."""

    XBZRLE = "xbzrle"
    RDMA_PIN_ALL = "rdma-pin-all"
    AUTO_CONVERGE = "auto-converge"
    ZERO_BLOCKS = "zero-blocks"
    COMPRESS = "compress"
    EVENTS = "events"
    POSTCOPY_RAM = "postcopy-ram"
    X_COLO = "x-colo"
    RELEASE_RAM = "release-ram"
    BLOCK = "block"
    RETURN_PATH = "return-path"
    PAUSE_BEFORE_SWITCHOVER = "pause-before-switchover"
    MULTIFD = "multifd"
    DIRTY_BITMAPS = "dirty-bitmaps"
    POSTCOPY_BLOCKTIME = "postcopy-blocktime"
    LATE_BLOCK_ACTIVATE = "late-block-activate"
    X_IGNORE_SHARED = "x-ignore-shared"
    VALIDATE_UUID = "validate-uuid"
    BACKGROUND_SNAPSHOT = "background-snapshot"
    ZERO_COPY_SEND = "zero-copy-send"
    POSTCOPY_PREEMPT = "postcopy-preempt"


@struct
@frozen(kw_only=True)
class MigrationCapabilityStatus:
    """state: whether the capability is on."""

    capability: MigrationCapability
    state: bool


@enum
class MultiFDCompression(StrEnum):
    """Compression where several connections are used."""

    NONE = "none"
    ZLIB = "zlib"
    ZSTD = "zstd"


@struct
@frozen(kw_only=True)
class BitmapMigrationBitmapAliasTransform:
    """persistent: what the bitmap is to be at its destination."""

    persistent: bool | None = None


@struct
@frozen(kw_only=True)
class BitmapMigrationBitmapAlias:
    """A dirty bitmap's name while it is sent."""

    name: str
    alias: str
    transform: BitmapMigrationBitmapAliasTransform | None = None


@struct
@frozen(kw_only=True)
class BitmapMigrationNodeAlias:
    """A block node's name while its bitmaps are sent."""

    node_name: str
    alias: str
    bitmaps: tuple[BitmapMigrationBitmapAlias, ...]


@struct
@frozen(kw_only=True)
class MigrationParameters:
    """How migrations are done.

    announce_*: how the network is told where the guest went (milliseconds, rounds); compress_*, decompress_threads,
    multifd_*: compression; throttle_*, cpu_throttle_*, max_cpu_throttle: how a guest that writes too fast is held
    back (percent); tls_*: encryption; max_bandwidth, max_postcopy_bandwidth: bytes per second; downtime_limit:
    milliseconds that it may stand still; xbzrle_cache_size: bytes; block_bitmap_mapping: names of dirty bitmaps.
    """

    announce_initial: Size | None = None
    announce_max: Size | None = None
    announce_rounds: Size | None = None
    announce_step: Size | None = None
    compress_level: UInt8 | None = None
    compress_threads: UInt8 | None = None
    compress_wait_thread: bool | None = None
    decompress_threads: UInt8 | None = None
    throttle_trigger_threshold: UInt8 | None = None
    cpu_throttle_initial: UInt8 | None = None
    cpu_throttle_increment: UInt8 | None = None
    cpu_throttle_tailslow: bool | None = None
    tls_creds: str | None = None
    tls_hostname: str | None = None
    tls_authz: str | None = None
    max_bandwidth: Size | None = None
    downtime_limit: UInt64 | None = None
    x_checkpoint_delay: Annotated[UInt32 | None, UNSTABLE] = None
    block_incremental: bool | None = None
    multifd_channels: UInt8 | None = None
    xbzrle_cache_size: Size | None = None
    max_postcopy_bandwidth: Size | None = None
    max_cpu_throttle: UInt8 | None = None
    multifd_compression: MultiFDCompression | None = None
    multifd_zlib_level: UInt8 | None = None
    multifd_zstd_level: UInt8 | None = None
    block_bitmap_mapping: tuple[BitmapMigrationNodeAlias, ...] | None = None


@struct
@frozen(kw_only=True)
class MigrateSetParameters:
    """What to change of MigrationParameters; None leaves a member as it is."""

    announce_initial: Size | None = None
    announce_max: Size | None = None
    announce_rounds: Size | None = None
    announce_step: Size | None = None
    compress_level: UInt8 | None = None
    compress_threads: UInt8 | None = None
    compress_wait_thread: bool | None = None
    decompress_threads: UInt8 | None = None
    throttle_trigger_threshold: UInt8 | None = None
    cpu_throttle_initial: UInt8 | None = None
    cpu_throttle_increment: UInt8 | None = None
    cpu_throttle_tailslow: bool | None = None
    tls_creds: StrOrNull | None = None
    tls_hostname: StrOrNull | None = None
    tls_authz: StrOrNull | None = None
    max_bandwidth: Size | None = None
    downtime_limit: UInt64 | None = None
    x_checkpoint_delay: Annotated[UInt32 | None, UNSTABLE] = None
    block_incremental: bool | None = None
    multifd_channels: UInt8 | None = None
    xbzrle_cache_size: Size | None = None
    max_postcopy_bandwidth: Size | None = None
    max_cpu_throttle: UInt8 | None = None
    multifd_compression: MultiFDCompression | None = None
    multifd_zlib_level: UInt8 | None = None
    multifd_zstd_level: UInt8 | None = None
    block_bitmap_mapping: tuple[BitmapMigrationNodeAlias, ...] | None = None


@enum
class COLOMode(StrEnum):
    """Side of a pair of machines in lock-step."""

    NONE = "none"
    PRIMARY = "primary"
    SECONDARY = "secondary"


@event("MIGRATION")
@frozen(kw_only=True)
class Migration(Event):
    """A migration came to another status; said where the capability `events` is on."""

    status: MigrationStatus


@event("MIGRATION_PASS")
@frozen(kw_only=True)
class MigrationPass(Event):
    """A migration begins to go over memory once more.  pass_: which time."""

    pass_: Annotated[Int, Named("pass")]
