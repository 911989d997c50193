"""`Disk`: a drive of the machine and what is in it, as a configuration says it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Final

from attrs import evolve, field, frozen

from vmcore.block.node import Fault
from vmcore.model.block import BlockdevOnError
from vmcore.model.errors import ConfigError

__all__ = ["PLACES", "Disk", "DiskInterface", "DiskMedia", "place_disks", "read_disks", "read_floppies"]

PLACES: Final = {"pc": 4, "q35": 6}
"""Drives that a board's adapter has room for: two on each channel of an IDE adapter, one at each port of a SATA one."""
FLOPPY_PLACES: Final = 2
LONGEST_SERIAL: Final = 20


class DiskInterface(StrEnum):
    """What a drive is attached to."""

    IDE = "ide"
    """The board's adapter for hard disks and CD-ROM drives: IDE on a pc, SATA (AHCI) on a q35."""
    FLOPPY = "floppy"
    """The floppy controller."""
    NONE = "none"
    """Nothing: a device names it, or management does something with it."""


class DiskMedia(StrEnum):
    """What kind of drive it is."""

    DISK = "disk"
    CDROM = "cdrom"


def _path(value: object) -> Path | bytes | None:
    if value is None or isinstance(value, Path):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str | os.PathLike) and str(value):
        return Path(value)
    raise ConfigError("path", value, "the path of an image, its content as bytes, or None for a drive without a medium")


def _interface(value: object) -> DiskInterface:
    if value not in tuple(DiskInterface):
        raise ConfigError("interface", value, "one of " + ", ".join(DiskInterface))
    return DiskInterface(str(value))


def _media(value: object) -> DiskMedia:
    if value not in tuple(DiskMedia):
        raise ConfigError("media", value, "one of " + ", ".join(DiskMedia))
    return DiskMedia(str(value))


_ON_READ: Final = (BlockdevOnError.REPORT, BlockdevOnError.IGNORE, BlockdevOnError.STOP, BlockdevOnError.AUTO)


def _on_read_error(value: object) -> BlockdevOnError:
    if value not in _ON_READ:
        raise ConfigError("read_error", value, "one of " + ", ".join(_ON_READ))
    return BlockdevOnError(str(value))


def _on_write_error(value: object) -> BlockdevOnError:
    if value not in tuple(BlockdevOnError):
        raise ConfigError("write_error", value, "one of " + ", ".join(BlockdevOnError))
    return BlockdevOnError(str(value))


def _faults(value: object) -> tuple[Fault, ...]:
    faults = tuple(value) if isinstance(value, Iterable) else None
    if faults is None or not all(isinstance(one, Fault) for one in faults):
        raise ConfigError("faults", value, "a list of Faults")
    return faults


def _shown(path: Path | bytes | None) -> str:
    return f"<{len(path)} bytes>" if isinstance(path, bytes) else repr(path)


