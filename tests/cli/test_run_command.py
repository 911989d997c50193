"""`python -m vmcore run` as a process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from vmcore import FlatImage, VirtualMachine

HALT = bytes.fromhex("fa f4 eb fd")
POWER_OFF = bytes.fromhex("ba 04 06 b8 00 20 ef f4")


def say(text: bytes, then: bytes) -> bytes:
    code = bytes.fromhex("be 00 00 ba f8 03 ac 84 c0 74 03 ee eb f8") + then
    return code[:1] + (0x7C00 + len(code)).to_bytes(2, "little") + code[3:] + text + b"\0"


def vmcore(*arguments: object, stdin: bytes = b"", timeout: float = 60) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "vmcore", *map(str, arguments)], input=stdin, capture_output=True, timeout=timeout
    )


@pytest.fixture
def image(tmp_path: Path) -> Callable[[bytes], Path]:
    def make(code: bytes) -> Path:
        path = tmp_path / "guest.bin"
        path.write_bytes(code)
        return path

    return make


def test_the_demonstration_runs_to_its_end_and_sums_up() -> None:
    result = vmcore()
    assert result.returncode == 0, result.stderr
    for part in (b"long mode", b"guest-shutdown", b"Shutdown", b"instructions", b"MIPS"):
        assert part in result.stdout


def test_output_of_the_guest_reaches_standard_output_unchanged(image: Callable[[bytes], Path]) -> None:
    text = bytes(range(1, 256)) + b"\r\nend"
    result = vmcore("run", "--flat", image(say(text, POWER_OFF)))
    assert (result.returncode, result.stdout, result.stderr) == (0, text, b"")


def test_isa_debug_exit_gives_its_status(image: Callable[[bytes], Path]) -> None:
    code = bytes.fromhex("b0 15 e6 f4 f4")  # mov al, 15h; out f4h, al; hlt
    result = vmcore("run", "--flat", image(code), "--device", "isa-debug-exit,iobase=0xf4,iosize=4")
    assert result.returncode == (0x15 << 1) | 1


def test_a_guest_that_waits_for_ever_ends_with_status_6_when_no_input_can_come(image: Callable[[bytes], Path]) -> None:
    assert vmcore("run", "--flat", image(HALT)).returncode == 6


def test_a_spent_budget_ends_with_status_4_at_the_exact_instruction(
    image: Callable[[bytes], Path], tmp_path: Path
) -> None:
    stats = tmp_path / "stats.json"
    spin = bytes.fromhex("eb fe")
    result = vmcore("run", "--flat", image(spin), "--max-instructions", 1234567, "--stats", stats)
    assert result.returncode == 4
    written = json.loads(stats.read_text())
    assert written["instructions"] == 1234567
    assert written["exit"] == "BudgetSpent"
    assert written["guest_ns"] >= 1234567
    assert len(written["digest"]) == 64
    assert written["exits"]["budget"] >= 1
    again = vmcore("run", "--flat", image(spin), "--max-instructions", 1234567, "--stats", stats)
    assert again.returncode == 4
    assert json.loads(stats.read_text())["digest"] == written["digest"]


def test_no_reboot_turns_a_triple_fault_into_an_end(image: Callable[[bytes], Path]) -> None:
    triple = bytes.fromhex("0f 01 1e 0c 7c cd 03 90 90 90 90 90 00 00 00 00 00 00")
    assert vmcore("run", "--flat", image(triple), "--no-reboot").returncode == 0


def test_standard_input_reaches_the_guest_and_its_end_is_no_error(image: Callable[[bytes], Path]) -> None:
    # Reads three bytes from COM1, sends each back plus one, powers off.
    code = bytes.fromhex("b9 03 00 ba fd 03 ec a8 01 74 f8 ba f8 03 ec fe c0 ee e2 ef") + POWER_OFF
    result = vmcore("run", "--flat", image(code), stdin=b"HAL")
    assert (result.returncode, result.stdout) == (0, b"IBM")


def test_debugcon_goes_to_its_file(image: Callable[[bytes], Path], tmp_path: Path) -> None:
    code = bytes.fromhex("b0 48 e6 e9 b0 69 e6 e9") + POWER_OFF
    log = tmp_path / "debug.log"
    assert vmcore("run", "--flat", image(code), "--debugcon", f"file:{log}").returncode == 0
    assert log.read_bytes() == b"Hi"


def test_a_serial_port_to_a_file(image: Callable[[bytes], Path], tmp_path: Path) -> None:
    log = tmp_path / "serial.log"
    result = vmcore("run", "--flat", image(say(b"to the file", POWER_OFF)), "--serial", f"file:{log}")
    assert (result.returncode, result.stdout, log.read_bytes()) == (0, b"", b"to the file")


def test_a_serial_port_on_a_unix_socket(image: Callable[[bytes], Path], tmp_path: Path) -> None:
    code = bytes.fromhex("b9 03 00 ba fd 03 ec a8 01 74 f8 ba f8 03 ec fe c0 ee e2 ef") + POWER_OFF
    path = tmp_path / "serial.sock"
    process = subprocess.Popen(
        [sys.executable, "-m", "vmcore", "run", "--flat", str(image(code)), "--serial", f"unix:{path}"]
    )
    try:
        deadline = time.monotonic() + 30
        with socket.socket(socket.AF_UNIX) as client:
            while client.connect_ex(str(path)) and time.monotonic() < deadline:
                time.sleep(0.01)  # nothing announces the socket of another process
            client.sendall(b"HAL")
            assert client.recv(1) == b"I"
        assert process.wait(30) == 0
        assert not path.exists()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_spinning_guest(image: Callable[[bytes], Path], number: int, status: int) -> None:
    guest = image(say(b"up", bytes.fromhex("eb fe")))
    process = subprocess.Popen([sys.executable, "-m", "vmcore", "run", "--flat", str(guest)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.read(2) == b"up"
        process.send_signal(number)
        assert process.wait(30) == status
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--memory", "lots"], ["memory", "lots", "expected"]),
        (["--kernel", "/no/such/kernel"], ["/no/such/kernel"]),
        (["--cpus", "0"], ["cpus", "0", "expected"]),
        (["--cpu", "pentium9"], ["pentium9"]),
        (["--cpu", "qemu64,+flux"], ["flux", "Property 'qemu64-x86_64-cpu.flux' not found"]),
        (["--cpus", "4,sockets=3"], ["cpus", "sockets (3) * dies (1) * cores (1) * threads (1) != maxcpus (4)"]),
        (["--serial", "pigeon"], ["serial", "pigeon", "stdio"]),
        (["--device", "flux-capacitor"], ["flux-capacitor", "isa-debug-exit"]),
        (["--device", "isa-debug-exit,iobase=zero"], ["iobase", "zero"]),
        (["--rtc", "yesterday"], ["rtc", "yesterday"]),
        (["--initrd", "/dev/null"], ["initrd"]),
    ],
)
def test_bad_options_end_with_status_2_and_say_what_was_expected(arguments: list[str], parts: list[str]) -> None:
    result = vmcore("run", *arguments)
    assert result.returncode == 2
    text = result.stderr.decode()
    assert "Traceback" not in text
    for part in parts:
        assert part in text


def test_a_file_that_is_no_kernel_names_the_file_and_the_field(tmp_path: Path) -> None:
    bad = tmp_path / "not-a-kernel"
    bad.write_bytes(os.urandom(4096))
    result = vmcore("run", "--kernel", bad)
    assert result.returncode == 2
    assert b"not-a-kernel" in result.stderr


@pytest.mark.parametrize("cpus", [1, 4])
def test_the_main_job(cloud_kernel: Path, initramfs: Callable[[str], bytes], tmp_path: Path, cpus: int) -> None:
    initrd = tmp_path / "initrd.gz"
    initrd.write_bytes(initramfs("echo user space\n/bin/busybox cat /proc/cpuinfo\n/bin/busybox poweroff -f"))
    result = vmcore(
        *("run", "--kernel", cloud_kernel, "--initrd", initrd, "--append", "console=ttyS0 panic=-1"),
        *("--memory", "512M", "--cpus", cpus),
        timeout=300,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr
    assert b"user space" in result.stdout
    assert result.stdout.count(b"processor\t:") == cpus


def test_a_guest_that_was_migrated_to_a_file_goes_on(tmp_path: Path, image: Callable[[bytes], Path]) -> None:
    # Says "before ", counts from 0 to 65536, then says "x" and powers off.
    tail = bytes.fromhex("31c9 41 75fd ba f803 b078 ee ba0406 b80020 ef f4")
    flat, path = image(say(b"before ", tail)), tmp_path / "migrated"

    async def store() -> None:
        async with VirtualMachine(flat=FlatImage(flat), memory="128M") as vm:
            await vm.run(instructions=10_000)
            assert vm.serial[0].unread == b"before "
            await vm.migrate(f"file:{path}")

    trio.run(store)
    result = vmcore("run", "--flat", flat, "--incoming", f"file:{path}")
    assert (result.returncode, result.stdout) == (0, b"x"), result.stderr
    budget = vmcore("run", "--flat", flat, "--incoming", f"file:{path}", "--max-instructions", "1000")
    assert (budget.returncode, budget.stdout) == (4, b"")
    other = vmcore("run", "--flat", flat, "--incoming", f"file:{path}", "--memory", "64M")
    assert other.returncode == 2
    assert b"config.memory" in other.stderr
    assert b"Traceback" not in other.stderr
    for bad in ("pigeon:1", "tcp:x", "unix:", "file:", "fd:abc", "defer", "unix:/no/such/folder/socket"):
        refused = vmcore("run", "--flat", flat, "--incoming", bad)
        assert refused.returncode == 2, bad
        assert b"Traceback" not in refused.stderr


class Qmp:
    """A client of a process's QMP socket."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + 30
        while self.socket.connect_ex(str(path)) and time.monotonic() < deadline:
            time.sleep(0.01)  # nothing announces the socket of another process
        self.file = self.socket.makefile("rwb")
        self.file.readline()
        self("qmp_capabilities")

    def __call__(self, name: str, **given: object) -> dict[str, object]:
        """The answer to a command; the events before it are kept."""
        self.events: list[str] = []
        named = {key.replace("_", "-"): value for key, value in given.items()}
        self.file.write(json.dumps({"execute": name, "arguments": named}).encode())
        self.file.flush()
        while "event" in (message := json.loads(self.file.readline())):
            self.events.append(message["event"])
        answer: dict[str, object] = message
        return answer

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def test_a_machine_is_configured_before_it_is_built(image: Callable[[bytes], Path], tmp_path: Path) -> None:
    path, stats = tmp_path / "qmp", tmp_path / "stats"
    options = ["--memory", "32M", "--cpus", "2", "--stats", stats, "--preconfig", "--qmp", f"unix:{path}"]
    options += ["--object", "memory-backend-ram,id=m0,size=24M", "--object", "iothread,id=io0"]
    options += ["--numa", "node,cpus=0,memdev=m0"]
    command = [sys.executable, "-m", "vmcore", "run", "--flat", image(say(b"built", POWER_OFF)), *options]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE) as process:
        try:
            qmp = Qmp(path)
            assert "error" in qmp("x-exit-preconfig")
            qmp("object-add", qom_type="memory-backend-ram", id="m1", size=8 << 20)
            qmp("set-numa-node", type="node", memdev="m1", cpus=[1])
            assert qmp("x-exit-preconfig") == {"return": {}}
            assert qmp.events == ["RESUME"]
            qmp.close()
            assert process.wait(30) == 0
            assert process.stdout is not None
            assert process.stdout.read() == b"built"
        finally:
            process.kill()
    assert json.loads(stats.read_text())["exit"] == "ShutdownRequested"


