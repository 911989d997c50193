"""Disks of a machine: where writes go, snapshots, stops on errors, replay."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from guests import image

from vmcore.block.node import Fault, NodeOptions
from vmcore.machine.config import FlatMode, MachineConfig
from vmcore.machine.disk_config import Disk
from vmcore.machine.inputs import MediumInput, NodeInput, TrayInput
from vmcore.machine.machine import Machine
from vmcore.machine.snapshot_file import load_snapshot, save_snapshot
from vmcore.model.block import BlockdevOnError, BlockErrorAction, BlockIoError
from vmcore.model.errors import CommandError, ConfigError, UsageError
from vmcore.model.exits import PauseRequested
from vmcore.model.run_state import RunState

SIZE = 64 * 512

COUNT_UP = """
next:
    inc bl
    mov dx, 0x1f6
    mov al, 0xe0
    out dx, al
    mov dx, 0x1f2
    mov al, 1
    out dx, al
    inc dx
    mov al, 5
    out dx, al
    mov dx, 0x1f7
    mov al, 0x30
    out dx, al
ready:
    in al, dx
    test al, 8
    jz ready
    mov dx, 0x1f0
    mov al, bl
    mov ah, bl
    mov cx, 256
fill:
    out dx, ax
    loop fill
    mov dx, 0x1f7
busy:
    in al, dx
    test al, 0x80
    jnz busy
    mov dl, 0x80
    mov dh, 0
    mov al, bl
    out dx, al
    jmp next
