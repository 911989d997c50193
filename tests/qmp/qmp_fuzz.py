"""Mutated QMP input: `python tests/qmp/qmp_fuzz.py [--count 1000000] [--live 50000] [--seed 0]`.

The seeds are the bytes of the recorded exchanges.  An input is some of them, mutated, fed in pieces, and followed by
FFh, which brings every reader back, and by a well-formed request with an id of its own, which must be answered
exactly once.  Without a server (`session`) every request is checked, not run.  With one (`live`) the guest spins
beside, and commands that end the machine are left out by giving them another name.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import trio
from exchange_kit import CODE, DIRECTORY, load

from vmcore import FlatImage, VirtualMachine
from vmcore.qmp.commands import load as load_commands
from vmcore.qmp.commands.control import version
from vmcore.qmp.protocol import Invocation, QmpSession
from vmcore.qmp.registry import COMMANDS

__all__ = ["inputs", "live", "session"]

TOKENS = [
    *(bytes([c]) for c in b"{}[]:,'\"\\ \n\t%-0"),
    *(b"\xff", b"\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\0", b"\x7f", b"\\ud800", b"\\u0000"),
    *(b"null", b"true", b"1e400", b"1.0", b"18446744073709551616", b"-9223372036854775809", b"{}", b"[]", b'""'),
    *(b'"execute":', b'"exec-oob":', b'"arguments":', b'"id":', b'"a":1,', b"{" * 40, b"[" * 1030, b"]" * 40),
]


def _seeds() -> list[bytes]:
    load_commands()
    sends = {step.send for path in sorted(DIRECTORY.glob("*.json")) for e in load(path) for step in e.steps}
    # Every command, with something for each of its arguments.
    values: tuple[object, ...] = (1, "a", None, [], {})
    for command in COMMANDS.values():
        some = [a.name for a in command.arguments]
        for value in values:
            sends.add(json.dumps({"execute": command.name, "arguments": dict.fromkeys(some, value)}).encode())
    return sorted(send for send in sends if len(send) < 1000)


def _mutate(rng: random.Random, data: bytes, seeds: list[bytes]) -> bytes:
    out = bytearray(data)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(6):
            case 0:
                out[at:at] = rng.choice(TOKENS)
            case 1:
                del out[at : at + rng.randrange(1, 8)]
            case 2 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 3:
                out[at : at + rng.randrange(8)] = rng.choice(TOKENS)
            case 4:
                other = rng.choice(seeds)
                out[at:] = other[rng.randrange(len(other) + 1) :]
            case _:
                out[at:at] = out[rng.randrange(len(out) + 1) :][:40]
    return bytes(out)


def inputs(seed: int) -> Iterator[tuple[random.Random, bytes]]:
    """Mutated inputs without end, and the generator to make further choices with."""
    rng = random.Random(seed)
    seeds = _seeds()
    while True:
        yield rng, _mutate(rng, rng.choice(seeds), seeds)


def _pieces(rng: random.Random, data: bytes) -> list[bytes]:
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(3)))
    return [data[a:b] for a, b in itertools.pairwise([0, *cuts, len(data)])]


def session(count: int, seed: int, shown: Callable[[int], None] = lambda done: None) -> tuple[int, int]:
    """Fuzz the protocol without a server; how many requests were well-formed, and how many errors there were."""
    one = QmpSession(version())
    good = bad = 0
    for number, (rng, data) in zip(range(count), inputs(seed), strict=False):
        if number % 100 == 0:
            one = QmpSession(version())
            if rng.random() < 0.9:
                one.negotiate(["oob"] if rng.random() < 0.5 else [])
        marker = b'\xff{"execute": "query-name", "id": "marker %d"}' % number
        marked = 0
        for piece in _pieces(rng, data + marker):
            for request in one.feed(piece):
                outcome = one.check(request, preconfig=rng.random() < 0.1)
                id = request.value.get("id") if isinstance(request.value, dict) else None
                if isinstance(outcome, Invocation):
                    good += 1
                    line = one.reply({}, outcome.id)
                else:
                    bad += 1
                    line = outcome
                assert line.isascii(), data
                assert line.endswith(b"\r\n"), data
                assert b"\n" not in line[:-2], data
                marked += id == f"marker {number}"
        assert marked == 1, (number, data, marked)
        if number % 10_000 == 0:
            shown(number)
    return good, bad


ENDING = (b"quit", b"set-action", b"nmi")
"""Commands that end the machine, make others end it, or send the guest to a handler that it has not."""


async def live(count: int, seed: int, directory: Path, shown: Callable[[int], None] = lambda done: None) -> int:
    """Fuzz a server whose guest spins; how many bytes it answered.  Every marker is answered once and in order."""
    answered = 0
    path = directory / "qmp"
    async with VirtualMachine(flat=FlatImage(CODE["spin"]), memory="1M") as vm, trio.open_nursery() as nursery:
        await nursery.start(vm.serve_qmp, f"unix:{path}")
        await vm.start()
        source = inputs(seed)
        for begin in range(0, count, 1000):
            async with await trio.open_unix_socket(str(path)) as stream:
                answered += await _connection(stream, source, range(begin, min(begin + 1000, count)))
            before = vm.instructions
            with trio.fail_after(20):
                await vm.start()
                while vm.instructions == before:
                    await trio.lowlevel.checkpoint()
            shown(begin)
        nursery.cancel_scope.cancel()
    return answered


async def _connection(stream: trio.SocketStream, source: Iterator[tuple[random.Random, bytes]], numbers: range) -> int:
    size = 0
    sent = trio.Event()

    async def send() -> None:
        await stream.send_all(b'{"execute": "qmp_capabilities"}')
        for number in numbers:
            rng, data = next(source)
            for name in ENDING:
                data = data.replace(name, b"nosuch")
            # Nothing may rewrite files of the host; the rest may be run.
            if b"save" in data or b"dump" in data or b"screen" in data:
                data = b""
            data += b'\xff{"execute": "query-name", "id": "marker %d"}' % number
            for piece in _pieces(rng, data):
                if piece:
                    await stream.send_all(piece)
        sent.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        rest = b""
        due = iter(numbers)
        wanted: int | None = next(due)
        while wanted is not None:
            with trio.fail_after(60):
                data = await stream.receive_some(1 << 16)
            assert data, f"the server left before marker {wanted} was answered"
            size += len(data)
            *lines, rest = (rest + data).split(b"\r\n")
            for line in lines:
                if b'"id": "marker ' in line:
                    assert wanted is not None, line
                    assert b'"marker %d"' % wanted in line, (wanted, line)
                    wanted = next(due, None)
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=0, help="inputs for the protocol alone")
    parser.add_argument("--live", type=int, default=0, help="inputs for a server beside a running guest")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    def memory() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

    def shown(done: int) -> None:
        print(f"\r{done:,}  {memory()} MiB", end="", file=sys.stderr, flush=True)

    begin = time.monotonic()
    if arguments.count:
        good, bad = session(arguments.count, arguments.seed, shown)
        print(f"\nsession: {arguments.count:,} inputs, {good:,} good requests, {bad:,} errors, at most {memory()} MiB, "
              f"{time.monotonic() - begin:.0f} s")  # fmt: skip
    begin = time.monotonic()
    if arguments.live:
        with tempfile.TemporaryDirectory() as name:
            size = trio.run(live, arguments.live, arguments.seed, Path(name), shown)
        print(f"\nlive: {arguments.live:,} inputs, {size:,} bytes of replies, at most {memory()} MiB, "
              f"{time.monotonic() - begin:.0f} s")  # fmt: skip


if __name__ == "__main__":
    main()
