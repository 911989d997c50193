"""Commands as the wire has them, without a socket; over one; and the same asked of QEMU."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from vmcore import VirtualMachine
from vmcore.model.errors import CommandError, VmcoreError
from vmcore.qmp.commands import load
from vmcore.qmp.convert import arguments, to_wire
from vmcore.qmp.registry import COMMANDS


async def execute(vm: VirtualMachine, name: str, **given: Any) -> Any:
    """What a command returns on the wire; CommandError where it is refused.  `_` in names of arguments is `-`."""
    load()
    command = COMMANDS[name]
    keywords = arguments(command, {key.replace("_", "-"): value for key, value in given.items()})
    result = await command.function(vm, **keywords)
    return {} if command.returns is None else to_wire(result, command.returns)


async def refusal(vm: VirtualMachine, name: str, **given: Any) -> tuple[str, str]:
    """Class and text of the error that a command answers with."""
    with pytest.raises(VmcoreError) as caught:
        await execute(vm, name, **given)
    error = caught.value
    # What is no CommandError the server tells as a GenericError.
    return (error.qmp_class, error.desc) if isinstance(error, CommandError) else ("GenericError", str(error))


class Client:
    """A client of the server."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = b""
        self._events: deque[dict[str, Any]] = deque()

    async def close(self) -> None:
        """Leave."""
        await self._stream.aclose()

    async def message(self) -> dict[str, Any]:
        while b"\r\n" not in self._buffer:
            data = await self._stream.receive_some()
            assert data, "the server ended the connection"
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    async def execute(self, name: str, **given: Any) -> dict[str, Any]:
        """The answer to a command; events before it are kept for `event`."""
        named = {key.replace("_", "-"): value for key, value in given.items()}
        await self._stream.send_all(json.dumps({"execute": name, "arguments": named}).encode())
        while "event" in (message := await self.message()):
            self._events.append(message)
        return message

    async def until(self, name: str) -> list[str]:
        """The names of all events that have not been looked at, up to the next one of this name."""
        names = list[str]()
        while name not in names:
            message = self._events.popleft() if self._events else await self.message()
            names.append(message["event"])
        return names

    async def event(self, name: str) -> dict[str, Any]:
        """The next event of a name; others before it are passed over."""
        while True:
            message = self._events.popleft() if self._events else await self.message()
            if message["event"] == name:
                return message


@asynccontextmanager
async def connected(vm: VirtualMachine, path: Path) -> AsyncIterator[Client]:
    """A client that has negotiated."""
    async with trio.open_nursery() as nursery:
        await nursery.start(vm.serve_qmp, f"unix:{path}")
        async with await trio.open_unix_socket(str(path)) as stream:
            client = Client(stream)
            await client.message()
            await client.execute("qmp_capabilities")
            yield client
        nursery.cancel_scope.cancel()


class Qemu:
    """QEMU's monitor, for the same questions."""

    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rwb")

    def execute(self, name: str, **given: Any) -> dict[str, Any]:
        named = {key.replace("_", "-"): value for key, value in given.items()}
        self._file.write(json.dumps({"execute": name, "arguments": named}).encode() + b"\n")
        self._file.flush()
        return self.message()

    def message(self) -> dict[str, Any]:
        while True:
            message: dict[str, Any] = json.loads(self._file.readline())
            if "event" not in message:
                return message


@contextmanager
def qemu(*options: str) -> Iterator[Qemu]:
    """A QEMU that has not begun to run, where one is installed."""
    program = shutil.which("qemu-system-x86_64")
    if program is None:
        pytest.skip("no qemu-system-x86_64 on this machine (Debian: apt-get install qemu-system-x86)")
    ours, theirs = socket.socketpair()
    common = ["-display", "none", "-nodefaults", "-S", "-m", "32"]
    link = ["-chardev", f"socket,fd={theirs.fileno()},id=q", "-mon", "chardev=q,mode=control"]
    with ours, subprocess.Popen([program, *common, *link, *options], pass_fds=(theirs.fileno(),)) as process:
        theirs.close()
        try:
            client = Qemu(ours)
            client.message()
            client.execute("qmp_capabilities")
            yield client
        finally:
            process.kill()
