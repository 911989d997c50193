"""The board `pc`: a PC with a 440FX and a PIIX, local APICs, an IOAPIC and ACPI.

Addresses and interrupts are those of the PC/AT (IBM PC AT Technical Reference, 1985), of the Intel MultiProcessor
Specification 1.4 (APICs, virtual wire mode) and, for power management, `PlatformLayout`'s.

Memory: RAM from 0, without the 384 KiB of the upper memory area; from 1 MiB to at most 3 GiB; and the rest from 4
GiB on.  The upper memory area has the video window, whose text memory is RAM even without a video card (the BIOS
writes there, and boot sectors too), and 256 KiB of ROM at 0xC0000, whose upper 64 KiB show again below 4 GiB, where
the processor starts.

Interrupts: each ISA line leads to the pair of 8259s and to the IOAPIC, as on every PC with both; the timer is on
IOAPIC pin 2.  The 8259s' output is on LINT0 of the local APICs.  The operating system masks those that it does not
use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, Final

from attrs import evolve, frozen

from vmcore.block.drive import DriveKind
from vmcore.block.raw import DiskBackend, RawDisk, RawDiskState
from vmcore.block.sectors import DriveSectors
from vmcore.boards.added import add_devices
from vmcore.boards.board import AddedDevice, Board, BoardServices, Bus, ScreenSource
from vmcore.boards.boot_paths import boot_paths
from vmcore.boards.cmos import BOOT_ORDER, CPUS, SHUTDOWN_CODE, WAKES, cmos_contents
from vmcore.boards.cpu_slots import CpuSlots
from vmcore.boards.floppies import build_floppies, floppy_cmos
from vmcore.boards.ide import build_ide
from vmcore.boards.memory_slots import MemorySlots
from vmcore.boards.msrs import give_hyperv
from vmcore.boards.pc_vga import PcVga
from vmcore.boards.pci_setup import set_up
from vmcore.boards.pci_slots import PciSlots
from vmcore.boards.sleep import sleep_types
from vmcore.buses.pci import PciBus, PciFunction
from vmcore.devices.acpi_pm import PWRBTN, RTC, AcpiPm, SleepState
from vmcore.devices.apic_bus import ApicBus, Delivery
from vmcore.devices.bios_disk import HARD_DISKS, BiosDisk
from vmcore.devices.bios_disk import PORTS as DISK_PORTS
from vmcore.devices.coprocessor import Coprocessor
from vmcore.devices.cpu_hotplug import LEGACY_PORTS
from vmcore.devices.dma8237 import Dma8237
from vmcore.devices.fw_cfg import FwCfg
from vmcore.devices.hpet import Hpet
from vmcore.devices.i440fx import PAM, I440fx
from vmcore.devices.i8042 import I8042
from vmcore.devices.ioapic import PINS, IoApic
from vmcore.devices.local_apic import MASKED, LocalApic
from vmcore.devices.memory_hotplug import PORTS as MEMORY_HOTPLUG_PORTS
from vmcore.devices.pci_host import PciHost
from vmcore.devices.pci_hotplug import PORTS as PCI_HOTPLUG_PORTS
from vmcore.devices.pic8259 import Pic8259
from vmcore.devices.piix3 import PIRQ, ROUTABLE, Piix3
from vmcore.devices.piix3_ide import Piix3Ide
from vmcore.devices.piix4_pm import PM_BASE, PM_ENABLE, Piix4Pm
from vmcore.devices.pit8254 import Pit8254
from vmcore.devices.port92 import Port92
from vmcore.devices.post import PostPort
from vmcore.devices.ps2_keyboard import Ps2Keyboard
from vmcore.devices.reset_control import ResetControl
from vmcore.devices.rtc_mc146818 import RtcMc146818
from vmcore.devices.serial16550 import Serial16550
from vmcore.devices.shadow_memory import SHADOWED, ShadowMemory
from vmcore.engine import Cpu
from vmcore.engine.topology import CpuTopology
from vmcore.firmware import fw_cfg
from vmcore.firmware.acpi.cpu_hotplug import EVENT as CPU_EVENT
from vmcore.firmware.acpi.memory_hotplug import EVENT as MEMORY_EVENT
from vmcore.firmware.acpi.pci_hotplug import EVENT as PCI_EVENT
from vmcore.firmware.boot_image import BootImage
from vmcore.firmware.fw_cfg import Firmware
from vmcore.firmware.platform import PlatformLayout, SerialPort
from vmcore.hardware import Device
from vmcore.hardware.clock import Timer
from vmcore.hardware.decoding import Accessors, Claim, Registers
from vmcore.hardware.irq import IrqLine, SharedLine
from vmcore.hardware.memory_map import Mmio, Ram
from vmcore.model.run_state import WakeReason
from vmcore.model.units import GIB, KIB, MIB, SECOND

__all__ = ["PcBoard", "pc_layout"]

SERIAL_PORTS: Final = (SerialPort(0x3F8, 4), SerialPort(0x2F8, 3), SerialPort(0x3E8, 4), SerialPort(0x2E8, 3))

TIMER_IRQ: Final = 0
TIMER_PIN: Final = 2
KEYBOARD_IRQ: Final = 1
RTC_IRQ: Final = 8
MOUSE_IRQ: Final = 12
COPROCESSOR_IRQ: Final = 13

UPPER_MEMORY: Final = 0xA0000
TEXT_START: Final = 0xB8000
TEXT_SIZE: Final = 32 * KIB
ROM_START: Final = 0xC0000
ROM_SIZE: Final = 256 * KIB
ISA_ROM_SIZE: Final = 128 * KIB
ROM_ORDER: Final = 20
TEXT_ORDER: Final = 1000
"""Text memory shows where nothing else does: a video card hides it."""
RESET_ROM_SIZE: Final = 64 * KIB
APIC_PAGE: Final = 4 * KIB
APIC_ORDER: Final = 0
"""Local APICs hide everything that moves: the processor does not ask outside."""
POST_PORT: Final = 0x80
FW_CFG_PORT: Final = 0x510
HPET_SIZE: Final = KIB
SOUTH_BRIDGE: Final = 1
PIRQ_ROUTES: Final = (10, 10, 11, 11)
PCI_MEMORY_END: Final = 0x40_0000
"""So much below the IOAPIC is kept free for what chip sets have there."""
MESSAGES: Final = 0xFEE
"""Bits 20 and up of the addresses that message signalled interrupts are written to (SDM vol. 3, 11.11.1)."""

# Model-specific registers whose meaning lies outside the processor core (SDM vol. 4, table 2-2).
IA32_TSC: Final = 0x10
IA32_APIC_BASE: Final = 0x1B
IA32_TSC_ADJUST: Final = 0x3B
IA32_TSC_DEADLINE: Final = 0x6E0
APIC_MSRS: Final = (IA32_TSC, IA32_APIC_BASE, IA32_TSC_ADJUST, IA32_TSC_DEADLINE)

UNMASKABLE: Final = (Delivery.SMI, Delivery.NMI, Delivery.INIT)
LINT1: Final = 4
"""Place of the entry of local input 1 in a local APIC's saved vector table."""

