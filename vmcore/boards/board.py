"""What every board offers to the machine, and what the machine gives to a board."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import field, frozen

from vmcore.block.drive import Drive
from vmcore.block.graph import BlockGraph
from vmcore.devices.serial16550 import Serial16550
from vmcore.devices.serial_backend import SerialBackend
from vmcore.engine import Cpu, PhysicalMemory
from vmcore.firmware.boot_image import BootImage
from vmcore.firmware.boot_options import BootOptions
from vmcore.firmware.platform import PlatformLayout
from vmcore.hardware.clock import Clock
from vmcore.hardware.decoding import MemoryDecoder, PortDecoder
from vmcore.hardware.device import Device
from vmcore.hardware.emit import Emit
from vmcore.hardware.memory_map import Alias, MemoryMap, Mmio, Ram, Rom
from vmcore.hardware.ports import PortRange, PortSpace, bulk_ports
from vmcore.hardware.tree import ObjectTree
from vmcore.model.events import GuestPanicInformation
from vmcore.model.run_state import WakeReason
from vmcore.screen.picture import Picture

if TYPE_CHECKING:
    from vmcore.boards.cpu_slots import CpuSlots
    from vmcore.boards.memory_slots import MemorySlots
    from vmcore.boards.pci_slots import PciSlots
    from vmcore.buses.pci import PciBus

__all__ = ["AddedDevice", "Board", "BoardServices", "Bus", "ScreenSource", "Watchdog"]


@frozen
class Bus:
    """A bus for devices.  type: its kind, as QEMU names it; hotpluggable: they come and go while the machine exists."""

    type: str
    hotpluggable: bool = False


BLOCK: Final = "/machine/block"
"""Where the state of disks is kept among those of the devices."""


@frozen
class AddedDevice:
    """A device that the configuration adds to the board.  where: its place in the configuration, for errors."""

    model: str
    properties: Mapping[str, int]
    path: str
    where: str


@frozen(kw_only=True, eq=False)
class BoardServices:
    """The machine as a board sees it."""

    memory: PhysicalMemory
    cpus: Sequence[Cpu]
    clock: Clock
    tree: ObjectTree
    emit: Emit
    notice: Callable[[int], None]
    """A vCPU may have something to do now: an interrupt pin, NMI, INIT or start-up IPI."""
    turn: Callable[[], int]
    """Index of the vCPU whose turn it is: the one that makes the access that a device is asked about."""
    power_off: Callable[[], None]
    """The guest switched the machine off."""
    reset: Callable[[], None]
    """The guest asked for a reset of the machine."""
    suspend: Callable[[], None] = lambda: None
    """The guest entered ACPI S3."""
    suspend_to_disk: Callable[[], None] = lambda: None
    """The guest entered ACPI S4: it has saved itself and is to be switched off."""
    wake: Callable[[WakeReason], None] = lambda reason: None
    """Something happened that wakes the guest if it sleeps."""
    debug_exit: Callable[[int], None]
    """The guest wrote to isa-debug-exit."""
    panicked: Callable[[GuestPanicInformation | None], None] = lambda info: None
    """The guest's system reported a panic."""
    watchdog_expired: Callable[[], None] = lambda: None
    """A watchdog has expired."""
    cpu_gone: Callable[[int], None] = lambda index: None
    """The guest has let go of a vCPU that it was asked for."""
    cpu_status: Callable[[int], None] = lambda index: None
    """The guest has said something about a place for vCPUs (_OST)."""
    debugcon: Callable[[bytes], None]
    """Where the bytes of a debug console go to."""
    serial: Sequence[SerialBackend] = ()
    """What the serial ports are plugged into; as many as the board is to have."""
    ram: Sequence[memoryview] = ()
    """The memory that the RAM is made of, in order; none if it is memory of the engine's own."""
    block: BlockGraph = field(factory=BlockGraph)
    """The disks' nodes and drives."""
    ide: Mapping[int, Drive] = field(factory=dict)
    """Drives on the board's adapter by their place.  IDE: 0 and 1 on the first channel, 2 and 3 on the second; SATA:
    the port."""
    floppies: Mapping[int, Drive] = field(factory=dict)
    """Floppy drives, 0 and 1."""
    boot: BootOptions = field(factory=BootOptions)
    """What firmware is told about booting."""
    rtc: int = 0
    """What the real-time clock shows at guest time 0: seconds since 1970."""


