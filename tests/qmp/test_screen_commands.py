"""The screen from outside."""

from __future__ import annotations

from pathlib import Path

from exchange import execute, qemu, refusal

from vmcore import FlatImage, VirtualMachine
from vmcore.machine.inputs import MouseButton, MouseMove

SPIN = FlatImage(bytes.fromhex("eb fe"))


async def test_the_screen_goes_into_files(tmp_path: Path) -> None:
    ppm, png = tmp_path / "screen.ppm", tmp_path / "screen.png"
    async with VirtualMachine(flat=SPIN) as vm:
        assert await execute(vm, "screendump", filename=str(ppm)) == {}
        assert await execute(vm, "screendump", filename=str(png), format="png") == {}
        assert await execute(vm, "screendump", filename=str(ppm), format="ppm") == {}
        frame = await vm.screen.frame()
    assert (frame.width, frame.height) == (720, 400)
    assert ppm.read_bytes() == b"P6\n720 400\n255\n" + frame.pixels
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


REFUSED: list[tuple[dict[str, object], str, str]] = [
    ({}, "GenericError", "Parameter 'filename' is missing"),
    ({"filename": "/nowhere/x"}, "GenericError", "failed to open file '/nowhere/x': No such file or directory"),
    ({"filename": "/tmp"}, "GenericError", "failed to open file '/tmp': Is a directory"),
    ({"filename": ""}, "GenericError", "failed to open file '': No such file or directory"),
    ({"filename": "/nowhere/x", "device": "foo"}, "DeviceNotFound", "Device 'foo' not found"),
    ({"filename": "/nowhere/x", "head": 1}, "GenericError", "'head' must be specified together with 'device'"),
    ({"filename": "/nowhere/x", "format": "bmp"}, "GenericError", "Parameter 'format' does not accept value 'bmp'"),
]


async def test_refusals() -> None:
    async with VirtualMachine(flat=SPIN) as vm:
        for arguments, kind, text in REFUSED:
            assert await refusal(vm, "screendump", **arguments) == (kind, text)


def test_refusals_are_qemus() -> None:
    with qemu("-vga", "std") as theirs:
        for arguments, kind, text in REFUSED:
            assert theirs.execute("screendump", **arguments)["error"] == {"class": kind, "desc": text}


async def test_a_machine_without_a_display_adapter_has_nothing_to_dump() -> None:
    async with VirtualMachine(flat=SPIN, vga="none") as vm:
        text = "There is no console to take a screendump from"
        assert await refusal(vm, "screendump", filename="/nowhere/x") == ("GenericError", text)


async def test_the_human_monitor_dumps_and_moves_the_mouse(tmp_path: Path) -> None:
    async with VirtualMachine(flat=SPIN) as vm:

        async def say(line: str) -> str:
            answer = await execute(vm, "human-monitor-command", **{"command-line": line})
            assert isinstance(answer, str)
            return answer

        assert await say(f"screendump {tmp_path}/a.ppm") == ""
        assert (tmp_path / "a.ppm").read_bytes()[:3] == b"P6\n"
        assert await say(f"screendump {tmp_path}/a.png -f png") == ""
        assert (tmp_path / "a.png").read_bytes()[1:4] == b"PNG"
        assert (await say("screendump")).startswith("screendump: filename expected\r\n")
        assert await say("screendump /nowhere/x") == (
            "Error: failed to open file '/nowhere/x': No such file or directory\r\n"
        )
        assert await say("screendump /tmp/x foo") == "Error: Device 'foo' not found\r\n"
        assert (await say("mouse_move 1")).startswith("mouse_move: string expected\r\n")
        assert await say("mouse_set 99") == "Mouse at index '99' not found\r\n"
        assert await say("mouse_set 0") == ""
        assert await say("mouse_move 1 2") == ""
        await vm.start()
        assert await say("mouse_move 3 -4 1") == ""
        assert await say("mouse_button 5") == ""
        await vm.stop()
        found = [record.input for record in vm.peek().inputs]
        assert MouseMove(3, 4, 1) in found
        assert [what for what in found if isinstance(what, MouseButton)] == [
            MouseButton("left", True),
            MouseButton("middle", False),
            MouseButton("right", True),
        ]
