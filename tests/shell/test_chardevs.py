"""Character devices of a running machine."""

from __future__ import annotations

import os
import socket
import tty
from pathlib import Path

import pytest
import trio

from vmcore import FlatImage, VirtualMachine
from vmcore.chardev.outbox import KEPT
from vmcore.chardev.text import parse
from vmcore.machine.inputs import SerialBreak
from vmcore.model.char import ChardevInfo
from vmcore.model.errors import UsageError
from vmcore.shell.chardevs.sockets import SocketChardev

ECHO = bytes.fromhex("ba fd 03 ec a8 01 74 fb ba f8 03 ec fe c0 ee eb ef")
"""Sends back every byte of COM1 plus one."""
FLOOD = bytes.fromhex("ba f8 03 b0 78 ee eb fd")
"""Sends x for ever."""


def machine(code: bytes = ECHO, *chardevs: str, **attach: str) -> VirtualMachine:
    return VirtualMachine(flat=FlatImage(code), memory="1M", chardevs=chardevs, attach=attach)


async def read(stream: trio.abc.ReceiveStream, count: int) -> bytes:
    got = b""
    while len(got) < count:
        data = await stream.receive_some()
        assert data, got
        got += data
    return got


def query(vm: VirtualMachine, label: str) -> ChardevInfo:
    return next(info for info in vm.chardevs.query() if info.label == label)


async def test_a_unix_server_serves_one_client_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with machine(ECHO, f"socket,id=a,path={path},server=on,wait=off", serial0="a") as vm:
        assert path.stat().st_mode & 0o777 == 0o600
        assert query(vm, "a") == ChardevInfo(
            label="a", filename=f"disconnected:unix:{path},server=on", frontend_open=True
        )
        await vm.start()
        for _ in range(2):
            async with await trio.open_unix_socket(str(path)) as client:
                await client.send_all(b"HAL")
                assert await read(client, 3) == b"IBM"
                assert query(vm, "a").filename == f"unix:{path},server=on"
        # The port's own stream has seen everything too.
        assert vm.serial[0].unread == b"IBMIBM"
    assert not path.exists()


async def test_the_stream_and_the_device_both_get_all_output_and_may_both_send(tmp_path: Path) -> None:
    async with machine(ECHO, f"file,id=f,path={tmp_path / 'out'}", serial0="f") as vm:
        await vm.serial[0].send_all(b"HAL")
        assert (await vm.serial[0].expect(b"IBM")).match == b"IBM"
    assert (tmp_path / "out").read_bytes() == b"IBM"


async def test_tcp_and_telnet() -> None:
    async with machine(ECHO, "socket,id=t,host=127.0.0.1,port=0,server=on,wait=off,telnet=on", serial0="t") as vm:
        await vm.start()
        name = query(vm, "t").filename
        assert name.startswith("disconnected:telnet:127.0.0.1:")
        port = int(name.split(":")[3].split(",")[0])
        async with await trio.open_tcp_stream("127.0.0.1", port) as client:
            assert await read(client, 12) == bytes.fromhex("fffb01 fffb03 fffb00 fffd00")
            await client.send_all(b"\xff\xfd\x01H\xfe\xff\xf3A")
            assert await read(client, 5) == b"I\xff\xff\x01B"  # the break came in as a byte of zero
            own = client.socket.getsockname()
            assert query(vm, "t").filename == f"telnet:127.0.0.1:{port},server=on <-> 127.0.0.1:{own[1]}"
        async with vm.parked() as parked:
            assert SerialBreak(0) in [record.input for record in parked.inputs]