VIRTUAL_WIRE: Final = ((LocalApic.SVR, 0x1FF), (LocalApic.LVT_LINT0, 0x700), (LocalApic.LVT_LINT1, 0x400))
"""The local APIC of the first processor, enabled, with the 8259s at LINT0 and NMI at LINT1 (MP specification 1.4,
3.6.2.2)."""


def pc_layout(
    *,
    memory: int,
    cpus: int,
    topology: CpuTopology | None = None,
    serials: int,
    long_mode: bool = True,
    physical_bits: int = 40,
    floppies: bool = False,
    acpi: bool = True,
    uuid: bytes = bytes(16),
    screen: bool = False,
) -> PlatformLayout:
    """Where everything is on a `pc` with so much RAM, and so many vCPUs and serial ports."""
    return PlatformLayout(
        uuid=uuid,
        memory=memory,
        cpus=cpus,
        topology=topology or CpuTopology(cores=cpus),
        long_mode=long_mode,
        physical_bits=physical_bits,
        serial=SERIAL_PORTS[:serials],
        floppies=floppies,
        acpi=acpi,
        text_screen=screen,
    )


WIRING: Final = "/machine"
"""Where the state of what is no device is kept among those of the devices."""


@frozen
class PcWiringState:
    """State between the devices.  tsc_changes: deadlines of notices to the local APICs; disks: what was written to the
    disks of the built-in BIOS, by drive number.
    """

    tsc_changes: tuple[int | None, ...]
    disks: tuple[tuple[int, RawDiskState], ...]


