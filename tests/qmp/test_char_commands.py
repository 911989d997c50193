"""Character devices by management."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from exchange import Client, connected, execute, qemu

from vmcore import FlatImage, VirtualMachine
from vmcore.machine.inputs import SerialBreak

ECHO = bytes.fromhex("ba fd 03 ec a8 01 74 fb ba f8 03 ec fe c0 ee eb ef")
"""Sends back every byte of COM1 plus one."""


@asynccontextmanager
async def machine(path: Path, *chardevs: str, **attach: str) -> AsyncIterator[tuple[VirtualMachine, Client]]:
    async with VirtualMachine(flat=FlatImage(ECHO), memory="1M", chardevs=chardevs, attach=attach) as vm:
        await vm.start()
        async with connected(vm, path / "qmp") as client:
            yield vm, client


def unix(path: Path, **more: Any) -> dict[str, Any]:
    return {"type": "socket", "data": {"addr": {"type": "unix", "data": {"path": str(path)}}, **more}}


async def listed(client: Client) -> dict[str, tuple[str, bool]]:
    answer = await client.execute("query-chardev")
    return {one["label"]: (one["filename"], one["frontend-open"]) for one in answer["return"]}


@pytest.mark.conformance(
    "query-chardev",
    "query-chardev-backends",
    "chardev-add",
    "chardev-remove",
    "ChardevBackend.socket",
    "ChardevBackend.null",
    "ChardevBackend.file",
    "ChardevBackend.pty",
    "ChardevBackend.ringbuf",
    "ChardevBackend.memory",
    "ChardevBackend.mux",
    "ChardevBackend.udp",
)
async def test_devices_come_and_go(tmp_path: Path) -> None:
    async with machine(tmp_path) as (_, client):
        kinds = {one["name"] for one in (await client.execute("query-chardev-backends"))["return"]}
        assert {"null", "file", "pipe", "socket", "udp", "pty", "stdio", "serial", "ringbuf", "memory", "mux"} == kinds
        local = {"type": "inet", "data": {"host": "127.0.0.1", "port": "4711"}}
        made: dict[str, dict[str, Any]] = {
            "n": {"type": "null", "data": {}},
            "f": {"type": "file", "data": {"out": str(tmp_path / "f")}},
            "r": {"type": "ringbuf", "data": {"size": 16}},
            "o": {"type": "memory", "data": {}},
            "s": unix(tmp_path / "s"),
            "u": {"type": "udp", "data": {"remote": local}},
        }
        for label, backend in made.items():
            assert await client.execute("chardev-add", id=label, backend=backend) == {"return": {}}
        pty = (await client.execute("chardev-add", id="p", backend={"type": "pty", "data": {}}))["return"]["pty"]
        assert os.path.exists(pty)
        assert await listed(client) == {
            "n": ("null", False),
            "f": ("file", False),
            "r": ("ringbuf", False),
            "o": ("memory", False),
            "s": (f"disconnected:unix:{tmp_path / 's'},server=on", False),
            "u": ("udp", False),
            "p": (f"pty:{pty}", False),
        }
        mux = {"type": "mux", "data": {"chardev": "n"}}
        assert await client.execute("chardev-add", id="m", backend=mux) == {"return": {}}
        assert (await listed(client))["m"] == ("mux", False)
        for label in ("n", "m"):
            answer = await client.execute("chardev-remove", id=label)
            assert answer["error"]["desc"] == f"Chardev '{label}' is busy"
        for label in (*list(made)[1:], "p"):
            assert await client.execute("chardev-remove", id=label) == {"return": {}}
        assert sorted(await listed(client)) == ["m", "n"]
        assert not (tmp_path / "s").exists()


@pytest.mark.conformance("chardev-change", "chardev-send-break", "ringbuf-read", "ringbuf-write", "DataFormat.base64")
async def test_the_guests_end_stays_plugged_in(tmp_path: Path) -> None:
    async with machine(tmp_path, "null,id=a", serial0="a") as (vm, client):
        ring = {"type": "ringbuf", "data": {"size": 16}}
        assert await client.execute("chardev-change", id="a", backend=ring) == {"return": {}}
        assert await listed(client) == {"a": ("ringbuf", True)}
        await vm.serial[0].send_all(b"HAL")
        assert (await vm.serial[0].expect(b"IBM")).match == b"IBM"
        async with vm.parked():
            pass  # What the guest has sent is with the device too, now.
        assert await client.execute("ringbuf-read", device="a", size=2) == {"return": "IB"}
        assert await client.execute("ringbuf-read", device="a", size=2, format="base64") == {"return": "TQ=="}
        assert await client.execute("ringbuf-write", device="a", data="eA==", format="base64") == {"return": {}}
        assert await client.execute("ringbuf-read", device="a", size=2, format="utf8") == {"return": "x"}
        assert await client.execute("chardev-send-break", id="a") == {"return": {}}
        assert (await vm.serial[0].expect(b"\x01")).match == b"\x01"  # a break is read as a byte of zero
        async with vm.parked() as parked:
            assert SerialBreak(0) in [record.input for record in parked.inputs]
        bad = {"type": "file", "data": {"out": "/nonexist/x"}}
        answer = await client.execute("chardev-change", id="a", backend=bad)
        assert answer["error"]["desc"] == "Could not open '/nonexist/x': No such file or directory"
        pty = (await client.execute("chardev-change", id="a", backend={"type": "pty", "data": {}}))["return"]["pty"]
        assert await listed(client) == {"a": (f"pty:{pty}", True)}


async def test_a_monitors_device_is_not_exchanged(tmp_path: Path) -> None:
    async with machine(tmp_path, "null,id=a", "null,id=b") as (vm, client):
        vm.chardevs.serve_monitor("a")
        answer = await client.execute("chardev-change", id="a", backend={"type": "pty", "data": {}})
        assert answer["error"]["desc"] == "Chardev user does not support chardev hotswap"
        mux = {"type": "mux", "data": {"chardev": "b"}}
        await client.execute("chardev-add", id="m", backend=mux)
        answer = await client.execute("chardev-change", id="m", backend={"type": "pty", "data": {}})
        assert answer["error"]["desc"] == "Mux device hotswap not supported yet"


async def test_qmp_on_a_device_begins_anew_for_each_client(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with machine(tmp_path, f"socket,id=q,path={path},server=on,wait=off") as (vm, _):
        vm.chardevs.serve_qmp("q")
        for _ in range(2):
            async with await trio.open_unix_socket(str(path)) as stream:
                other = Client(stream)
                assert "QMP" in await other.message()
                await other.execute("qmp_capabilities")
                assert "q" in await listed(other)
                near, far = socket.socketpair()
                with near, far:
                    await trio.lowlevel.wait_writable(stream.socket)
                    request = b'{"execute": "getfd", "arguments": {"fdname": "x"}}'
                    socket.send_fds(stream.socket._sock, [request], [far.fileno()])  # type: ignore[attr-defined]
                    assert await other.message() == {"return": {}}


# --- add_client ------------------------------------------------------------------------------------------------------

REFUSED = {
    "spice": ("DeviceNotActive", "SPICE is not in use"),
    "@dbus-display": ("DeviceNotActive", "D-Bus display is not in use"),
    "nosuch": ("GenericError", "protocol 'nosuch' is invalid"),
    "n": ("GenericError", "failed to add client"),
    "r": ("GenericError", "failed to add client"),
}
"""Protocol -> how QEMU refuses a good socket."""


class Giver:
    """A blocking client that passes descriptors."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rb")
        self._file.readline()
        self.ask(b'{"execute": "qmp_capabilities"}')

    def __enter__(self) -> Giver:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, request: bytes, *descriptors: int) -> dict[str, Any]:
        if descriptors:
            socket.send_fds(self._socket, [request], list(descriptors))
        else:
            self._socket.sendall(request)
        while "event" in (message := json.loads(self._file.readline())):
            pass
        answer: dict[str, Any] = message
        return answer

    def give(self, descriptor: int, protocol: str) -> dict[str, Any]:
        """The answer to `add_client` with a descriptor."""
        assert self.ask(b'{"execute": "getfd", "arguments": {"fdname": "x"}}', descriptor) == {"return": {}}
        request = b'{"execute": "add_client", "arguments": {"protocol": "%s", "fdname": "x"}}'
        answer = self.ask(request % protocol.encode())
        # Taken or not, the name is gone.
        gone = self.ask(b'{"execute": "closefd", "arguments": {"fdname": "x"}}')
        assert gone["error"]["desc"] == "File descriptor named 'x' not found"
        return answer


