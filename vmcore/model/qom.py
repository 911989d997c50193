"""Types and events of the management model around the object tree and devices."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from attrs import frozen

from vmcore.model.events import Event, event
from vmcore.model.machine import HostMemPolicy
from vmcore.model.wire import DEPRECATED, Int, Size, UInt16, UInt32, branch, enum, struct, union

__all__ = [
    "DeviceDeleted",
    "DeviceUnplugGuestError",
    "IothreadProperties",
    "MemoryBackendFileProperties",
    "MemoryBackendMemfdProperties",
    "MemoryBackendProperties",
    "ObjectOptions",
    "ObjectPropertyInfo",
    "ObjectType",
    "ObjectTypeInfo",
    "QCryptoSecretFormat",
    "RngBuiltinProperties",
    "RngRandomProperties",
    "SecretProperties",
]


@struct
@frozen(kw_only=True)
class ObjectPropertyInfo:
    """A property of an object.  type: "bool", "str", "uint8", ..., "link<...>" or "child<...>"."""

    name: str
    type: str
    description: str | None = None
    default_value: Any | None = None


@struct
@frozen(kw_only=True)
class ObjectTypeInfo:
    """A type of objects.  abstract: none can be made of it; parent: what it derives from."""

    name: str
    abstract: bool | None = None
    parent: str | None = None


@event("DEVICE_DELETED")
@frozen(kw_only=True)
class DeviceDeleted(Event):
    """A device is gone and its name is free.  device: its name, None if it had none; path: where it was."""

    device: str | None = None
    path: str


@event("DEVICE_UNPLUG_GUEST_ERROR")
@frozen(kw_only=True)
class DeviceUnplugGuestError(Event):
    """The guest refuses to let go of a device."""

    device: str | None = None
    path: str


@enum
class ObjectType(StrEnum):
    """Kind of an object that a user can make."""

    IOTHREAD = "iothread"
    MEMORY_BACKEND_FILE = "memory-backend-file"
    MEMORY_BACKEND_MEMFD = "memory-backend-memfd"
    MEMORY_BACKEND_RAM = "memory-backend-ram"
    RNG_BUILTIN = "rng-builtin"
    RNG_RANDOM = "rng-random"
    SECRET = "secret"


@union("qom_type")
@frozen(kw_only=True)
class ObjectOptions:
    """An object to make: one of the subclasses.  id: its name under /objects."""

    qom_type: ObjectType
    id: str


@branch(ObjectType.IOTHREAD)
@frozen(kw_only=True)
class IothreadProperties(ObjectOptions):
    """An I/O thread; members as in IOThreadInfo.  thread_pool_min, thread_pool_max: size of its pool."""

    qom_type: ObjectType = ObjectType.IOTHREAD
    aio_max_batch: Int | None = None
    thread_pool_min: Int | None = None
    thread_pool_max: Int | None = None
    poll_max_ns: Int | None = None
    poll_grow: Int | None = None
    poll_shrink: Int | None = None


@branch(ObjectType.MEMORY_BACKEND_RAM)
@frozen(kw_only=True)
class MemoryBackendProperties(ObjectOptions):
    """Memory for a machine or a memory device; members as in Memdev."""

    qom_type: ObjectType = ObjectType.MEMORY_BACKEND_RAM
    dump: bool | None = None
    host_nodes: tuple[UInt16, ...] | None = None
    merge: bool | None = None
    policy: HostMemPolicy | None = None
    prealloc: bool | None = None
    prealloc_threads: UInt32 | None = None
    prealloc_context: str | None = None
    share: bool | None = None
    reserve: bool | None = None
    size: Size
    x_use_canonical_path_for_ramblock_id: bool | None = None


@branch(ObjectType.MEMORY_BACKEND_FILE)
@frozen(kw_only=True)
class MemoryBackendFileProperties(MemoryBackendProperties):
    """Memory that is a file of the host.

    align: of the mapping; discard_data: the content need not be kept; mem_path: the file, or a directory to make one
    in; pmem: it is persistent memory; readonly: it is not written.
    """

    qom_type: ObjectType = ObjectType.MEMORY_BACKEND_FILE
    align: Size | None = None
    discard_data: bool | None = None
    mem_path: str
    pmem: bool | None = None
    readonly: bool | None = None


@branch(ObjectType.MEMORY_BACKEND_MEMFD)
@frozen(kw_only=True)
class MemoryBackendMemfdProperties(MemoryBackendProperties):
    """Memory that is an anonymous file.  hugetlb, hugetlbsize: of huge pages; seal: its size is fixed."""

    qom_type: ObjectType = ObjectType.MEMORY_BACKEND_MEMFD
    hugetlb: bool | None = None
    hugetlbsize: Size | None = None
    seal: bool | None = None


@branch(ObjectType.RNG_BUILTIN, struct="RngProperties")
@frozen(kw_only=True)
class RngBuiltinProperties(ObjectOptions):
    """Random bytes of the machine's own generator."""

    qom_type: ObjectType = ObjectType.RNG_BUILTIN
    opened: Annotated[bool | None, DEPRECATED] = None


@branch(ObjectType.RNG_RANDOM)
@frozen(kw_only=True)
class RngRandomProperties(ObjectOptions):
    """Random bytes of a file of the host.  filename: /dev/urandom if None."""

    qom_type: ObjectType = ObjectType.RNG_RANDOM
    opened: Annotated[bool | None, DEPRECATED] = None
    filename: str | None = None


@enum
class QCryptoSecretFormat(StrEnum):
    """How a secret is written."""

    RAW = "raw"
    BASE64 = "base64"


@branch(ObjectType.SECRET)
@frozen(kw_only=True)
class SecretProperties(ObjectOptions):
    """A secret that others refer to by its name.

    keyid: the secret that it is encrypted with (AES-256-CBC); iv: the initialization vector, base64; data or file:
    the secret itself.
    """

    qom_type: ObjectType = ObjectType.SECRET
    loaded: Annotated[bool | None, DEPRECATED] = None
    format: QCryptoSecretFormat | None = None
    keyid: str | None = None
    iv: str | None = None
    data: str | None = None
    file: str | None = None