async def test_a_client_connects_and_comes_back(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with pytest.raises(UsageError, match=f"Failed to connect to '{path}': No such file or directory"):
        async with machine(ECHO, f"socket,id=c,path={path}", serial0="c"):
            raise AssertionError("it entered")
    async with machine(ECHO, f"socket,id=c,path={path},reconnect=1", serial0="c") as vm:
        await vm.start()
        assert query(vm, "c").filename == f"disconnected:unix:{path}"
        listener = trio.socket.socket(trio.socket.AF_UNIX)
        with listener:
            await listener.bind(path)
            listener.listen(1)
            for _ in range(2):
                connection, _ = await listener.accept()
                async with trio.SocketStream(connection) as server:
                    await server.send_all(b"HAL")
                    assert await read(server, 3) == b"IBM"
        assert isinstance(vm.chardevs["c"], SocketChardev)


async def test_a_server_that_waits_for_its_client_is_waited_for(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    async with trio.open_nursery() as nursery:

        async def enter() -> None:
            async with machine(ECHO, f"socket,id=w,path={path},server=on,wait=on", serial0="w") as vm:
                assert vm.chardevs["w"].connected
                await vm.start()
                assert await read(vm.serial[0], 1) == b"I"

        nursery.start_soon(enter)
        while not Path(path).exists():
            await trio.lowlevel.checkpoint()
        async with await trio.open_unix_socket(path) as client:
            await client.send_all(b"H")
            assert await read(client, 1) == b"I"


async def test_a_pseudo_terminal() -> None:
    async with machine(ECHO, "pty,id=p", serial0="p") as vm:
        name = vm.chardevs["p"].pty
        assert name is not None
        assert query(vm, "p").filename == f"pty:{name}"
        await vm.start()
        for _ in range(2):
            fd = os.open(name, os.O_RDWR | os.O_NOCTTY)
            tty.setraw(fd)
            async with trio.lowlevel.FdStream(fd) as terminal:
                await terminal.send_all(b"HAL")
                assert await read(terminal, 3) == b"IBM"


async def test_pipes(tmp_path: Path) -> None:
    path = tmp_path / "p"
    os.mkfifo(f"{path}.in")
    os.mkfifo(f"{path}.out")
    async with machine(ECHO, f"pipe,id=p,path={path}", serial0="p") as vm:
        await vm.start()
        async with (
            trio.lowlevel.FdStream(os.open(f"{path}.in", os.O_WRONLY)) as to,
            trio.lowlevel.FdStream(os.open(f"{path}.out", os.O_RDONLY)) as back,
        ):
            await to.send_all(b"HAL")
            assert await read(back, 3) == b"IBM"


async def test_files_in_and_out(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"HAL")
    (tmp_path / "out").write_bytes(b"> ")
    text = f"file,id=f,path={tmp_path / 'out'},append=on,input-path={tmp_path / 'in'},logfile={tmp_path / 'log'}"
    async with machine(ECHO, text, serial0="f") as vm:
        await vm.start()
        assert await read(vm.serial[0], 3) == b"IBM"
        while vm.chardevs.input_may_come:
            await trio.lowlevel.checkpoint()
    assert (tmp_path / "out").read_bytes() == b"> IBM"
    assert (tmp_path / "log").read_bytes() == b"IBM"


async def test_datagrams() -> None:
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        await peer.bind(("127.0.0.1", 0))
        port = peer.getsockname()[1]
        text = f"udp,id=u,host=127.0.0.1,port={port},localaddr=127.0.0.1,localport=0"
        async with machine(ECHO, text, serial0="u") as vm:
            await vm.start()
            await vm.serial[0].send_all(b"G")
            data, where = await peer.recvfrom(100)
            assert data == b"H"
            await peer.sendto(b"HAL", where)
            got = b""
            while len(got) < 3:
                got += await peer.recv(100)
            assert got == b"IBM"


async def test_a_reader_that_is_slow_neither_holds_the_guest_up_nor_costs_memory(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    async with machine(FLOOD, f"socket,id=a,path={path},server=on,wait=off", serial0="a") as vm:
        async with await trio.open_unix_socket(path):
            while not vm.chardevs["a"].connected:
                await trio.lowlevel.checkpoint()
            await vm.run(instructions=5_000_000)
            device = vm.chardevs["a"]
            assert isinstance(device, SocketChardev)
            assert device.unsent <= KEPT
            assert device.lost > 0
        with_client = vm.digest()
    async with machine(FLOOD) as vm:
        await vm.run(instructions=5_000_000)
        assert vm.digest() == with_client


async def test_input_is_taken_as_fast_as_the_guest_takes_it(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    async with machine(bytes.fromhex("eb fe"), f"socket,id=a,path={path},server=on,wait=off", serial0="a") as vm:
        await vm.start()
        async with await trio.open_unix_socket(path) as client:
            with trio.move_on_after(0.3) as scope:
                await client.send_all(bytes(4 << 20))
            assert scope.cancelled_caught
            assert vm.peek().serial[0].waiting <= 16384


async def test_devices_are_exchanged_under_a_port(tmp_path: Path) -> None:
    async with machine(ECHO, "ringbuf,id=a,size=16", serial0="a") as vm:
        await vm.serial[0].send_all(b"G")
        await vm.serial[0].expect(b"H")
        assert vm.chardevs.ring("a").read(9) == b"H"
        with pytest.raises(UsageError, match="Could not open"):
            await vm.chardevs.change("a", parse("file,id=a,path=/nonexist/x").backend)
        assert query(vm, "a").filename == "ringbuf"
        await vm.chardevs.change("a", parse(f"file,id=a,path={tmp_path / 'f'}").backend)
        await vm.serial[0].send_all(b"G")
        await vm.serial[0].expect(b"H")
        with pytest.raises(UsageError, match="Chardev 'a' is busy"):
            vm.chardevs.remove("a")
        await vm.chardevs.detach("serial0")
        vm.chardevs.remove("a")
        assert list(vm.chardevs) == []
        await vm.serial[0].send_all(b"G")
        await vm.serial[0].expect(b"H")
    assert (tmp_path / "f").read_bytes() == b"H"


async def test_a_multiplexer_gives_input_to_one_of_its_front_ends(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    text = f"socket,id=m,path={path},server=on,wait=off,mux=on"
    async with machine(ECHO, text, serial0="m") as vm:
        vm.chardevs.serve_monitor("m")
        assert [info.filename for info in vm.chardevs.query()] == [f"disconnected:unix:{path},server=on", "mux"]
        await vm.start()
        async with await trio.open_unix_socket(path) as client:
            greeting = await read(client, len(b"vmcore monitor - type 'help' for more information\r\n(qemu) "))
            assert greeting.endswith(b"(qemu) ")
            await client.send_all(b"HAL")
            assert await read(client, 3) == b"IBM"
            await client.send_all(b"\x01c")
            await read(client, len(greeting))
            await client.send_all(b"info name\r")
            assert b"(qemu) " in await read(client, len(b"info name\r\n(qemu) "))
            await client.send_all(b"\x01cG")
            assert b"H" in await read(client, 1)
            await client.send_all(b"\x01x")
            await vm.wait_end()


async def test_a_debug_console_has_its_device(tmp_path: Path) -> None:
    hi = bytes.fromhex("b0 48 e6 e9 b0 69 ba 02 04 ee f4")
    async with VirtualMachine(
        flat=FlatImage(hi),
        devices=["isa-debugcon", "isa-debugcon,id=second,iobase=0x402"],
        chardevs=["ringbuf,id=a", "ringbuf,id=b"],
        attach={"debugcon0": "a", "second": "b"},
    ) as vm:
        await vm.run(instructions=6)
        assert (vm.chardevs.ring("a").read(9), vm.chardevs.ring("b").read(9)) == (b"H", b"i")


@pytest.mark.parametrize(
    ("chardevs", "attach", "text"),
    [
        (["null,id=a", "null,id=a"], {}, "Chardev with id 'a' already exists"),
        (["null,id=a"], {"serial0": "b"}, "Chardev 'b' not found"),
        (["null,id=a"], {"serial7": "a"}, "'serial7': expected serial0"),
        (["ringbuf,id=a,size=3"], {}, "Failed to add chardev 'a': size of ringbuf chardev must be power of two"),
    ],
)
async def test_what_cannot_be_ends_the_entering(chardevs: list[str], attach: dict[str, str], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        async with VirtualMachine(flat=FlatImage(ECHO), chardevs=chardevs, attach=attach):
            raise AssertionError("it entered")


async def test_a_device_has_one_front_end() -> None:
    async with VirtualMachine(flat=FlatImage(ECHO), serials=2, chardevs=["null,id=a"], attach={"serial0": "a"}) as vm:
        with pytest.raises(UsageError, match="Device 'a' is in use"):
            await vm.chardevs.attach("serial1", "a")
        with pytest.raises(UsageError, match="serial0 has a character device already"):
            await vm.chardevs.attach("serial0", "a")
        with pytest.raises(UsageError, match="serial1 has no character device"):
            await vm.chardevs.detach("serial1")


async def test_descriptors_of_a_set_are_files(tmp_path: Path) -> None:
    async with machine(ECHO) as vm:
        vm.fdsets.add(os.open(tmp_path / "f", os.O_WRONLY | os.O_CREAT))
        await vm.chardevs.add("a", "file,path=/dev/fdset/0")
        await vm.chardevs.attach("serial0", "a")
        await vm.serial[0].send_all(b"G")
        await vm.serial[0].expect(b"H")
        with pytest.raises(UsageError, match="Could not open '/dev/fdset/7'"):
            await vm.chardevs.add("b", "file,path=/dev/fdset/7")
    assert (tmp_path / "f").read_bytes() == b"H"
