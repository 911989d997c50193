"""Floppy drives of a machine: places, what firmware is told, a boot sector and INT 13h, media that change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vmcore.block.node import Fault
from vmcore.engine import assemble, can_assemble
from vmcore.firmware import stock
from vmcore.machine.config import MachineConfig
from vmcore.machine.disk_config import Disk
from vmcore.machine.machine import Machine
from vmcore.model.block import BlockErrorAction, BlockIoError
from vmcore.model.errors import CommandError, ConfigError
from vmcore.model.exits import DebugExit, PauseRequested
from vmcore.model.units import KIB, SECOND

needs_assembler = pytest.mark.skipif(not can_assemble(), reason="keystone has no wheel here")
EXIT = "isa-debug-exit,iobase=0xf4,iosize=1"
FAST = 1440 * KIB


def cmos(machine: Machine, index: int) -> int:
    ports = machine.board.ports
    ports.write(0x70, index, 1)
    return ports.read(0x71, 1)


@pytest.mark.parametrize("board", ["pc", "q35"])
@pytest.mark.parametrize(
    ("floppies", "types", "equipment"),
    [
        ([bytes(1440 * KIB)], 0x40, 0x01),
        ([None, bytes(2880 * KIB)], 0x45, 0x41),
        ([bytes(1200 * KIB), bytes(360 * KIB)], 0x22, 0x41),
        ([bytes(720 * KIB)], 0x40, 0x01),
        ([Disk(None, interface="floppy", index=1)], 0x04, 0x41),
    ],
)
def test_firmware_is_told_of_the_drives(board: str, floppies: list[Any], types: int, equipment: int) -> None:
    machine = Machine(MachineConfig(board=board, floppies=floppies))
    assert cmos(machine, 0x10) == types
    assert cmos(machine, 0x14) & 0xC1 == equipment
    names = [drive.name for drive in machine.block.drives]
    assert names == ["floppy1"] if types == 0x04 else [f"floppy{n}" for n in range(len(floppies))]


def test_without_drives_there_is_no_controller() -> None:
    machine = Machine(MachineConfig())
    assert machine.board.ports.read(0x3F4, 1) == 0xFF
    assert (cmos(machine, 0x10), cmos(machine, 0x14) & 0xC1) == (0, 0)


def test_where_it_is() -> None:
    machine = Machine(MachineConfig(floppies=[None]))
    (drive,) = machine.block.drives
    assert drive.qdev == "/machine/fdc/floppy0"
    assert machine.tree.path_of(drive) == drive.qdev
    assert machine.board.ports.read(0x3F4, 1) == 0x80


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"floppies": "a.img"}, "floppies"),
        ({"floppies": [1]}, "floppies[0].path"),
        ({"floppies": [None] * 3}, "disks[2]"),
        ({"floppies": [Disk(None, interface="floppy", index=2)]}, "disks[0].index"),
        ({"floppies": [None], "board": "none"}, "disks"),
        ({"disks": [Disk(b"x", interface="floppy", boot_index=1), Disk(b"x", boot_index=1)]}, "disks[1].boot_index"),
    ],
)
def test_what_cannot_be(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MachineConfig(**fields)
    assert caught.value.path == path


def test_a_floppy_drive_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="media"):
        Disk(None, interface="floppy", media="cdrom")
    with pytest.raises(ConfigError, match="write_through"):
        Disk(None, interface="floppy", write_through=True)
    with pytest.raises(ConfigError, match="boot_index"):
        Disk(None, interface="floppy", boot_index=-1)


# --- a boot sector that copies a sector by INT 13h, and sends it

BOOT = """
    cld
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7c00
    mov [0x7e00], dl
    mov ax, 0x0201
    mov bx, 0x8000
    mov cx, 0x2809
    mov dh, 1
    int 0x13
    jc bad
    mov si, 0x8000
next:
    lodsb
    test al, al
    jz done
    mov dx, 0x3f8
    out dx, al
    jmp next
done:
    mov ax, 0x0301
    mov bx, 0x8000
    mov cx, 0x4f12
    mov dh, 1
    mov dl, [0x7e00]
    int 0x13
    jc bad
    mov ah, 0x31
bad:
    mov al, ah
    mov dx, 0xf4
    out dx, al
    hlt
