"""Clients that know nothing of vmcore drive a booted Linux in a process of its own: all of the qemu.qmp package.

Nothing is shared with the machine but its QMP socket and its serial port.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from guest_kit import MakeInitramfs

qmp = pytest.importorskip("qemu.qmp")
from qemu.qmp.legacy import QEMUMonitorProtocol  # noqa: E402

PATIENCE = 60.0
"""Host seconds after which a guest or a client is given up."""


@define
class Guest:
    """A Linux with a shell at its serial port, in a process of its own."""

    process: subprocess.Popen[bytes]
    monitor: Path
    serial: socket.socket
    seen: bytes = field(default=b"", init=False)

    def expect(self, what: bytes) -> bytes:
        """Read the serial port up to these bytes; return what came before."""
        while what not in self.seen:
            data = self.serial.recv(65536)
            assert data, f"the serial port ended behind {self.seen[-500:]!r}"
            self.seen += data
        before, self.seen = self.seen.split(what, 1)
        return before

    def type(self, line: str) -> None:
        """Type a line at the shell."""
        self.serial.sendall(line.encode() + b"\n")

    def is_silent(self) -> bool:
        """Whether nothing comes from the serial port for a while."""
        self.serial.settimeout(0.3)
        try:
            return not self.serial.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        finally:
            self.serial.settimeout(PATIENCE)


Boot = Callable[[], Any]


@pytest.fixture
def boot(
    cloud_kernel: Path,
    initramfs: MakeInitramfs,
    power_button_files: dict[str, tuple[int, bytes]],
    tmp_path: Path,
) -> Boot:
    """boot() -> a context with a Guest that has reached its shell."""
    initrd = tmp_path / "initrd"
    script = "/bin/busybox acpid -d -c /etc/acpi 2>/dev/null &\nexec /bin/busybox sh"
    initrd.write_bytes(initramfs(script, kernel=cloud_kernel, modules=["evdev", "button"], files=power_button_files))

    @contextmanager
    def booted() -> Iterator[Guest]:
        monitor, serial = tmp_path / "qmp", tmp_path / "serial"
        command = [sys.executable, "-m", "vmcore", "run", "--memory", "256M", "--kernel", str(cloud_kernel)]
        command += ["--initrd", str(initrd), "--append", "console=ttyS0 quiet panic=-1", "--paused"]
        command += ["--qmp", f"unix:{monitor}", "--serial", f"unix:{serial}"]
        with subprocess.Popen(command) as process:
            try:
                with connected(serial, process) as stream:
                    connected(monitor, process).close()
                    yield Guest(process, monitor, stream)
            finally:
                process.kill()

    return booted


def connected(path: Path, process: subprocess.Popen[bytes]) -> socket.socket:
    """A connection to a Unix socket that a process will soon listen on."""
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(PATIENCE)
    while True:
        try:
            stream.connect(str(path))
            return stream
        except (FileNotFoundError, ConnectionRefusedError):
            assert process.poll() is None, "the process ended before it listened"


@contextmanager
def legacy(path: Path) -> Iterator[Any]:
    """The package's synchronous client, connected."""
    client = QEMUMonitorProtocol(str(path))
    try:
        client.connect()
        client.settimeout(PATIENCE)
        yield client
    finally:
        with suppress(EOFError):  # the package's way to say that the other side left first
            client.close()


def prepared(guest: Guest) -> None:
    """Wait until the guest's daemon has the power button."""
    guest.expect(b"# ")
    guest.type("until busybox ls -l /proc/[0-9]*/fd | busybox grep -q event; do :; done")
    guest.expect(b"# ")


def test_the_asyncio_client_drives_linux(boot: Boot) -> None:
    async def drive(guest: Guest) -> None:
        client = qmp.QMPClient("test")
        with client.listener() as events:

            async def event() -> dict[str, Any]:
                message: dict[str, Any] = await asyncio.wait_for(events.get(), PATIENCE)
                assert set(message.pop("timestamp")) == {"seconds", "microseconds"}
                return message

            await client.connect(str(guest.monitor))
            assert await client.execute("query-status") == {"running": False, "status": "prelaunch"}
            await client.execute("cont")
            assert await event() == {"event": "RESUME"}
            await asyncio.to_thread(prepared, guest)

            await client.execute("stop")
            assert await event() == {"event": "STOP"}
            assert await client.execute("query-status") == {"running": False, "status": "paused"}
            guest.type("echo $((6 * 7)) is the answer")
            assert await asyncio.to_thread(guest.is_silent)
            await client.execute("cont")
            assert await event() == {"event": "RESUME"}
            await asyncio.to_thread(guest.expect, b"42 is the answer")
            await asyncio.to_thread(guest.expect, b"# ")
            assert (await client.execute("query-cpus-fast"))[0]["target"] == "x86_64"

            # A descriptor, handed over with the socket's ancillary data.
            read, write = os.pipe()
            client.send_fd_scm(read)
            os.close(read)
            assert await client.execute("getfd", {"fdname": "pipe"}) == {}
            os.write(write, b"kept")  # EPIPE if nobody had the other end any more
            assert await client.execute("closefd", {"fdname": "pipe"}) == {}
            with pytest.raises(BrokenPipeError):
                os.write(write, b"gone")
            os.close(write)

            # Out of band: refused for a command that cannot, in the error of the command for one that can.
            with pytest.raises(qmp.ExecuteError, match="does not support OOB"):
                await client.execute("query-status", oob=True)
            with pytest.raises(qmp.ExecuteError, match="postcopy"):
                await client.execute("migrate-pause", oob=True)
            with pytest.raises(qmp.ExecuteError, match="has not been found") as refused:
                await client.execute("nosuch")
            assert refused.value.error_class == "CommandNotFound"

            await client.execute("system_reset")
            assert await event() == {"event": "RESET", "data": {"guest": False, "reason": "host-qmp-system-reset"}}
            await asyncio.to_thread(prepared, guest)

            await client.execute("system_powerdown")
            assert await event() == {"event": "POWERDOWN"}
            assert await event() == {"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-shutdown"}}
            with suppress(EOFError):  # as above
                await client.disconnect()

    with boot() as guest:
        asyncio.run(drive(guest))
        assert guest.process.wait(PATIENCE) == 0