def refusals(giver: Giver) -> dict[str, tuple[str, str]]:
    """How the protocols of REFUSED are refused, and a descriptor that is no socket by a server."""
    out = {}
    for protocol in REFUSED:
        near, far = socket.socketpair()
        with near, far:
            error = giver.give(far.fileno(), protocol)["error"]
            out[protocol] = (error["class"], error["desc"])
            far.close()
            assert near.recv(1) == b""  # closed at the other end too
    with open("/dev/null") as file:
        error = giver.give(file.fileno(), "s")["error"]
        out["no socket"] = (error["class"], error["desc"])
    return out


EXPECTED = REFUSED | {"no socket": ("GenericError", "failed to add client")}
DEVICES = ("null,id=n", "ringbuf,id=r")


@pytest.mark.conformance("add_client", "getfd")
async def test_a_client_is_handed_over(tmp_path: Path) -> None:
    server = f"socket,id=s,path={tmp_path / 's'},server=on,wait=off"
    async with machine(tmp_path, *DEVICES, server, serial0="s") as (vm, first):
        await first.close()
        near, far = socket.socketpair()
        with near, far:

            def give() -> tuple[dict[str, tuple[str, str]], dict[str, Any], dict[str, Any]]:
                with Giver(tmp_path / "qmp") as giver:
                    refused = refusals(giver)
                    return refused, giver.give(far.fileno(), "s"), giver.give(far.fileno(), "s")

            refused, taken, again = await trio.to_thread.run_sync(give)
            assert refused == EXPECTED
            assert taken == {"return": {}}
            assert again["error"]["desc"] == "failed to add client"  # there is one already
            far.close()
            near.sendall(b"HAL")
            near.settimeout(20)
            assert await trio.to_thread.run_sync(near.recv, 1) == b"I"
            assert vm.chardevs.query()[2].filename == "unix:,server=on"
        # When it has left the server takes others, and what it had not read is theirs.
        async with await trio.open_unix_socket(str(tmp_path / "s")) as client:
            await client.send_all(b"G")
            got = b""
            while not got.endswith(b"H"):
                got += await client.receive_some()
            assert b"BMH".endswith(got)