"""
FROM, TO = ((40 * 2 + 1) * 18 + 8) * 512, ((79 * 2 + 1) * 18 + 17) * 512
TEXT = b"a sector of track 40"


def bootable() -> bytes:
    image = bytearray(FAST)
    code = assemble(BOOT, 16, 0x7C00)
    image[: len(code)] = code
    image[510:512] = b"\x55\xaa"
    image[FROM : FROM + len(TEXT)] = TEXT
    return bytes(image)


def medium(machine: Machine, offset: int) -> bytes:
    node = machine.block.drives[0].medium
    assert node is not None
    return node.read(offset, len(TEXT))


@needs_assembler
@pytest.mark.parametrize("board", ["pc", "q35"])
@pytest.mark.parametrize("firmware", [None, stock.PC])
def test_a_boot_sector_and_the_bios(board: str, firmware: str | None) -> None:
    if firmware and stock.find(firmware) is None:
        pytest.skip("seabios is not installed")
    machine = Machine(MachineConfig(board=board, firmware=firmware, floppies=[bootable()], devices=[EXIT]))
    assert machine.run(until_ns=20 * SECOND) == DebugExit(0x31)
    assert bytes(machine.serial[0].tail).endswith(TEXT)
    assert medium(machine, TO) == TEXT


@needs_assembler
@pytest.mark.skipif(stock.find(stock.PC) is None, reason="seabios is not installed")
def test_a_snapshot_amid_a_transfer() -> None:
    machine = Machine(MachineConfig(firmware=stock.PC, floppies=[bootable()], devices=[EXIT]))
    fdc = machine.board.devices["/machine/fdc"]
    while not fdc.save().transfer:
        assert not isinstance(machine.run(instructions=10_000), DebugExit)
    twin = Machine.from_snapshot(machine.save())
    assert machine.run(until_ns=20 * SECOND) == twin.run(until_ns=20 * SECOND) == DebugExit(0x31)
    assert twin.digest() == machine.digest()
    assert medium(twin, TO) == TEXT


@needs_assembler
def test_the_built_in_bios_takes_the_first_in_the_order() -> None:
    disk = assemble("mov al, 0x32; mov dx, 0xf4; out dx, al; hlt", 16, 0x7C00).ljust(510, b"\0") + b"\x55\xaa"
    for order, value in (("cad", 0x32), ("ac", 0x31)):
        machine = Machine(MachineConfig(boot=order, disks=[disk], floppies=[bootable()], devices=[EXIT]))
        assert machine.run(until_ns=20 * SECOND) == DebugExit(value)


@needs_assembler
@pytest.mark.skipif(stock.find(stock.PC) is None, reason="seabios is not installed")
def test_an_error_stops_the_machine_and_the_sector_is_written_again() -> None:
    fault = Fault(operation="write", errno=5, count=1)
    floppy = Disk(bootable(), interface="floppy", write_error="stop", faults=[fault])
    machine = Machine(MachineConfig(firmware=stock.PC, floppies=[floppy], devices=[EXIT]))
    exit = machine.run(until_ns=20 * SECOND)
    assert isinstance(exit, PauseRequested)
    (error,) = [event for event in machine.take_events() if isinstance(event, BlockIoError)]
    assert (error.device, error.action, error.nospace) == ("floppy0", BlockErrorAction.STOP, None)
    assert medium(machine, TO) == bytes(len(TEXT))
    assert machine.run(until_ns=40 * SECOND) == DebugExit(0x31)
    assert medium(machine, TO) == TEXT


# --- media


def test_a_drive_without_a_tray() -> None:
    machine = Machine(MachineConfig(floppies=[bytes(FAST), None]))
    full, empty = machine.block.drives
    assert full.open_tray()
    full.close_tray()
    assert machine.take_events() == []
    assert not full.tray_open
    assert full.medium is not None
    with pytest.raises(CommandError, match="There already is a medium"):
        full.insert(full.medium)
    full.remove()
    assert (full.present, empty.present) == (False, False)


def test_the_disk_change_line(tmp_path: Path) -> None:
    machine = Machine(MachineConfig(floppies=[bytes(FAST)]))
    ports = machine.board.ports

    def recalibrate() -> int:
        ports.write(0x3F2, 0x1C, 1)
        for byte in (0x0F, 0, 1):  # SEEK to track 1
            ports.write(0x3F5, byte, 1)
        machine.run(until_ns=machine.now_ns + SECOND // 100)
        ports.write(0x3F5, 0x08, 1)
        ports.read(0x3F5, 1), ports.read(0x3F5, 1)
        return ports.read(0x3F7, 1) >> 7

    ports.write(0x3F2, 0x1C, 1)
    assert ports.read(0x3F7, 1) >> 7 == 1
    assert recalibrate() == 0
    drive = machine.block.drives[0]
    drive.remove()
    assert ports.read(0x3F7, 1) >> 7 == 1
