"""The QMP server: a raw client over Unix sockets and TCP, and the qemu.qmp package."""

from __future__ import annotations

import array
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from vmcore import FlatImage, RunState, ShutdownCause, UsageError, VirtualMachine

SPIN = FlatImage(bytes.fromhex("eb fe"))
POWER_OFF = FlatImage(bytes.fromhex("ba 04 06 b8 00 20 ef f4"))


class Client:
    """A QMP client that shows every message."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = b""

    async def message(self) -> dict[str, Any] | None:
        """The next message; None at the end of the stream."""
        while b"\r\n" not in self._buffer:
            data = await self.stream.receive_some()
            if not data:
                assert self._buffer == b""
                return None
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        message: dict[str, Any] = json.loads(line)
        message.pop("timestamp", None)
        return message

    async def ask(self, *lines: str | bytes) -> dict[str, Any] | None:
        """Send and take one message."""
        await self.stream.send_all(b"".join(x.encode() if isinstance(x, str) else x for x in lines))
        return await self.message()

    async def execute(self, command: str, **arguments: object) -> dict[str, Any] | None:
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        return await self.ask(json.dumps({"execute": command, "arguments": named}))


@asynccontextmanager
async def served(path: Path, **config: Any) -> AsyncIterator[tuple[VirtualMachine, Client]]:
    """A machine with a client that has negotiated."""
    async with VirtualMachine(memory="1M", **config) as vm, trio.open_nursery() as nursery:
        await nursery.start(vm.serve_qmp, f"unix:{path}")
        async with await trio.open_unix_socket(str(path)) as stream:
            client = Client(stream)
            greeting = await client.message()
            assert greeting is not None
            assert greeting["QMP"]["capabilities"] == ["oob"]
            assert await client.execute("qmp_capabilities") == {"return": {}}
            yield vm, client
        nursery.cancel_scope.cancel()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "qmp.sock"


async def test_events_come_before_the_replies_of_their_commands(path: Path) -> None:
    async with served(path, flat=SPIN) as (vm, client):
        assert await client.execute("query-status") == {"return": {"running": False, "status": "prelaunch"}}
        assert await client.execute("cont") == {"event": "RESUME"}
        assert await client.message() == {"return": {}}
        assert await client.execute("query-status") == {"return": {"running": True, "status": "running"}}
        assert await client.execute("stop") == {"event": "STOP"}
        assert await client.message() == {"return": {}}
        assert vm.state is RunState.PAUSED
        assert await client.execute("stop") == {"return": {}}
        assert await client.execute("system_reset") == {
            "event": "RESET",
            "data": {"guest": False, "reason": "host-qmp-system-reset"},
        }
        assert await client.message() == {"return": {}}
        assert await client.execute("query-status") == {"return": {"running": False, "status": "prelaunch"}}


@pytest.mark.conformance("quit", "SHUTDOWN", "ShutdownCause.host-qmp-quit", "qmp_capabilities")
async def test_quit_says_shutdown_answers_and_ends_the_connection(path: Path) -> None:
    async with served(path, flat=SPIN) as (vm, client):
        await client.stream.send_all(b'{"execute": "quit", "id": 7}{"execute": "query-status"}')
        assert await client.message() == {
            "event": "SHUTDOWN",
            "data": {"guest": False, "reason": "host-qmp-quit"},
        }
        assert await client.message() == {"return": {}, "id": 7}
        assert await client.message() is None
        with trio.fail_after(5):
            await vm.wait_end()


async def test_a_guest_that_switches_itself_off_ends_the_connections(path: Path) -> None:
    async with served(path, flat=POWER_OFF) as (_vm, client):
        await client.stream.send_all(b'{"execute": "cont"}')
        seen = [await client.message() for _ in range(3)]
        assert {"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-shutdown"}} in seen
        assert await client.message() is None
    assert not os.path.exists(path)


async def test_a_shutdown_that_pauses_keeps_the_connection_and_cont_is_refused(path: Path) -> None:
    async with served(path, flat=POWER_OFF) as (_vm, client):
        assert await client.execute("set-action", shutdown="pause") == {"return": {}}
        await client.stream.send_all(b'{"execute": "cont"}')
        seen = [await client.message() for _ in range(4)]
        assert [m["event"] for m in seen if m is not None and "event" in m] == ["RESUME", "SHUTDOWN", "STOP"]
        assert await client.execute("query-status") == {"return": {"running": False, "status": "shutdown"}}
        answer = await client.execute("cont")
        assert answer is not None
        assert answer["error"]["desc"] == "Resetting the Virtual Machine is required"


async def test_commands_before_the_negotiation_are_refused(path: Path) -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm, trio.open_nursery() as nursery:
        await nursery.start(vm.serve_qmp, f"unix:{path}")
        async with await trio.open_unix_socket(str(path)) as stream:
            client = Client(stream)
            await client.message()
            answer = await client.execute("query-status")
            assert answer is not None
            assert answer["error"]["class"] == "CommandNotFound"
            await vm.start()
            await vm.stop()
            # No event is sent to a client that has not negotiated: the next message is the answer.
            assert await client.execute("qmp_capabilities") == {"return": {}}
        nursery.cancel_scope.cancel()


async def test_a_second_client_waits_for_the_first_to_leave(path: Path) -> None:
    async with served(path, flat=SPIN) as (_vm, first), await trio.open_unix_socket(str(path)) as stream:
        second = Client(stream)
        with trio.move_on_after(0.05) as waited:
            await second.message()
        assert waited.cancelled_caught
        await first.stream.aclose()
        with trio.fail_after(5):
            greeting = await second.message()
        assert greeting is not None
        assert "QMP" in greeting


async def test_out_of_band_commands_overtake(path: Path) -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm, trio.open_nursery() as nursery:
        await nursery.start(vm.serve_qmp, f"unix:{path}")
        async with await trio.open_unix_socket(str(path)) as stream:
            client = Client(stream)
            await client.message()
            assert await client.execute("qmp_capabilities", enable=["oob"]) == {"return": {}}
            answer = await client.ask('{"exec-oob": "query-status", "id": 1}')
            assert answer is not None
            assert answer["error"]["desc"] == "The command query-status does not support OOB"
            async with vm.parked():
                # An in-band command has to wait for the machine; the out-of-band one does not wait for it.
                await stream.send_all(b'{"execute": "stop", "id": "in"}{"exec-oob": "nosuch", "id": "out"}')
                with trio.fail_after(5):
                    answer = await client.message()
                assert answer is not None
                assert answer["id"] == "out"
            with trio.fail_after(5):
                assert await client.message() == {"return": {}, "id": "in"}
        nursery.cancel_scope.cancel()


@pytest.mark.conformance("getfd", "closefd", "add-fd", "remove-fd")
async def test_descriptors_come_over_the_socket(path: Path) -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm, trio.open_nursery() as nursery:
        await nursery.start(vm.serve_qmp, f"unix:{path}")
        async with await trio.open_unix_socket(str(path)) as stream:
            client = Client(stream)
            await client.message()
            await client.execute("qmp_capabilities")
            read, write = os.pipe()
            for command in (b'{"execute": "getfd", "arguments": {"fdname": "p"}}', b'{"execute": "add-fd"}'):
                await stream.socket.sendmsg(
                    [command], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [read]))]
                )
                answer = await client.message()
                assert answer is not None
                assert "return" in answer
            sets = vm.fdsets.all()
            assert list(sets) == [0]
            os.write(write, b"through")
            assert os.read(sets[0][0].fd, 7) == b"through"
            os.close(read)
            os.close(write)
            assert await client.execute("closefd", fdname="p") == {"return": {}}
            answer = await client.execute("closefd", fdname="p")
            assert answer is not None
            assert answer["error"]["desc"] == "File descriptor named 'p' not found"
            assert await client.execute("remove-fd", fdset_id=0) == {"return": {}}
            assert vm.fdsets.all() == {}
        nursery.cancel_scope.cancel()


async def test_the_unix_socket_is_for_its_owner_alone_and_goes_with_the_machine(path: Path) -> None:
    async with served(path, flat=SPIN):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert not os.path.exists(path)


async def test_tcp_listens_on_loopback_and_says_its_port() -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm, trio.open_nursery() as nursery:
        address = await nursery.start(vm.serve_qmp, "tcp::0")
        assert address.startswith("tcp:127.0.0.1:")
        async with await trio.open_tcp_stream("127.0.0.1", int(address.rsplit(":", 1)[1])) as stream:
            greeting = await Client(stream).message()
            assert greeting is not None
            assert "QMP" in greeting
        nursery.cancel_scope.cancel()


async def test_an_inherited_descriptor_is_served() -> None:
    ours, theirs = socket.socketpair()
    async with VirtualMachine(flat=SPIN, memory="1M") as vm, trio.open_nursery() as nursery:
        await nursery.start(vm.serve_qmp, f"fd:{theirs.fileno()}")
        ours.setblocking(False)
        async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
            client = Client(stream)
            greeting = await client.message()
            assert greeting is not None
            assert "QMP" in greeting
        nursery.cancel_scope.cancel()
    theirs.close()


@pytest.mark.parametrize("endpoint", ["pigeon:1", "tcp:localhost", "tcp:::99999", "unix:", "fd:x", ""])
async def test_endpoints_that_are_none_are_refused(endpoint: str) -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        with pytest.raises(UsageError, match="expected"):
            await vm.serve_qmp(endpoint)


async def test_a_client_that_does_not_read_holds_nothing_up(path: Path) -> None:
    async with served(path, flat=SPIN) as (vm, client):
        await vm.start()
        with trio.move_on_after(0.5):
            while True:
                await client.stream.send_all(b'{"execute": "query-commands"}' * 50)
        before = vm.instructions
        with trio.fail_after(5):
            await vm.stop()
            await vm.start()
            while vm.instructions == before:
                await trio.lowlevel.checkpoint()


async def test_ten_thousand_pipelined_requests_are_answered_once_each(path: Path) -> None:
    async with served(path, flat=SPIN) as (_vm, client), trio.open_nursery() as nursery:
        requests = b"".join(b'{"execute":"query-status","id":%d}\n' % n for n in range(10_000))
        nursery.start_soon(client.stream.send_all, requests)
        for n in range(10_000):
            answer = await client.message()
            assert answer is not None
            assert answer["id"] == n


async def test_the_qemu_qmp_package_drives_the_machine(path: Path) -> None:
    qmp = pytest.importorskip("qemu.qmp")
    import asyncio

    seen: list[object] = []

    async def client() -> None:
        connection = qmp.QMPClient("test")
        with connection.listener(("STOP", "RESUME", "RESET", "SHUTDOWN")) as listener:
            await connection.connect(str(path))
            seen.append((await connection.execute("query-status"))["status"])
            await connection.execute("cont")
            await connection.execute("stop")
            await connection.execute("system_reset")
            with pytest.raises(qmp.ExecuteError):
                await connection.execute("nosuch")
            await connection.execute("quit")
            seen.extend([(await listener.get())["event"] for _ in range(4)])
            with suppress(EOFError):  # the package's way to say that the other side left first
                await connection.disconnect()

    async with VirtualMachine(flat=SPIN, memory="1M") as vm, trio.open_nursery() as nursery:
        await nursery.start(vm.serve_qmp, f"unix:{path}")
        await trio.to_thread.run_sync(asyncio.run, client())
        assert vm.exit is not None
        assert vm.exit.cause is ShutdownCause.HOST_QMP_QUIT  # type: ignore[union-attr]
    assert seen == ["prelaunch", "RESUME", "STOP", "RESET", "SHUTDOWN"]
