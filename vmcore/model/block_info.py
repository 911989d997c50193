"""What management is told about disks: drives, their media, and the nodes of these.

Members are those of QEMU 7.2, without those of image formats, bitmaps and jobs that there are not here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from attrs import frozen

from vmcore.model.block import BlockDeviceIoStatus
from vmcore.model.wire import Int, Named, enum, struct

__all__ = [
    "BlockDeviceInfo",
    "BlockDeviceStats",
    "BlockDeviceTimedStats",
    "BlockInfo",
    "BlockLatencyHistogramInfo",
    "BlockStats",
    "BlockdevCacheInfo",
    "BlockdevChangeReadOnlyMode",
    "BlockdevDetectZeroesOptions",
    "ImageInfo",
]


@enum
class BlockdevChangeReadOnlyMode(StrEnum):
    """Whether a new medium can be written: as the old one, or as told."""

    RETAIN = "retain"
    READ_ONLY = "read-only"
    READ_WRITE = "read-write"


@enum
class BlockdevDetectZeroesOptions(StrEnum):
    """What is done about writes of zeros."""

    OFF = "off"
    ON = "on"
    UNMAP = "unmap"


@struct
@frozen(kw_only=True)
class ImageInfo:
    """An image.  format: the driver; virtual_size: bytes that the guest sees; actual_size: bytes on the host."""

    filename: str
    format: str
    dirty_flag: bool | None = None
    actual_size: Int | None = None
    virtual_size: Int
    cluster_size: Int | None = None
    encrypted: bool | None = None
    compressed: bool | None = None
    backing_filename: str | None = None
    full_backing_filename: str | None = None
    backing_filename_format: str | None = None
    backing_image: ImageInfo | None = None


@struct
@frozen(kw_only=True)
class BlockdevCacheInfo:
    """Whether writes may be late, pass by the host's cache, and need not be flushed."""

    writeback: bool
    direct: bool
    no_flush: bool


@struct
@frozen(kw_only=True)
class BlockDeviceInfo:
    """A node.  file: its file name; ro: it cannot be written; drv: its driver; bps and iops: limits, 0 for none."""

    file: str
    node_name: str | None = None
    ro: bool
    drv: str
    backing_file: Annotated[str | None, Named("backing_file")] = None
    backing_file_depth: Annotated[Int, Named("backing_file_depth")]
    encrypted: bool
    detect_zeroes: Annotated[BlockdevDetectZeroesOptions, Named("detect_zeroes")]
    bps: Int
    bps_rd: Annotated[Int, Named("bps_rd")]
    bps_wr: Annotated[Int, Named("bps_wr")]
    iops: Int
    iops_rd: Annotated[Int, Named("iops_rd")]
    iops_wr: Annotated[Int, Named("iops_wr")]
    image: ImageInfo
    bps_max: Annotated[Int | None, Named("bps_max")] = None
    bps_rd_max: Annotated[Int | None, Named("bps_rd_max")] = None
    bps_wr_max: Annotated[Int | None, Named("bps_wr_max")] = None
    iops_max: Annotated[Int | None, Named("iops_max")] = None
    iops_rd_max: Annotated[Int | None, Named("iops_rd_max")] = None
    iops_wr_max: Annotated[Int | None, Named("iops_wr_max")] = None
    bps_max_length: Annotated[Int | None, Named("bps_max_length")] = None
    bps_rd_max_length: Annotated[Int | None, Named("bps_rd_max_length")] = None
    bps_wr_max_length: Annotated[Int | None, Named("bps_wr_max_length")] = None
    iops_max_length: Annotated[Int | None, Named("iops_max_length")] = None
    iops_rd_max_length: Annotated[Int | None, Named("iops_rd_max_length")] = None
    iops_wr_max_length: Annotated[Int | None, Named("iops_wr_max_length")] = None
    iops_size: Annotated[Int | None, Named("iops_size")] = None
    group: str | None = None
    cache: BlockdevCacheInfo
    write_threshold: Annotated[Int, Named("write_threshold")]


@struct
@frozen(kw_only=True)
class BlockInfo:
    """A drive.

    device: name of its back end, "" if it has none; qdev: the device's id or path; inserted: what is in it; io_status:
    whether an error has stopped the machine, where its policy has such errors.
    """

    device: str
    qdev: str | None = None
    type: str
    removable: bool
    locked: bool
    inserted: BlockDeviceInfo | None = None
    tray_open: Annotated[bool | None, Named("tray_open")] = None
    io_status: BlockDeviceIoStatus | None = None


