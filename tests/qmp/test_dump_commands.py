"""Core dumps of the guest."""

from __future__ import annotations

import array
import json
import os
import shutil
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trio
from exchange import Client, connected, qemu

from vmcore import FlatImage, RunState, VirtualMachine
from vmcore.engine import assemble
from vmcore.machine.config import FlatMode

CODE = assemble("mov r15, 0x123456789abcdef0; spin: jmp spin", bits=64)
LONG = FlatImage(CODE, address=0x100000, mode=FlatMode.LONG)


def program_headers(data: bytes) -> list[tuple[int, ...]]:
    """type, flags, offset, linear, physical, file size, memory size, alignment of each."""
    count = struct.unpack_from("<H", data, 56)[0]
    return [struct.unpack_from("<IIQQQQQQ", data, 64 + 56 * index) for index in range(count)]


def read(data: bytes, linear: int, size: int) -> bytes:
    """Memory at a linear address, as a debugger finds it."""
    for kind, _, offset, start, _, length, _, _ in program_headers(data):
        if kind == 1 and start <= linear < start + length:
            return data[offset + linear - start :][:size]
    raise AssertionError(f"no segment has {linear:#x}")


@pytest.mark.conformance("dump-guest-memory", "query-dump", "query-dump-guest-memory-capability", "DUMP_COMPLETED")
async def test_a_dump_has_memory_and_registers(tmp_path: Path) -> None:
    path = tmp_path / "core"
    async with VirtualMachine(flat=LONG, memory="8M", cpus=2) as vm, connected(vm, tmp_path / "qmp") as client:
        answer = await client.execute("query-dump-guest-memory-capability")
        assert answer == {"return": {"formats": ["elf"]}}
        answer = await client.execute("query-dump")
        assert answer == {"return": {"status": "none", "completed": 0, "total": 0}}
        await vm.run(instructions=5)
        answer = await client.execute("dump-guest-memory", paging=False, protocol=f"file:{path}")
        assert answer == {"return": {}}
        data = path.read_bytes()
        assert (await client.execute("query-dump"))["return"] == {
            "status": "completed",
            "completed": len(data),
            "total": len(data),
        }
        assert read(data, 0x100000, len(CODE)) == CODE
        note = program_headers(data)[0]
        status = data[note[2] : note[2] + note[5]]
        assert status.count(b"CORE\0") == status.count(b"QEMU\0") == 2
        # Registers begin with r15, in the first note's content behind its header and name.
        assert struct.unpack_from("<Q", status, 20 + 112)[0] == 0x123456789ABCDEF0
        answer = await client.execute("dump-guest-memory", paging=True, protocol=f"file:{path}")
        assert read(path.read_bytes(), 0x100000, len(CODE)) == CODE
        answer = await client.execute(
            "dump-guest-memory", paging=False, protocol=f"file:{path}", begin=0x100000, length=4096
        )
        assert answer == {"return": {}}
        (load,) = program_headers(path.read_bytes())[1:]
        assert load[4:6] == (0x100000, 4096)


async def test_a_running_guest_stops_for_its_dump_and_goes_on(tmp_path: Path) -> None:
    async with VirtualMachine(flat=LONG, memory="2M") as vm, trio.open_nursery() as nursery:
        await nursery.start(vm.serve_qmp, f"unix:{tmp_path}/qmp")
        async with await trio.open_unix_socket(f"{tmp_path}/qmp") as stream:
            client = Client(stream)
            await client.message()
            await client.execute("qmp_capabilities")
            await client.execute("cont")
            arguments = {"paging": False, "protocol": f"file:{tmp_path}/core"}
            command = json.dumps({"execute": "dump-guest-memory", "arguments": arguments})
            await stream.send_all(command.encode())
            seen = [await client.message() for _ in range(4)]
            assert [message.get("event") for message in seen] == ["STOP", "DUMP_COMPLETED", "RESUME", None]
            assert vm.state is RunState.RUNNING
            detached = command.replace('"paging"', '"detach": true, "paging"')
            await stream.send_all(detached.encode())
            seen = [await client.message() for _ in range(4)]
            assert sorted(str(message.get("event")) for message in seen) == ["DUMP_COMPLETED", "None", "RESUME", "STOP"]
            # A client may also hand over where the dump is to go, here a pipe.
            ours, theirs = os.pipe()
            with os.fdopen(ours, "rb") as pipe:
                await stream.socket.sendmsg(
                    [b'{"execute": "getfd", "arguments": {"fdname": "core"}}'],
                    [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs]))],
                )
                os.close(theirs)
                await client.message()
                await stream.send_all(command.replace(f"file:{tmp_path}/core", "fd:core").encode())
                data = await trio.to_thread.run_sync(pipe.read)
            assert read(data, 0x100000, len(CODE)) == CODE
        await vm.stop()
        nursery.cancel_scope.cancel()


@pytest.mark.skipif(shutil.which("gdb") is None, reason="no gdb on this machine")
async def test_gdb_opens_it(tmp_path: Path) -> None:
    path = tmp_path / "core"
    async with VirtualMachine(flat=LONG, memory="2M", cpus=2) as vm, connected(vm, tmp_path / "qmp") as client:
        await vm.run(instructions=5)
        await client.execute("dump-guest-memory", paging=True, protocol=f"file:{path}")
        where = vm.cpu.rip
    script = ["-ex", "thread 1", "-ex", "p/x $r15", "-ex", "x/2xb $pc", "-ex", "info threads"]
    run = await trio.run_process(
        ["gdb", "-nx", "-batch", *script, "--core", str(path)], capture_stdout=True, stderr=subprocess.STDOUT
    )
    said = run.stdout.decode()
    assert "0x123456789abcdef0" in said
    assert f"{where:#x}:\t0xeb\t0xfe" in said
    assert "LWP 2" in said


async def test_refusals_are_qemus(tmp_path: Path) -> None:
    file = f"file:{tmp_path}/core"
    cases: list[dict[str, Any]] = [
        {"protocol": "nosuch"},
        {"protocol": "file:/nonexist/x"},
        {"protocol": "fd:nosuch"},
        {"protocol": file, "begin": 5},
        {"protocol": file, "length": 5},
        {"protocol": file, "begin": 0x70000000, "length": 5},
        {"protocol": file, "paging": True, "format": "kdump-zlib"},
        {"protocol": file, "format": "nosuch"},
        {"protocol": file, "begin": 0, "length": 0},
        {},
    ]
    cases = [{"paging": False, **case} for case in cases]
    async with VirtualMachine(memory="32M") as vm, connected(vm, tmp_path / "qmp") as client:
        ours = [(await client.execute("dump-guest-memory", **case))["error"] for case in cases]
        missing = await client.execute("dump-guest-memory", paging=False, protocol=file, format="kdump-zlib")
        assert missing["error"]["desc"] == "kdump-zlib is not available now"
    with qemu() as theirs:
        assert ours == [theirs.execute("dump-guest-memory", **case)["error"] for case in cases]