"""
"""Fills sector 5 of the first disk with 1, 2, 3 and so on, and says so at port 80h."""


def config(*disks: Any, **fields: Any) -> MachineConfig:
    return MachineConfig(memory="1M", flat=image(COUNT_UP, FlatMode.REAL), disks=disks, **fields)


def sector_5(machine: Machine) -> int:
    """The number that fills it."""
    medium = machine.block.drives[0].medium
    assert medium is not None
    data = medium.read(5 * 512, 512)
    assert len(set(data)) == 1
    return data[0]


@pytest.fixture
def disk_file(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(bytes(SIZE))
    return path


# --- where writes go


def test_writes_stay_in_the_machine_unless_told_otherwise(disk_file: Path) -> None:
    with Machine(config(disk_file)) as machine:
        machine.run(100_000)
        assert sector_5(machine) > 2
    assert disk_file.read_bytes() == bytes(SIZE)


def test_writes_through_are_in_the_file_at_once(disk_file: Path) -> None:
    with Machine(config(Disk(disk_file, write_through=True))) as machine:
        machine.run(100_000)
        number = sector_5(machine)
        assert number > 2
        assert disk_file.read_bytes()[5 * 512 : 6 * 512] == bytes([number]) * 512


def test_a_disk_that_is_read_only_refuses(disk_file: Path) -> None:
    with Machine(config(Disk(disk_file, read_only=True))) as machine:
        machine.run(50_000)
        assert machine.block.drives[0].statistics.write.invalid == 1


# --- snapshots


@pytest.mark.parametrize("content", ["file", "bytes"])
def test_a_snapshot_has_what_was_written(disk_file: Path, content: str) -> None:
    made = config(disk_file if content == "file" else bytes(SIZE))
    with Machine(made) as machine:
        machine.run(60_000)
        snapshot, number = machine.save(), sector_5(machine)
        machine.run(60_000)
        end = machine.digest()
        assert sector_5(machine) > number
        machine.restore(snapshot)
        assert sector_5(machine) == number
        file = io.BytesIO()
        save_snapshot(snapshot, file)
        file.seek(0)
        assert load_snapshot(file) == snapshot
        with Machine.from_snapshot(snapshot) as fork:
            assert sector_5(fork) == number
            fork.run(60_000)
            assert fork.digest() == end, "a fork goes on as the machine would have"
        assert sector_5(machine) == number
        machine.run(60_000)
        assert machine.digest() == end


def test_what_was_written_through_cannot_be_taken_back(disk_file: Path) -> None:
    with Machine(config(Disk(disk_file, write_through=True))) as machine:
        machine.run(60_000)
        snapshot = machine.save()
        machine.restore(snapshot)  # Nothing was written since.
        machine.run(60_000)
        with pytest.raises(UsageError, match="was written since the snapshot was taken"):
            machine.restore(snapshot)
        with pytest.raises(ConfigError, match='Failed to get "write" lock'):
            Machine.from_snapshot(snapshot)


def test_a_base_that_has_changed_is_noticed(disk_file: Path) -> None:
    with Machine(config(disk_file)) as machine:
        machine.run(60_000)
        snapshot = machine.save()
    disk_file.write_bytes(b"x" * SIZE)
    with pytest.raises(UsageError, match="was written since the snapshot was taken"):
        Machine.from_snapshot(snapshot)


def test_equal_configurations_make_equal_machines(disk_file: Path) -> None:
    digests = set()
    for pieces in ((100_000,), (40_000, 60_000), (1, 99_999)):
        with Machine(config(disk_file)) as machine:
            for piece in pieces:
                machine.run(piece)
            digests.add(machine.digest())
    assert len(digests) == 1


# --- errors


def test_an_error_stops_the_machine_and_the_request_is_made_again() -> None:
    fault = Fault(operation="write", count=2)
    with Machine(config(Disk(bytes(SIZE), faults=[fault], write_error="stop"))) as machine:
        for _ in range(2):
            exit = machine.run(1_000_000)
            assert exit == PauseRequested(RunState.IO_ERROR)
            (event,) = machine.take_events()
            assert isinstance(event, BlockIoError)
            assert event.action is BlockErrorAction.STOP
            assert sector_5(machine) == 0
            # A fork of a stopped machine is stopped just so.
            with Machine.from_snapshot(machine.save()) as fork:
                assert fork.digest() == machine.digest()
                assert fork.block.drives[0].held
        machine.run(20_000)
        assert sector_5(machine) >= 1
        assert machine.take_events() == []


def test_a_reset_forgets_what_waits() -> None:
    with Machine(config(Disk(bytes(SIZE), faults=[Fault(operation="write", count=1)], write_error="stop"))) as machine:
        machine.run(1_000_000)
        machine.reset()
        machine.run(1_000)
        assert sector_5(machine) == 0


# --- what the user does is replayed


def test_media_that_were_changed_are_changed_in_a_replay(tmp_path: Path) -> None:
    cd = tmp_path / "cd"
    cd.write_bytes(b"c" * 4096)
    made = config(bytes(SIZE), Disk(None, media="cdrom"))
    with Machine(made) as machine:
        machine.run(10_000)
        machine.apply(NodeInput("cd", NodeOptions(driver="file", name="cd", filename=str(cd), read_only=True)))
        machine.apply(TrayInput(1, open=True))
        machine.run(10_000)
        machine.apply(MediumInput(1, "cd"))
        machine.apply(TrayInput(1, open=False))
        with Machine.replay(made, machine.inputs) as again:
            assert again.digest() == machine.digest()
            assert again.block.drives[1].present
        with pytest.raises(CommandError, match="Tray of device 'ide1-cd0' is not open"):
            machine.apply(MediumInput(1, None))
        assert len(machine.inputs) == 4, "what could not be done is not in the log"


# --- configurations


@pytest.mark.parametrize(
    ("disks", "message"),
    [
        ([Disk("/nowhere")], r"disks\[0\].path: '/nowhere': expected an image that can be used \(Could not open"),
        ([b""], r"disks\[0\].path: .* expected an image that is not empty"),
        ([b"x", Disk(b"x", index=4)], r"disks\[1\].index: 4: expected a free place from 0 to 3"),
        ([Disk(b"x", index=1), Disk(b"x", index=1)], r"disks\[1\].index: 1"),
        ([Disk(b"x", id="a"), Disk(b"x", id="a")], r"disks\[1\].id: 'a': expected an id that no other disk has"),
        ([b"x"] * 5, r"disks\[4\]: .*expected at most 4 drives on the board"),
        ([7], r"disks\[0\].path: 7"),
        ("disk", "disks: 'disk': expected a list of disks"),
    ],
)
def test_disks_that_cannot_be(disks: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Machine(MachineConfig(disks=disks))


@pytest.mark.parametrize(
    "fields",
    [
        {"path": None},
        {"path": b"x", "write_through": True},
        {"path": "f", "write_through": True, "read_only": True},
        {"path": "f", "write_through": True, "media": "cdrom"},
        {"path": "f", "media": "tape"},
        {"path": "f", "interface": "scsi"},
        {"path": "f", "read_error": "enospc"},
        {"path": "f", "write_error": "panic"},
        {"path": "f", "id": "1 2"},
        {"path": "f", "serial": "x" * 21},
        {"path": "f", "faults": [1]},
        {"path": "f", "index": "0"},
    ],
)
def test_a_disk_that_cannot_be(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Disk(**fields)


def test_places_and_names() -> None:
    with Machine(MachineConfig(disks=[b"a", b"b"], cdrom=bytes(2048))) as machine:
        assert [drive.name for drive in machine.block.drives] == ["ide0-hd0", "ide0-hd1", "ide1-cd0"]
        assert machine.block.drives[0].write_error is BlockdevOnError.ENOSPC
        assert machine.block.drives[0].read_error is BlockdevOnError.REPORT
        assert machine.tree.path_of(machine.block.drives[2].controller) == "/machine/ide/ide1/ide1-cd0"


def test_a_machine_that_cannot_be_built_lets_go_of_its_files(disk_file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Machine(MachineConfig(disks=[Disk(disk_file, write_through=True)], kernel="/nowhere"))
    assert caught.value.path == "kernel"
    Machine(MachineConfig(disks=[Disk(disk_file, write_through=True)])).close()


# --- the built-in BIOS starts from the first hard disk

BOOT = """
    cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7c00
    mov ax, 0x0201
    mov bx, 0x8000
    mov cx, 0x0003
    mov dx, 0x0081
    int 0x13
    mov al, byte ptr [0x8000]
    mov dx, 0x3f8
    out dx, al
    hlt
"""
"""Reads the third sector of the second hard disk, and sends its first byte."""


def test_the_bios_boots_from_the_first_disk_and_reaches_the_others() -> None:
    first = bytearray(SIZE)
    code = image(BOOT, FlatMode.REAL).image
    assert isinstance(code, bytes)
    first[: len(code)] = code
    first[510:512] = b"\x55\xaa"
    second = bytes(1024) + b"!" * 512 + bytes(SIZE)
    with Machine(MachineConfig(memory="1M", disks=[bytes(first), second], cdrom=bytes(2048))) as machine:
        machine.run(until_ns=1_000_000_000)
        assert machine.serial[0].take() == b"!"


def test_a_disk_without_a_boot_sector_is_not_started() -> None:
    with Machine(MachineConfig(memory="1M", disks=[bytes(SIZE)])) as machine:
        machine.run(until_ns=1_000_000_000)
        assert machine.serial[0].take() == b""
