"""The objects that a user can make: memory back ends, I/O threads, sources of random bytes, secrets.

Each has properties, which `vm.qom` and management clients see under /objects/ID.  UsageError where one cannot be made
or a property cannot be set, in the words that management clients know from QEMU 7.2.
"""

from __future__ import annotations

import base64
import binascii
import os
import queue
import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final, final

from attrs import frozen

from vmcore.machine.memory_backend import MemoryBackend, check_host_nodes
from vmcore.model.errors import CommandError, UsageError
from vmcore.model.machine import HostMemPolicy, Memdev
from vmcore.model.misc import IOThreadInfo
from vmcore.model.qom import (
    IothreadProperties,
    MemoryBackendProperties,
    ObjectOptions,
    QCryptoSecretFormat,
    RngBuiltinProperties,
    RngRandomProperties,
    SecretProperties,
)

__all__ = [
    "USER_TYPES",
    "IoThread",
    "MemoryObject",
    "Property",
    "RandomSource",
    "Secret",
    "UserObject",
    "UserType",
    "make",
]


@frozen
class Property:
    """A property of a type of objects.  type: as management clients call it."""

    name: str
    type: str
    description: str | None = None


@frozen
class UserType:
    """A type of objects.  parent: what it derives from; properties: its own and those of its parents."""

    name: str
    parent: str
    properties: tuple[Property, ...] = ()
    abstract: bool = False


_MEMORY: Final = (
    Property("share", "bool", "Whether writes to it reach its file and other processes"),
    Property("size", "int", "Bytes"),
    Property("dump", "bool", "Whether it is part of core dumps of this process"),
    Property("prealloc-threads", "int", "Threads to find memory with"),
    Property("x-use-canonical-path-for-ramblock-id", "bool"),
    Property("policy", "HostMemPolicy", "How the host places it"),
    Property("prealloc-context", "link<thread-context>", "What makes the threads to find memory with"),
    Property("prealloc", "bool", "Whether the host finds memory for all of it at once"),
    Property("reserve", "bool", "Whether the host reserves swap space for it"),
    Property("host-nodes", "int", "The host's nodes that the policy is about"),
    Property("merge", "bool", "Whether the host may merge equal pages"),
)
_FILE: Final = (
    Property("readonly", "bool", "Whether it is not written"),
    Property("align", "int", "Alignment that was asked for"),
    Property("pmem", "bool", "Whether it is persistent memory"),
    Property("mem-path", "string", "The file, or a directory to make one in"),
    Property("discard-data", "bool", "Whether its content is dropped at the end"),
)
_MEMFD: Final = (
    Property("hugetlb", "bool", "Whether it has huge pages"),
    Property("seal", "bool", "Whether its size is fixed"),
    Property("hugetlbsize", "int", "Bytes of a huge page"),
)
_EVENT_LOOP: Final = (
    Property("thread-pool-min", "int"),
    Property("aio-max-batch", "int"),
    Property("thread-pool-max", "int"),
)
_IOTHREAD: Final = (
    *_EVENT_LOOP,
    Property("poll-max-ns", "int"),
    Property("poll-grow", "int"),
    Property("poll-shrink", "int"),
)
_RNG: Final = (Property("opened", "bool"),)
_SECRET: Final = (
    Property("iv", "string"),
    Property("keyid", "string"),
    Property("loaded", "bool"),
    Property("format", "QCryptoSecretFormat"),
)

USER_TYPES: Final[Mapping[str, UserType]] = {
    kind.name: kind
    for kind in (
        UserType("memory-backend", "object", _MEMORY, abstract=True),
        UserType("memory-backend-ram", "memory-backend", _MEMORY),
        UserType("memory-backend-file", "memory-backend", _MEMORY + _FILE),
        UserType("memory-backend-memfd", "memory-backend", _MEMORY + _MEMFD),
        UserType("event-loop-base", "object", _EVENT_LOOP, abstract=True),
        UserType("iothread", "event-loop-base", _IOTHREAD),
        UserType("rng-backend", "object", _RNG, abstract=True),
        UserType("rng-builtin", "rng-backend", _RNG),
        UserType("rng-random", "rng-backend", (*_RNG, Property("filename", "string"))),
        UserType("secret_common", "object", _SECRET, abstract=True),
        UserType("secret", "secret_common", (*_SECRET, Property("file", "string"), Property("data", "string"))),
    )
}
"""The types of objects that can be made, and what they derive from."""


