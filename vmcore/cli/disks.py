"""Disks on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vmcore.machine.disk_config import Disk
from vmcore.model.command_line import OPTIONS
from vmcore.model.errors import ConfigError
from vmcore.model.keyed import typed

__all__ = ["read_disk", "read_disks"]

_HERE = "disk"
_FIELDS = {
    "if": "interface",
    "bootindex": "boot_index",
    "rerror": "read_error",
    "werror": "write_error",
    "file": "path",
}
_PLACES = ("hda", "hdb", "hdc", "hdd")
_FLOPPIES = ("floppy", "fdb")


def read_disk(text: str, path: str, *, snapshot: bool = False) -> Disk:
    """A drive as `--disk` says it.  path: what errors call it; snapshot: no disk's writes go to its file.

    Unlike a Disk in a program, its writes go to the file unless it is told otherwise, as users of QEMU expect.
    """
    option = next(option for option in OPTIONS if option.name == _HERE)
    given: dict[str, Any] = typed(path, [text], option.parameters, option.implied)
    if given.pop("format", "raw") != "raw":
        raise ConfigError(f"{path}.format", text, "raw")
    media = given.get("media", "disk")
    read_only = bool(given.get("readonly", False))
    empty = not given.get("file")
    layered = bool(given.pop("snapshot", snapshot))
    try:
        return Disk(
            given.get("file") or None,
            write_through=not (read_only or layered or empty or media == "cdrom"),
            read_only=read_only,
            media=media,
            interface=given.get("if", "ide"),
            index=given.get("index"),
            boot_index=given.get("bootindex"),
            id=given.get("id"),
            serial=given.get("serial"),
            read_error=given.get("rerror", "auto"),
            write_error=given.get("werror", "auto"),
        )
    except ConfigError as error:
        raise ConfigError(f"{path}.{_named(error.path)}", error.value, error.expected) from error


def _named(field: str) -> str:
    """What the command line calls a field of a Disk."""
    return next((name for name, other in _FIELDS.items() if other == field), field)


def read_disks(texts: Sequence[str], places: dict[str, str | None], cdrom: str | None, snapshot: bool) -> list[Disk]:
    """All drives: those of `--disk`, then `--hda` to `--hdd`, `--floppy` and `--fdb` (places), then `--cdrom`."""
    disks = [read_disk(text, f"disk[{number}]", snapshot=snapshot) for number, text in enumerate(texts)]
    for index, name in enumerate(_PLACES):
        file = places.get(name)
        if file is not None:
            disks.append(Disk(file, write_through=not snapshot, index=index))
    for index, name in enumerate(_FLOPPIES):
        file = places.get(name)
        if file is not None:
            disks.append(Disk(file, write_through=not snapshot, interface="floppy", index=index))
    if cdrom is not None:
        disks.append(Disk(cdrom or None, media="cdrom"))
    return disks
