"""Locks on image files, so that no two programs write to one.

The scheme is the one that QEMU documents for its own images ("image locking"), so that the two programs respect each
other: a user of a file holds a shared lock on byte 100 + n for each permission n that it uses, and on byte 200 + n for
each that it does not allow to others; and it sees to it that nobody else has a lock on the opposite byte.  The locks
belong to the open file, not to the process (fcntl(2), "open file description locks").
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import Final

__all__ = ["LockedError", "lock_image"]

USED: Final = 100
NOT_SHARED: Final = 200

CONSISTENT_READ: Final = 0
WRITE: Final = 1
RESIZE: Final = 3
NAMES: Final = {CONSISTENT_READ: "consistent read", WRITE: "write", RESIZE: "resize"}

_FLOCK: Final = struct.Struct("@hhqqi4x")
"""struct flock of the hosts that have such locks: l_type, l_whence, l_start, l_len, l_pid."""


class LockedError(OSError):
    """Somebody else uses the image.  hint: what to ask the user."""

    def __init__(self, text: str, filename: str) -> None:
        super().__init__(errno.EAGAIN, text, filename)
        self.hint = f"Is another process using the image [{filename}]?"

    def __str__(self) -> str:
        return str(self.strerror)


def lock_image(descriptor: int, filename: str, *, write: bool) -> None:
    """Lock an open image for reading, or for writing as well.  LockedError if somebody else is in the way."""
    set_lock = getattr(fcntl, "F_OFD_SETLK", None)
    get_lock = getattr(fcntl, "F_OFD_GETLK", None)
    if set_lock is None or get_lock is None:
        return  # A host without such locks.
    used = (CONSISTENT_READ, WRITE, RESIZE) if write else (CONSISTENT_READ,)
    not_shared = (WRITE, RESIZE)
    for byte in [USED + n for n in used] + [NOT_SHARED + n for n in not_shared]:
        try:
            fcntl.fcntl(descriptor, set_lock, _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0))
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
                return  # A file system without locks.
            raise LockedError(f"Failed to lock byte {byte}", filename) from error
    for opposite, permissions, kind in ((NOT_SHARED, used, ""), (USED, not_shared, "shared ")):
        for n in permissions:
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, opposite + n, 1, 0)
            if _FLOCK.unpack(fcntl.fcntl(descriptor, get_lock, asked))[0] != fcntl.F_UNLCK:
                raise LockedError(f'Failed to get {kind}"{NAMES[n]}" lock', filename)
