"""Several front ends on one character device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from vmcore.chardev.mux import HELP, MuxAction, MuxInput
from vmcore.model.char import ChardevBackend
from vmcore.model.errors import UsageError
from vmcore.shell.chardevs.base import Chardev, Frontend, Host

__all__ = ["MuxChardev"]

MOST: Final = 4
"""Front ends at one multiplexer."""


@final
class _Base(Frontend):
    """The multiplexer, as the device below it sees it."""

    swaps = False

    def __init__(self, mux: MuxChardev) -> None:
        super().__init__(mux.label)
        self._mux = mux

    async def receive(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        await super().receive(b"", descriptors)
        await self._mux.take(data)

    async def receive_break(self) -> None:
        await self._mux.send_break()

    def opened(self) -> None:
        for frontend in self._mux.frontends:
            frontend.opened()

    def closed(self) -> None:
        for frontend in self._mux.frontends:
            frontend.closed()


@final
class MuxChardev(Chardev):
    """Output of all front ends goes to the device below; its input goes to one of them, chosen with Ctrl-A c."""

    single = False

    def __init__(self, host: Host, label: str, backend: ChardevBackend, base: Chardev) -> None:
        super().__init__(host, label, backend)
        self.frontends: list[Frontend] = []
        self._focus = 0
        self._input = MuxInput()
        self._base = _Base(self)
        self._below = base

    async def _open(self) -> None:
        self._below.attach(self._base)

    def _close(self) -> None:
        if self._base.chardev is not None:
            self._base.chardev.detach(self._base)

    @property
    def busy(self) -> bool:
        return True

    @property
    def frontend_open(self) -> bool:
        return bool(self.frontends)

    @property
    def input_may_come(self) -> bool:
        return bool(self.frontends) and self._below.input_may_come

    def attach(self, frontend: Frontend) -> None:
        """Plug a front end in; the first one gets the input first."""
        if len(self.frontends) >= MOST:
            raise UsageError(f"Device '{self.label}' is in use")
        self.frontends.append(frontend)
        frontend.chardev = self
        self._look()
        if self._below.connected:
            frontend.opened()

    def detach(self, frontend: Frontend) -> None:
        if frontend in self.frontends:
            self.frontends.remove(frontend)
            self._focus = 0
        frontend.chardev = None
        self._look()

    def _look(self) -> None:
        self.frontend = self.frontends[self._focus] if self.frontends else None
        self.host.changed()

    async def take(self, data: bytes) -> None:
        """Input from below."""
        for item in self._input.feed(data):
            if isinstance(item, bytes):
                if self.frontend is not None:
                    await self.frontend.receive(item)
                continue
            match item:
                case MuxAction.HELP:
                    self.write(HELP)
                case MuxAction.EXIT:
                    self.write(b"\r\nended by C-a x\r\n")
                    self.host.vm.start_soon(self.host.vm.quit, "vmcore quit")
                case MuxAction.BREAK:
                    await self.send_break()
                case MuxAction.SWITCH if self.frontends:
                    self._focus = (self._focus + 1) % len(self.frontends)
                    self._look()
                    assert self.frontend is not None
                    self.frontend.opened()

    def _write(self, data: bytes) -> None:
        self._base.output(data)
