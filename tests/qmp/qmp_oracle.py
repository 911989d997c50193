"""A real QEMU to compare with, where one is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

PROGRAM = shutil.which("qemu-system-x86_64")

needs_qemu = pytest.mark.skipif(PROGRAM is None, reason="qemu-system-x86_64 is not installed")


class Oracle:
    """A monitor of a stopped QEMU on its standard input and output."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.greeting = self.read()
        self.ask("qmp_capabilities")

    def read(self) -> dict[str, Any]:
        """The next message."""
        assert self._process.stdout is not None
        message: dict[str, Any] = json.loads(self._process.stdout.readline())
        return message

    def ask(self, command: str, arguments: Any = None) -> dict[str, Any]:
        """Run a command; its reply, events before it left out."""
        request = {"execute": command} | ({} if arguments is None else {"arguments": arguments})
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        while "event" in (message := self.read()):
            pass
        return message


@contextmanager
def qemu(*options: str) -> Iterator[Oracle]:
    """A QEMU that ends with the block."""
    assert PROGRAM is not None
    arguments = [PROGRAM, "-display", "none", "-nodefaults", "-S", "-m", "32", "-qmp", "stdio", *options]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield Oracle(process)
        finally:
            process.kill()