class UserObject(ABC):
    """An object.  id: its name; type_name: of its type."""

    def __init__(self, id: str, type_name: str) -> None:
        self.id: Final = id
        self.type_name: Final = type_name

    @property
    def properties(self) -> tuple[Property, ...]:
        """What can be asked of it."""
        return USER_TYPES[self.type_name].properties

    @property
    def in_use(self) -> bool:
        """Whether something depends on it, so that it cannot go."""
        return False

    @abstractmethod
    def get(self, name: str) -> Any:
        """The value of a property."""

    def set(self, name: str, value: Any) -> None:
        """Set a property."""
        raise not_writable(self, name)

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds of the host."""


def not_writable(of: UserObject, name: str) -> UsageError:
    """The error about a property that cannot be set."""
    return UsageError(f"Property '{of.type_name}.{name}' is not writable")


def _typed(name: str, value: Any, kind: type, expected: str) -> Any:
    if type(value) is not kind:
        raise UsageError(f"Invalid parameter type for '{name}', expected: {expected}")
    return value


# --- memory


@final
class MemoryObject(UserObject):
    """A memory back end.  memory: None for the RAM that the machine has of its own."""

    def __init__(self, id: str, type_name: str, size: int, memory: MemoryBackend | None) -> None:
        super().__init__(id, type_name)
        self.size: Final = size
        self.memory: Final = memory

    @property
    def in_use(self) -> bool:
        return self.memory is None or self.memory.users > 0

    def info(self) -> Memdev:
        """What a query tells of it."""
        memory = self.memory
        if memory is None:
            # Private memory of this process, found when it is touched, without reserved swap.
            return Memdev(
                id=self.id,
                size=self.size,
                merge=False,
                dump=True,
                prealloc=False,
                share=False,
                reserve=False,
                host_nodes=(),
                policy=HostMemPolicy.DEFAULT,
            )
        return Memdev(
            id=self.id,
            size=memory.size,
            merge=memory.merge,
            dump=memory.dump,
            prealloc=memory.prealloc,
            share=memory.share,
            reserve=memory.reserve,
            host_nodes=memory.host_nodes,
            policy=memory.policy,
        )

    def get(self, name: str) -> Any:
        info = self.info()
        match name:
            case "host-nodes":
                return list(info.host_nodes)
            case "policy":
                return info.policy.value
            case "prealloc-context":
                return ""  # There is nothing that it could be.
            case "prealloc-threads":
                return 1 if self.memory is None else self.memory.prealloc_threads
            case "x-use-canonical-path-for-ramblock-id" | "readonly" | "pmem" | "discard-data" | "hugetlb":
                return bool(self._option(name))
            case "seal":
                return self._option(name) is not False
            case "align" | "hugetlbsize":
                return self._option(name) or 0
            case "mem-path":
                return self._option(name)
        return getattr(info, name)

    def _option(self, name: str) -> Any:
        return None if self.memory is None else getattr(self.memory.options, name.replace("-", "_"), None)

    def set(self, name: str, value: Any) -> None:
        memory = self.memory
        if name == "size":
            raise UsageError(f"cannot change property size of {self.type_name} ")
        if memory is None or name not in ("merge", "dump", "prealloc", "policy", "host-nodes"):
            raise UsageError("cannot change property value")
        match name:
            case "merge":
                memory.set_merge(_typed(name, value, bool, "boolean"))
            case "dump":
                memory.set_dump(_typed(name, value, bool, "boolean"))
            case "prealloc":
                if _typed(name, value, bool, "boolean"):
                    memory.populate()
            case "policy":
                if _typed(name, value, str, "string") not in tuple(HostMemPolicy):
                    raise UsageError(f"Parameter 'policy' does not accept value '{value}'")
                memory.set_policy(HostMemPolicy(value), memory.host_nodes)
            case "host-nodes":
                nodes = [_typed(name, node, int, "integer") for node in _typed(name, value, list, "array")]
                memory.set_policy(memory.policy, nodes)

    def close(self) -> None:
        if self.memory is not None:
            self.memory.close()


def check_memory_options(options: MemoryBackendProperties) -> None:
    """What is wrong with a back end whatever the host has."""
    if not options.size:
        raise UsageError(f"property 'size' of {options.qom_type.value} doesn't take value '0'")
    check_host_nodes(options.host_nodes or ())
    if options.prealloc_context:
        raise CommandError("DeviceNotFound", f"Device '{options.prealloc_context}' not found")


# --- threads

_IO_DEFAULTS: Final = {
    "poll-max-ns": 32768,
    "poll-grow": 0,
    "poll-shrink": 0,
    "aio-max-batch": 0,
    "thread-pool-min": 0,
    "thread-pool-max": 64,
}
_LONGEST: Final = (1 << 63) - 1


@final
class IoThread(UserObject):
    """A thread of the host that does what it is given by `submit`, one after another."""

    def __init__(self, options: IothreadProperties) -> None:
        super().__init__(options.id, options.qom_type.value)
        self._values = dict(_IO_DEFAULTS)
        for name in _IO_DEFAULTS:
            value = getattr(options, name.replace("-", "_"))
            if value is not None:
                self._values[name] = self._checked(name, value)
        self._check_pool(self._values)
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name=f"vmcore iothread {self.id}", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job

    def submit(self, job: Callable[[], object]) -> None:
        """Have the thread do something, after what it was given before.  It must not raise."""
        self._jobs.put(job)

    @staticmethod
    def _checked(name: str, value: int) -> int:
        if not 0 <= value <= _LONGEST:
            raise UsageError(f"{name} value must be in range [0, {_LONGEST}]")
        return value

    @staticmethod
    def _check_pool(values: Mapping[str, int]) -> None:
        if not values["thread-pool-max"] or values["thread-pool-min"] > values["thread-pool-max"]:
            raise UsageError("bad thread-pool-min/thread-pool-max values")

    def info(self) -> IOThreadInfo:
        """What a query tells of it."""
        number = self._thread.native_id
        assert number is not None
        return IOThreadInfo(
            id=self.id,
            thread_id=number,
            poll_max_ns=self._values["poll-max-ns"],
            poll_grow=self._values["poll-grow"],
            poll_shrink=self._values["poll-shrink"],
            aio_max_batch=self._values["aio-max-batch"],
        )

    def get(self, name: str) -> Any:
        return self._values[name]

    def set(self, name: str, value: Any) -> None:
        values = self._values | {name: self._checked(name, _typed(name, value, int, "integer"))}
        self._check_pool(values)
        self._values = values

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join()


# --- random bytes


@final
class RandomSource(UserObject):
    """Random bytes: of a file of the host, or of a generator that begins with the machine's seed."""

    def __init__(self, options: RngRandomProperties | RngBuiltinProperties, seed: int) -> None:
        super().__init__(options.id, options.qom_type.value)
        if options.opened is not None:
            raise not_writable(self, "opened")
        self.filename: str | None = None
        self._fd: int | None = None
        self._random = random.Random(f"{seed} {self.id}")
        if isinstance(options, RngRandomProperties):
            self.filename = options.filename or "/dev/urandom"
            try:
                self._fd = os.open(self.filename, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                raise UsageError(f"Could not open '{self.filename}': {reason}") from error

    def read(self, count: int) -> bytes:
        """So many random bytes; less where the file has no more, at the moment or at all."""
        if self._fd is None:
            return self._random.randbytes(count)
        try:
            return os.read(self._fd, count)
        except BlockingIOError:
            return b""

    def get(self, name: str) -> Any:
        return True if name == "opened" else self.filename

    def set(self, name: str, value: Any) -> None:
        if name == "filename":
            raise UsageError("Property 'filename' can no longer be set")
        raise not_writable(self, name)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)