@frozen
class Disk:
    """A drive and its medium.

    path: the image: a file, its content as bytes, or None for a drive without a medium (CD-ROM and floppy drives);
    write_through: the guest's writes go to the file, and cannot be taken back by restoring a snapshot (without it they
    go to a layer in memory that is part of every snapshot, and the file stays as it is); read_only: the guest cannot
    write at all; media: "disk" or "cdrom" (which is always read only); interface: "ide" (the board's adapter, which
    is one for SATA on a q35), "floppy" or "none"; index: which of the interface's places, the first free one unless
    told otherwise (IDE: 0 and 1 on the first channel, 2 and 3 on the second; SATA: ports 0 to 5; floppies: 0 and 1);
    boot_index: firmware tries drives that have one first, those with lower numbers before the others; id: name of the
    drive for management; serial: the serial number that the guest sees; read_error, write_error: what is done where the
    host cannot read or write: "report" it to the guest, "ignore" it, "stop" the machine, or "enospc" (writes only: stop
    it where the host's file system is full, else report), "auto": report, and enospc for writes; faults: requests that
    are to fail, for tests; seed: of their chance.
    """

    path: Path | bytes | None = field(converter=_path, repr=_shown)
    write_through: bool = field(default=False, kw_only=True)
    read_only: bool = field(default=False, kw_only=True)
    media: DiskMedia = field(default=DiskMedia.DISK, converter=_media, kw_only=True)
    interface: DiskInterface = field(default=DiskInterface.IDE, converter=_interface, kw_only=True)
    index: int | None = field(default=None, kw_only=True)
    boot_index: int | None = field(default=None, kw_only=True)
    id: str | None = field(default=None, kw_only=True)
    serial: str | None = field(default=None, kw_only=True)
    read_error: BlockdevOnError = field(default=BlockdevOnError.AUTO, converter=_on_read_error, kw_only=True)
    write_error: BlockdevOnError = field(default=BlockdevOnError.AUTO, converter=_on_write_error, kw_only=True)
    faults: tuple[Fault, ...] = field(default=(), converter=_faults, kw_only=True)
    seed: int = field(default=0, kw_only=True)

    def __attrs_post_init__(self) -> None:
        for name in ("write_through", "read_only"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(name, getattr(self, name), "True or False")
        if self.path is None and not self.is_cdrom and not self.is_floppy:
            raise ConfigError("path", None, "an image, as only CD-ROM and floppy drives can be empty")
        if self.is_cdrom and self.is_floppy:
            raise ConfigError("media", self.media, "disk for a floppy drive")
        if self.path is None and self.write_through:
            raise ConfigError("write_through", True, "False without a medium")
        if self.write_through and (self.read_only or self.media is DiskMedia.CDROM):
            raise ConfigError("write_through", True, "False for a disk that is read only")
        if self.write_through and not isinstance(self.path, Path):
            raise ConfigError("write_through", True, "False for a disk that is not a file")
        if self.id is not None and not (isinstance(self.id, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", self.id)):
            raise ConfigError("id", self.id, "letters, digits, -, . and _, beginning with a letter")
        if self.serial is not None and not (
            isinstance(self.serial, str) and self.serial.isascii() and len(self.serial) <= LONGEST_SERIAL
        ):
            raise ConfigError("serial", self.serial, f"at most {LONGEST_SERIAL} ASCII characters")
        for name in ("index", "boot_index"):
            number = getattr(self, name)
            if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
                raise ConfigError(name, number, "a number or None")
        if self.boot_index is not None and self.boot_index < 0:
            raise ConfigError("boot_index", self.boot_index, "a number from 0 up")

    @property
    def is_cdrom(self) -> bool:
        """Whether it is a CD-ROM drive."""
        return self.media is DiskMedia.CDROM

    @property
    def is_floppy(self) -> bool:
        """Whether it is a floppy drive."""
        return self.interface is DiskInterface.FLOPPY


def _prefixed(path: str, error: ConfigError) -> ConfigError:
    return ConfigError(f"{path}.{error.path}", error.value, error.expected)


def read_disks(value: object) -> tuple[Disk, ...]:
    """The field `disks` of a configuration: Disks, or what their images are."""
    if isinstance(value, str | bytes | os.PathLike) or not isinstance(value, Iterable):
        raise ConfigError("disks", value, "a list of disks")
    disks = []
    for index, given in enumerate(value):
        try:
            disks.append(given if isinstance(given, Disk) else Disk(given))
        except ConfigError as error:
            raise _prefixed(f"disks[{index}]", error) from error
    return tuple(disks)


def read_floppies(value: object) -> tuple[Disk, ...]:
    """The field `floppies` of a configuration: Disks, what their images are, or None for drives without a floppy."""
    if isinstance(value, str | bytes | os.PathLike) or not isinstance(value, Iterable):
        raise ConfigError("floppies", value, "a list of floppies")
    floppies = []
    for index, given in enumerate(value):
        try:
            disk = given if isinstance(given, Disk) else Disk(given, interface="floppy")
            floppies.append(disk if disk.is_floppy else evolve(disk, interface="floppy"))
        except ConfigError as error:
            raise _prefixed(f"floppies[{index}]", error) from error
    return tuple(floppies)


def place_disks(disks: tuple[Disk, ...], board: str = "pc") -> tuple[Disk, ...]:
    """The same with every place and name decided.  ConfigError where two want one, or there is no room."""
    taken = {
        kind: {disk.index for disk in disks if disk.interface is kind and disk.index is not None}
        for kind in (DiskInterface.IDE, DiskInterface.FLOPPY)
    }
    seen: dict[DiskInterface, set[int]] = {kind: set() for kind in taken}
    boot_indices: set[int] = set()
    names: set[str] = set()
    placed: list[Disk] = []
    unplaced = 0
    for number, disk in enumerate(disks):
        index, kind = disk.index, disk.interface
        if kind is not DiskInterface.NONE:
            places = FLOPPY_PLACES if disk.is_floppy else PLACES.get(board, 0)
            if index is None:
                # QEMU's first CD-ROM drive is at place 2, and disks come in order.
                order = [2, 3, 0, 1, *range(4, places)] if disk.is_cdrom else [*range(places)]
                index = next((place for place in order if place not in taken[kind]), None)
                if index is None:
                    what = "floppy drives" if disk.is_floppy else "drives on the board's adapter"
                    raise ConfigError(f"disks[{number}]", disk.path, f"at most {places} {what}")
                taken[kind].add(index)
            if not 0 <= index < places or index in seen[kind]:
                raise ConfigError(f"disks[{number}].index", index, f"a free place from 0 to {places - 1}")
            seen[kind].add(index)
            name = disk.id or _name(disk, index, board)
        else:
            index = unplaced if index is None else index
            unplaced += 1
            name = disk.id or f"none{index}"
        if name in names:
            raise ConfigError(f"disks[{number}].id", name, "an id that no other disk has")
        names.add(name)
        if disk.boot_index in boot_indices:
            raise ConfigError(f"disks[{number}].boot_index", disk.boot_index, "one that no other disk has")
        if disk.boot_index is not None:
            boot_indices.add(disk.boot_index)
        placed.append(evolve(disk, index=index, id=name))
    return tuple(placed)


def _name(disk: Disk, index: int, board: str) -> str:
    """What management calls a drive without a name, as QEMU does it."""
    if disk.is_floppy:
        return f"floppy{index}"
    kind = "cd" if disk.is_cdrom else "hd"
    return f"ide{index}-{kind}0" if board == "q35" else f"ide{index // 2}-{kind}{index % 2}"
