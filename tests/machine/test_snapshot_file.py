"""Snapshots in files: what is written comes back, and nothing else does."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import attrs
import pytest

from vmcore.machine import cbor
from vmcore.machine.config import FlatImage, MachineConfig
from vmcore.machine.machine import Machine
from vmcore.machine.snapshot import Snapshot
from vmcore.machine.snapshot_file import load_snapshot, save_snapshot
from vmcore.model.errors import ImageError

# mov al, 'x'; out 0xe9, al; inc word [0x1000]; jmp to the inc
GUEST = bytes.fromhex("b078 e6e9 ff06 0010 ebfa")


def machine() -> Machine:
    config = MachineConfig(
        memory="2M",
        cpus=2,
        flat=FlatImage(GUEST),
        devices=("isa-debugcon", "isa-debug-exit,iobase=0xf4,id=out"),
        name="täst",
        seed=(1 << 64) - 1,
    )
    made = Machine(config)
    made.run(5_000)
    made.serial[0].send(b"waiting" * 10)
    made.keyboard.press("a")
    made.power_button()
    made.run(100)
    return made


def written(snapshot: Snapshot) -> bytes:
    file = io.BytesIO()
    save_snapshot(snapshot, file)
    return file.getvalue()


def sealed(data: bytes) -> bytes:
    """The same with a digest that is right again."""
    body = data[: -(12 + 32)]
    return body + struct.pack("<4sQ", b"END_", 32) + blake2b(body, digest_size=32).digest()


def sections(data: bytes) -> list[tuple[bytes, bytes]]:
    at, result = 12, []
    while at < len(data):
        tag, size = struct.unpack_from("<4sQ", data, at)
        result.append((tag, data[at + 12 : at + 12 + size]))
        at += 12 + size
    return result


def joined(parts: list[tuple[bytes, bytes]], head: bytes) -> bytes:
    return sealed(head + b"".join(struct.pack("<4sQ", tag, len(content)) + content for tag, content in parts))


def changed(data: bytes, tag: bytes, change: Callable[[Any], Any]) -> bytes:
    """The file with the value of one CBOR section changed, and a right digest."""
    parts = []
    for name, content in sections(data):
        if name == tag:
            value = cbor.decode(content)
            content = cbor.encode(change(value) or value)
        parts.append((name, content))
    return joined(parts, data[:12])


def refused(data: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        load_snapshot(io.BytesIO(data), name="file")
    assert caught.value.file == "file"
    return caught.value


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    with machine() as made:
        return made.save()


@pytest.fixture(scope="module")
def data(snapshot: Snapshot) -> bytes:
    return written(snapshot)


def test_a_snapshot_comes_back_equal_and_goes_on_alike(snapshot: Snapshot, data: bytes) -> None:
    loaded = load_snapshot(io.BytesIO(data))
    assert loaded == snapshot
    digests = []
    for origin in (snapshot, loaded):
        with Machine.from_snapshot(origin) as made:
            made.run(10_000)
            digests.append(made.digest())
    assert digests[0] == digests[1]
    with Machine.from_snapshot(snapshot) as made:
        assert made.digest() != digests[0]


def test_equal_snapshots_make_equal_files(snapshot: Snapshot, data: bytes) -> None:
    assert written(load_snapshot(io.BytesIO(data))) == data
    assert data.startswith(b"vmcore\x1a\x0a\x02\0\0\0")


def test_a_machine_that_is_off_stays_off() -> None:
    # mov al, 3; out 0xf4, al
    guest = FlatImage(bytes.fromhex("b003 e6f4"))
    config = MachineConfig(memory="1M", flat=guest, devices=("isa-debug-exit,iobase=0xf4",))
    with Machine(config) as made:
        exit = made.run(100)
        loaded = load_snapshot(io.BytesIO(written(made.save())))
    assert loaded.off == exit


def test_a_stream_is_read_to_the_end_of_the_snapshot_and_in_any_pieces(snapshot: Snapshot, data: bytes) -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert size is not None
            assert size > 0
            return super().read(min(size, 1000))

    file = Trickle(data + b"more")
    assert load_snapshot(file) == snapshot
    assert file.read(10) == b"more"


def test_a_raw_file_that_takes_a_part_at_a_time_gets_all(snapshot: Snapshot, data: bytes) -> None:
    class Narrow(io.BytesIO):
        def write(self, piece: Any) -> int:
            return super().write(bytes(piece[:777]))

    file = Narrow()
    save_snapshot(snapshot, file)
    assert file.getvalue() == data


def test_pages_apart_and_long_runs_of_pages_come_back() -> None:
    with Machine(MachineConfig(memory="8M")) as made:
        made.memory.load(0x200000, random.Random(1).randbytes(300 * 4096))
        made.memory.load(0x7FF000, b"\1")
        snapshot = made.save()
        assert len(snapshot.pages) >= 301
        data = written(snapshot)
    assert sum(tag == b"PAGE" for tag, _ in sections(data)) >= 3
    assert load_snapshot(io.BytesIO(data)) == snapshot


def test_a_file_that_ends_early_is_refused_wherever_it_ends(data: bytes) -> None:
    for size in [*range(60), *range(60, len(data), 97), len(data) - 1]:
        refused(data[:size])


def test_magic_and_version_are_checked_first(data: bytes) -> None:
    assert refused(b"X" + data[1:]).field == "magic"
    error = refused(data[:8] + struct.pack("<I", 99) + b"what a later version says")
    assert (error.field, error.value) == ("version", 99)


def test_a_change_of_content_shows_in_the_digest(data: bytes) -> None:
    assert refused(data[:-1] + bytes([data[-1] ^ 1])).field == "digest"


def test_a_configuration_other_than_the_expected_is_refused_by_field(snapshot: Snapshot, data: bytes) -> None:
    assert load_snapshot(io.BytesIO(data), config=snapshot.config) == snapshot
    with pytest.raises(ImageError, match=r"config\.seed"):
        load_snapshot(io.BytesIO(data), config=attrs.evolve(snapshot.config, seed=1))


@pytest.mark.parametrize(
    ("tag", "change", "field"),
    [
        (b"CONF", lambda v: v.update(memory=4097), "config.memory"),
        (b"CONF", lambda v: v.update(memory=1 << 70), "config.memory"),
        (b"CONF", lambda v: v.update(cpus="two"), "config.cpus"),
        (b"CONF", lambda v: v.update(flat=None, kernel=["PosixPath", "/x"]), "config.kernel"),
        (b"CONF", lambda v: v.update(flat=None, kernel=["Path", "/nonexistent/kernel"]), "config"),
        (b"CONF", lambda v: v.update(colour="red"), "config.colour"),
        (b"CONF", lambda v: v.pop("seed") and None, "config.seed"),
        (b"CONF", lambda v: v.update(panic_action="explode"), "config.panic_action"),
        (b"CPUS", lambda v: v[:1], "state"),
        (b"CPUS", lambda v: v[0].update(rip=True), "cpus[0].rip"),
        (b"CPUS", lambda v: v[0]["segments"].pop() and None, "state"),
        (b"CPUS", lambda v: v[0]["gdtr"].append(1), "cpus[0].gdtr"),
        (b"SCHD", lambda v: v.update(now_ns=1.5), "scheduler.now_ns"),
        (b"DEVS", lambda v: v.pop("/machine/pit") and None, "devices"),
        (b"DEVS", lambda v: v.update({"/machine/x": {}}), "devices"),
        (b"DEVS", lambda v: [v], "devices"),
        (b"DEVS", lambda v: v["/machine/pic"].update(master=None), "devices./machine/pic.master"),
        (b"DEVS", lambda v: v["/machine/pit"]["counters"].pop() and None, "devices./machine/pit.counters"),
        (b"SERI", lambda v: v[0].update(waiting="text"), "serial[0].waiting"),
        (b"OFF_", lambda v: ["StopRequested", {"reason": None}], "off"),
        (b"INPT", lambda v: v[0].update(input=["System", {}]), "inputs[0].input"),
    ],
)
def test_a_wrong_value_is_named(data: bytes, tag: bytes, change: Callable[[Any], Any], field: str) -> None:
    assert refused(changed(data, tag, change)).field == field


@pytest.mark.parametrize(
    ("address", "count", "content"),
    [
        (0x1001, 1, "right"),
        (0x1000, 0, "right"),
        (0x1000, 257, "right"),
        (1 << 40, 1, "right"),
        (0xA0000, 1, "right"),
        ((1 << 64) - 4096, 1, "right"),
        (0x1000, 1, "short"),
        (0x1000, 1, "bomb"),
        (0x1000, 1, "noise"),
    ],
)
def test_a_wrong_page_is_refused(data: bytes, address: int, count: int, content: str) -> None:
    made = {
        "right": zlib.compress(bytes(4096 * count)),
        "short": zlib.compress(bytes(4095)),
        "bomb": zlib.compress(bytes(1 << 20)),
        "noise": b"noise",
    }[content]
    parts = [part for part in sections(data) if part[0] not in (b"PAGE", b"END_")]
    end = (b"END_", bytes(32))
    assert load_snapshot(io.BytesIO(joined([*parts, end], data[:12]))).pages == {}
    bad = (b"PAGE", struct.pack("<QI", address, count) + made)
    assert refused(joined([*parts, bad, end], data[:12])).field.startswith("PAGE.")


def test_pages_out_of_order_and_sections_out_of_place_are_refused(data: bytes) -> None:
    parts = sections(data)
    pages = [part for part in parts if part[0] == b"PAGE"]
    assert refused(joined([*parts[:-1], pages[0], parts[-1]], data[:12])).field == "PAGE.address"
    assert refused(joined([parts[1], parts[0], *parts[2:]], data[:12])).field == "section"
    assert refused(data[:12] + b"CONF" + b"\xff" * 8).field == "CONF.length"


@pytest.mark.parametrize("seed", range(8))
def test_no_damage_leads_to_anything_but_an_image_error(data: bytes, seed: int) -> None:
    dice = random.Random(seed)
    ends = len(data) - 44
    taken = 0
    for _ in range(60):
        copy = bytearray(data)
        for _ in range(dice.choice((1, 1, 2, 8))):
            at = dice.randrange(12, ends)
            match dice.randrange(4):
                case 0:
                    copy[at] ^= 1 << dice.randrange(8)
                case 1:
                    copy[at] = dice.choice((0, 0x1B, 0x5B, 0x7F, 0x80, 0x9B, 0xBB, 0xC2, 0xF6, 0xFF))
                case 2:
                    copy[at : at + dice.randrange(1, 9)] = dice.randbytes(dice.randrange(1, 9))
                case 3:
                    del copy[at : at + dice.randrange(1, 9)]
        try:
            load_snapshot(io.BytesIO(sealed(bytes(copy))))
            taken += 1
        except ImageError:
            pass
    assert taken < 60
