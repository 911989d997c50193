"""The places for vCPUs on a board, from which they are plugged and unplugged while the guest runs.

Every place has its vCPU and local APIC from the beginning, so that a machine's timers and state are the same whatever
comes; what is not plugged in is not on the APIC bus, and nothing can wake it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import attrs

from vmcore.boards.board import BoardServices
from vmcore.devices.apic_bus import ApicBus
from vmcore.devices.cpu_hotplug import CpuHotplug
from vmcore.devices.local_apic import LocalApic
from vmcore.firmware.platform import PlatformLayout

__all__ = ["CpuSlots"]


@final
class CpuSlots:
    """event: tells the guest to look at the port block; count_changed: gets the number of vCPUs that there are now."""

    def __init__(
        self,
        services: BoardServices,
        layout: PlatformLayout,
        bus: ApicBus,
        apics: Sequence[LocalApic],
        event: Callable[[], None],
        count_changed: Callable[[int], None],
    ) -> None:
        self._services = services
        self._bus = bus
        self._apics = tuple(apics)
        self._count_changed = count_changed
        self.device = CpuHotplug(
            apic_ids=tuple(apic.apic_id for apic in apics),
            event=event,
            on_eject=self._eject,
            on_status=services.cpu_status,
            begin=layout.present,
        )
        """What the guest sees of the places."""
        self.settle()

    def settle(self) -> None:
        """Let those on the APIC bus that are there, in the order of their places."""
        present = self.device.present
        self._bus.local[:] = [apic for index, apic in enumerate(self._apics) if present >> index & 1]

    def plug(self, index: int) -> None:
        """A vCPU comes, as after power-on: it waits for its start-up.  Its TSC counts with the others'."""
        cpu, first = self._services.cpus[index], self._services.cpus[0].save()
        cpu.set_time(self._services.clock.now)
        cpu.reset()
        # Where a processor's TSC would be that nobody has written to since the machine's reset.
        cpu.restore(attrs.evolve(cpu.save(), tsc_offset=(first.tsc_offset - first.tsc_adjust) % (1 << 64)))
        self._apics[index].reset()
        self.device.plug(index)
        self._changed()

    def _eject(self, index: int) -> None:
        """The guest has let go of a vCPU: it may be the very one that does so."""
        self._services.cpus[index].init()
        self._services.notice(index)
        self._apics[index].reset()
        self._changed()
        self._services.cpu_gone(index)

    def _changed(self) -> None:
        self.settle()
        self._count_changed(self.device.present.bit_count())
