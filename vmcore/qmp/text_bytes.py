"""Bytes as text on the wire: as characters, and in base64.

Characters are in UTF-8 with the byte sequence C0 80 for U+0000.  What is read back never fails: a sequence that is no
character is shown as U+FFFD, and what is behind a byte of zero is not shown.
"""

from __future__ import annotations

import base64
import re
from typing import Final

from vmcore.model.errors import CommandError

__all__ = ["from_base64", "from_text", "to_text"]

_SEQUENCE: Final = re.compile(
    rb"[\x00-\x7f]+|[\xc0-\xdf][\x80-\xbf]?|[\xe0-\xef][\x80-\xbf]{0,2}|[\xf0-\xf7][\x80-\xbf]{0,3}"
    rb"|[\xf8-\xfb][\x80-\xbf]{0,4}|[\xfc-\xfd][\x80-\xbf]{0,5}|[\x80-\xbf\xfe\xff]"
)
"""A byte that begins a sequence, and as many of those that go on with one as it announces."""

_BASE64: Final = re.compile(r"[A-Za-z0-9+/=\n]*")


def from_text(text: str) -> bytes:
    """The bytes of characters."""
    return text.encode("utf-8", "surrogatepass").replace(b"\0", b"\xc0\x80")


def to_text(data: bytes) -> str:
    """The characters of bytes."""
    return "".join(_character(match[0]) for match in _SEQUENCE.finditer(data.partition(b"\0")[0]))


def _character(sequence: bytes) -> str:
    if sequence == b"\xc0\x80":
        return "\0"
    try:
        text = sequence.decode()
    except UnicodeDecodeError:
        return "\ufffd"
    # Code points that are for ever no characters.
    return "\ufffd" if ord(text[0]) & 0xFFFE == 0xFFFE or "\ufdd0" <= text[0] <= "\ufdef" else text


def from_base64(text: str) -> bytes:
    """Bytes of a text in base64 (RFC 4648), taken as QEMU takes it: padding may be anywhere and counts as no byte,
    an incomplete group of four at the end counts for nothing.  CommandError for other characters.
    """
    if not _BASE64.fullmatch(text):
        raise CommandError("GenericError", "Base64 data contains invalid characters")
    out = bytearray()
    digits = text.replace("\n", "")
    for at in range(0, len(digits) - 3, 4):
        group = digits[at : at + 4]
        first, second, third = base64.b64decode(group.replace("=", "A"))
        out.append(first)
        if group[2] != "=":
            out.append(second)
        if group[3] != "=":
            out.append(third)
    return bytes(out)