# --- secrets

_LONGEST_SECRET: Final = 1 << 20
_KEY_SIZE: Final = 32
_BLOCK: Final = 16


@final
class Secret(UserObject):
    """A secret that others refer to by its name.  value: the secret itself, in the clear."""

    def __init__(self, options: SecretProperties, find: Callable[[str], UserObject | None]) -> None:
        super().__init__(options.id, options.qom_type.value)
        self._options: Final = options
        if options.loaded is not None:
            raise not_writable(self, "loaded")
        data = self._read()
        if options.keyid is not None:
            data = self._decrypted(data, options.keyid, find)
        elif self._format is QCryptoSecretFormat.BASE64:
            data = _decoded(data)
        self.value: Final = data

    @property
    def _format(self) -> QCryptoSecretFormat:
        return self._options.format or QCryptoSecretFormat.RAW

    def _read(self) -> bytes:
        data, file = self._options.data, self._options.file
        if data is not None and file is not None:
            raise UsageError("'file' and 'data' are mutually exclusive")
        if data is not None:
            return data.encode()
        if file is None:
            raise UsageError("Either 'file' or 'data' must be provided")
        try:
            with open(os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as opened:
                content = opened.read(_LONGEST_SECRET + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(f"Unable to read {file}: {reason}") from error
        if len(content) > _LONGEST_SECRET:
            raise UsageError(f"Unable to read {file}: more than {_LONGEST_SECRET} bytes")
        return content

    def _decrypted(self, data: bytes, keyid: str, find: Callable[[str], UserObject | None]) -> bytes:
        """AES-256-CBC with PKCS #7 padding, under another secret."""
        key = find(keyid)
        if key is None:
            raise UsageError(f"No secret with id '{keyid}'")
        if not isinstance(key, Secret):
            raise UsageError(f"Object with id '{keyid}' is not a secret")
        if len(key.value) != _KEY_SIZE:
            raise UsageError(f"Key should be {_KEY_SIZE} bytes in length")
        if self._options.iv is None:
            raise UsageError("IV is required to decrypt secret")
        iv = _decoded(self._options.iv.encode())
        if len(iv) != _BLOCK:
            raise UsageError(f"IV should be {_BLOCK} bytes in length not {len(iv)}")
        if self._format is QCryptoSecretFormat.BASE64:
            data = _decoded(data)
        if not data or len(data) % _BLOCK:
            raise UsageError(f"{len(data)} bytes of encrypted data: expected whole blocks of {_BLOCK}")
        try:
            from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
        except ImportError as error:
            text = "an encrypted secret needs the package cryptography: pip install vmcore[secrets]"
            raise UsageError(text) from error
        decryptor = Cipher(algorithms.AES(key.value), modes.CBC(iv)).decryptor()
        plain: bytes = decryptor.update(data) + decryptor.finalize()
        padding = plain[-1]
        if not 1 <= padding <= _BLOCK:
            raise UsageError(f"Incorrect number of padding bytes ({padding}) found on decrypted data")
        return plain[:-padding]

    def get(self, name: str) -> Any:
        if name == "loaded":
            return True
        if name == "format":
            return self._format.value
        return getattr(self._options, name) or ""

    def set(self, name: str, value: Any) -> None:
        raise UsageError(f"Property '{name}' can no longer be set")

    def close(self) -> None:
        """Nothing of the host is held: the file was read when the secret was made."""


def _decoded(data: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error as error:
        raise UsageError("Base64 data contains invalid characters") from error


# --- making them


def make(
    options: ObjectOptions, *, find: Callable[[str], UserObject | None], seed: int, private: bool = False
) -> UserObject:
    """The object that options describe.

    find: the other objects by name; seed: of everything random; private: nothing that is written to memory shall show
    in a file.
    """
    match options:
        case MemoryBackendProperties():
            memory = MemoryBackend(options, private=private)
            return MemoryObject(options.id, options.qom_type.value, options.size, memory)
        case IothreadProperties():
            return IoThread(options)
        case RngRandomProperties() | RngBuiltinProperties():
            return RandomSource(options, seed)
        case SecretProperties():
            return Secret(options, find)
    raise AssertionError(f"{options.qom_type} has no class")