def test_a_machine_that_is_never_built_can_be_ended(image: Callable[[bytes], Path], tmp_path: Path) -> None:
    path = tmp_path / "qmp"
    command = [sys.executable, "-m", "vmcore", "run", "--flat", image(HALT), "--preconfig", "--qmp", f"unix:{path}"]
    for end in ("quit", "SIGTERM"):
        with subprocess.Popen(list(map(str, command))) as process:
            try:
                qmp = Qmp(path)
                if end == "quit":
                    assert qmp("quit") == {"return": {}}
                    assert qmp.events == ["SHUTDOWN"]
                else:
                    process.terminate()
                assert process.wait(30) == (0 if end == "quit" else 128 + signal.SIGTERM)
                qmp.close()
            finally:
                process.kill()


def test_ram_is_a_file(image: Callable[[bytes], Path], tmp_path: Path) -> None:
    ram = tmp_path / "ram"
    option = f"memory-backend-file,id=m0,size=1M,mem-path={ram},share=on"
    result = vmcore(
        *("run", "--flat", image(say(b"in RAM", POWER_OFF)), "--memory", "1M", "--object", option),
        *("-machine", "memory-backend=m0"),
    )
    assert (result.returncode, result.stdout) == (0, b"in RAM")
    assert b"in RAM\0" in ram.read_bytes()[0x7C00:0x7D00]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--numa", "node,memdev=nosuch"], b"numa[0]"),
        (["--numa", "node"], b"should equal RAM size"),
        (["--object", "nosuch,id=a"], b"object[0]"),
        (["--object", "memory-backend-ram,id=a"], b"size"),
        (["--object", "iothread,id=a", "--object", "iothread,id=a"], b"a name that no other object has"),
        (["-machine", "memory-backend=a"], b"memory_backend"),
        (["--preconfig"], b"--qmp"),
        (["--object", "secret,id=a"], b"Either 'file' or 'data' must be provided"),
    ],
)
def test_bad_options_about_memory_are_named(image: Callable[[bytes], Path], options: list[str], text: bytes) -> None:
    result = vmcore("run", "--flat", image(HALT), *options)
    assert result.returncode == 2
    assert text in result.stderr


