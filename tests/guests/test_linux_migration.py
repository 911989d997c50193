"""A Linux that counts in its shell moves between processes, over a socket and through a file, and counts on.

Everything is done over QMP, as a manager of virtual machines does it.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 120.0
COUNT = "i=0; until read -t 1 line; do i=$((i+1)); echo count $i; done"
"""Once a second, until a line comes."""


def connect(path: Path, process: subprocess.Popen[bytes]) -> socket.socket:
    """A connection to a Unix socket that may not be there yet."""
    deadline = time.monotonic() + PATIENCE
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            connection.settimeout(PATIENCE)
            return connection


class Process:
    """A `python -m vmcore run` with a serial port and QMP on sockets."""

    def __init__(self, folder: Path, name: str, options: list[str], stack: ExitStack) -> None:
        serial, qmp = folder / f"{name}-serial", folder / f"{name}-qmp"
        command = [sys.executable, "-m", "vmcore", "run", *options]
        command += ["--serial", f"unix:{serial}", "--qmp", f"unix:{qmp}"]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        stack.callback(self._end)
        self._qmp = stack.enter_context(connect(qmp, self.process))
        self._messages = self._qmp.makefile("rb")
        stack.callback(self._messages.close)
        self.message()
        self.execute("qmp_capabilities")
        self._serial = stack.enter_context(connect(serial, self.process))

    def _end(self) -> None:
        self.process.kill()
        self.process.communicate()

    def message(self) -> dict[str, Any]:
        line = self._messages.readline()
        assert line, "the process ended"
        message: dict[str, Any] = json.loads(line)
        return message

    def execute(self, command: str, **arguments: Any) -> Any:
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        self._qmp.sendall(json.dumps({"execute": command, "arguments": named}).encode())
        while "event" in (message := self.message()):
            pass
        return message["return"]

    def wait_event(self, status: str) -> None:
        """Wait until a migration is in this status."""
        while True:
            message = self.message()
            if message.get("event") == "MIGRATION":
                assert message["data"]["status"] != "failed", self.execute("query-migrate")
                if message["data"]["status"] == status:
                    return

    def say(self, text: str) -> None:
        self._serial.sendall(text.encode())

    def read_until(self, pattern: bytes) -> bytes:
        """Output of the guest until a pattern is in it."""
        data = b""
        while not re.search(pattern, data):
            piece = self._serial.recv(4096)
            assert piece, data
            data += piece
        return data

    def read_rest(self) -> bytes:
        """Output of a guest that stands still."""
        data = b""
        self._serial.settimeout(0.5)
        try:
            while piece := self._serial.recv(4096):
                data += piece
        except TimeoutError:
            pass
        return data


@contextmanager
def processes() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def options(cloud_kernel: Path, initramfs: Callable[[str], bytes], tmp_path: Path) -> list[str]:
    """Of a Linux with a shell."""
    initrd = tmp_path / "initrd"
    initrd.write_bytes(initramfs("exec /bin/busybox sh"))
    kernel = ["--kernel", str(cloud_kernel), "--initrd", str(initrd), "--append", "console=ttyS0 quiet"]
    return [*kernel, "--memory", "128M"]


def counts(output: bytes) -> list[int]:
    return [int(number) for number in re.findall(rb"count (\d+)\r\n", output)]


def test_linux_counts_on_in_another_process_and_from_a_file(options: list[str], tmp_path: Path) -> None:
    way, path = f"unix:{tmp_path / 'way'}", f"file:{tmp_path / 'guest'}"
    events = [{"capability": "events", "state": True}]
    with processes() as stack:
        first = Process(tmp_path, "first", options, stack)
        first.read_until(b"# ")
        first.say(COUNT + "\n")
        output = first.read_until(rb"count 3\r\n")
        second = Process(tmp_path, "second", [*options, "--incoming", way], stack)
        assert second.execute("query-status") == {"running": False, "status": "inmigrate"}
        first.execute("migrate-set-capabilities", capabilities=events)
        first.execute("migrate-set-parameters", max_bandwidth=0)
        first.execute("migrate", uri=way)
        first.wait_event("completed")
        assert first.execute("query-status") == {"running": False, "status": "postmigrate"}
        numbers = first.execute("query-migrate")
        assert numbers["ram"]["total"] > 100 << 20
        assert numbers["ram"]["normal-bytes"] > 10 << 20
        assert numbers["downtime"] < numbers["total-time"]
        output += first.read_rest()
        output += second.read_until(rb"(count \d+\r\n[^c]*){3}")
        assert second.execute("query-status") == {"running": True, "status": "running"}

        second.execute("migrate-set-capabilities", capabilities=events)
        second.execute("migrate", uri=path)
        second.wait_event("completed")
        output += second.read_rest()
        third = Process(tmp_path, "third", [*options, "--incoming", path], stack)
        output += third.read_until(rb"(count \d+\r\n[^c]*){3}")
        third.say("\n")
        output += third.read_until(b"# ")
        third.say("echo still $((20 + 22)) here\n")
        third.read_until(b"still 42 here")
        third.execute("quit")
        assert third.process.wait(PATIENCE) == 0
    numbers = counts(output)
    assert numbers[0] == 1
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 9
