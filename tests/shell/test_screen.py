"""`vm.screen` and `vm.keyboard`: what is to be seen, and typing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import trio

from vmcore import VirtualMachine
from vmcore.engine import assemble, can_assemble
from vmcore.model.errors import CommandError, UsageError
from vmcore.model.ui import ImageFormat
from vmcore.screen.picture import TextPicture
from vmcore.shell.layouts import LAYOUTS, strokes

pytestmark = pytest.mark.skipif(not can_assemble(), reason="needs keystone")

ECHO = """
    mov ax, 0x0003
    int 0x10
next:
    xor ah, ah
    int 0x16
    mov ah, 0x0e
    xor bx, bx
    int 0x10
    jmp next
"""
"""Shows what is typed."""

LATER = """
    sti
    mov cx, 20
wait_more:
    hlt
    loop wait_more
    mov ax, 0xb800
    mov es, ax
    mov word ptr es:[0], 0x1e48
    mov word ptr es:[2], 0x1e69
stop:
    hlt
    jmp stop
"""
"""Shows "Hi", yellow on blue, after some ticks of the timer."""


def sector(source: str) -> bytes:
    return assemble(source, 16, 0x7C00).ljust(510, b"\0") + b"\x55\xaa"


def machine(source: str, **fields: Any) -> VirtualMachine:
    return VirtualMachine(bootsector=sector(source), memory="16M", **fields)


async def test_text_is_waited_for_in_guest_time() -> None:
    digests = []
    for _ in range(2):
        async with machine(LATER) as vm:
            with vm.fail_after(seconds=10):
                found = await vm.screen.wait_for_text(r"H(\w)")
            assert found.group(1) == "i"
            assert (await vm.screen.text()).startswith("Hi")
            first = (await vm.screen.cells())[0][0]
            assert (first.character, first.foreground, first.background) == ("H", 14, 1)
            digests.append(vm.digest())
    assert digests[0] == digests[1]


async def test_looking_changes_nothing() -> None:
    async with machine(LATER) as vm:
        await vm.run(seconds=2)
        before = vm.digest()
        await vm.screen.text()
        frame = await vm.screen.frame()
        await vm.screen.cursor()
        assert len(frame.pixels) == frame.width * frame.height * 3
        assert vm.digest() == before


async def test_waiting_also_works_beside_a_guest_that_runs() -> None:
    async with machine(LATER) as vm:
        await vm.start()
        with trio.fail_after(20):
            await vm.screen.wait_for_text("Hi")
            assert vm.free_running
            picture = await vm.screen.wait_until_stable(0.2)
        assert isinstance(picture, TextPicture)


async def test_what_never_comes_is_waited_for_as_long_as_told() -> None:
    async with machine("cli\nhlt\nhlt") as vm:
        with pytest.raises(trio.TooSlowError), vm.fail_after(seconds=1):
            await vm.screen.wait_for_text("login")


async def test_a_guest_that_goes_off_shows_nothing_more() -> None:
    async with machine("mov dx, 0x604\nmov ax, 0x2000\nout dx, ax") as vm:
        with pytest.raises(UsageError, match="the screen never showed 'login': the machine is off"):
            await vm.screen.wait_for_text("login")


async def test_graphics_have_no_text() -> None:
    async with machine("mov ax, 0x13\nint 0x10\ncli\nhlt") as vm:
        await vm.run(seconds=1)
        picture = await vm.screen.picture()
        if isinstance(picture, TextPicture):
            pytest.skip("needs SeaBIOS's vgabios-stdvga.bin")
        with pytest.raises(UsageError, match="no text: IndexedPicture of 640x400"):
            await vm.screen.text()


async def test_a_machine_without_adapter_has_no_screen(tmp_path: Path) -> None:
    async with machine(LATER, vga="none") as vm:
        with pytest.raises(UsageError, match='vga="none"'):
            await vm.screen.text()
        with pytest.raises(CommandError, match="There is no console to take a screendump from"):
            await vm.screen.dump(str(tmp_path / "x"))
        assert not (tmp_path / "x").exists()


async def test_dumps(tmp_path: Path) -> None:
    async with machine(LATER) as vm:
        await vm.run(seconds=2)
        frame = await vm.screen.frame()
        await vm.screen.dump(str(tmp_path / "a.ppm"))
        assert (tmp_path / "a.ppm").read_bytes() == b"P6\n%d %d\n255\n" % (frame.width, frame.height) + frame.pixels
        await vm.screen.dump(str(tmp_path / "a.png"), ImageFormat.PNG)
        assert (tmp_path / "a.png").read_bytes() == await vm.screen.png()
        with pytest.raises(CommandError, match="failed to open file '/nowhere/a': No such file or directory"):
            await vm.screen.dump("/nowhere/a")


async def test_images_come_by_pillow() -> None:
    pillow = pytest.importorskip("PIL.Image")
    async with machine(LATER) as vm:
        await vm.run(seconds=2)
        image = await vm.screen.image()
        assert isinstance(image, pillow.Image)
        frame = await vm.screen.frame()
        assert image.size == (frame.width, frame.height)
        assert image.tobytes() == frame.pixels


async def test_what_is_typed_is_shown() -> None:
    async with machine(ECHO) as vm:
        await vm.run(seconds=0.5)
        await vm.keyboard.type("Hello, World! #1 {a|b} ~")
        await vm.run(seconds=0.1)
        assert re.search(re.escape("Hello, World! #1 {a|b} ~"), await vm.screen.text())


def test_strokes_of_layouts() -> None:
    def keys(text: str, layout: str) -> list[tuple[str, ...]]:
        return [stroke.keys for stroke in strokes(text, layout)]

    assert keys("zZ\n", "us") == [("z",), ("shift", "z"), ("ret",)]
    assert keys("zy@", "de") == [("y",), ("z",), ("alt_r", "q")]
    assert keys("^é", "de") == [("grave_accent",), ("spc",), ("equal",), ("e",)]
    assert keys("a1.ê", "fr") == [("q",), ("shift", "1"), ("shift", "comma"), ("bracket_left",), ("e",)]
    assert keys('"£#', "gb") == [("shift", "2"), ("shift", "3"), ("backslash",)]
    assert keys("\x03", "us") == [("ctrl", "c")]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_types_ascii(layout: str) -> None:
    printable = "".join(map(chr, range(0x20, 0x7F)))
    assert len(list(strokes(printable, layout))) >= len(printable)


def test_what_cannot_be_typed_is_named() -> None:
    with pytest.raises(UsageError, match="'ß' cannot be typed with keyboard layout 'us'"):
        strokes("aß", "us")
    with pytest.raises(UsageError, match="layout: 'xx': expected one of us, gb, de, fr"):
        strokes("a", "xx")
