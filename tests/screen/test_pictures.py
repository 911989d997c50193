"""Screens, pixel for pixel as QEMU's: modes of the BIOS, VBE modes, registers programmed by hand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from vmcore.firmware import video_bios
from vmcore.machine.config import MachineConfig
from vmcore.machine.machine import Machine
from vmcore.model.exits import Idle
from vmcore.screen.render import render

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("pictures.json").read_text())


@pytest.mark.parametrize("name", RECORDED)
def test_the_screen_is_qemus(name: str) -> None:
    if not video_bios.find():
        pytest.skip("needs SeaBIOS's vgabios-stdvga.bin")
    given = RECORDED[name]
    sector = bytes.fromhex(given["sector"]).ljust(510, b"\0") + b"\x55\xaa"
    with Machine(MachineConfig(bootsector=sector.ljust(1 << 20, b"\0"), memory="64M")) as machine:
        assert isinstance(machine.run(10_000_000), Idle)
        screen = machine.board.screen
        assert screen is not None
        frame = render(screen.picture(machine.now_ns))
        assert (frame.width, frame.height) == (given["width"], given["height"])
        assert hashlib.sha256(frame.pixels).hexdigest() == given["sha256"]

        before = machine.digest()
        snapshot = machine.save()
        again = Machine.from_snapshot(snapshot)
        with again:
            assert again.digest() == before
            assert again.board.screen is not None
            assert render(again.board.screen.picture(machine.now_ns)) == frame
