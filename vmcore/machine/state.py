"""The state of the machine as a value: snapshots, digests, counts.

A part of `Machine`.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from attrs import frozen

from vmcore.machine.canonical import encode
from vmcore.machine.parts import MachineParts
from vmcore.machine.snapshot import PAGE, Snapshot
from vmcore.model.errors import UsageError

__all__ = ["MachineState", "MachineStatistics"]


@frozen
class MachineStatistics:
    """What a machine has done since it was built.

    instructions: retired by all vCPUs; guest_ns: guest time; exits: native runs by the reason for which they
    returned; inputs: how many
    reached it; events: how many it emitted; cpus: the engine's own counts, for each vCPU.
    """

    instructions: int
    guest_ns: int
    exits: Mapping[str, int]
    inputs: int
    events: int
    cpus: tuple[Any, ...]


class MachineState(MachineParts):
    """Saving, restoring, and what can be counted."""

    def digest(self) -> str:
        """A hash of the whole guest-visible state, in hex: equal machines have equal digests."""
        self._check_parked("digest")
        state = blake2b(digest_size=32)
        encode([cpu.save() for cpu in self.cpus], state.update)
        encode(self._scheduler.save(), state.update)
        encode(self.board.save(), state.update)
        encode([port.save() for port in self.serial], state.update)
        state.update(self.memory.digest())
        return state.hexdigest()

    def save(self, *, memory: bool = True) -> Snapshot:
        """The whole state as a value.  memory: with the content of RAM and ROM."""
        self._check_parked("save")
        return Snapshot(
            config=self.config,
            cpus=tuple(cpu.save() for cpu in self.cpus),
            scheduler=self._scheduler.save(),
            devices=self.board.save(),
            plugged=self.plug.devices,
            reset_at=self._reset_at,
            serial=tuple(port.save() for port in self.serial),
            files=self.block.marks(),
            pages={at: self.memory.read(at, PAGE) for at in self.memory.used_pages()} if memory else {},
            off=self._off,
            inputs=tuple(self._inputs),
        )

    def restore(self, snapshot: Snapshot, *, memory: bool = True) -> None:
        """Take the state of a snapshot of an equally configured machine.  memory: False leaves RAM and ROM alone."""
        self._check_parked("restore")
        if snapshot.config != self.config:
            raise UsageError("the snapshot is of a machine of another configuration")
        self.block.check_marks(snapshot.files)
        self.plug.restore(snapshot.plugged)
        for address in set(self.memory.used_pages()) - snapshot.pages.keys() if memory else ():
            self.memory.load(address, bytes(PAGE))
        for address, page in snapshot.pages.items():
            self.memory.load(address, page)
        self.board.restore(snapshot.devices)
        self._reset_at = snapshot.reset_at
        for cpu, state in zip(self.cpus, snapshot.cpus, strict=True):
            cpu.restore(state)
        self._scheduler.restore(snapshot.scheduler)
        for port, waiting in zip(self.serial, snapshot.serial, strict=True):
            port.restore(waiting)
        self._off = snapshot.off
        self._broken = None
        self._requests.clear()
        self._inputs = list(snapshot.inputs)

    def statistics(self) -> MachineStatistics:
        """Counts since the machine was built."""
        return MachineStatistics(
            instructions=self.instructions,
            guest_ns=self.now_ns,
            exits={reason.name.lower(): count for reason, count in self._scheduler.exits.items() if count},
            inputs=len(self._inputs),
            events=self._events,
            cpus=tuple(cpu.statistics() for cpu in self.cpus),
        )