def test_the_human_monitor_on_the_standard_streams(image: Callable[[bytes], Path]) -> None:
    guest = image(bytes.fromhex("eb fe"))
    result = vmcore("run", "--flat", guest, "--monitor", "stdio", "--name", "foo", stdin=b"info name\nquit\n")
    assert result.returncode == 0, result.stderr
    assert b"(qemu) info name\r\nfoo\r\n(qemu) quit" in result.stdout


def test_qmp_on_the_standard_streams(image: Callable[[bytes], Path]) -> None:
    guest = image(bytes.fromhex("eb fe"))
    result = vmcore(
        *("run", "-flat", guest, "-qmp", "stdio", "-S"),
        stdin=b'{"execute": "qmp_capabilities"}{"execute": "query-chardev"}{"execute": "quit"}',
    )
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert {"label": "compat_monitor0", "filename": "stdio", "frontend-open": True} in lines[2]["return"]
    assert any(line.get("event") == "SHUTDOWN" for line in lines)


def test_a_debug_console_and_a_port_on_devices(image: Callable[[bytes], Path], tmp_path: Path) -> None:
    code = bytes.fromhex("b0 48 ba 02 04 ee b0 69 ba f8 03 ee") + POWER_OFF
    result = vmcore(
        *("run", "-flat", image(code), "-chardev", f"file,id=a,path={tmp_path / 'a'}", "-nodefaults"),
        *("-device", "isa-debugcon,iobase=0x402,chardev=a", "-serial", f"file:{tmp_path / 'b'}"),
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()) == (b"H", b"i")


