"""The human monitor on a character device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, final

from vmcore.qmp.hmp import HumanMonitor
from vmcore.qmp.line_editor import LineEditor
from vmcore.shell.chardevs.base import Frontend

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine

__all__ = ["MonitorFrontend"]

GREETING: Final = b"vmcore monitor - type 'help' for more information\r\n"
PROMPT: Final = b"(qemu) "
"""As scripts for QEMU's monitor wait for it."""


@final
class MonitorFrontend(Frontend):
    """A prompt, lines, and what they say."""

    swaps = False

    def __init__(self, vm: VirtualMachine) -> None:
        super().__init__("monitor")
        self._vm = vm
        self._monitor = HumanMonitor(vm)
        self._editor = LineEditor()

    def opened(self) -> None:
        self._editor = LineEditor()
        self.output(GREETING + PROMPT)

    async def receive(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        await super().receive(b"", descriptors)
        for byte in data:
            shown, line = self._editor.feed(byte)
            if shown:
                self.output(shown)
            if line is not None:
                said = await self._monitor.run(line)
                self.output(said.replace("\n", "\r\n").encode("utf-8", "replace") + PROMPT)
