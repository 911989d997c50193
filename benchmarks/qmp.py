"""Speed of QMP: `python benchmarks/qmp.py [--json FILE]`, vmcore beside QEMU where that is installed.

Measured on an idle machine that is stopped, over a Unix socket, by a client in this process; the server is a process
of its own.  p50: the median time of a query-status from sending to the end of the reply.  Pipelined: requests per
second where one thread sends without waiting and another reads.  In process: the median time of
`await query_status(vm)`, the typed call without a wire.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

REQUEST = b'{"execute":"query-status"}\n'
VMCORE = [
    sys.executable,
    "-m",
    "vmcore",
    "run",
    "--memory",
    "1M",
    "--paused",
    "--flat",
    "{guest}",
    "--qmp",
    "unix:{path}",
]
QEMU = ["qemu-system-x86_64", "-display", "none", "-nodefaults", "-S", "-m", "32"]
QEMU += ["-qmp", "unix:{path},server=on,wait=off"]


@contextmanager
def client(command: list[str]) -> Iterator[socket.socket]:
    """A negotiated connection to a server that ends with the block."""
    with tempfile.TemporaryDirectory() as name:
        path, guest = Path(name) / "qmp", Path(name) / "guest"
        guest.write_bytes(b"\xeb\xfe")
        filled = [part.format(path=path, guest=guest) for part in command]
        with subprocess.Popen(filled, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            try:
                with socket.socket(socket.AF_UNIX) as connection:
                    while connection.connect_ex(str(path)):
                        if process.poll() is not None:
                            raise SystemExit(f"{filled[0]} ended with {process.returncode}")
                        time.sleep(0.01)
                    connection.recv(1 << 16)
                    connection.sendall(b'{"execute":"qmp_capabilities"}')
                    connection.recv(1 << 16)
                    yield connection
            finally:
                process.kill()


def median_seconds(connection: socket.socket, count: int) -> float:
    """The median time of a request."""
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        connection.sendall(REQUEST)
        while not connection.recv(1 << 16).endswith(b"\r\n"):
            pass
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def pipelined_per_second(connection: socket.socket, count: int) -> float:
    """Requests per second where nobody waits."""
    sender = threading.Thread(target=connection.sendall, args=(REQUEST * count,))
    begin = time.perf_counter()
    sender.start()
    left = count
    while left:
        left -= connection.recv(1 << 20).count(b"\n")
    seconds = time.perf_counter() - begin
    sender.join()
    return count / seconds


async def in_process_seconds(count: int) -> float:
    """The median time of a typed call, of a hundred each."""
    from vmcore import FlatImage, VirtualMachine
    from vmcore.qmp.commands.run_state import query_status

    times = []
    async with VirtualMachine(flat=FlatImage(b"\xeb\xfe"), memory="1M") as vm:
        for _ in range(count):
            begin = time.perf_counter()
            for _ in range(100):
                await query_status(vm)
            times.append((time.perf_counter() - begin) / 100)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000, help="requests of a round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, interleaved; the best counts")
    parser.add_argument("--json", type=Path, help="write the results here")
    arguments = parser.parse_args()
    servers = {"vmcore": VMCORE}
    if shutil.which(QEMU[0]):
        servers["qemu"] = QEMU
    results: dict[str, dict[str, float]] = {name: {"p50 us": 1e9, "pipelined/s": 0.0} for name in servers}
    for _ in range(arguments.rounds):
        for name, command in servers.items():
            with client(command) as connection:
                best = results[name]
                best["p50 us"] = min(best["p50 us"], median_seconds(connection, arguments.count) * 1e6)
                rate = pipelined_per_second(connection, arguments.count * 4)
                best["pipelined/s"] = max(best["pipelined/s"], rate)
    results["vmcore"]["in process us"] = trio.run(in_process_seconds, 200) * 1e6
    for name, values in results.items():
        print(f"{name:<8}" + "".join(f"  {what} {value:10,.1f}" for what, value in values.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
