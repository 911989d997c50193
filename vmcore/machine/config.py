"""`MachineConfig`: everything that decides what a machine is and how it runs, in one frozen value.

Two machines of equal configurations that get equal inputs at equal instruction counts are equal for ever, so
whatever could make a difference to the guest is a field here: seeds, the start of the real-time clock, how long an
instruction takes. What the front end does with bytes and events is not.

Every field is checked when the value is made; a ConfigError names the field, what stood there and what was expected.
Files are opened only when a machine is built from the configuration.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeAlias

from attrs import field, frozen

from vmcore.boards.device_properties import DeviceProperty, PropertyValue
from vmcore.boards.kinds import BOARDS, board_name
from vmcore.boards.pci_models import PCI_MODELS
from vmcore.engine.cpu_options import choose_cpu
from vmcore.engine.models import model_names
from vmcore.engine.topology import CpuTopology
from vmcore.firmware.boot_options import BootOptions, read_boot
from vmcore.machine.disk_config import Disk, place_disks, read_disks, read_floppies
from vmcore.machine.hyperv import ENLIGHTENMENTS
from vmcore.machine.memory_options import MemoryBackendOption, check_memory, memory_backends, numa_options
from vmcore.machine.numa import NumaOption
from vmcore.machine.plug_dimm import DIMM, DIMM_PROPERTIES
from vmcore.machine.topology import arrange
from vmcore.model.errors import CommandError, ConfigError
from vmcore.model.run_state import NotifyVmexitOption, PanicAction, WatchdogAction
from vmcore.model.units import GIB, KIB, MIB, format_size, parse_instant, parse_size

__all__ = [
    "DEVICE_MODELS",
    "MAX_CPUS",
    "MAX_SERIALS",
    "DeviceOption",
    "FlatImage",
    "FlatMode",
    "Image",
    "MachineConfig",
]

MAX_CPUS: Final = max(kind.max_cpus for kind in BOARDS.values())
MAX_SERIALS: Final = 4
MAX_APIC_ID: Final = 254
"""The last one that local APICs have; 255 is all of them."""

Image: TypeAlias = Path | bytes
"""A file to load, or its content itself."""


class FlatMode(StrEnum):
    """The processor mode in which a flat binary starts."""

    REAL = "real"
    PROTECTED = "protected"
    LONG = "long"


def _image(path: str, value: object) -> Image | None:
    if value is None or isinstance(value, Path):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str | os.PathLike):
        return Path(value)
    raise ConfigError(path, value, "the path of a file, or its content as bytes")


def _kernel(value: object) -> Image | None:
    return _image("kernel", value)


def _initrd(value: object) -> Image | None:
    return _image("initrd", value)


def _bootsector(value: object) -> Image | None:
    return _image("bootsector", value)


def _cdrom(value: object) -> Image | None:
    return _image("cdrom", value)


def _firmware(value: object) -> Image | None:
    return _image("firmware", value)


def _vgabios(value: object) -> Image | None:
    return _image("vgabios", value)


def _flat_image(value: object) -> Image:
    image = _image("flat.image", value)
    if image is None:
        raise ConfigError("flat.image", None, "the path of a file, or its content as bytes")
    return image


def _integer(path: str, value: object, low: int, high: int, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(path, value, f"{what} from {low} to {high}")
    return value


def _flag(path: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(path, value, "True or False")
    return value


# --- devices named by option -----------------------------------------------------------------------------------------

_PORT: Final = (0, 0xFFFF)

DEVICE_MODELS: Final[Mapping[str, Mapping[str, tuple[int, int, int]]]] = {
    "isa-debug-exit": {"iobase": (0x501, *_PORT), "iosize": (2, 1, 4)},
    "isa-debugcon": {"iobase": (0xE9, *_PORT), "readback": (0xE9, 0, 0xFF)},
    "pvpanic": {"ioport": (0x505, *_PORT)},
    "ib700": {},
}
"""The device models that a board has from the beginning or never: property -> (default, lowest, highest value).  Names
and defaults are those that users of QEMU know."""


PLUGGABLE_MODELS: Final[Mapping[str, Mapping[str, DeviceProperty]]] = {
    **{name: model.properties for name, model in PCI_MODELS.items()},
    DIMM: DIMM_PROPERTIES,
}
"""Those that can also come while the machine exists, and their properties."""


@frozen
class DeviceOption:
    """A device to add: model and properties, written "isa-debug-exit,iobase=0xf4,iosize=4" where a string is easier.

    id: name under /machine/peripheral in the object tree; without one the device lies in /machine/peripheral-anon; bus:
    what it is plugged into, if there is a choice.
    """

    model: str
    properties: Mapping[str, PropertyValue] = field(factory=dict, hash=False)
    id: str | None = None
    bus: str | None = None

    @classmethod
    def parse(cls, option: object, path: str = "device") -> DeviceOption:
        """Read and check an option: a string, a (model, properties) pair, or a DeviceOption.

        path names the place in the configuration for the errors.
        """
        given: dict[str, object] = {}
        identity: object = None
        bus: object = None
        if isinstance(option, DeviceOption):
            model, given, identity, bus = option.model, dict(option.properties), option.id, option.bus
        elif isinstance(option, str):
            model, *pairs = option.split(",")
            for pair in pairs:
                name, equals, text = pair.partition("=")
                if not equals or not name:
                    raise ConfigError(path, pair, "name=value after the model's name")
                if name in given:
                    raise ConfigError(f"{path}.{name}", text, "a property given once")
                given[name] = text
            identity, bus = given.pop("id", None), given.pop("bus", None)
        elif isinstance(option, tuple) and len(option) == 2 and isinstance(option[1], Mapping):
            model, given = option[0], dict(option[1])
            identity, bus = given.pop("id", None), given.pop("bus", None)
        else:
            raise ConfigError(path, option, 'a string such as "isa-debug-exit,iobase=0xf4,iosize=4"')
        if not isinstance(model, str) or model not in (*DEVICE_MODELS, *PLUGGABLE_MODELS):
            raise ConfigError(path, model, f"one of {', '.join((*DEVICE_MODELS, *PLUGGABLE_MODELS))}")
        if identity is not None and (not isinstance(identity, str) or not identity.replace("-", "_").isidentifier()):
            raise ConfigError(f"{path}.id", identity, "letters, digits, - and _, beginning with a letter")
        if bus is not None and not isinstance(bus, str):
            raise ConfigError(f"{path}.bus", bus, "the name of a bus")
        if model in PLUGGABLE_MODELS:
            return cls(model, _plain_properties(path, model, given), identity, bus)
        known = DEVICE_MODELS[model]
        checked: dict[str, PropertyValue] = {name: default for name, (default, _, _) in known.items()}
        for name, value in given.items():
            if name not in known:
                raise ConfigError(
                    f"{path}.{name}", value, f"no such property: {model} has {', '.join(known) or 'none'}"
                )
            _, low, high = known[name]
            checked[name] = _integer(f"{path}.{name}", _number(value), low, high, "a number")
        if bus not in (None, "isa.0"):
            raise ConfigError(f"{path}.bus", bus, "isa.0")
        return cls(model, checked, identity, bus)


def _plain_properties(path: str, model: str, given: Mapping[str, object]) -> dict[str, PropertyValue]:
    """Properties as they were given, each checked by itself."""
    known, checked = PLUGGABLE_MODELS[model], dict[str, PropertyValue]()
    for name, value in given.items():
        if name not in known:
            raise ConfigError(f"{path}.{name}", value, f"no such property: {model} has {', '.join(known)}")
        if not isinstance(value, str | int):
            raise ConfigError(f"{path}.{name}", value, "text, a number, or True or False")
        try:
            known[name].read(model, name, value)
        except CommandError as error:
            raise ConfigError(f"{path}.{name}", value, f"a value of type {known[name].type} ({error.desc})") from error
        checked[name] = value
    return checked


def _number(value: object) -> object:
    if isinstance(value, str):
        try:
            return int(value, 0)
        except ValueError:
            return value
    return value


def _devices(value: object) -> tuple[DeviceOption, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError("devices", value, "a list of devices")
    devices = tuple(DeviceOption.parse(option, f"devices[{index}]") for index, option in enumerate(value))
    taken: set[str] = set()
    for index, device in enumerate(devices):
        if device.id is not None and device.id in taken:
            raise ConfigError(f"devices[{index}].id", device.id, "an id that no other device has")
        if device.id is not None:
            taken.add(device.id)
    return devices


def _mode(value: object) -> FlatMode:
    if not isinstance(value, str) or value not in list(FlatMode):
        raise ConfigError("flat.mode", value, "one of " + ", ".join(FlatMode))
    return FlatMode(value)


# --- the flat image --------------------------------------------------------------------------------------------------


@frozen
class FlatImage:
    """Bytes to place in memory and start: image at `address`, first instruction at `entry` (its beginning if None)."""

    image: Image = field(converter=_flat_image)
    address: int = 0x7C00
    entry: int | None = None
    mode: FlatMode = field(default=FlatMode.REAL, converter=_mode)

    def __attrs_post_init__(self) -> None:
        _integer("flat.address", self.address, 0, (1 << 52) - 1, "a physical address")
        if self.entry is not None:
            _integer("flat.entry", self.entry, 0, (1 << 52) - 1, "a physical address")


# --- the machine -----------------------------------------------------------------------------------------------------


def _board(value: object) -> str:
    return board_name(value) if isinstance(value, str) else value  # type: ignore[return-value]


def _memory(value: object) -> int:
    size = parse_size(value, "memory")  # type: ignore[arg-type]
    if size % (4 * KIB) or not 64 * KIB <= size <= 1024 * GIB:
        raise ConfigError("memory", value, "whole 4 KiB pages, from 64 KiB to 1 TiB")
    return size


def _max_memory(value: object) -> int | None:
    return None if value is None else parse_size(value, "max_memory")  # type: ignore[arg-type]


def _cpus(value: Any) -> Any:
    # What is not given is settled once all fields are there; then it is a number.
    return value


def _rtc(value: object) -> int:
    return parse_instant(value, "rtc")  # type: ignore[arg-type]


def _uuid(value: object) -> str | None:
    if value is None:
        return None
    text = str(value)
    if not re.fullmatch(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", text):
        raise ConfigError("uuid", value, "a UUID such as 12345678-9abc-def0-1234-56789abcdef0")
    return text.lower()


def _hyperv(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError("hyperv", value, "a list of enlightenments")
    names = tuple(value)
    for index, name in enumerate(names):
        if name not in ENLIGHTENMENTS:
            raise ConfigError(f"hyperv[{index}]", name, "one of " + ", ".join(ENLIGHTENMENTS))
    return tuple(name for name in ENLIGHTENMENTS if name in names)


def _panic_action(value: object) -> PanicAction:
    if value not in tuple(PanicAction):
        raise ConfigError("panic_action", value, "one of " + ", ".join(PanicAction))
    return PanicAction(str(value))


def _notify_vmexit(value: object) -> NotifyVmexitOption:
    if value not in tuple(NotifyVmexitOption):
        raise ConfigError("notify_vmexit", value, "one of " + ", ".join(NotifyVmexitOption))
    return NotifyVmexitOption(str(value))


def _watchdog_action(value: object) -> WatchdogAction:
    if value not in tuple(WatchdogAction):
        raise ConfigError("watchdog_action", value, "one of " + ", ".join(WatchdogAction))
    return WatchdogAction(str(value))


@frozen(kw_only=True)
class MachineConfig:
    """What a machine is.  All fields have defaults; `MachineConfig()` is a PC with 128 MiB and nothing to boot."""

    name: str | None = None
    """Name of the machine, for management."""
    uuid: str | None = field(default=None, converter=_uuid)
    """Identifies the machine, to management and to the guest (SMBIOS): 32 hexadecimal digits with their hyphens."""
    board: str = field(default="pc", converter=_board)
    """"pc": a PC with a 440FX and a PIIX; "q35": one with a Q35 and an ICH9; "none": vCPUs and RAM alone.  QEMU's names
    with a version, "pc-i440fx-7.2" and "pc-q35-7.2", mean the same."""
    memory: int = field(default=128 * MIB, converter=_memory, repr=format_size)
    """RAM in bytes; takes "512M" and the like."""
    memory_slots: int = 0
    """Slots for memory modules (pc-dimm), which can be plugged in while the machine exists."""
    max_memory: int | None = field(default=None, converter=_max_memory)
    """RAM in bytes with modules in the slots, at most; more than `memory` where there are slots."""
    memory_backends: tuple[MemoryBackendOption, ...] = field(default=(), converter=memory_backends)
    """Memory of the host that RAM can be made of: "memory-backend-ram,id=m0,size=16M" and the like."""
    memory_backend: str | None = None
    """The back end that is the whole RAM.  None: memory of the machine's own, or what the NUMA nodes have."""
    numa: tuple[NumaOption, ...] = field(default=(), converter=numa_options)
    """NUMA nodes, their vCPUs, memory and distances: "node,nodeid=0,cpus=0-1,memdev=m0" and the like."""
    hmat: bool = False
    """The guest is told latencies and bandwidths of the nodes' memory (ACPI's HMAT)."""
    cpus: int = field(default=None, converter=_cpus)
    """vCPUs that the machine begins with; as many as there are places for if it is not given."""
    maxcpus: int | None = None
    """Places for vCPUs, into which more can be plugged while the machine runs; the product of the numbers below."""
    sockets: int | None = None
    """Packages.  Of the four numbers those not given follow from the others: cores before packages before threads."""
    dies: int | None = None
    """Dies of a package."""
    cores: int | None = None
    """Cores of a die."""
    threads: int | None = None
    """Threads of a core."""
    cpu: str = "max"
    """CPU model by name, with features switched if wanted: "qemu64,+aes,-sse4.1,rdrand=on,enforce"."""
    hyperv: tuple[str, ...] = field(default=(), converter=_hyperv)
    """What the guest finds of Hyper-V: "crash", the registers by which it reports its crash.  Nothing by default."""
    kernel: Image | None = field(default=None, converter=_kernel)
    """Linux bzImage, Multiboot or PVH ELF: whatever the loaders know."""
    firmware: Image | None = field(default=None, converter=_firmware)
    """An image of a PC's firmware that starts at the reset vector, such as SeaBIOS; None: nothing but what the built-in
    loaders and BIOS do.  With a kernel, the firmware is to start it."""
    initrd: Image | None = field(default=None, converter=_initrd)
    append: str = ""
    """The kernel's command line."""
    bootsector: Image | None = field(default=None, converter=_bootsector)
    """A disk image whose first sector is started by the built-in BIOS."""
    flat: FlatImage | None = None
    """Bytes started at an address in a given mode."""
    disks: tuple[Disk, ...] = field(default=(), converter=read_disks)
    """Hard disks and CD-ROM drives: `Disk`s, or paths of images."""
    cdrom: Image | None = field(default=None, converter=_cdrom)
    """An image in a CD-ROM drive; in short for a Disk of that kind."""
    floppies: tuple[Disk, ...] = field(default=(), converter=read_floppies)
    """Floppy drives, A and B: paths of images, `Disk`s, or None for a drive without a floppy."""
    boot: BootOptions = field(factory=BootOptions, converter=read_boot)
    """What firmware is told about booting: letters such as "dc" for the order, or `BootOptions`."""
    serials: int = 1
    """Number of 16550A UARTs, at the PC's usual places."""
    vga: str = "std"
    """"std": a VGA with a frame buffer, as QEMU's standard VGA; "none": no display adapter.  Board none has none, and
    so has a machine with less than 1 MiB."""
    vgabios: Image | None = field(default=None, converter=_vgabios)
    """The video BIOS.  None takes the one of SeaBIOS (vgabios-stdvga.bin) where the host has it installed."""
    devices: tuple[DeviceOption, ...] = field(default=(), converter=_devices)
    seed: int = 0
    """Seed of everything random that the guest sees (RDRAND, RDSEED)."""
    rtc: int = field(default=1767225600, converter=_rtc)
    """What the real-time clock shows when the machine is built: seconds since 1970, or an ISO 8601 instant.  The
    default is
    2026-01-01T00:00:00 UTC, so that a machine is the same on any day."""
    no_reboot: bool = False
    """A reset that the guest asks for becomes a shutdown."""
    no_shutdown: bool = False
    """A shutdown leaves the machine paused, in state `shutdown`, instead of ending it."""
    panic_action: PanicAction = field(default=PanicAction.SHUTDOWN, converter=_panic_action)
    """What a panic that the guest reports does."""
    watchdog_action: WatchdogAction = field(default=WatchdogAction.RESET, converter=_watchdog_action)
    """What an expired watchdog does."""
    notify_vmexit: NotifyVmexitOption = field(default=NotifyVmexitOption.RUN, converter=_notify_vmexit)
    """What becomes of a guest one of whose vCPUs delivers exceptions without end, so that no event reaches it any
    more: "internal-error" stops the machine in that state; with "run" and "disable" that vCPU alone stands still, as a
    processor does."""
    instruction_ns: int = 1
    """Guest time that one instruction takes, in nanoseconds."""
    quantum_ns: int = 50_000
    """With several busy vCPUs: guest time that one runs before it is the next one's turn."""

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.board, str) or self.board not in BOARDS:
            raise ConfigError("board", self.board, " or ".join(BOARDS))
        self._arrange_cpus()
        if not isinstance(self.cpu, str):
            raise ConfigError("cpu", self.cpu, f"the name of a CPU model: {', '.join(model_names())}")
        choose_cpu(self.cpu)
        if not isinstance(self.append, str) or "\0" in self.append:
            raise ConfigError("append", self.append, "text without NUL characters")
        _integer("serials", self.serials, 0, MAX_SERIALS, "a number of serial ports")
        if self.vga not in ("std", "none"):
            raise ConfigError("vga", self.vga, "std or none")
        _integer("seed", self.seed, 0, (1 << 64) - 1, "a number")
        if self.name is not None and not isinstance(self.name, str):
            raise ConfigError("name", self.name, "text")
        _flag("no_reboot", self.no_reboot)
        _flag("no_shutdown", self.no_shutdown)
        _integer("instruction_ns", self.instruction_ns, 1, 1_000_000, "nanoseconds")
        _integer("quantum_ns", self.quantum_ns, self.instruction_ns, 1_000_000_000, "nanoseconds")
        if self.flat is not None and not isinstance(self.flat, FlatImage):
            raise ConfigError("flat", self.flat, "a FlatImage")
        if self.board == "none" and self.drives:
            raise ConfigError("disks", self.drives[0].path, "nothing on board none, which has no adapter for disks")
        place_disks(self.drives, self.board)
        if self.firmware is not None:
            for name in ("bootsector", "flat"):
                if getattr(self, name) is not None:
                    raise ConfigError(name, self._shown(name), "nothing beside firmware")
        boots = [name for name in ("kernel", "bootsector", "flat") if getattr(self, name) is not None]
        if len(boots) > 1:
            raise ConfigError(boots[1], self._shown(boots[1]), f"nothing, as {boots[0]} is given")
        for name in ("initrd", "append"):
            if getattr(self, name) and self.kernel is None:
                raise ConfigError(name, self._shown(name), "nothing without a kernel")
        check_memory(self)
        if self.board == "none":
            for name in ("kernel", "initrd", "bootsector", "firmware"):
                if getattr(self, name) is not None:
                    raise ConfigError(name, self._shown(name), "nothing on board none, which has no firmware")

    def _arrange_cpus(self) -> None:
        most = BOARDS[self.board].max_cpus
        names = ("maxcpus", "sockets", "dies", "cores", "threads")
        given = {name: getattr(self, name) for name in ("cpus", *names) if getattr(self, name) is not None}
        for name, value in given.items():
            _integer(name, value, 1, most, "a number of vCPUs" if name in ("cpus", "maxcpus") else "a number")
        cpus, topology = arrange(**given)
        for name, value in (("cpus", cpus), ("maxcpus", topology.total)):
            _integer(name, value, 1, most, "a number of vCPUs")
        if topology.apic_id(topology.total - 1) > MAX_APIC_ID:
            raise ConfigError("maxcpus", topology.total, f"an arrangement whose APIC IDs are at most {MAX_APIC_ID}")
        if topology.total > cpus and not BOARDS[self.board].hotpluggable_cpus:
            raise ConfigError("maxcpus", topology.total, f"{cpus}, as none can be plugged on board {self.board}")
        object.__setattr__(self, "cpus", cpus)

    @property
    def topology(self) -> CpuTopology:
        """How the places for vCPUs are arranged."""
        given = {name: getattr(self, name) for name in ("maxcpus", "sockets", "dies", "cores", "threads")}
        return arrange(self.cpus, **given)[1]

    @property
    def cpu_model(self) -> str:
        """Name of the CPU model, without the features that are switched."""
        return choose_cpu(self.cpu).name

    @property
    def drives(self) -> tuple[Disk, ...]:
        """All disks, CD-ROM and floppy drives."""
        cdrom = () if self.cdrom is None else (Disk(self.cdrom, media="cdrom"),)
        return (*self.disks, *cdrom, *self.floppies)

    def _shown(self, name: str) -> object:
        value: Any = getattr(self, name)
        return f"<{len(value)} bytes>" if isinstance(value, bytes) else value
