"""The screen by `vm.screen`: its text, its pixels, and waiting for what it shows.

Looking at it changes nothing in the guest.  Waiting is done in guest time: a machine that is not free-running is
driven, and looked at, at the same instructions every time.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final, final

from attrs import evolve

from vmcore.model.errors import CommandError, UsageError
from vmcore.model.ui import ImageFormat
from vmcore.screen.characters import Cell, cells, lines
from vmcore.screen.files import png, ppm
from vmcore.screen.picture import Picture, TextPicture
from vmcore.screen.render import Frame, render

if TYPE_CHECKING:
    from vmcore.machine.machine import Machine
    from vmcore.vm import VirtualMachine

__all__ = ["Screen"]

LOOK_SECONDS: Final = 0.02
"""Guest time between two looks while waiting."""


@final
class Screen:
    """`vm.screen`.  UsageError where the machine has no display adapter, or shows no text where text is asked for."""

    __slots__ = ("_vm",)

    def __init__(self, vm: VirtualMachine) -> None:
        self._vm = vm

    # --- looking

    async def picture(self) -> Picture:
        """What is shown, as data: cells and fonts of a text mode, or rows of pixels."""
        async with self._vm.parked() as machine:
            return _picture(machine)

    async def text(self) -> str:
        """The rows of a text mode, without blanks at their ends, separated by line feeds.

        Characters are those of code page 437.
        """
        return _text(_is_text(await self.picture()))

    async def cells(self) -> list[list[Cell]]:
        """The rows of a text mode, character by character with their attributes."""
        return cells(_is_text(await self.picture()))

    async def cursor(self) -> tuple[int, int] | None:
        """Row and column of the cursor of a text mode, from 0; None where it is off or out of sight."""
        cursor = _is_text(await self.picture()).cursor
        return None if cursor is None else (cursor.row, cursor.column)

    async def frame(self) -> Frame:
        """The pixels."""
        return render(await self.picture())

    async def png(self) -> bytes:
        """The pixels as a PNG file."""
        return png(await self.frame())

    async def image(self) -> Any:
        """The pixels as an image of Pillow (install `vmcore[screen]`)."""
        try:
            from PIL import Image
        except ImportError as error:
            raise UsageError("images need Pillow: pip install 'vmcore[screen]', or use frame() or png()") from error
        frame = await self.frame()
        return Image.frombytes("RGB", (frame.width, frame.height), frame.pixels)

    async def dump(self, path: str, format: ImageFormat | str = ImageFormat.PPM) -> None:
        """Write the pixels to a file, as "ppm" or "png".  CommandError where that fails or there is no screen."""
        if format not in tuple(ImageFormat):
            raise UsageError(f"format: {format!r}: expected {' or '.join(ImageFormat)}")
        async with self._vm.parked() as machine:
            if machine.board.screen is None:
                raise CommandError("GenericError", "There is no console to take a screendump from")
            picture = _picture(machine)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        except OSError as error:
            reason = os.strerror(error.errno or 0)
            raise CommandError("GenericError", f"failed to open file '{path}': {reason}") from error
        frame = render(picture)
        with os.fdopen(descriptor, "wb") as file:
            file.write(png(frame) if format == ImageFormat.PNG else ppm(frame))

    # --- waiting

    async def wait_for_text(self, pattern: str | re.Pattern[str]) -> re.Match[str]:
        """Wait until the text of the screen has a match for a regular expression (`text`, so ^ and $ want re.M).

        Limit it by `vm.fail_after`.  UsageError when the guest goes off without it.
        """
        wanted = re.compile(pattern)
        while True:
            picture = await self.picture()
            if isinstance(picture, TextPicture) and (found := wanted.search(_text(picture))) is not None:
                return found
            await self._wait(f"the screen never showed {wanted.pattern!r}")

    async def wait_until_stable(self, seconds: float = 0.5) -> Picture:
        """Wait until nothing has changed on the screen, the cursor's and characters' blinking apart, for so many
        seconds of guest time; what it shows then.
        """
        since, last = self._vm.guest_ns, _still(await self.picture())
        while True:
            await self._wait("the screen did not come to rest")
            now = _still(await self.picture())
            if now != last:
                since, last = self._vm.guest_ns, now
            elif self._vm.guest_ns - since >= seconds * 1_000_000_000:
                return now

    async def _wait(self, otherwise: str) -> None:
        await self._vm.sleep(LOOK_SECONDS)
        if self._vm.exit is not None:
            raise UsageError(f"{otherwise}: the machine is off ({self._vm.exit})")


def _picture(machine: Machine) -> Picture:
    screen = machine.board.screen
    if screen is None:
        raise UsageError('the machine has no screen: it was built with vga="none"')
    return screen.picture(machine.now_ns)


def _is_text(picture: Picture) -> TextPicture:
    if not isinstance(picture, TextPicture):
        raise UsageError(f"the screen shows no text: {type(picture).__name__} of {picture.width}x{picture.height}")
    return picture


def _text(picture: TextPicture) -> str:
    return "\n".join(line.rstrip() for line in lines(picture))


def _still(picture: Picture) -> Picture:
    """A picture without what blinks."""
    return evolve(picture, cursor=None, dark=False) if isinstance(picture, TextPicture) else picture