class Watchdog(Protocol):
    """A watchdog of a board."""

    @property
    def running(self) -> bool:
        """Whether it will expire unless the guest does something."""


class ScreenSource(Protocol):
    """What can be looked at."""

    def picture(self, now_ns: int) -> Picture:
        """What is to be seen at guest time `now_ns`."""


class Board(ABC):
    """Devices, wired.  A board is built once; everything on it lives as long as the machine."""

    def __init__(self, services: BoardServices, layout: PlatformLayout) -> None:
        self.services = services
        self.layout = layout
        """What firmware tells the guest about the board."""
        self.memory_map = MemoryMap()
        self.ports = PortSpace()
        self.memory_decoder = MemoryDecoder(services.memory, self.memory_map)
        """What the guest can move in memory."""
        self.port_decoder = PortDecoder(self.ports, self.connect_ports, self._disconnect_ports)
        """What the guest can move among the ports."""
        self.devices: dict[str, Device[Any]] = {}
        """Every device by its path in the object tree, in the order in which they are reset, saved and restored."""
        self.standby: tuple[Device[Any], ...] = ()
        """Devices that keep their power while the machine sleeps."""
        self.kept: list[Device[Any]] = []
        """Devices that a sleep leaves as they are, because stock firmware does not set them up again: what decides what
        memory shows (it goes on in the copy of itself that it had in RAM), and the IDE adapter."""
        self.watchdogs: list[Watchdog] = []
        """Timers that do something about a guest that hangs."""
        self.uarts: list[Serial16550] = []
        """The serial ports in order."""
        self.cpu_slots: CpuSlots | None = None
        """The places for vCPUs, where they can come and go."""
        self.added: dict[str, str] = {}
        """Models of the devices that the configuration added, by path."""
        self.buses: dict[str, Bus] = {}
        """Buses that devices are plugged into, by name."""
        self.pci_buses: dict[str, PciBus] = {}
        """Those of them that are PCI."""
        self.pci_slots: PciSlots | None = None
        """The slots of the root bus, where devices can come and go."""
        self.memory_slots: MemorySlots | None = None
        """The slots for memory modules, where there are any."""

    @abstractmethod
    def reset(self, keep: Sequence[Device[Any]] = ()) -> None:
        """Reset all devices but those to keep, and the wiring that is no device.  The vCPUs are reset by the machine
        before.
        """

    def reset_devices(self, keep: Sequence[Device[Any]]) -> None:
        """Reset all devices but those to keep."""
        for device in self.devices.values():
            if not any(device is kept for kept in keep):
                device.reset()

    def restarted(self) -> None:  # noqa: B027
        """The machine is reset, not for the first time."""

    @abstractmethod
    def booted(self, image: BootImage) -> None:
        """Leave the board as firmware leaves it to the operating system in `image`."""

    @property
    def present(self) -> int:
        """The vCPUs that there are, as a bit mask."""
        return self.layout.present if self.cpu_slots is None else self.cpu_slots.device.present

    @property
    def resets_after_triple_fault(self) -> bool:
        """Whether the board's logic resets the machine when a vCPU shuts down after a triple fault."""
        return True

    @property
    def interrupts_the_deaf(self) -> bool:
        """Whether a device could wake vCPUs whose interrupts are off, by NMI, SMI or INIT."""
        return False

    @property
    def can_take_memory(self) -> bool:
        """Whether memory modules can be plugged in, if there are slots for them."""
        return False

    @property
    def can_suspend(self) -> bool:
        """Whether the guest can suspend to RAM, and be woken from it."""
        return False

    @property
    def wakes_by_itself(self) -> bool:
        """Whether something on the board will end the guest's sleep without help."""
        return False

    def suspended(self) -> None:
        """The machine has gone to sleep: the devices lose their power, but for those on standby."""
        self.reset_devices((*self.standby, *self.kept))

    def woken(self, reason: WakeReason) -> None:  # noqa: B027
        """The machine has woken, with the board reset: tell the guest that it did, and why."""

    @property
    def screen(self) -> ScreenSource | None:
        """The display adapter; None where there is none."""
        return None

    @property
    def has_keyboard(self) -> bool:
        """Whether `key` reaches anything."""
        return False

    @property
    def has_mouse(self) -> bool:
        """Whether `move_mouse` and `mouse_button` reach anything."""
        return False

    def move_mouse(self, dx: int, dy: int, dz: int) -> bool:
        """Move the mouse by counts: right, up, its wheel towards the user; False where there is none."""
        return False

    def mouse_button(self, button: str, pressed: bool) -> bool:
        """Press or release a button of the mouse; False where there is none, or the guest has not taken earlier
        changes.
        """
        return False

    def key(self, key: str, pressed: bool) -> bool:
        """Press or release a key; False where there is no keyboard or it has no room."""
        return False

    def press_power_button(self) -> bool:
        """Press the power button; False where there is none."""
        return False

    def save(self) -> dict[str, Any]:
        """The states of all devices by path."""
        return {BLOCK: self.services.block.save()} | {path: device.save() for path, device in self.devices.items()}

    def restore(self, states: Mapping[str, Any]) -> None:
        """Take saved states."""
        self.services.block.restore(states[BLOCK])
        for path, device in self.devices.items():
            device.restore(states[path])

    # --- for boards

    def add(self, path: str, device: Device[Any]) -> None:
        """Make a device known: to the object tree, to reset, save and restore."""
        self.services.tree.add(path, device)
        self.devices[path] = device

    def remove(self, path: str) -> None:
        """Forget a device that was made known: it is out of the object tree, too."""
        del self.devices[path]
        self.services.tree.remove(path)

    def connect(self) -> None:
        """Tell the engine of the memory map and the port space, once all is in place."""
        memory = self.services.memory
        for region in self.memory_map:
            match region:
                case Ram():
                    self._connect_ram(region)
                case Rom():
                    memory.map_ram(region.base, region.size, rom=True, contents=region.contents)
                case Alias():
                    memory.map_alias(region.base, region.size, region.target)
                case Mmio(device=device, offset=offset):
                    memory.map_device(
                        region.base,
                        region.size,
                        device.mmio_read,
                        device.mmio_write,
                        offset=offset,
                        cells=device.cells.buffers,
                        readers=device.readers(),
                        writers=device.writers(),
                        counter=None if device.counter is None else device.counter.description,
                    )
        for claimed in self.ports.ranges:
            self.connect_ports(claimed)
        self.memory_decoder.connect()
        self.port_decoder.connect()

    def _connect_ram(self, region: Ram) -> None:
        """Map a region of the RAM, out of the memory that was lent for it or out of memory of the engine's own."""
        memory, begin = self.services.memory, 0
        if not self.services.ram:
            memory.map_ram(region.base, region.size)
        for lent in self.services.ram:
            first, last = max(region.offset, begin), min(region.offset + region.size, begin + len(lent))
            if first < last:
                base = region.base + first - region.offset
                memory.map_ram(base, last - first, buffer=lent[first - begin : last - begin])
            begin += len(lent)

    def connect_ports(self, claimed: PortRange) -> None:
        """Let the guest's accesses to a range go to its device directly."""
        device = claimed.device
        bulk = bulk_ports(device)
        self.services.memory.map_port(
            claimed.base,
            claimed.length,
            device.port_read,
            device.port_write,
            None if bulk is None else bulk.read_bulk,
            None if bulk is None else bulk.write_bulk,
            offset=claimed.offset,
            cells=device.cells.buffers,
            readers=device.readers(),
            writers=device.writers(),
            counter=None if device.counter is None else device.counter.description,
            indexed=[registers.buffers for registers in device.indexed()],
        )

    def _disconnect_ports(self, claimed: PortRange) -> None:
        self.services.memory.unmap_port(claimed.base, claimed.length)

    def disconnect(self) -> None:
        """Give all guest memory back to the host."""
        memory = self.services.memory
        for start, size, _ in memory.regions():
            memory.unmap(start, size)
