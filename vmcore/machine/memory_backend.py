"""Memory of the host that RAM is made of: anonymous, a file, or an anonymous file.

Source: the manual pages mmap(2), madvise(2), mbind(2) and memfd_create(2) of Linux; properties and error texts as
management clients know them from QEMU 7.2.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import sys
import tempfile
from collections.abc import Iterable
from typing import Final, final

from vmcore.model.errors import UsageError
from vmcore.model.machine import HostMemPolicy
from vmcore.model.qom import MemoryBackendFileProperties, MemoryBackendMemfdProperties, MemoryBackendProperties

__all__ = ["MemoryBackend"]

MAX_HOST_NODES: Final = 128

MAP_NORESERVE: Final = 0x4000
MADV_REMOVE: Final = 9
MADV_MERGEABLE: Final = 12
MADV_UNMERGEABLE: Final = 13
MADV_DONTDUMP: Final = 16
MADV_DODUMP: Final = 17
MADV_POPULATE_WRITE: Final = 23
MFD_HUGE_SHIFT: Final = 26

_MBIND: Final = {"x86_64": 237, "aarch64": 235, "riscv64": 235}
"""Number of the system call by the host's architecture."""
_MODES: Final = {
    HostMemPolicy.DEFAULT: 0,
    HostMemPolicy.PREFERRED: 1,
    HostMemPolicy.BIND: 2,
    HostMemPolicy.INTERLEAVE: 3,
}
_STRICT_AND_MOVE: Final = 1 | 2


