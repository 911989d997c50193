"""Linux on the screen: its console in text mode, and on the frame buffer that `vga=` asks for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vmcore import VirtualMachine
from vmcore.firmware import video_bios
from vmcore.screen.picture import DirectPicture

HELLO = """
/bin/busybox mount -t devtmpfs dev /dev
echo "on the screen" > /dev/tty0
echo done > /dev/ttyS0
exec /bin/busybox sleep 100000
"""


async def test_the_console_is_on_the_screen(generic_kernel: Path, initramfs: Callable[[str], bytes]) -> None:
    append = "console=ttyS0 console=tty0 quiet"
    async with VirtualMachine(kernel=generic_kernel, initrd=initramfs(HELLO), append=append, memory="256M") as vm:
        with vm.fail_after(seconds=60):
            await vm.screen.wait_for_text("on the screen")


async def test_a_mode_of_the_command_line_is_set(generic_kernel: Path, initramfs: Callable[[str], bytes]) -> None:
    if not video_bios.find():
        pytest.skip("needs SeaBIOS's vgabios-stdvga.bin")
    append = "console=ttyS0 console=tty0 vga=0x317 vt.global_cursor_default=0"
    async with VirtualMachine(kernel=generic_kernel, initrd=initramfs(HELLO), append=append, memory="256M") as vm:
        with vm.fail_after(seconds=60):
            await vm.serial[0].expect(b"done")
            picture = await vm.screen.wait_until_stable(1)
        assert isinstance(picture, DirectPicture)
        assert (picture.width, picture.height, picture.depth) == (1024, 768, 16)
        assert any(any(line) for line in picture.lines)