class PcBoard(Board):
    """A PC with a 440FX and a PIIX.

    layout: where things are, from `pc_layout`; disks: what the built-in BIOS can reach, by its drive numbers;
    firmware: what stands in for the built-in BIOS.
    """

    def __init__(
        self,
        services: BoardServices,
        layout: PlatformLayout,
        disks: Mapping[int, DiskBackend],
        added: Sequence[AddedDevice] = (),
        firmware: Firmware | None = None,
        hyperv: Sequence[str] = (),
        *,
        video_bios: bytes = b"",
    ) -> None:
        super().__init__(services, layout)
        self._firmware = firmware
        self.pam: tuple[PciFunction[Any], int]
        """Where the host bridge decides what shows between 640 KiB and 1 MiB: the bridge, and its first register."""
        self._apic_pages: dict[int, Claim] = {}
        self.shared_irqs: dict[int, SharedLine] = {}
        self._map_memory()
        self._build_interrupts()
        self._build_pci()
        self._build_timers()
        self._build_coprocessor()
        self._build_dma()
        self._build_input()
        self._build_serial()
        self._build_power()
        self._build_cpu_slots()
        self.build_adapter()
        build_floppies(self)
        self._build_firmware_devices(disks)
        if firmware is not None:
            self._build_fw_cfg(firmware)
        self.buses["isa.0"] = Bus("ISA")
        self.vga = PcVga(self, video_bios) if layout.text_screen else None
        add_devices(self, added)
        self._build_pci_slots()
        self._build_memory_slots()
        give_hyperv(self, hyperv, APIC_MSRS, self._apic_hooks.__getitem__)
        self._place_apics()
        self.connect()

    # --- memory

    def _map_memory(self) -> None:
        layout = self.layout
        self.memory_map.add(Ram(0, min(layout.memory, UPPER_MEMORY), "conventional"))
        if layout.low_ram > MIB:
            self.memory_map.add(Ram(MIB, layout.low_ram - MIB, "extended", MIB))
        if layout.high_ram:
            self.memory_map.add(Ram(4 * GIB, layout.high_ram, "above 4 GiB", layout.low_ram))
        self._build_upper_memory()

    def _build_upper_memory(self) -> None:
        """ROM, and the RAM under it; the host bridge decides what shows."""
        decoder = self.memory_decoder
        if self._firmware is None:
            rom = decoder.allocate(ROM_SIZE, rom=True)
            low, top = (ROM_START, rom), rom.part(ROM_SIZE - RESET_ROM_SIZE, RESET_ROM_SIZE)
        else:
            # The chip is at the top of 4 GiB; its last 128 KiB show again where PCs have always had their BIOS.
            image = self._firmware.image
            size = len(image)
            top = decoder.allocate(size, rom=True, contents=image)
            shown = min(size, ISA_ROM_SIZE)
            low = MIB - shown, top.part(size - shown, shown)
        decoder.add(Claim(4 * GIB - top.size, top.size, top, (ROM_ORDER, 0), "reset rom"))
        ram = decoder.allocate(SHADOWED)
        if self.layout.memory >= TEXT_START + TEXT_SIZE:
            text = ram.part(TEXT_START - UPPER_MEMORY, TEXT_SIZE)
            decoder.add(Claim(TEXT_START, TEXT_SIZE, text, (TEXT_ORDER, 0), "text"))
        self.shadow = ShadowMemory(decoder, ram, [low])

    # --- interrupts

    def _build_interrupts(self) -> None:
        services = self.services
        self.bus = ApicBus()
        self.apics: list[LocalApic] = []
        self._apic_hooks: dict[Cpu, tuple[Callable[[int], int | None], Callable[[int, int], bool | None]]] = {}
        self._tsc_changes: list[Timer] = []
        self.pic = Pic8259(intr=IrqLine(self._pic_output, "8259 output"))
        for index, cpu in enumerate(services.cpus):
            apic = LocalApic(
                bus=self.bus,
                clock=services.clock,
                intr=IrqLine(self._interrupt_pin(index), f"interrupt of cpu{index}"),
                apic_id=self.layout.topology.apic_id(index),
                bsp=index == 0,
                acknowledge_extint=self.pic.acknowledge,
                on_nmi=self.signal(index, cpu.nmi),
                on_init=self.signal(index, cpu.init),
                on_startup=self._startup(index),
                on_task_priority=self._set_cr8(index),
                on_base=self._apic_moved,
                physical_bits=self.layout.physical_bits,
                tsc_to_ns=self._tsc_to_ns(index),
            )
            self.apics.append(apic)
            self.add(f"/machine/cpus/cpu{index}/lapic", apic)
            cpu.acknowledge = apic.acknowledge
            cpu.on_cr8_write = apic.write_cr8
            self._apic_hooks[cpu] = hooks = self._read_msr(apic), self._write_msr(apic)
            cpu.set_msr_hooks(APIC_MSRS, *hooks)
        self.ioapic = IoApic(bus=self.bus, apic_id=self.layout.io_apic_id)
        self.add("/machine/pic", self.pic)
        self.add("/machine/ioapic", self.ioapic)
        self.ports.claim(0x20, 2, self.pic, "8259 master")
        self.ports.claim(0xA0, 2, self.pic, "8259 slave", 2)
        self.ports.claim(0x4D0, 2, self.pic, "edge/level control", 4)
        self.memory_map.add(Mmio(self.layout.io_apic, APIC_PAGE, "ioapic", self.ioapic))

    def isa_irq(self, number: int, name: str) -> IrqLine:
        """A line to input `number` of the 8259s and of the IOAPIC."""
        shared = self.shared_irqs.get(number)
        return self._isa_line(number) if shared is None else shared.input(name)

    def _isa_line(self, number: int) -> IrqLine:
        to_pic = self.pic.input(number)
        to_ioapic = self.ioapic.input(TIMER_PIN if number == TIMER_IRQ else number)

        def both(level: bool) -> None:
            to_pic(level)
            to_ioapic(level)

        return IrqLine(both, f"irq {number}")

    def _pic_output(self, level: bool) -> None:
        # LINT0 of all local APICs; usually only the first one's lets it through.
        for apic in self.apics:
            apic.set_lint0(level)

    def _interrupt_pin(self, index: int) -> Callable[[bool], None]:
        set_interrupt, notice = self.services.cpus[index].set_interrupt, self.services.notice

        def pin(level: bool) -> None:
            set_interrupt(level)
            if level:
                notice(index)

        return pin

    def signal(self, index: int, deliver: Callable[[], None]) -> Callable[[], None]:
        """What tells a vCPU of something by `deliver`."""

        def signal() -> None:
            deliver()
            self.services.notice(index)

        return signal

    def _startup(self, index: int) -> Callable[[int], None]:
        def startup(vector: int) -> None:
            self.services.cpus[index].sipi(vector)
            self.services.notice(index)

        return startup

    def _set_cr8(self, index: int) -> Callable[[int], None]:
        cpu = self.services.cpus[index]

        def set_cr8(value: int) -> None:
            cpu.cr8 = value

        return set_cr8

    def _tsc_to_ns(self, index: int) -> Callable[[int], int]:
        cpu, clock = self.services.cpus[index], self.services.clock
        hz = cpu.model.tsc_hz

        def convert(tsc: int) -> int:
            # From where the counter stands now: the guest may have written to it.
            return clock.now - (min(cpu.tsc - tsc, 0) * SECOND // hz)

        return convert

    @staticmethod
    def _read_msr(apic: LocalApic) -> Callable[[int], int | None]:
        def read(index: int) -> int | None:
            if index == IA32_APIC_BASE:
                return apic.read_base()
            return apic.read_tsc_deadline() if index == IA32_TSC_DEADLINE else None

        return read

    def _write_msr(self, apic: LocalApic) -> Callable[[int, int], bool | None]:
        # The engine keeps the TSC; the APIC has to hear of a change once it is made, before the next instruction.
        changed = self.services.clock.timer(apic.tsc_changed, f"tsc-changed-{apic.apic_id}")
        self._tsc_changes.append(changed)

        def write(index: int, value: int) -> bool | None:
            if index == IA32_APIC_BASE:
                return apic.write_base(value)
            if index == IA32_TSC_DEADLINE:
                apic.write_tsc_deadline(value)
                return True
            changed.arm(self.services.clock.now)
            return None

        return write

    # Each processor sees its own local APIC at the page that its IA32_APIC_BASE names.

    def _apic_moved(self, base: int, enabled: bool) -> None:
        self._place_apics()

    def _place_apics(self) -> None:
        wanted = {apic.read_base() & ~0xFFF for apic in self.apics if apic.enabled}
        gone = [self._apic_pages.pop(page) for page in self._apic_pages.keys() - wanted]
        new = {page: self._apic_page(page) for page in sorted(wanted - self._apic_pages.keys())}
        self._apic_pages |= new
        if gone or new:  # Over RAM or a fixed device the board has no way to show it; what was there stays.
            self.memory_decoder.change(remove=gone, add=new.values())

    def _apic_page(self, page: int) -> Claim:
        apics, turn = self.apics, self.services.turn
        order = APIC_ORDER, page
        if len(apics) == 1:
            return Claim(page, APIC_PAGE, Registers(apics[0]), order, "local apic")

        def read(offset: int, size: int) -> int:
            apic = apics[turn()]
            if apic.enabled and apic.read_base() & ~0xFFF == page:
                return apic.mmio_read(offset, size)
            return (1 << 8 * size) - 1

        def write(offset: int, value: int, size: int) -> None:
            apic = apics[turn()]
            if apic.enabled and apic.read_base() & ~0xFFF == page:
                apic.mmio_write(offset, value, size)

        return Claim(page, APIC_PAGE, Accessors(read, write), order, "local apic")

    # --- timers

    hpet_routes = 0xF0_0000
    """Inputs of the IOAPIC that nothing else uses, for the HPET."""

    def _build_timers(self) -> None:
        services = self.services
        self.hpet = Hpet(
            services.clock,
            self.isa_irq(TIMER_IRQ, "timer"),
            self.isa_irq(RTC_IRQ, "rtc"),
            [self.ioapic.input(number) for number in range(PINS)],
            self.hpet_routes,
        )
        self.add("/machine/hpet", self.hpet)
        self.memory_map.add(Mmio(self.layout.hpet, HPET_SIZE, "hpet", self.hpet))
        self.pit = Pit8254(irq=self.hpet.pit, clock=services.clock)
        self.add("/machine/pit", self.pit)
        self.ports.claim(0x40, 4, self.pit, "8254")
        self.ports.claim(0x61, 1, self.pit, "system control port B", 4)
        self.rtc = RtcMc146818(
            irq=self.hpet.rtc,
            clock=services.clock,
            emit=services.emit,
            start=services.rtc,
            qom_path="/machine/rtc",
            contents=self._cmos(),
            on_alarm=self._rtc_alarm,
        )
        self.add("/machine/rtc", self.rtc)
        self.ports.claim(0x70, 2, self.rtc, "rtc")

    def _cmos(self) -> dict[int, int]:
        order = zip(BOOT_ORDER, self.services.boot.codes(first=True), strict=True)
        return floppy_cmos(self.services.floppies, cmos_contents(self.layout)) | dict(order)

    def restarted(self) -> None:
        for index, value in zip(BOOT_ORDER, self.services.boot.codes(), strict=True):
            self.rtc.poke(index, value)

    # --- coprocessor errors

    def _build_coprocessor(self) -> None:
        first = self.services.cpus[0]

        def ignore() -> None:
            first.ignne = 1

        self.coprocessor = Coprocessor(irq=self.isa_irq(COPROCESSOR_IRQ, "coprocessor"), ignore=ignore)
        self.add("/machine/coprocessor", self.coprocessor)
        self.ports.claim(0xF0, 1, self.coprocessor, "coprocessor")
        first.on_ferr = self.coprocessor.set_error

    # --- DMA of ISA devices

    def _build_dma(self) -> None:
        self.dma = Dma8237(self.services.memory)
        self.add("/machine/dma", self.dma)
        self.ports.claim(0x00, 0x10, self.dma, "dma 0-3")
        self.ports.claim(POST_PORT + 1, 0xF, self.dma, "dma pages", 0x11)
        self.ports.claim(0xC0, 0x20, self.dma, "dma 4-7", 0x20)

    # --- keyboard, mouse, A20, reset

    def _build_input(self) -> None:
        services = self.services
        self.a20 = IrqLine(self._set_a20, "a20")
        self.keyboard = Ps2Keyboard()
        self.i8042 = I8042(
            keyboard_irq=self.isa_irq(KEYBOARD_IRQ, "keyboard"),
            aux_irq=self.isa_irq(MOUSE_IRQ, "mouse"),
            a20=self.a20,
            system_reset=services.reset,
            clock=services.clock,
            keyboard=self.keyboard,
        )
        self.add("/machine/i8042", self.i8042)
        self.ports.claim(0x60, 1, self.i8042, "8042 data")
        self.ports.claim(0x64, 1, self.i8042, "8042 command", 4)
        self.port92 = Port92(a20=self.a20, system_reset=services.reset)
        self.add("/machine/port92", self.port92)
        self.ports.claim(0x92, 1, self.port92, "system control port A")

    def _set_a20(self, level: bool) -> None:
        self.services.memory.a20 = level

    # --- serial ports

    def _build_serial(self) -> None:
        services = self.services
        # COM1 and COM3 share an interrupt, as do COM2 and COM4.
        shared = {irq: SharedLine(self.isa_irq(irq, "serial")) for irq in (3, 4)}
        for index, (place, backend) in enumerate(zip(self.layout.serial, services.serial, strict=True)):
            line = shared[place.irq].input(f"serial{index}")
            uart = Serial16550(irq=line, clock=services.clock, backend=backend)
            self.uarts.append(uart)
            self.add(f"/machine/serial{index}", uart)
            self.ports.claim(place.base, 8, uart, f"serial{index}")

    # --- power

    def _build_power(self) -> None:
        services, layout = self.services, self.layout
        self.power = AcpiPm(
            sci=self.isa_irq(layout.sci_irq, "sci"),
            clock=services.clock,
            on_sleep=self._sleep,
            sleep_types=sleep_types(layout),
            timer_bits=layout.pm_timer_bits,
            acpi_enable=layout.acpi_enable,
            acpi_disable=layout.acpi_disable,
        )
        self.add("/machine/acpi", self.power)
        self.build_power_function()
        self.standby = (self.rtc, self.power)
        self.ports.claim(layout.smi_command, 2, self.power, "smi command", 0x40)
        self.reset_control = ResetControl(on_reset=lambda hard: services.reset())
        self.add("/machine/reset-control", self.reset_control)
        # The reset control register lies between the ports of the PCI host bridge, which passes bytes on to it.
        self.pci_host = PciHost(bus=self.pci, isa=self.reset_control)
        self.add("/machine/pci", self.pci_host)
        self.ports.claim(layout.reset_register - 1, 8, self.pci_host, "pci configuration")

    # --- PCI

    def _build_pci(self) -> None:
        self.shared_irqs = {number: SharedLine(self._isa_line(number)) for number in sorted(ROUTABLE)}
        self.build_bridges()

    def build_bridges(self) -> None:
        """The root bus, the host bridge and the bridge to the ISA bus."""
        self.piix3 = Piix3(irqs={number: shared.input("pirq") for number, shared in self.shared_irqs.items()})
        self.pci = PciBus(
            self.memory_decoder,
            self.port_decoder,
            self.message,
            lines=self.piix3.pirqs,
            route=lambda device, pin: device - 1 + pin & 3,
        )
        bridge = I440fx(self.shadow)
        self.kept.append(bridge)
        self.plug(bridge, "/machine/i440fx", 0)
        self.pam = bridge, PAM
        self.plug(self.piix3, "/machine/piix3", SOUTH_BRIDGE)

    def build_power_function(self) -> None:
        """What decides where the power management ports are."""
        self.piix4 = Piix4Pm(self.power)
        self.plug(self.piix4, "/machine/piix4", SOUTH_BRIDGE, 3)
        self.ports.claim(self.layout.gpe0, self.layout.gpe0_length, self.power, "gpe0", 0x20)

    def set_up_pci(self) -> None:
        """What firmware does on PCI: power management where the tables say, interrupts, which are levels, addresses."""
        self.piix4.config_write(PM_BASE, self.layout.pm1_event | 1, 4)
        self.piix4.config_write(PM_ENABLE, 1, 1)
        if self.ide is not None:
            self.ide.enable_channels()
        for number, irq in enumerate(PIRQ_ROUTES):
            self.piix3.config_write(PIRQ + number, irq, 1)
            self.set_level(irq)

        def interrupt(device: int, pin: int) -> int:
            return self.layout.sci_irq if device == SOUTH_BRIDGE else PIRQ_ROUTES[self.pci.route(device, pin)]

        set_up(self.pci, (self.layout.pci_memory, self.layout.io_apic - PCI_MEMORY_END), interrupt)

    def set_level(self, irq: int) -> None:
        """Say in the edge/level registers that an interrupt is a level."""
        port = 4 + (irq >> 3)
        self.pic.port_write(port, self.pic.port_read(port, 1) | 1 << (irq & 7), 1)

    def message(self, address: int, data: int) -> None:
        """A message signalled interrupt of a function."""
        if address >> 20 == MESSAGES:
            self.bus.message(address, data)
        else:  # A message is a write like any other.
            self.services.memory.write(address, data.to_bytes(4, "little"))

    def plug(self, function: PciFunction[Any], path: str, device: int | None = None, number: int = 0) -> None:
        """Put a function into a slot of the root bus, the first free one unless told otherwise."""
        self.pci.plug(function, device, number)
        self.add(path, function)

    def _build_cpu_slots(self) -> None:
        self.cpu_slots = slots = CpuSlots(
            self.services,
            self.layout,
            self.bus,
            self.apics,
            event=lambda: self.power.general_event(CPU_EVENT),
            count_changed=self._count_cpus,
        )
        self.add("/machine/cpu-hotplug", slots.device)
        self.ports.claim(self.layout.cpu_hotplug, LEGACY_PORTS, slots.device, "cpu hotplug")

    def _build_pci_slots(self) -> None:
        name, ports = self.pci.name, self.layout.pci_hotplug
        self.buses[name] = Bus("PCIE" if name.startswith("pcie") else "PCI", hotpluggable=bool(ports))
        self.pci_buses[name] = self.pci
        if ports:
            self.pci_slots = slots = PciSlots(self.pci, lambda: self.power.general_event(PCI_EVENT))
            self.add("/machine/pci-hotplug", slots.device)
            self.ports.claim(ports, PCI_HOTPLUG_PORTS, slots.device, "pci hotplug")

    def _build_memory_slots(self) -> None:
        layout = self.layout
        if layout.memory_slots:
            self.memory_slots = slots = MemorySlots(
                self.memory_decoder,
                self.memory_map,
                layout.memory_slots,
                layout.module_memory,
                lambda: self.power.general_event(MEMORY_EVENT),
            )
            self.add("/machine/memory-hotplug", slots.device)
            self.ports.claim(layout.memory_hotplug, MEMORY_HOTPLUG_PORTS, slots.device, "memory hotplug")

    def _count_cpus(self, count: int) -> None:
        self.rtc.poke(CPUS, count - 1)
        self._tell_firmware()

    def _tell_firmware(self) -> None:
        """What the firmware configuration device holds follows from the vCPUs that there are."""
        if self._firmware is not None:
            layout = evolve(self.layout, present=self.present)
            self.fw_cfg.items.update(fw_cfg.contents(layout, self._firmware))

    def _sleep(self, state: SleepState) -> None:
        services = self.services
        enter = {SleepState.S3: services.suspend, SleepState.S4: services.suspend_to_disk}
        enter.get(state, services.power_off)()

    def _rtc_alarm(self) -> None:
        self.power.rtc_alarm()
        if self.power.wakes_by_rtc:
            self.services.wake(WakeReason.RTC)

    def suspended(self) -> None:
        super().suspended()
        if self.ide is not None:
            self.ide.stop()
        self.rtc.poke(SHUTDOWN_CODE, WAKES)
        if self.power.rtc_alarm_came:
            self.services.wake(WakeReason.RTC)

    def woken(self, reason: WakeReason) -> None:
        # No fixed event stands for the user's wish: it looks like the power button.
        self.power.woken(RTC if reason is WakeReason.RTC else PWRBTN)

    @property
    def wakes_by_itself(self) -> bool:
        return self.power.wakes_by_rtc and self.rtc.alarm_pending

    @property
    def can_take_memory(self) -> bool:
        return True

    @property
    def can_suspend(self) -> bool:
        return SleepState.S3 in self.power.sleep_types.values()

    def press_power_button(self) -> bool:
        self.power.power_button()
        return True

    @property
    def has_keyboard(self) -> bool:
        return True

    @property
    def has_mouse(self) -> bool:
        return self.i8042.mouse is not None

    def move_mouse(self, dx: int, dy: int, dz: int) -> bool:
        if self.i8042.mouse is None:
            return False
        self.i8042.mouse.move(dx, dy, dz)
        return True

    def mouse_button(self, button: str, pressed: bool) -> bool:
        return self.i8042.mouse is not None and self.i8042.mouse.button(button, pressed)

    def key(self, key: str, pressed: bool) -> bool:
        return self.keyboard.press(key) if pressed else self.keyboard.release(key)

    # --- disks

    adapter_path = "/pci@i0cf8/ide@1,1/drive@{0}/disk@{1}"
    """How firmware calls a drive on the adapter, by channel, number there, and place."""
    isa_path = "/pci@i0cf8/isa@1"
    ide: Piix3Ide | None = None
    """The IDE adapter, where that is what there is."""

    def build_adapter(self) -> None:
        """The adapter of the hard disks and CD-ROM drives."""
        self.ide = build_ide(self)
        if self.ide is not None:
            self.kept.append(self.ide)

    # --- what firmware uses

    def _build_firmware_devices(self, disks: Mapping[int, DiskBackend]) -> None:
        units = dict(disks)
        for number, drive in self.services.floppies.items():
            units.setdefault(number, DriveSectors(drive))
        for _, drive in sorted(self.services.ide.items()):
            if drive.kind is DriveKind.DISK:
                units[next(unit for unit in count(HARD_DISKS) if unit not in units)] = DriveSectors(drive)
        self._disks = units
        self.disk = BiosDisk(units=units)
        self.add("/machine/bios-disk", self.disk)
        self.ports.claim(self.layout.bios_disk, DISK_PORTS, self.disk, "bios disk")
        self.post = PostPort()
        self.add("/machine/post", self.post)
        self.ports.claim(POST_PORT, 1, self.post, "post")

    def _build_fw_cfg(self, firmware: Firmware) -> None:
        self._firmware = firmware = evolve(firmware, boot_order=(*firmware.boot_order, *boot_paths(self)))
        items = fw_cfg.contents(self.layout, firmware)
        self.fw_cfg = FwCfg(memory=self.services.memory, items=items)
        self.add("/machine/fw_cfg", self.fw_cfg)
        self.ports.claim(FW_CFG_PORT, 2, self.fw_cfg, "firmware configuration")
        self.ports.claim(FW_CFG_PORT + 4, 8, self.fw_cfg, "firmware configuration DMA", 4)

    @property
    def interrupts_the_deaf(self) -> bool:
        # No device of this board drives LINT1, so that its entry, NMI on every PC, does not count.
        entries = list(self.ioapic.save().table)
        for apic in self.apics:
            entries += (entry for index, entry in enumerate(apic.save().lvt) if index != LINT1)
        return any(entry >> 8 & 7 in UNMASKABLE and not entry & MASKED for entry in entries)

    # --- reset, boot, state

    def reset(self, keep: Sequence[Device[Any]] = ()) -> None:
        if self.pci_slots is not None:
            self.pci_slots.device.eject_pending()
        self.coprocessor.set_error(bool(self.services.cpus[0].ferr))
        self.reset_devices(keep)
        self.a20.raise_()
        self.services.memory.a20 = True

    @property
    def screen(self) -> ScreenSource | None:
        return self.vga

    def booted(self, image: BootImage) -> None:
        # The system control interrupt is a level: firmware says so in the edge/level register (ACPI 6.5, 5.2.9).
        self.set_level(self.layout.sci_irq)
        self.set_up_pci()
        if self.vga is not None:
            self.vga.booted(image)
        for port, value, size in image.port_writes:
            self.ports.write(port, value, size)
        if image.virtual_wire:
            for register, value in VIRTUAL_WIRE:
                self.apics[0].mmio_write(register.offset, value, 4)

    def save(self) -> dict[str, Any]:
        states = super().save()
        states[WIRING] = PcWiringState(
            tuple(timer.deadline for timer in self._tsc_changes),
            tuple((unit, disk.save()) for unit, disk in sorted(self._disks.items()) if isinstance(disk, RawDisk)),
        )
        return states

    def restore(self, states: Mapping[str, Any]) -> None:
        super().restore(states)
        assert self.cpu_slots is not None
        self.cpu_slots.settle()
        self._tell_firmware()
        wiring: PcWiringState = states[WIRING]
        for timer, deadline in zip(self._tsc_changes, wiring.tsc_changes, strict=True):
            timer.restore(deadline)
        for unit, content in wiring.disks:
            disk = self._disks[unit]
            assert isinstance(disk, RawDisk)
            disk.restore(content)
        self.services.memory.a20 = self.a20.level
