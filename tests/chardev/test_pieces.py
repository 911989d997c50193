"""The parts of character devices that need no event loop."""

from __future__ import annotations

import pytest

from vmcore.chardev.mux import MuxAction, MuxInput
from vmcore.chardev.outbox import Outbox
from vmcore.chardev.ring_buffer import RingBuffer
from vmcore.chardev.telnet import BREAK, Break, Telnet
from vmcore.chardev.text import Wanted, parse, parse_where
from vmcore.model.char import (
    ChardevBackendKind,
    ChardevFileWrapper,
    ChardevRingbufWrapper,
    ChardevSocketWrapper,
    ChardevUdpWrapper,
)
from vmcore.model.errors import ConfigError, UsageError
from vmcore.model.net import InetSocketAddressLegacy, UnixSocketAddressLegacy


def test_a_ring_buffer_keeps_the_last_bytes() -> None:
    ring = RingBuffer(8)
    ring.write(b"0123456789")
    assert (len(ring), ring.read(3), ring.read(100), ring.read(1)) == (8, b"234", b"56789", b"")
    nothing = RingBuffer(0)
    nothing.write(b"x")
    assert nothing.read(1) == b""


@pytest.mark.parametrize("size", [-8, 3, 1000])
def test_the_size_of_a_ring_buffer_is_a_power_of_two(size: int) -> None:
    with pytest.raises(UsageError, match="must be power of two"):
        RingBuffer(size)


def test_an_outbox_gives_up_the_oldest_bytes_and_counts_them() -> None:
    box = Outbox(kept=4)
    assert box.put(b"ab")
    assert not box.put(b"cdef")
    assert (box.lost, box.take(3)) == (2, b"cde")
    box.put_back(b"de")
    assert (box.take(), len(box), box.lost) == (b"def", 0, 2)


def test_telnet_takes_commands_out_and_doubles_ff() -> None:
    telnet = Telnet()
    assert telnet.encode(b"a\xffb") == b"a\xff\xffb"
    got: list[bytes | Break] = []
    for byte in b"x\xff\xffy\xff\xfd\x01z\xff\xf3\xff\xfa\x18\x01\xff\xff\xf0\xff\xf0!":
        got += telnet.feed(bytes([byte]))
    assert got == [b"x", b"\xff", b"y", b"z", BREAK, b"!"]


def test_a_multiplexers_escape_sequences() -> None:
    mux = MuxInput()
    assert mux.feed(b"a\x01") == [b"a"]
    assert mux.feed(b"cb\x01\x01\x01b\x01?\x01zq\x01x") == [
        MuxAction.SWITCH,
        b"b\x01",
        MuxAction.BREAK,
        MuxAction.HELP,
        b"q",
        MuxAction.EXIT,
    ]


def socket(wanted: Wanted | str | None) -> ChardevSocketWrapper:
    assert isinstance(wanted, Wanted)
    assert isinstance(wanted.backend, ChardevSocketWrapper)
    return wanted.backend


def test_devices_are_written_as_for_qemu() -> None:
    unix = socket(parse("socket,id=a,path=/tmp/a,,b,server"))
    assert isinstance(unix.data.addr, UnixSocketAddressLegacy)
    assert unix.data.addr.data.path == "/tmp/a,b"
    assert (unix.data.server, unix.data.wait) == (True, True)
    client = socket(parse("socket,id=a,host=h,port=1,reconnect=5,nodelay=off"))
    assert (client.data.server, client.data.wait, client.data.reconnect, client.data.nodelay) == (False, None, 5, False)
    ring = parse("ringbuf,id=r,size=1K").backend
    assert isinstance(ring, ChardevRingbufWrapper)
    assert ring.data.size == 1024
    file = parse("file,id=f,path=/x,append=on,input-path=/y,logfile=/l,mux=on")
    assert isinstance(file.backend, ChardevFileWrapper)
    assert (file.backend.data.append, file.backend.data.in_, file.mux) == (True, "/y", True)
    assert file.backend.data.logfile == "/l"


def test_the_short_forms() -> None:
    assert parse_where("none", "l", "serial") is None
    assert parse_where("chardev:x", "l", "serial") == "x"
    assert parse_where("mon:null", "l", "serial") == Wanted("l", parse("null,id=l").backend, mux=True)
    for text in ("null", "pty", "stdio"):
        wanted = parse_where(text, "l", "serial")
        assert isinstance(wanted, Wanted)
        assert wanted.backend.type is ChardevBackendKind(text)
    file = parse_where("file:/a,b", "l", "serial")
    assert isinstance(file, Wanted)
    assert isinstance(file.backend, ChardevFileWrapper)
    assert file.backend.data.out == "/a,b"
    listening = socket(parse_where("unix:/s", "l", "serial", listens=True))
    assert (listening.data.server, listening.data.wait) == (True, False)
    assert socket(parse_where("unix:/s", "l", "serial")).data.server is False
    waiting = socket(parse_where("unix:/s,server", "l", "serial", listens=True))
    assert (waiting.data.server, waiting.data.wait) == (True, True)
    telnet = socket(parse_where("telnet:[::1]:23,server,nowait", "l", "serial"))
    assert isinstance(telnet.data.addr, InetSocketAddressLegacy)
    assert (telnet.data.addr.data.host, telnet.data.telnet, telnet.data.wait) == ("::1", True, False)
    udp = parse_where("udp:h:1@:2", "l", "serial")
    assert isinstance(udp, Wanted)
    assert isinstance(udp.backend, ChardevUdpWrapper)
    assert isinstance(udp.backend.data.local, InetSocketAddressLegacy)
    assert udp.backend.data.local.data.port == "2"
    tty = parse_where("/dev/ttyS0", "l", "serial")
    assert isinstance(tty, Wanted)
    assert tty.backend.type is ChardevBackendKind.SERIAL


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("null", "chardev.id"),
        ("flux,id=a", "chardev.backend"),
        ("file,id=a", "chardev.path"),
        ("socket,id=a", "chardev"),
        ("socket,id=a,path=x,port=1", "chardev"),
        ("socket,id=a,path=x,server=maybe", "chardev.server"),
        ("socket,id=a,path=x,wings=2", "chardev.wings"),
        ("socket,id=a,path", "chardev.path"),
        ("udp,id=a", "chardev.port"),
        ("mux,id=a", "chardev.chardev"),
        ("ringbuf,id=a,size=some", "chardev.size"),
    ],
)
def test_what_cannot_be_names_the_place(text: str, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert caught.value.path == path


@pytest.mark.parametrize("text", ["pigeon", "unix:", "tcp:1234", "mon:chardev:x", "udp:", "file:"])
def test_short_forms_that_mean_nothing(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_where(text, "l", "serial")
    assert caught.value.path == "serial"
