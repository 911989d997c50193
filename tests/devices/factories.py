"""How to build each device on its own.  Who writes a device adds it here, and the conformance suite examines it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from attrs import define, field, frozen
from pci_bench import PciBench
from workbench import GuestTime

from vmcore.block.drive import Drive, DriveKind
from vmcore.block.protocols import MemoryNode, NullNode
from vmcore.block.raw import RawDisk
from vmcore.buses.pci_messages import MsixTable
from vmcore.devices.acpi_pm import AcpiPm
from vmcore.devices.ahci import Ahci, AhciIndexData
from vmcore.devices.apic_bus import ApicBus
from vmcore.devices.ata_disk import AtaDisk
from vmcore.devices.atapi_cdrom import AtapiCdrom
from vmcore.devices.bios_disk import BiosDisk
from vmcore.devices.coprocessor import Coprocessor
from vmcore.devices.cpu_hotplug import CpuHotplug
from vmcore.devices.debug_exit import DebugExitPort
from vmcore.devices.debugcon import Debugcon
from vmcore.devices.dma8237 import Dma8237
from vmcore.devices.fdc82077 import Fdc82077
from vmcore.devices.fw_cfg import FwCfg
from vmcore.devices.hpet import Hpet
from vmcore.devices.hyperv_crash import MSRS, HyperVCrash
from vmcore.devices.i440fx import I440fx
from vmcore.devices.i6300esb import I6300EsbWatchdog
from vmcore.devices.i6300esb_pci import I6300Esb
from vmcore.devices.i8042 import I8042
from vmcore.devices.ib700 import Ib700
from vmcore.devices.ich9_chipset import Ich9Chipset
from vmcore.devices.ich9_lpc import Ich9Lpc, SmiControl
from vmcore.devices.ide_bus_master import IdeBusMaster
from vmcore.devices.ide_channel import IdeChannel
from vmcore.devices.ioapic import IoApic
from vmcore.devices.local_apic import LocalApic
from vmcore.devices.memory_hotplug import MemoryHotplug
from vmcore.devices.memory_module import MemoryModule
from vmcore.devices.pci_ecam import PciEcam
from vmcore.devices.pci_host import PciHost
from vmcore.devices.pci_hotplug import PciHotplug
from vmcore.devices.pic8259 import Pic8259
from vmcore.devices.piix3 import Piix3
from vmcore.devices.piix3_ide import Piix3Ide
from vmcore.devices.piix4_pm import Piix4Pm
from vmcore.devices.pit8254 import Pit8254
from vmcore.devices.plain_bridge import PlainBridge
from vmcore.devices.port92 import Port92
from vmcore.devices.post import PostPort
from vmcore.devices.pvpanic import PvPanic
from vmcore.devices.pvpanic_pci import PvPanicPci
from vmcore.devices.q35_mch import Q35Mch
from vmcore.devices.reset_control import ResetControl
from vmcore.devices.rtc_mc146818 import RtcMc146818
from vmcore.devices.serial16550 import Serial16550
from vmcore.devices.serial_backend import SerialBackend
from vmcore.devices.shadow_memory import SHADOWED, ShadowMemory
from vmcore.devices.tco import Tco
from vmcore.devices.vga import StdVga
from vmcore.devices.vga_memory import VideoMemory
from vmcore.devices.vga_pci import VgaFunction
from vmcore.engine import PhysicalMemory
from vmcore.hardware import Clock, Device, IrqLine
from vmcore.hardware.decoding import MemoryDecoder
from vmcore.hardware.memory_map import MemoryMap


@define(eq=False)
class Surroundings:
    """What a device is given here: everything that it tells anybody goes into a log."""

    log: list[tuple[str, object]] = field(factory=list)
    time: GuestTime = field(factory=GuestTime)

    @property
    def clock(self) -> Clock:
        return self.time.clock

    def line(self, name: str) -> IrqLine:
        """An interrupt line."""
        return IrqLine(self.told(name), name)

    def told(self, name: str) -> Callable[[object], None]:
        """A callback of one argument."""
        return lambda value: self.log.append((name, value))

    def called(self, name: str) -> Callable[[], None]:
        """A callback of none."""
        return lambda: self.log.append((name, None))


@define
class LoggedBackend(SerialBackend):
    """The far end of a cable that writes everything down."""

    log: list[tuple[str, object]]

    def write(self, data: bytes) -> None:
        self.log.append(("data", data))

    def room(self) -> None:
        self.log.append(("room", None))

    def lines(self, dtr: bool, rts: bool, break_: bool) -> None:
        self.log.append(("lines", (dtr, rts, break_)))


@frozen
class Factory:
    """How to make a device, and what to do to it.

    build: makes a new one; length: bytes of its range; sizes: of accesses; kept: state that outlives a reset; outside:
    what may happen to it other than by guest accesses; pause: at most so many ns pass between two accesses.
    """

    build: Callable[[Surroundings], Device[Any]]
    length: int
    sizes: tuple[int, ...] = (1, 2, 4)
    kept: tuple[str, ...] = ()
    outside: Callable[[Any, Random], object] | None = None
    pause: int = 2_000


def _serial(around: Surroundings) -> Device[Any]:
    return Serial16550(around.line("irq"), around.clock, LoggedBackend(around.log))


def _i8042(around: Surroundings) -> Device[Any]:
    return I8042(around.line("irq1"), around.line("irq12"), around.line("a20"), around.called("reset"), around.clock)


def _io_apic(around: Surroundings) -> Device[Any]:
    return IoApic(ApicBus())


def _local_apic(around: Surroundings) -> Device[Any]:
    return LocalApic(
        ApicBus(),
        around.clock,
        around.line("intr"),
        on_nmi=around.called("nmi"),
        on_smi=around.called("smi"),
        on_init=around.called("init"),
        on_startup=around.told("startup"),
    )


def _pci(around: Surroundings) -> PciBench:
    return PciBench(around.log)


def _i440fx(around: Surroundings) -> Device[Any]:
    bench = _pci(around)
    rom = bench.decoder.allocate(0x20000, rom=True)
    shadow = ShadowMemory(bench.decoder, bench.decoder.allocate(SHADOWED), [(0xE0000, rom)])
    bridge: I440fx = bench.put(I440fx(shadow), 0)
    return bridge


def _q35(around: Surroundings) -> Device[Any]:
    bench = _pci(around)
    shadow = ShadowMemory(bench.decoder, bench.decoder.allocate(SHADOWED), [])
    bridge: Q35Mch = bench.put(Q35Mch(shadow, PciEcam(bench.bus)), 0)
    return bridge


def _ich9(around: Surroundings) -> Device[Any]:
    power = AcpiPm(around.line("sci"), around.clock, around.told("sleep"))
    irqs = {irq: around.line(f"irq{irq}") for irq in (5, 10, 11)}
    inputs = [around.told(f"input{number}") for number in range(8)]
    tco = Tco(around.clock, around.called("expired"))
    bridge: Ich9Lpc = _pci(around).put(Ich9Lpc(power, SmiControl(), tco, Ich9Chipset(), irqs, inputs), 31)
    return bridge


def _fw_cfg(around: Surroundings) -> Device[Any]:
    memory = PhysicalMemory()
    memory.map_ram(0, 0x10000)
    return FwCfg(memory, {0: b"QEMU", 1: b"\3\0\0\0", 0x19: bytes(64)})


def _cable(uart: Serial16550, random: Random) -> None:
    what = random.randrange(4)
    if what == 0:
        uart.set_modem_lines(cts=random.random() < 0.5, ri=random.random() < 0.5)
    elif what == 1:
        uart.receive_break()
    else:
        uart.receive(random.randbytes(random.randrange(1, 40)))


def _hands(chip: I8042, random: Random) -> None:
    key = random.choice(("a", "up", "ctrl", "alt", "pause", "print"))
    what = random.randrange(4)
    if what == 0:
        chip.keyboard.press(key)
    elif what == 1:
        chip.keyboard.release(key)
    elif chip.mouse is not None and what == 2:
        chip.mouse.move(random.randrange(-300, 300), random.randrange(-300, 300), random.randrange(-9, 9))
    elif chip.mouse is not None:
        chip.mouse.button("left", random.random() < 0.5)


def _processor(apic: LocalApic, random: Random) -> None:
    if random.random() < 0.5:
        apic.accept(random.randrange(256), random.random() < 0.3)
    elif apic.interrupt_pending:
        apic.acknowledge()


def _interrupts(pic: Pic8259, random: Random) -> None:
    if random.random() < 0.7:
        pic.set_input(random.choice((0, 1, 4, 8, 12, 15)), random.random() < 0.5)
    elif pic.intr.level:
        pic.acknowledge()


def _fdc(around: Surroundings) -> Device[Any]:
    memory = PhysicalMemory()
    memory.map_ram(0, 0x20000)
    channel = Dma8237(memory).channel(2)
    medium = MemoryNode("floppy", bytes(2880 * 512))
    drives = [Drive("floppy0", DriveKind.FLOPPY, medium, emit=around.told("event")), Drive("floppy1", DriveKind.FLOPPY)]
    return Fdc82077(around.line("irq6"), channel, around.clock, drives)


def _ahci(around: Surroundings) -> Ahci:
    disk = AtaDisk(Drive("disk", medium=NullNode("null", 1 << 20)), sata=True)
    cdrom = AtapiCdrom(Drive("cd", DriveKind.CDROM, MemoryNode("memory", bytes(range(256)) * 80)))
    return Ahci(around.clock, [disk, cdrom])


def _transfers(dma: Dma8237, random: Random) -> None:
    channel = dma.channel(random.choice((0, 1, 2, 3, 5, 6, 7)))
    what = random.randrange(3)
    if what == 0:
        channel.to_memory(random.randbytes(random.randrange(600)))
    elif what == 1:
        channel.from_memory(random.randrange(600))
    else:
        channel.request(random.random() < 0.5)


@define
class Memory:
    """Memory for a bus master: all of it is a table that leads into itself."""

    log: list[tuple[str, object]]

    def read(self, address: int, size: int, /) -> bytes:
        return bytes(size)

    def write(self, address: int, data: bytes, /) -> None:
        self.log.append(("memory", (address, data)))


def _ide(around: Surroundings) -> IdeChannel:
    disk = AtaDisk(Drive("disk", medium=NullNode("null", 1 << 20)))
    cdrom = AtapiCdrom(Drive("cd", DriveKind.CDROM, MemoryNode("memory", bytes(range(256)) * 80)), 1)
    return IdeChannel(around.line("irq14"), around.clock, disk, cdrom)


def _bus_master(around: Surroundings) -> IdeBusMaster:
    return IdeBusMaster(IdeChannel(around.line("irq14"), around.clock), Memory(around.log))


def _piix3_ide(around: Surroundings) -> Piix3Ide:
    first, second = (IdeChannel(around.line(name), around.clock) for name in ("irq14", "irq15"))
    return Piix3Ide(first, second)


def _commands(channel: IdeChannel, random: Random) -> None:
    """What a driver does, as random accesses hardly ever do it."""
    for register in range(1, 7):
        channel.port_write(register, random.choice((0, 1, 2, 0xE0, 0xF0)), 1)
    channel.port_write(7, random.choice((0x20, 0x30, 0xC6, 0xC8, 0xCA, 0xEC, 0xA1, 0xA0, 0xE7, 0xEF)), 1)


def _cpu_hotplug(around: Surroundings) -> Device[Any]:
    device = CpuHotplug((0, 1, 4, 5), around.called("event"), around.told("eject"), around.told("status"), begin=0b11)
    device.port_write(0, 0, 4)
    return device


def _cpus_come_and_go(device: CpuHotplug, random: Random) -> None:
    index = random.randrange(1, 4)
    if device.slots[index].present:
        device.ask_to_go(index)
    else:
        device.plug(index)


def _modules_come_and_go(device: MemoryHotplug, random: Random) -> None:
    index = random.randrange(3)
    if device.slots[index].size:
        device.ask_to_go(index)
    else:
        device.plug(index, 1 << 32, 1 << 27, 1)


def _pci_hotplug(around: Surroundings) -> Device[Any]:
    eject = around.told("eject")
    return PciHotplug(around.called("event"), lambda bus, slot: eject((bus, slot)), lambda bus: 0xFFFF_FFF0, 2)


def _devices_come_and_go(device: PciHotplug, random: Random) -> None:
    random.choice((device.plug, device.ask_to_go))(random.randrange(2), random.randrange(32))


def _configuration_of(watchdog: I6300EsbWatchdog, random: Random) -> None:
    if random.random() < 0.5:
        watchdog.write_configuration(random.getrandbits(16))
    elif random.random() < 0.5:
        watchdog.write_lock(random.choice((0, 2, 2, 4, 6, 6)))
    else:
        for value in (0x80, 0x86, 0x100):
            watchdog.mmio_write(0xC, value, 2)


def _vga(around: Surroundings) -> StdVga:
    decoder = MemoryDecoder(PhysicalMemory(), MemoryMap())
    decoder.connect()
    return StdVga(memory=VideoMemory(decoder))


def _vga_function(around: Surroundings) -> Device[Any]:
    bus = _pci(around)
    function = VgaFunction(vga=StdVga(memory=VideoMemory(bus.bus.memory)), rom=b"\x55\xaa\x01" + bytes(509))
    bus.put(function, 2)
    return function


FACTORIES: Mapping[type[Device[Any]], Factory] = {
    AcpiPm: Factory(
        lambda a: AcpiPm(a.line("sci"), a.clock, a.told("sleep")),
        0x42,
        outside=lambda pm, random: random.choice((pm.power_button, pm.sleep_button, pm.rtc_alarm, pm.woken))(),
        pause=1_000_000_000,
    ),
    Ahci: Factory(_ahci, 0x1000, (1, 2, 4, 8), outside=lambda it, random: it.config_write(4, random.randrange(8), 2)),
    AhciIndexData: Factory(lambda a: AhciIndexData(_ahci(a)), 32),
    BiosDisk: Factory(lambda a: BiosDisk({0x80: RawDisk.from_bytes(bytes(64 * 512))}), 0x20, kept=("disks",)),
    Coprocessor: Factory(
        lambda a: Coprocessor(a.line("irq13"), a.called("ignne")),
        1,
        kept=("error",),
        outside=lambda chip, random: chip.set_error(random.random() < 0.5),
    ),
    CpuHotplug: Factory(_cpu_hotplug, 0x20, kept=("slots", "selector", "command"), outside=_cpus_come_and_go),
    DebugExitPort: Factory(lambda a: DebugExitPort(a.told("exit")), 4),
    Debugcon: Factory(lambda a: Debugcon(a.told("data")), 1),
    Dma8237: Factory(lambda a: Dma8237(PhysicalMemory()), 0x40, outside=_transfers),
    Fdc82077: Factory(_fdc, 8, outside=lambda fdc, random: fdc.medium_changed(0), kept=("drives",), pause=100_000),
    I8042: Factory(_i8042, 5, outside=_hands, pause=50_000),
    Piix3Ide: Factory(_piix3_ide, 16),
    IdeBusMaster: Factory(_bus_master, 8),
    IdeChannel: Factory(_ide, 9, outside=_commands, pause=50_000),
    HyperVCrash: Factory(
        lambda a: HyperVCrash(a.told("crash")),
        1,
        outside=lambda crash, random: crash.write_msr(random.choice(MSRS), random.getrandbits(64)),
    ),
    I6300Esb: Factory(lambda a: _pci(a).put(I6300Esb(a.clock, a.called("expired")), 3, 0), 4),
    I6300EsbWatchdog: Factory(
        lambda a: I6300EsbWatchdog(a.clock, a.called("expired"), a.line("irq"), a.called("smi")),
        0x10,
        kept=("timed_out",),
        outside=_configuration_of,
        pause=1_000_000_000,
    ),
    Ib700: Factory(lambda a: Ib700(a.clock, a.called("expired")), 4, pause=1_000_000_000),
    IoApic: Factory(
        _io_apic,
        0x100,
        (1, 2, 4, 8),
        outside=lambda apic, random: apic.set_input(random.randrange(24), random.random() < 0.5),
    ),
    FwCfg: Factory(_fw_cfg, 12),
    Hpet: Factory(
        lambda a: Hpet(a.clock, a.line("irq0"), a.line("irq8"), [a.told(f"input{n}") for n in range(24)], 0xFF0104),
        0x400,
        (1, 2, 4, 8),
        kept=("legacy",),
        outside=lambda chip, random: random.choice((chip.pit, chip.rtc)).set(random.random() < 0.5),
        pause=100_000,
    ),
    I440fx: Factory(_i440fx, 4),
    LocalApic: Factory(_local_apic, 0x400, (1, 2, 4, 8), outside=_processor),
    PciHost: Factory(lambda a: PciHost(_pci(a).bus), 8),
    MemoryHotplug: Factory(
        lambda a: MemoryHotplug(3, a.called("event"), a.told("eject"), a.told("status")),
        0x18,
        kept=("slots", "selector"),
        outside=_modules_come_and_go,
    ),
    MemoryModule: Factory(
        lambda a: MemoryModule(addr=1 << 32, size=1 << 27, slot=0, node=0, memdev="/objects/m0", hotplugged=True), 4
    ),
    PciHotplug: Factory(_pci_hotplug, 0x18, outside=_devices_come_and_go),
    PlainBridge: Factory(lambda a: _pci(a).put(PlainBridge(1), 3, 0), 4),
    PvPanicPci: Factory(lambda a: _pci(a).put(PvPanicPci(a.called("panicked"), a.called("crashloaded")), 3, 0), 4),
    MsixTable: Factory(
        lambda a: MsixTable(5, lambda at, data: a.log.append(("message", at)), 2048, lambda: 0x8000), 2064
    ),
    Pic8259: Factory(lambda a: Pic8259(a.line("intr")), 6, outside=_interrupts),
    Ich9Lpc: Factory(
        _ich9,
        4,
        kept=("levels",),
        outside=lambda bridge, random: random.choice(bridge.pirqs).output.set(random.random() < 0.5),
    ),
    PciEcam: Factory(lambda a: PciEcam(_pci(a).bus), 16, (1, 2, 4, 8)),
    Q35Mch: Factory(_q35, 4),
    SmiControl: Factory(lambda a: SmiControl(), 8),
    Ich9Chipset: Factory(lambda a: Ich9Chipset(), 0x1000),
    Piix3: Factory(
        lambda a: _pci(a).put(Piix3({irq: a.line(f"irq{irq}") for irq in (5, 10, 11)}), 1),
        4,
        kept=("levels",),
        outside=lambda bridge, random: random.choice(bridge.pirqs).output.set(random.random() < 0.5),
    ),
    Piix4Pm: Factory(
        lambda a: _pci(a).put(Piix4Pm(AcpiPm(a.line("sci"), a.clock, a.told("sleep"))), 1, 3),
        4,
    ),
    Pit8254: Factory(lambda a: Pit8254(a.line("irq0"), a.clock), 5, pause=100_000),
    Port92: Factory(lambda a: Port92(a.line("a20"), a.called("reset")), 1, kept=("a20",)),
    PostPort: Factory(lambda a: PostPort(a.told("code")), 1),
    PvPanic: Factory(lambda a: PvPanic(a.called("panicked"), a.called("crashloaded")), 1),
    ResetControl: Factory(lambda a: ResetControl(a.told("reset")), 1),
    RtcMc146818: Factory(
        lambda a: RtcMc146818(a.line("irq8"), a.clock, a.told("event")),
        2,
        kept=("cmos", "register_a", "register_b", "origin", "offset", "weekday_shift", "touched", "seen", "deadline"),
        pause=1_000_000_000,
    ),
    StdVga: Factory(_vga, 0x34, (1, 2)),
    VgaFunction: Factory(_vga_function, 0x1000, (1, 2, 4)),
    Serial16550: Factory(_serial, 8, outside=_cable, pause=200_000),
    Tco: Factory(
        lambda a: Tco(a.clock, a.called("expired"), a.called("smi"), a.called("nmi")),
        0x20,
        kept=("status2",),
        pause=1_000_000_000,
    ),
}
