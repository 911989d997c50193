"""Signals to the process that runs a machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from exchange import Client

from vmcore.cli.options import RunOptions, parse
from vmcore.cli.run import run

SPIN = bytes.fromhex("eb fe")
SHUTDOWN = {"guest": False, "reason": "host-signal"}


async def until_socket(path: Path) -> None:
    while not path.exists():
        await trio.lowlevel.checkpoint()


@pytest.mark.conformance("SHUTDOWN", "ShutdownCause.host-signal")
@pytest.mark.parametrize("more", [(), ("--no-shutdown",), ("--paused",)])
async def test_clients_are_told_of_a_signal_before_the_end(tmp_path: Path, more: tuple[str, ...]) -> None:
    (tmp_path / "guest").write_bytes(SPIN)
    path = tmp_path / "qmp"
    options = parse(["run", "--flat", str(tmp_path / "guest"), "--serial", "null", "--qmp", f"unix:{path}", *more])
    assert isinstance(options, RunOptions)
    statuses = []

    async def guest() -> None:
        statuses.append(await run(options))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(guest)
        await until_socket(path)
        async with await trio.open_unix_socket(str(path)) as stream:
            client = Client(stream)
            await client.message()
            await client.execute("qmp_capabilities")
            os.kill(os.getpid(), signal.SIGTERM)
            while (message := await client.message()).get("event") != "SHUTDOWN":
                assert message["event"] in ("RESUME", "STOP")
            assert message["data"] == SHUTDOWN
    assert statuses == [143]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_process_of_its_own_tells_them_too(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "guest").write_bytes(SPIN)
    near, far = socket.socketpair()
    with near, far:
        command = [sys.executable, "-m", "vmcore", "run", "--flat", str(tmp_path / "guest"), "--serial", "null"]
        command += ["--qmp", f"fd:{far.fileno()}", "--no-shutdown"]
        with subprocess.Popen(command, pass_fds=(far.fileno(),)) as process:
            try:
                far.close()
                near.settimeout(60)
                with near.makefile("rb") as file:
                    file.readline()
                    near.sendall(b'{"execute": "qmp_capabilities"}')
                    file.readline()
                    process.send_signal(number)
                    messages = [json.loads(line) for line in file]
                assert process.wait(30) == 128 + number
            finally:
                process.kill()
    assert SHUTDOWN in [message.get("data") for message in messages]
