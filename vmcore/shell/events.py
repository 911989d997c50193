"""The typed event bus: what the machine says, as bounded streams for those who subscribed.

Subscribe, then act: a stream holds everything from the moment it is made.  Streams are bounded; one that overflows
raises EventsLost(n) at its next `receive`, once, and goes on with what came after.  When the machine ends, streams end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType, UnionType
from typing import Any, Generic, Self, TypeVar, cast, final, get_args

import trio
from attrs import define, frozen

from vmcore.model.errors import UsageError, VmcoreError
from vmcore.model.events import Event

__all__ = ["EventBus", "EventStream", "EventsLost", "Expected"]

E = TypeVar("E", bound=Event)
CAPACITY = 1024


class EventsLost(VmcoreError):
    """A subscriber was too slow: `count` events found its stream full and are gone."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count

    def __str__(self) -> str:
        return f"{self.count} events were lost: the stream was full"


@frozen
class EventStreamStatistics:
    """waiting: events not yet received; delivered: events received; lost: events that found the stream full."""

    waiting: int
    delivered: int
    lost: int


def event_types(kinds: type[Event] | UnionType) -> tuple[type[Event], ...]:
    """The classes of `Shutdown`, `Shutdown | Reset` or `Event` (which means all)."""
    types = get_args(kinds) if isinstance(kinds, UnionType) else (kinds,)
    for kind in types:
        if not isinstance(kind, type) or not issubclass(kind, Event):
            raise UsageError(
                f"{kinds!r}: expected an event class or a union of event classes, such as Shutdown | Reset"
            )
    return types


@final
class EventStream(trio.abc.ReceiveChannel[E], Generic[E]):
    """One subscriber's events, in the machine's order.  Iterate it, or `receive`; close it with `aclose` or `with`."""

    def __init__(self, bus: EventBus, types: tuple[type[Event], ...], capacity: int) -> None:
        self._bus = bus
        self._types = types
        self._capacity = capacity
        self._waiting: deque[E] = deque()
        self._lost = self._lost_ever = self._delivered = 0
        self._ended = self._closed = False
        self._parked = trio.lowlevel.ParkingLot()

    def receive_nowait(self) -> E:
        """The next event; trio.WouldBlock if there is none yet, trio.EndOfChannel if none will come."""
        if self._closed:
            raise trio.ClosedResourceError("this stream of events is closed")
        if self._lost and not self._waiting:
            count, self._lost = self._lost, 0
            raise EventsLost(count)
        if self._waiting:
            self._delivered += 1
            return self._waiting.popleft()
        if self._ended:
            raise trio.EndOfChannel
        raise trio.WouldBlock

    async def receive(self) -> E:
        """Wait for the next event.  Raises EventsLost, and trio.EndOfChannel after the machine's last event."""
        await trio.lowlevel.checkpoint()
        while True:
            try:
                return self.receive_nowait()
            except trio.WouldBlock:
                await self._parked.park()

    def close(self) -> None:
        """Unsubscribe.  Tasks that wait in `receive` get trio.ClosedResourceError."""
        self._closed = True
        self._bus._streams.pop(self, None)
        self._parked.unpark_all()

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def statistics(self) -> EventStreamStatistics:
        """How the stream is doing."""
        return EventStreamStatistics(len(self._waiting), self._delivered, self._lost_ever)

    def _offer(self, event: Any) -> None:
        if not isinstance(event, self._types):
            return
        if len(self._waiting) >= self._capacity:
            self._lost += 1
            self._lost_ever += 1
        else:
            self._waiting.append(cast("E", event))
        self._parked.unpark()

    def _end(self) -> None:
        self._ended = True
        self._parked.unpark_all()


@define
class Expected(Generic[E]):
    """What `expect` yields: `value` is the event once its block is left."""

    _value: E | None = None

    @property
    def value(self) -> E:
        if self._value is None:
            raise UsageError("no event yet: read `value` after the block")
        return self._value


@final
class EventBus:
    """`vm.events`.  Made by the virtual machine.

    drive: lets a machine that is not free-running go on until an event of these types was published; returns False
    where the machine runs freely (then waiting is enough).
    """

    def __init__(self, drive: Callable[[tuple[type[Event], ...]], Any]) -> None:
        self._streams: dict[EventStream[Any], None] = {}
        self._drive = drive
        self._ended = False
        self._listeners: list[Callable[[Event], None]] = []
        self.published = 0

    def subscribe(self, kinds: type[E] | UnionType = Event, capacity: int = CAPACITY) -> EventStream[E]:  # type: ignore[assignment]
        """A stream of all events of these classes from now on.

        kinds: an event class (with its subclasses; `Event` is all) or a union; capacity: events that may wait.
        """
        if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
            raise UsageError(f"capacity={capacity!r}: expected a number of events from 1 up")
        stream: EventStream[E] = EventStream(self, event_types(kinds), capacity)
        if self._ended:
            stream._end()
        else:
            self._streams[stream] = None
        return stream

    @asynccontextmanager
    async def expect(
        self, kinds: type[E] | UnionType, matching: Callable[[E], bool] | None = None
    ) -> AsyncIterator[Expected[E]]:
        """Act in the block; when it is left, wait for the first event of these classes since its beginning.

        matching: says whether an event is the one; any is if it is left out.
        On a machine that is not free-running the wait drives the guest, and stops it at the instruction that caused
        the event.
        Raises trio.EndOfChannel if the machine ends first.
        """
        expected: Expected[E] = Expected()
        with self.subscribe(kinds) as stream:
            yield expected
            while expected._value is None:
                try:
                    event = stream.receive_nowait()
                except trio.WouldBlock:
                    await self._drive(stream._types)
                    event = await stream.receive()
                if matching is None or matching(event):
                    expected._value = event

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Call `listener` in the trio thread with each event, before the call that caused it returns.

        For transports that must keep events and answers in order.  It must not wait and must not raise.
        """
        self._listeners.append(listener)

    def _publish(self, event: Event) -> None:
        self.published += 1
        for listener in self._listeners:
            listener(event)
        for stream in list(self._streams):
            stream._offer(event)

    def _end(self) -> None:
        self._ended = True
        for stream in list(self._streams):
            stream._end()
        self._streams.clear()