def test_the_legacy_class_drives_linux(boot: Boot) -> None:
    with boot() as guest, legacy(guest.monitor) as client:
        assert client.cmd("query-status") == {"running": False, "status": "prelaunch"}
        assert client.cmd_obj({"execute": "cont", "id": "mine"}) == {"return": {}, "id": "mine"}
        assert client.pull_event(wait=PATIENCE)["event"] == "RESUME"
        prepared(guest)
        read, write = os.pipe()
        client.send_fd_scm(read)
        assert "fd" in client.cmd("add-fd", **{"fdset-id": 5})
        assert [s["fdset-id"] for s in client.cmd("query-fdsets")] == [5]
        os.close(read)
        os.close(write)
        refused = client.cmd_raw("device_del", {"id": "nosuch"})
        assert refused["error"]["class"] == "DeviceNotFound"
        client.cmd("stop")
        client.cmd("cont")
        assert [event["event"] for event in client.get_events(wait=PATIENCE)] == ["STOP", "RESUME"]
        guest.type("echo $((6 * 7)) is the answer")
        guest.expect(b"42 is the answer")
        client.cmd("quit")
        assert client.pull_event(wait=PATIENCE)["data"] == {"guest": False, "reason": "host-qmp-quit"}
        assert guest.process.wait(PATIENCE) == 0


SHELL = """query-status
cont
query-kvm
set-action reboot=reset shutdown=poweroff
stop
query-status
nosuch
cont
system_powerdown
"""


def test_qmp_shell_drives_linux(boot: Boot, tmp_path: Path) -> None:
    shell = [sys.executable, "-m", "qemu.qmp.qmp_shell", str(tmp_path / "qmp")]
    environment = os.environ | {"HOME": str(tmp_path), "TERM": "dumb"}
    with boot() as guest:
        with subprocess.Popen(shell, stdin=-1, stdout=-1, stderr=subprocess.STDOUT, env=environment) as client:
            assert client.stdin is not None
            lines = SHELL.splitlines(keepends=True)
            for line in lines[:2]:
                client.stdin.write(line.encode())
            client.stdin.flush()
            prepared(guest)
            output = client.communicate("".join(lines[2:]).encode(), PATIENCE)[0].decode()
        assert "Connected to QEMU" in output
        assert '{"return": {"running": false, "status": "prelaunch"}}' in sorted_members(output)
        assert '"present": false' in output
        assert '{"return": {"running": false, "status": "paused"}}' in sorted_members(output)
        assert '"class": "CommandNotFound"' in output
        guest.expect(b"reboot: Power down")
        assert guest.process.wait(PATIENCE) == 0


def test_qmp_shell_passes_lines_on_to_the_human_monitor(boot: Boot, tmp_path: Path) -> None:
    shell = [sys.executable, "-m", "qemu.qmp.qmp_shell", "-H", str(tmp_path / "qmp")]
    environment = os.environ | {"HOME": str(tmp_path), "TERM": "dumb"}
    with boot() as guest:
        lines = b"info status\ncont\ninfo status\nquit\n"
        client = subprocess.run(shell, input=lines, capture_output=True, env=environment, timeout=PATIENCE)
        output = client.stdout.decode()
        assert output.index("VM status: paused (prelaunch)") < output.index("VM status: running")
        assert guest.process.wait(PATIENCE) == 0


def sorted_members(text: str) -> str:
    """The text, with the two members of a status in the order of their names."""
    for state in ("prelaunch", "paused"):
        text = text.replace(f'"status": "{state}", "running": false', f'"running": false, "status": "{state}"')
    return text


def test_a_signal_ends_the_machine_and_its_clients_are_told(boot: Boot) -> None:
    with boot() as guest, legacy(guest.monitor) as client:
        client.cmd("cont")
        guest.expect(b"# ")
        guest.process.send_signal(signal.SIGTERM)
        assert client.pull_event(wait=PATIENCE)["event"] == "RESUME"
        assert client.pull_event(wait=PATIENCE)["data"] == {"guest": False, "reason": "host-signal"}
        assert guest.process.wait(PATIENCE) == 143
