"""A guest that goes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Final, final

import trio
from attrs import define, frozen

from vmcore.machine.guest_stream import MAX_RUN, Decoder, Encoder, runs
from vmcore.machine.snapshot import PAGE, Snapshot
from vmcore.model.errors import MigrationError, VmcoreError
from vmcore.model.migration import CompressionStats, MigrationInfo, MigrationPass, MigrationStats, MigrationStatus
from vmcore.model.migration import Migration as MigrationEvent
from vmcore.model.migration import MigrationCapability as Capability
from vmcore.model.run_state import RunState
from vmcore.shell.standstill import let_go, stand_still, stand_up

if TYPE_CHECKING:
    from vmcore.machine.machine import Machine
    from vmcore.shell.channels import Address, Channel
    from vmcore.shell.moving import Migration
    from vmcore.vm import VirtualMachine

__all__ = ["Outgoing"]

READER: Final = 1
"""Who reads the dirty bits of memory: not the one that screens have."""
SLICE_SECONDS: Final = 0.05
"""For how long the limit of bandwidth is taken to stay the same."""
HOLD_SECONDS: Final = 0.01
"""For how long a throttled guest runs at a time."""

_S: Final = MigrationStatus
_BUSY: Final = frozenset({_S.SETUP, _S.ACTIVE, _S.PRE_SWITCHOVER, _S.DEVICE, _S.CANCELLING})
_DETAILED: Final = (_BUSY | {_S.COMPLETED}) - {_S.SETUP}


@define
class _Counts:
    """What was done so far; times by time.monotonic."""

    begun: float
    active: float | None = None
    stopped: float | None = None
    ended: float | None = None
    total: int = 0
    transferred: int = 0
    precopy: int = 0
    duplicate: int = 0
    normal: int = 0
    remaining: int = 0
    passes: int = 0
    dirty_rate: int = 0
    expected_downtime: int = 0
    compressed_pages: int = 0
    compressed_size: int = 0


@frozen
class _Work:
    """Pages of a pass.  zeros: of these, those that hold nothing but zeros."""

    full: tuple[int, ...]
    zeros: tuple[int, ...]


@frozen
class _Final:
    """What the guest was when it was stopped: all of it that is still to be sent."""

    snapshot: Snapshot
    state: RunState
    full: tuple[tuple[int, bytes], ...]
    zeros: tuple[tuple[int, int], ...]


@final
class Outgoing:
    """One guest on its way, until it has gone or stays."""

    def __init__(self, vm: VirtualMachine, migration: Migration) -> None:
        self._vm = vm
        self._migration = migration
        self.address: Address | None = None
        self.channel: Channel | None = None
        self.over: Final = trio.Event()
        self.go_on: Final = trio.Event()
        self.error: Exception | None = None
        self._desc: str | None = None
        self._scope = trio.CancelScope()
        self._hearing, self._holding = trio.CancelScope(), trio.CancelScope()
        self._encoder = Encoder()
        self._counts = _Counts(monotonic())
        self._owed = 0.0
        self._throttle = self._too_fast = 0
        self._accepted, self._heard = trio.Event(), trio.Event()
        self._refusal: str | None = None
        self._stood: tuple[RunState, bool] | None = None
        self._committed = False
        self.status = _S.NONE
        self._set(_S.SETUP)

    # --- how it goes

    @property
    def busy(self) -> bool:
        """Whether the guest is on its way."""
        return self.status in _BUSY

    def _set(self, status: MigrationStatus) -> None:
        self.status = status
        self._migration.say(MigrationEvent(status=status))

    @property
    def info(self) -> MigrationInfo:
        """How it goes, in numbers."""
        counts, now = self._counts, monotonic()
        if self.status not in _DETAILED:
            return MigrationInfo(status=self.status, error_desc=self._desc)
        end = counts.ended if counts.ended is not None else now
        active = counts.active if counts.active is not None else now
        done = self.status is _S.COMPLETED
        compress = self._migration.has(Capability.COMPRESS)
        return MigrationInfo(
            status=self.status,
            ram=self._ram(max(end - active, 1e-6)),
            total_time=_ms(end - counts.begun),
            downtime=_ms(end - (counts.stopped or end)) if done else None,
            expected_downtime=None if done else counts.expected_downtime,
            setup_time=_ms(active - counts.begun),
            cpu_throttle_percentage=self._throttle or None,
            compression=self._compression() if compress else None,
        )

    def _ram(self, seconds: float) -> MigrationStats:
        counts = self._counts
        return MigrationStats(
            transferred=counts.transferred,
            remaining=counts.remaining,
            total=counts.total,
            duplicate=counts.duplicate,
            skipped=0,
            normal=counts.normal,
            normal_bytes=counts.normal * PAGE,
            dirty_pages_rate=counts.dirty_rate,
            mbps=counts.transferred * 8 / seconds / 1e6,
            dirty_sync_count=counts.passes,
            postcopy_requests=0,
            page_size=PAGE,
            multifd_bytes=0,
            pages_per_second=int((counts.normal + counts.duplicate) / seconds),
            precopy_bytes=counts.precopy,
            downtime_bytes=counts.transferred - counts.precopy,
            postcopy_bytes=0,
            dirty_sync_missed_zero_copy=0,
        )

    def _compression(self) -> CompressionStats:
        pages, size = self._counts.compressed_pages, self._counts.compressed_size
        return CompressionStats(
            pages=pages,
            busy=0,
            busy_rate=0.0,
            compressed_size=size,
            compression_rate=pages * PAGE / size if size else 0.0,
        )

    # --- its life

    def refuse(self, error: Exception, *, told: bool) -> None:
        """It could not even begin.  told: `progress` says why."""
        self.error = error
        self._desc = str(error) if told else None
        if self.channel is not None:
            self.channel.close()
        self._set(_S.FAILED)
        self.over.set()

    def cancel(self) -> None:
        """Keep the guest, unless it is gone."""
        if self.busy and self.status is not _S.CANCELLING and not self._committed:
            self._set(_S.CANCELLING)
            self._scope.cancel()

    async def run(self) -> None:
        """Send the guest."""
        try:
            await self._run()
        finally:
            self._hearing.cancel()
            self._holding.cancel()
            if self.channel is not None:
                self.channel.close()
            self.over.set()

    async def _run(self) -> None:
        problem: Exception | None = None
        try:
            with self._scope:
                await self._transfer()
                return
        except (VmcoreError, OSError) as error:
            problem = error
            if self.channel is not None and self.channel.answers:
                # The other side may have said why.
                with trio.move_on_after(1):
                    await self._heard.wait()
        if self._refusal is not None and self.status is not _S.CANCELLING:
            problem = MigrationError(self._refusal)
        await self._stay()
        if problem is None or self.status is _S.CANCELLING:
            self.error = MigrationError("the migration was cancelled")
            self._set(_S.CANCELLED)
        else:
            self.error, self._desc = problem, str(problem)
            self._set(_S.FAILED)

    async def _stay(self) -> None:
        """Let the guest go on here."""
        with trio.CancelScope(shield=True):
            async with self._vm.parked():
                if self._stood is not None:
                    state, ran = self._stood
                    stand_up(self._vm, state, ran)

    async def _transfer(self) -> None:
        if self.channel is None:
            assert self.address is not None
            self.channel = await self.address.connect()
        channel = self.channel
        if channel.answers:
            self._vm.start_soon(self._hear, "vmcore migration answers")
        elif self._migration.has(Capability.RETURN_PATH):
            raise MigrationError("Unable to open return-path for postcopy")
        last = await self._send_live(channel)
        if self._migration.has(Capability.PAUSE_BEFORE_SWITCHOVER):
            self._set(_S.PRE_SWITCHOVER)
            await self.go_on.wait()
            self._set(_S.DEVICE)
        await self._send_last(channel, last)
        await self._let_go(channel)

    async def _hear(self) -> None:
        """What the destination says.  Its going away before the end is a refusal."""
        channel = self.channel
        assert channel is not None
        with self._hearing:
            reason = "the destination closed the connection"
            try:
                decoder = Decoder("the destination's answer", head=False)
                while data := await channel.receive():
                    for section in decoder.feed(data):
                        if section.tag == b"OKAY":
                            self._accepted.set()
                        elif section.tag == b"FAIL":
                            reason = f"the destination refuses: {section.content.decode('utf-8', 'replace')}"
            except VmcoreError as error:
                reason = str(error)
            if not self._committed:
                self._refusal = reason
                self._scope.cancel()
            self._heard.set()

    # --- memory while the guest runs

    async def _send_live(self, channel: Channel) -> _Final:
        """Send memory until little enough is left, and stop the guest then."""
        vm, counts = self._vm, self._counts
        async with vm.parked() as machine:
            machine.memory.dirty_pages(reader=READER)
            regions = machine.memory.regions()
            places = [(begin, begin + size) for begin, size, kind in regions if kind in ("RAM", "ROM")]
            counts.total = sum(end - begin for begin, end in places)
            work = _Work(tuple(machine.memory.used_pages()), ())
        # Pages that hold nothing but zeros are what a destination begins with: they need not be sent.
        counts.duplicate = counts.total // PAGE - len(work.full)
        self._next_pass()
        counts.active = monotonic()
        counts.expected_downtime = self._migration.parameters.downtime_limit or 0
        self._set(_S.ACTIVE)
        await self._send(channel, self._encoder.begin(vm.config))
        while True:
            before, begun = counts.transferred, monotonic()
            await self._send_pass(channel, work)
            took, sent = max(monotonic() - begun, 1e-6), counts.transferred - before
            speed = self._speed(sent, took)
            async with vm.parked() as machine:
                moved = machine.memory.regions() != regions
                dirty = machine.memory.dirty_pages(reader=READER, clear=False)
                left = sum(1 for address in dirty if _inside(places, address)) * PAGE
                counts.remaining, counts.dirty_rate = left, int(left / PAGE / took)
                counts.expected_downtime = _ms(left / speed)
                if counts.expected_downtime <= (self._migration.parameters.downtime_limit or 0):
                    return self._stop(machine, everything=moved)
                machine.memory.dirty_pages(reader=READER)
                work = _divide(machine, dirty, places)
            self._hold_back(left, sent)
            self._next_pass()

    def _next_pass(self) -> None:
        self._counts.passes += 1
        self._migration.say(MigrationPass(pass_=self._counts.passes))

    def _speed(self, sent: int, took: float) -> float:
        """Bytes a second that the rest can be sent with."""
        # A pass of a few pages says more about waiting for the guest than about the way.
        return sent / took if sent >= 1 << 20 else float(self._migration.parameters.max_bandwidth or 1 << 40)

    async def _send_pass(self, channel: Channel, work: _Work) -> None:
        counts = self._counts
        counts.remaining = (len(work.full) + len(work.zeros)) * PAGE
        for begin, count in runs(work.zeros):
            await self._send(channel, self._encoder.zeros(begin, count))
            counts.duplicate += count
            counts.remaining -= count * PAGE
        left = iter(work.full)
        while batch := self._batch(left):
            async with self._vm.parked() as machine:
                read = [(begin, machine.memory.read(begin, count * PAGE)) for begin, count in runs(batch)]
            for begin, content in read:
                await self._send(channel, self._encode(begin, content))

    def _batch(self, left: Iterator[int]) -> list[int]:
        """Pages that are read at a time: fewer where they are sent slowly, so that it goes evenly."""
        limit = self._migration.parameters.max_bandwidth or 0
        most = MAX_RUN // 4 if self._migration.has(Capability.COMPRESS) else MAX_RUN
        if limit:
            most = max(1, min(most, int(limit * SLICE_SECONDS) // PAGE))
        return list(islice(left, most))

    def _encode(self, begin: int, content: bytes) -> bytes:
        counts, pages = self._counts, len(content) // PAGE
        compress = self._migration.has(Capability.COMPRESS)
        level = self._migration.parameters.compress_level if compress else None
        data = self._encoder.pages(begin, content, level=level)
        if compress:
            counts.compressed_pages += pages
            counts.compressed_size += len(data)
        counts.normal += pages
        counts.remaining -= len(content)
        return data

    async def _send(self, channel: Channel, data: bytes) -> None:
        """Send at no more than the bandwidth that is allowed."""
        await channel.send(data)
        self._counts.transferred += len(data)
        self._owed += len(data)
        while self._owed > 0:
            limit = self._migration.parameters.max_bandwidth or 0
            if not limit:
                self._owed = 0.0
                return
            begun = monotonic()
            await trio.sleep(min(self._owed / limit, SLICE_SECONDS))
            self._owed -= (monotonic() - begun) * limit

    # --- a guest that writes too fast

    def _hold_back(self, dirty: int, sent: int) -> None:
        """Throttle the guest more where it wrote, twice in a row, almost as much as was sent."""
        how = self._migration.parameters
        if not self._migration.has(Capability.AUTO_CONVERGE):
            return
        self._too_fast = self._too_fast + 1 if dirty * 100 > sent * (how.throttle_trigger_threshold or 0) else 0
        if self._too_fast < 2:
            return
        self._too_fast = 0
        if not self._throttle:
            self._throttle = how.cpu_throttle_initial or 1
            self._vm.start_soon(self._keep_holding, "vmcore migration throttle")
        else:
            self._throttle = min(self._throttle + (how.cpu_throttle_increment or 1), how.max_cpu_throttle or 99)

    async def _keep_holding(self) -> None:
        with self._holding:
            while self._stood is None:
                await trio.sleep(HOLD_SECONDS)
                until = trio.current_time() + HOLD_SECONDS * self._throttle / (100 - self._throttle)
                while trio.current_time() < until and self._stood is None:
                    # In short pieces, between which others get at the machine, but not the guest.
                    async with self._vm.parked():
                        await trio.sleep(min(HOLD_SECONDS, max(0.0, until - trio.current_time())))

    # --- the end

    def _stop(self, machine: Machine, *, everything: bool) -> _Final:
        """Stop the guest and copy what is left of it.  everything: memory was moved about, so all of it."""
        vm = self._vm
        self._counts.stopped = monotonic()
        self._counts.precopy = self._counts.transferred
        self._stood = state, ran = stand_still(vm, RunState.FINISH_MIGRATE)
        places = [(b, b + size) for b, size, kind in machine.memory.regions() if kind in ("RAM", "ROM")]
        dirty = machine.memory.dirty_pages(reader=READER)
        if everything:
            dirty = [address for begin, end in places for address in range(begin, end, PAGE)]
        work = _divide(machine, dirty, places)
        return _Final(
            machine.save(memory=False),
            RunState.RUNNING if ran else state,
            tuple((begin, machine.memory.read(begin, count * PAGE)) for begin, count in runs(work.full)),
            tuple(runs(work.zeros)),
        )

    async def _send_last(self, channel: Channel, last: _Final) -> None:
        """The guest stands still: as fast as can be."""
        self._next_pass()
        counts = self._counts
        counts.remaining = sum(len(content) for _, content in last.full) + sum(count for _, count in last.zeros) * PAGE
        for begin, count in last.zeros:
            await self._send_at_once(channel, self._encoder.zeros(begin, count))
            counts.duplicate += count
            counts.remaining -= count * PAGE
        for begin, content in last.full:
            await self._send_at_once(channel, self._encode(begin, content))
        await self._send_at_once(channel, self._encoder.end(last.snapshot, last.state))

    async def _send_at_once(self, channel: Channel, data: bytes) -> None:
        await channel.send(data)
        self._counts.transferred += len(data)

    async def _let_go(self, channel: Channel) -> None:
        """The guest is the destination's.  Behind this there is no way back."""
        if channel.answers:
            await self._accepted.wait()
        async with self._vm.parked() as machine:
            # The destination takes the files of disks when it runs.
            machine.block.activate(False)
        if channel.answers:
            self._committed = True
            with trio.CancelScope(shield=True):
                await channel.send(self._encoder.go())
        else:
            await channel.send(self._encoder.go())
            self._committed = True
        channel.keep()
        with trio.CancelScope(shield=True):
            async with self._vm.parked():
                let_go(self._vm)
        self._counts.ended = monotonic()
        self._counts.transferred += len(self._encoder.go())
        self._set(_S.COMPLETED)


def _divide(machine: Machine, dirty: list[int], places: list[tuple[int, int]]) -> _Work:
    used = set(machine.memory.used_pages())
    here = [address for address in dirty if _inside(places, address)]
    return _Work(tuple(a for a in here if a in used), tuple(a for a in here if a not in used))


def _inside(places: list[tuple[int, int]], address: int) -> bool:
    return any(begin <= address < end for begin, end in places)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
