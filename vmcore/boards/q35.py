"""The board `q35`: a PC with a Q35 host bridge and an ICH9, whose PCI configuration space also shows in memory.

What is not PCI is as on the board `pc`; interrupts of PCI have inputs of the IOAPIC of their own.
"""

from __future__ import annotations

from typing import Final, final

from attrs import evolve

from vmcore.boards.pc import PCI_MEMORY_END, PcBoard
from vmcore.boards.pci_setup import set_up
from vmcore.boards.sata import build_sata
from vmcore.buses.pci import PciBus
from vmcore.devices.ich9_chipset import Ich9Chipset
from vmcore.devices.ich9_lpc import ACPI_CONTROL, ACPI_ENABLE, PIRQS, PM_BASE, ROOT_COMPLEX, Ich9Lpc, SmiControl, route
from vmcore.devices.pci_ecam import PciEcam
from vmcore.devices.q35_mch import PAM, PCIEXBAR, Q35Mch
from vmcore.devices.tco import Tco
from vmcore.firmware.platform import PlatformLayout

__all__ = ["Q35Board", "q35_layout"]

ECAM: Final = 0xB000_0000
CPU_HOTPLUG: Final = 0xCD8
CHIPSET: Final = 0xFED1_C000
LPC: Final = 31
FIRST_INPUT: Final = 16
ROUTES: Final = (10, 10, 11, 11, 10, 10, 11, 11)


def q35_layout(layout: PlatformLayout) -> PlatformLayout:
    """Where a `q35` differs from a `pc`: RAM ends below configuration space, and the general-purpose events are among
    the other power management ports.
    """
    return evolve(
        layout, ich9=True, ecam=ECAM, low_ram_end=0x8000_0000, gpe0=layout.pm1_event + 0x20, cpu_hotplug=CPU_HOTPLUG
    )


@final
class Q35Board(PcBoard):
    """A PC with a Q35 and an ICH9."""

    hpet_routes = 0  # All inputs are in use: legacy replacement alone.

    def build_bridges(self) -> None:
        # The bridge decides where the ports of the power management are, so it is plugged in once those are built.
        self.pci = PciBus(self.memory_decoder, self.port_decoder, self.message, lines=(), route=route, name="pcie.0")
        ecam = PciEcam(self.pci)
        self.add("/machine/ecam", ecam)
        self.mch = Q35Mch(self.shadow, ecam)
        self.kept.append(self.mch)
        self.plug(self.mch, "/machine/mch", 0)
        self.pam = self.mch, PAM

    def build_power_function(self) -> None:
        services = self.services
        smi, chipset = SmiControl(), Ich9Chipset()
        self.add("/machine/smi", smi)
        self.add("/machine/chipset", chipset)
        tco = Tco(
            services.clock,
            services.watchdog_expired,
            on_nmi=self.signal(0, services.cpus[0].nmi),
            no_reboot=lambda: chipset.no_reboot,
        )
        self.add("/machine/tco", tco)
        self.watchdogs.append(tco)
        self.lpc = Ich9Lpc(
            self.power,
            smi,
            tco,
            chipset,
            irqs={number: shared.input("pirq") for number, shared in self.shared_irqs.items()},
            inputs=[self.ioapic.input(FIRST_INPUT + number) for number in range(len(PIRQS))],
        )
        self.pci.lines = self.lpc.pirqs
        self.plug(self.lpc, "/machine/lpc", LPC)

    adapter_path = "/pci@i0cf8/pci8086,2922@1f,2/drive@{2}/disk@0"
    isa_path = "/pci@i0cf8/isa@1f"

    def build_adapter(self) -> None:
        build_sata(self)

    def set_up_pci(self) -> None:
        layout = self.layout
        self.mch.config_write(PCIEXBAR + 4, 0, 4)
        self.mch.config_write(PCIEXBAR, layout.ecam | 1, 4)
        self.lpc.config_write(PM_BASE, layout.pm1_event, 4)
        self.lpc.config_write(ACPI_CONTROL, ACPI_ENABLE, 1)
        self.lpc.config_write(ROOT_COMPLEX, CHIPSET | 1, 4)
        for register, irq in zip(PIRQS, ROUTES, strict=True):
            self.lpc.config_write(register, irq, 1)
            self.set_level(irq)
        set_up(
            self.pci,
            (layout.pci_memory, layout.io_apic - PCI_MEMORY_END),
            lambda device, pin: ROUTES[route(device, pin)],
        )
