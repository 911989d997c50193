"""The event bus: bounded streams, overflow, endings."""

from __future__ import annotations

import pytest
import trio
from flat_guests import POWER_OFF, SPIN

from vmcore import Event, EventsLost, Powerdown, Reset, Shutdown, UsageError, VirtualMachine


async def test_a_subscriber_sees_only_its_classes() -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        with vm.events.subscribe(Reset) as resets, vm.events.subscribe(Event) as everything:
            await vm.powerdown()
            await vm.reset()
            assert isinstance(await resets.receive(), Reset)
            assert [type(await everything.receive()) for _ in range(2)] == [Powerdown, Reset]


async def test_overflow_is_reported_once_with_the_number_of_lost_events() -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        with vm.events.subscribe(Powerdown, capacity=2) as events:
            for _ in range(5):
                await vm.powerdown()
            assert await events.receive() == Powerdown()
            assert await events.receive() == Powerdown()
            with pytest.raises(EventsLost) as caught:
                await events.receive()
            assert caught.value.count == 3
            await vm.powerdown()
            assert await events.receive() == Powerdown()
            assert events.statistics().lost == 3


async def test_iteration_ends_when_the_machine_does() -> None:
    seen = []
    async with trio.open_nursery() as nursery, VirtualMachine(flat=POWER_OFF, memory="1M") as vm:
        stream = vm.events.subscribe(Event)

        async def read() -> None:
            seen.extend([event async for event in stream])

        nursery.start_soon(read)
        await vm.run()
    assert [type(event) for event in seen] == [Shutdown]


async def test_expect_drives_a_machine_in_lockstep() -> None:
    async with VirtualMachine(flat=POWER_OFF, memory="1M") as vm:
        async with vm.events.expect(Shutdown) as shutdown:
            pass
        assert shutdown.value.guest


async def test_a_closed_stream_refuses() -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        stream = vm.events.subscribe(Event)
        stream.close()
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive()


async def test_things_that_are_no_events_are_refused() -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        with pytest.raises(UsageError, match="event class"):
            vm.events.subscribe(int)  # type: ignore[type-var]
        with pytest.raises(UsageError, match="capacity"):
            vm.events.subscribe(Event, capacity=0)