async def test_no_vnc_is_there(tmp_path: Path) -> None:
    async with machine(tmp_path) as (_, first):
        await first.close()
        near, far = socket.socketpair()
        with near, far:

            def give() -> dict[str, Any]:
                with Giver(tmp_path / "qmp") as giver:
                    return giver.give(far.fileno(), "vnc")

            answer = await trio.to_thread.run_sync(give)
            assert answer["error"] == {"class": "GenericError", "desc": "protocol 'vnc' is invalid"}


def test_qemu_refuses_clients_in_the_same_way(tmp_path: Path) -> None:
    devices = (*DEVICES, f"socket,id=s,path={tmp_path / 's'},server=on,wait=off")
    options = [item for text in devices for item in ("-chardev", text)]
    with qemu("-qmp", f"unix:{tmp_path / 'qmp'},server=on,wait=off", *options), Giver(tmp_path / "qmp") as giver:
        assert refusals(giver) == EXPECTED


async def test_a_socket_is_made_of_a_named_descriptor(tmp_path: Path) -> None:
    async with machine(tmp_path, "null,id=a", serial0="a") as (vm, first):
        await first.close()
        near, far = socket.socketpair()
        with near, far:

            def give() -> list[dict[str, Any]]:
                add = (
                    b'{"execute": "chardev-add", "arguments": {"id": "%s", "backend": {"type": "socket", "data":'
                    b' {"addr": {"type": "fd", "data": {"str": "x"}}, "server": false}}}}'
                )
                with Giver(tmp_path / "qmp") as giver:
                    giver.ask(b'{"execute": "getfd", "arguments": {"fdname": "x"}}', far.fileno())
                    return [giver.ask(add % b"b"), giver.ask(add % b"c")]

            done, gone = await trio.to_thread.run_sync(give)
            assert done == {"return": {}}
            expected = "Failed to add chardev 'c': File descriptor named 'x' has not been found"
            assert gone["error"]["desc"] == expected
            await vm.chardevs.detach("serial0")
            await vm.chardevs.attach("serial0", "b")
            near.sendall(b"H")
            near.settimeout(20)
            assert await trio.to_thread.run_sync(near.recv, 1) == b"I"
            assert (await execute(vm, "query-chardev"))[1]["filename"] == "unix:"