FAILS = """
import sys
from vmcore.boards import added
from vmcore.cli import main

def broken(action):
    raise ZeroDivisionError("no model is perfect")

added.GuestCrashloaded = broken
sys.exit(main(sys.argv[1:]))
"""
"""The command line with a mistake in a device model: pvpanic fails when the guest hands over to its crash kernel."""
CRASHLOADED = bytes.fromhex("ba 05 05 b0 02 ee eb fe")


def test_clients_look_at_a_machine_whose_device_failed(image: Callable[[bytes], Path], tmp_path: Path) -> None:
    path = tmp_path / "qmp"
    command = [sys.executable, "-c", FAILS, "run", "--flat", image(CRASHLOADED), "--device", "pvpanic"]
    command += ["--memory", "1M", "--qmp", f"unix:{path}", "-S"]
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE) as process:
        try:
            qmp = Qmp(path)
            assert qmp("cont") == {"return": {}}
            while qmp.events[-1:] != ["STOP"]:
                status = qmp("query-status")["return"]
            assert status == {"running": False, "status": "internal-error"}
            assert qmp("cont")["error"] == {
                "class": "GenericError",
                "desc": "Resetting the Virtual Machine is required",
            }
            registers = qmp("human-monitor-command", command_line="info registers")["return"]
            assert "EDX=00000505" in str(registers)
            qmp("system_reset")
            assert qmp.events == ["RESET"]
            assert qmp("query-status")["return"] == {"running": False, "status": "prelaunch"}
            assert qmp("quit") == {"return": {}}
            qmp.close()
            assert process.wait(30) == 0
            assert process.stderr is not None
            said = process.stderr.read().decode()
        finally:
            process.kill()
    assert said.startswith("vmcore: device model failed: /machine/peripheral-anon/device0")
    assert "Traceback" not in said
    assert said.endswith("vmcore: the machine has stopped: reset it or quit\n")


def test_a_device_that_fails_ends_a_run_without_clients(image: Callable[[bytes], Path]) -> None:
    command = [sys.executable, "-c", FAILS, "run", "--flat", str(image(CRASHLOADED)), "--device", "pvpanic"]
    result = subprocess.run(command, capture_output=True, timeout=60)
    assert result.returncode == 70
    assert result.stderr.startswith(b"vmcore: device model failed: /machine/peripheral-anon/device0")