@struct
@frozen(kw_only=True)
class BlockDeviceTimedStats:
    """Latencies and queue depths over an interval (seconds)."""

    interval_length: Annotated[Int, Named("interval_length")]
    min_rd_latency_ns: Annotated[Int, Named("min_rd_latency_ns")]
    max_rd_latency_ns: Annotated[Int, Named("max_rd_latency_ns")]
    avg_rd_latency_ns: Annotated[Int, Named("avg_rd_latency_ns")]
    min_wr_latency_ns: Annotated[Int, Named("min_wr_latency_ns")]
    max_wr_latency_ns: Annotated[Int, Named("max_wr_latency_ns")]
    avg_wr_latency_ns: Annotated[Int, Named("avg_wr_latency_ns")]
    min_flush_latency_ns: Annotated[Int, Named("min_flush_latency_ns")]
    max_flush_latency_ns: Annotated[Int, Named("max_flush_latency_ns")]
    avg_flush_latency_ns: Annotated[Int, Named("avg_flush_latency_ns")]
    avg_rd_queue_depth: Annotated[float, Named("avg_rd_queue_depth")]
    avg_wr_queue_depth: Annotated[float, Named("avg_wr_queue_depth")]


@struct
@frozen(kw_only=True)
class BlockLatencyHistogramInfo:
    """How many requests took how long.  boundaries: of the bins, in nanoseconds."""

    boundaries: tuple[Int, ...]
    bins: tuple[Int, ...]


@struct
@frozen(kw_only=True)
class BlockDeviceStats:
    """What was read, written and flushed: bytes, requests, guest time; how many failed or could not be at all."""

    rd_bytes: Annotated[Int, Named("rd_bytes")] = 0
    wr_bytes: Annotated[Int, Named("wr_bytes")] = 0
    unmap_bytes: Annotated[Int, Named("unmap_bytes")] = 0
    rd_operations: Annotated[Int, Named("rd_operations")] = 0
    wr_operations: Annotated[Int, Named("wr_operations")] = 0
    flush_operations: Annotated[Int, Named("flush_operations")] = 0
    unmap_operations: Annotated[Int, Named("unmap_operations")] = 0
    rd_total_time_ns: Annotated[Int, Named("rd_total_time_ns")] = 0
    wr_total_time_ns: Annotated[Int, Named("wr_total_time_ns")] = 0
    flush_total_time_ns: Annotated[Int, Named("flush_total_time_ns")] = 0
    unmap_total_time_ns: Annotated[Int, Named("unmap_total_time_ns")] = 0
    wr_highest_offset: Annotated[Int, Named("wr_highest_offset")]
    rd_merged: Annotated[Int, Named("rd_merged")] = 0
    wr_merged: Annotated[Int, Named("wr_merged")] = 0
    unmap_merged: Annotated[Int, Named("unmap_merged")] = 0
    idle_time_ns: Annotated[Int | None, Named("idle_time_ns")] = None
    failed_rd_operations: Annotated[Int, Named("failed_rd_operations")] = 0
    failed_wr_operations: Annotated[Int, Named("failed_wr_operations")] = 0
    failed_flush_operations: Annotated[Int, Named("failed_flush_operations")] = 0
    failed_unmap_operations: Annotated[Int, Named("failed_unmap_operations")] = 0
    invalid_rd_operations: Annotated[Int, Named("invalid_rd_operations")] = 0
    invalid_wr_operations: Annotated[Int, Named("invalid_wr_operations")] = 0
    invalid_flush_operations: Annotated[Int, Named("invalid_flush_operations")] = 0
    invalid_unmap_operations: Annotated[Int, Named("invalid_unmap_operations")] = 0
    account_invalid: Annotated[bool, Named("account_invalid")]
    account_failed: Annotated[bool, Named("account_failed")]
    timed_stats: Annotated[tuple[BlockDeviceTimedStats, ...], Named("timed_stats")] = ()
    rd_latency_histogram: Annotated[BlockLatencyHistogramInfo | None, Named("rd_latency_histogram")] = None
    wr_latency_histogram: Annotated[BlockLatencyHistogramInfo | None, Named("wr_latency_histogram")] = None
    flush_latency_histogram: Annotated[BlockLatencyHistogramInfo | None, Named("flush_latency_histogram")] = None


@struct
@frozen(kw_only=True)
class BlockStats:
    """Counts of a drive or a node, with those of the nodes below: the file (parent) and what is behind a layer."""

    device: str | None = None
    qdev: str | None = None
    node_name: str | None = None
    stats: BlockDeviceStats
    parent: BlockStats | None = None
    backing: BlockStats | None = None