@final
class MemoryBackend:
    """Mapped memory.  UsageError, and nothing left behind, where the host cannot give it as it is wanted.

    A file that others make shorter, or for whose pages its file system has no room, ends this process when the guest
    comes to where nothing is (SIGBUS): `prealloc` finds room at once.
    align of a file is checked and told; where the memory lies in this process is the host's choice.
    private: nothing that is written to it shall show in a file.
    """

    def __init__(self, options: MemoryBackendProperties, *, private: bool = False) -> None:
        self.options: Final = options
        self.id: Final = options.id
        self.size: Final = options.size
        self.share: Final = not private and _given(options.share, isinstance(options, MemoryBackendMemfdProperties))
        self.reserve: Final = _given(options.reserve, True)
        self.merge = _given(options.merge, True)
        self.dump = _given(options.dump, True)
        self.prealloc = _given(options.prealloc, False)
        self.prealloc_threads = 1 if options.prealloc_threads is None else options.prealloc_threads
        self.policy = options.policy or HostMemPolicy.DEFAULT
        self.host_nodes = tuple(sorted(set(options.host_nodes or ())))
        self.users = 0
        """How many parts of the machine are made of it."""
        self._check()
        self._map: Final = self._mapped()
        try:
            self._advise()
            self._bind()
            if self.prealloc:
                self.populate()
        except BaseException:
            self._map.close()
            raise

    def _check(self) -> None:
        kind = self.options.qom_type.value
        if not self.size:
            raise UsageError(f"property 'size' of {kind} doesn't take value '0'")
        if not self.prealloc_threads:
            raise UsageError(f"property 'prealloc-threads' of {kind} doesn't take value '0'")
        check_host_nodes(self.host_nodes)
        if self.prealloc and not self.reserve:
            raise UsageError("'prealloc=on' and 'reserve=off' are incompatible")

    @property
    def readonly(self) -> bool:
        """Whether it cannot be written."""
        return isinstance(self.options, MemoryBackendFileProperties) and bool(self.options.readonly)

    @property
    def mapped_size(self) -> int:
        """Bytes of it in whole pages of the host."""
        return -(-self.size // mmap.PAGESIZE) * mmap.PAGESIZE

    def view(self) -> memoryview:
        """The memory.  It cannot be closed while a view of it is held."""
        return memoryview(self._map)

    def close(self) -> None:
        """Give it back to the host."""
        options = self.options
        if isinstance(options, MemoryBackendFileProperties) and options.discard_data and self.share:
            self._map.madvise(MADV_REMOVE)
        try:
            self._map.close()
        except BufferError:
            # A machine whose building failed still has it in its hands: it goes when that goes.
            return

    # --- mapping

    def _flags(self) -> int:
        flags = mmap.MAP_SHARED if self.share else mmap.MAP_PRIVATE
        return flags if self.reserve or sys.platform != "linux" else flags | MAP_NORESERVE

    def _mapped(self) -> mmap.mmap:
        options = self.options
        if isinstance(options, MemoryBackendFileProperties):
            return self._map_file(options)
        if isinstance(options, MemoryBackendMemfdProperties):
            return self._map_memfd(options)
        try:
            return mmap.mmap(-1, self.mapped_size, flags=self._flags() | mmap.MAP_ANONYMOUS)
        except (OSError, OverflowError) as error:
            text = f"cannot set up guest memory '{self.id}': {_reason(error)}"
            raise UsageError(text) from error

    def _map_file(self, options: MemoryBackendFileProperties) -> mmap.mmap:
        fd = self._open(options.mem_path)
        align = options.align or 0
        try:
            if align % mmap.PAGESIZE:
                raise UsageError(f"alignment {align:#x} must be multiples of page size {mmap.PAGESIZE:#x}")
            return self._map_descriptor(fd)
        finally:
            os.close(fd)

    def _open(self, path: str) -> int:
        """The file, made where there is none; in a directory one without a name."""
        try:
            if os.path.isdir(path):
                fd, name = tempfile.mkstemp(prefix=f"vmcore.{self.id}.", dir=path)
                os.unlink(name)
                return fd
            mode = os.O_RDONLY if self.readonly and os.path.exists(path) else os.O_RDWR | os.O_CREAT
            return os.open(path, mode | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
        except (OSError, ValueError) as error:
            raise UsageError(f"can't open backing store {path} for guest RAM: {_reason(error)}") from error

    def _map_descriptor(self, fd: int) -> mmap.mmap:
        size = os.fstat(fd).st_size
        if 0 < size < self.mapped_size:
            raise UsageError(f"backing store size {size:#x} does not match 'size' option {self.mapped_size:#x}")
        access = mmap.PROT_READ if self.readonly else mmap.PROT_READ | mmap.PROT_WRITE
        try:
            if not size and not os.path.samestat(os.fstat(fd), os.stat(os.devnull)):
                os.ftruncate(fd, self.mapped_size)
            return mmap.mmap(fd, self.mapped_size, flags=self._flags(), prot=access)
        except (OSError, OverflowError, ValueError) as error:
            raise UsageError(f"unable to map backing store for guest RAM: {_reason(error)}") from error

    def _map_memfd(self, options: MemoryBackendMemfdProperties) -> mmap.mmap:
        if sys.platform != "linux":
            raise UsageError("memory-backend-memfd: this host has no anonymous files")
        import fcntl  # not on every host

        seal = _given(options.seal, True)
        flags = os.MFD_CLOEXEC | (os.MFD_ALLOW_SEALING if seal else 0)
        if options.hugetlb:
            flags |= os.MFD_HUGETLB
            if options.hugetlbsize:
                if options.hugetlbsize & (options.hugetlbsize - 1):
                    raise UsageError("Hugepage size must be a power of 2")
                flags |= (options.hugetlbsize.bit_length() - 1) << MFD_HUGE_SHIFT
        try:
            fd = os.memfd_create(f"vmcore-{self.id}"[:200], flags)
        except OSError as error:
            raise UsageError(f"failed to create memfd: {_reason(error)}") from error
        try:
            try:
                os.ftruncate(fd, self.size)
            except (OSError, OverflowError) as error:
                raise UsageError(f"failed to resize memfd to {self.size}: {_reason(error)}") from error
            if seal:
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
            return self._map_descriptor(fd)
        finally:
            os.close(fd)

    # --- what the host is told of it

    def set_merge(self, merge: bool) -> None:
        """Say whether the host may merge equal pages."""
        self.merge = merge
        self._advise()

    def set_dump(self, dump: bool) -> None:
        """Say whether it is part of core dumps of this process."""
        self.dump = dump
        self._advise()

    def _advise(self) -> None:
        if sys.platform != "linux":
            return
        if not self.share:
            try:
                self._map.madvise(MADV_MERGEABLE if self.merge else MADV_UNMERGEABLE)
            except OSError as error:
                if error.errno != errno.EINVAL:  # A kernel without page merging: there is nothing to allow.
                    raise
        self._map.madvise(MADV_DODUMP if self.dump else MADV_DONTDUMP)

    def populate(self) -> None:
        """Have the host find memory for all of it now, its content as it is."""
        self.prealloc = True
        if self.readonly:
            return
        try:
            if sys.platform == "linux":
                self._map.madvise(MADV_POPULATE_WRITE)
                return
        except OSError as error:
            if error.errno != errno.EINVAL:  # A kernel before 5.14 does not know it.
                raise UsageError(f"preallocating memory failed: {_reason(error)}") from error
        with self.view() as view:
            for at in range(0, self.mapped_size, mmap.PAGESIZE):
                view[at] = view[at]

    def set_policy(self, policy: HostMemPolicy, host_nodes: Iterable[int]) -> None:
        """Say where the host is to place it."""
        nodes = tuple(sorted(set(host_nodes)))
        check_host_nodes(nodes)
        self.policy, self.host_nodes = policy, nodes
        if (policy is HostMemPolicy.DEFAULT) is not bool(nodes):
            self._bind()

    def _bind(self) -> None:
        if self.host_nodes and self.policy is HostMemPolicy.DEFAULT:
            raise UsageError(
                "host-nodes must be empty for policy default, or you should explicitly specify a policy other than "
                "default"
            )
        if not self.host_nodes and self.policy is not HostMemPolicy.DEFAULT:
            raise UsageError(f"host-nodes must be set for policy {self.policy.value}")
        if not self.host_nodes:
            return
        number = _MBIND.get(platform.machine()) if sys.platform == "linux" else None
        if number is None or self.readonly:
            raise UsageError("NUMA node binding is not supported for this memory on this host")
        words = MAX_HOST_NODES // 64
        mask = sum(1 << node for node in self.host_nodes)
        nodes = (ctypes.c_uint64 * words)(*(mask >> 64 * word & (1 << 64) - 1 for word in range(words)))
        start = ctypes.c_char.from_buffer(self._map)
        try:
            library = ctypes.CDLL(None, use_errno=True)
            failed = library.syscall(
                ctypes.c_long(number),
                ctypes.c_void_p(ctypes.addressof(start)),
                ctypes.c_ulong(self.mapped_size),
                ctypes.c_long(_MODES[self.policy]),
                nodes,
                ctypes.c_ulong(MAX_HOST_NODES + 1),
                ctypes.c_long(_STRICT_AND_MOVE),
            )
            number = ctypes.get_errno()
        finally:
            del start
        if failed:
            raise UsageError(f"cannot bind memory to host NUMA nodes: {os.strerror(number)}")


def check_host_nodes(nodes: Iterable[int]) -> None:
    """UsageError for numbers that no node of a host has."""
    for node in nodes:
        if node >= MAX_HOST_NODES:
            raise UsageError(f"Invalid host-nodes value: {node}")


def _given(value: bool | None, default: bool) -> bool:
    return default if value is None else value


def _reason(error: Exception) -> str:
    """In the host's words; a size that does not fit a number is one for which there is no memory."""
    if isinstance(error, OverflowError):
        return os.strerror(errno.ENOMEM)
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
