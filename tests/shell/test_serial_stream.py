"""Serial ports as trio streams, and `expect`."""

from __future__ import annotations

import re

import pytest
import trio
from flat_guests import ECHO, SPIN, say

from vmcore import ExpectFailed, UsageError, VirtualMachine


async def test_expect_stops_the_guest_at_the_very_byte() -> None:
    async with VirtualMachine(flat=say(b"hello world"), memory="1M") as vm:
        match = await vm.serial[0].expect(b"lo")
        assert (match.before, match.match) == (b"hel", b"lo")
        assert vm.serial[0].unread == b""
        match = await vm.serial[0].expect("world")
        assert (match.before, match.match) == (b" ", b"world")


async def test_expect_stops_at_the_very_instruction_whatever_was_sent_before() -> None:
    text = bytes(range(32, 127)) * 20
    ends = []
    for before in 0, 100, 3000, 7777:
        async with VirtualMachine(flat=say(text + b"STOP HERE" + text), memory="1M") as vm:
            await vm.run(instructions=before)
            await vm.serial[0].expect(b"STOP")
            ends.append((vm.instructions, bytes(vm.serial[0].unread)))
            await vm.run(instructions=200)
            assert vm.serial[0].unread.startswith(b" HERE")
    assert ends == [ends[0]] * 4
    assert ends[0][1] == b""


async def test_expect_with_a_regular_expression_gives_its_groups() -> None:
    async with VirtualMachine(flat=say(b"version 6.1, ready"), memory="1M") as vm:
        match = await vm.serial[0].expect(re.compile(rb"version (\d+)\.(\d+),"))
        assert match.groups == (b"6", b"1")
        assert vm.serial[0].unread == b""


async def test_bytes_are_never_skipped_between_two_expects() -> None:
    async with VirtualMachine(flat=say(b"aXbXc"), memory="1M") as vm:
        assert (await vm.serial[0].expect(b"X")).before == b"a"
        assert (await vm.serial[0].expect(b"X")).before == b"b"
        await vm.run()
        assert await vm.serial[0].receive_some() == b"c"


async def test_expect_fails_with_the_last_output_when_the_guest_stops() -> None:
    async with VirtualMachine(flat=say(b"kernel panic"), memory="1M") as vm:
        with pytest.raises(ExpectFailed, match="kernel panic") as caught:
            await vm.serial[0].expect(b"login:")
        assert caught.value.tail == b"kernel panic"


async def test_expect_on_a_free_running_guest_waits_for_the_bytes() -> None:
    async with VirtualMachine(flat=ECHO, memory="1M") as vm:
        await vm.start()
        await vm.serial[0].send_all(b"HAL")
        assert (await vm.serial[0].expect(b"IBM")).before == b""


async def test_expect_in_lockstep_echoes_what_was_sent() -> None:
    async with VirtualMachine(flat=ECHO, memory="1M") as vm:
        await vm.serial[0].send_all(b"abc" * 100)
        for _ in range(100):
            await vm.serial[0].expect(b"bcd")


async def test_receive_some_ends_with_the_machine() -> None:
    ends: list[bytes] = []
    async with trio.open_nursery() as nursery, VirtualMachine(flat=SPIN, memory="1M") as vm:
        stream = vm.serial[0]

        async def read() -> None:
            ends.append(await stream.receive_some())

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
    assert ends == [b""]


async def test_two_readers_at_once_are_refused() -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm, trio.open_nursery() as nursery:
        nursery.start_soon(vm.serial[0].receive_some)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await vm.serial[0].receive_some()
        nursery.cancel_scope.cancel()


async def test_bad_patterns_are_usage_errors() -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        with pytest.raises(UsageError, match="bytes"):
            await vm.serial[0].expect(b"")
        with pytest.raises(UsageError, match="bytes"):
            await vm.serial[0].expect(re.compile("text"))  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            await vm.serial[0].receive_some(1.5)  # type: ignore[arg-type]


async def test_a_closed_stream_refuses_and_the_guest_goes_on() -> None:
    async with VirtualMachine(flat=say(b"into the void"), memory="1M") as vm:
        await vm.serial[0].aclose()
        await vm.run()
        with pytest.raises(trio.ClosedResourceError):
            await vm.serial[0].receive_some()
        with pytest.raises(trio.ClosedResourceError):
            await vm.serial[0].send_all(b"x")
