"""What the command line of `python -m vmcore run` takes, as data.

The parser, `query-command-line-options` and the table in docs/command-line.md are all made from `OPTIONS`.  Every
option may be written with one hyphen or two, and under its aliases: those are the spellings that users of QEMU know.

An option with `parameters` takes them as `name=value,name=value`; a comma in a value is written twice; the name of
the `implied` one may be left out where it comes first.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from vmcore.model.misc import CommandLineOptionInfo, CommandLineParameterInfo, CommandLineParameterType
from vmcore.model.units import MIB

__all__ = ["CHARDEV_PARAMETERS", "OPTIONS", "Option", "Parameter", "described"]

_BOOLEAN: Final = CommandLineParameterType.BOOLEAN
_NUMBER: Final = CommandLineParameterType.NUMBER
_SIZE: Final = CommandLineParameterType.SIZE


@frozen(kw_only=True)
class Parameter:
    """A parameter of an option.

    help: a few words; default: as a user would write it, None for nothing; unit: of a size that is a bare number.
    """

    name: str
    type: CommandLineParameterType = CommandLineParameterType.STRING
    help: str
    default: str | None = None
    unit: int = 1


@frozen(kw_only=True)
class Option:
    """An option.

    name: its spelling; aliases: its other ones; metavar: what follows it, None for nothing (a flag); help: one line;
    default: what is taken where it is not given, as a user would write it; repeated: it may be given several times,
    each for one more thing; parameters, implied: see above; group: what management calls it, where that is not its name
    (the name that QEMU gives a group of parameters is not always that of the option).
    """

    name: str
    aliases: tuple[str, ...] = ()
    metavar: str | None = None
    help: str
    default: str | None = None
    repeated: bool = False
    parameters: tuple[Parameter, ...] = ()
    implied: str | None = None
    group: str | None = None

    @property
    def spellings(self) -> tuple[str, ...]:
        """All ways to write it, the usual one first."""
        return tuple(f"{hyphens}{name}" for name in (self.name, *self.aliases) for hyphens in ("--", "-"))

    @property
    def attribute(self) -> str:
        """The name as Python writes it."""
        return self.name.replace("-", "_")


CHARDEV_PARAMETERS: Final = (
    Parameter(name="backend", help="null, file, pipe, socket, udp, pty, stdio, serial, ringbuf or mux"),
    Parameter(name="id", help="its label"),
    Parameter(name="path", help="file, pipe, serial: where; socket: a Unix socket"),
    Parameter(name="input-path", help="file: where input comes from"),
    Parameter(name="append", type=_BOOLEAN, help="file: behind what is there"),
    Parameter(name="host", help="socket, udp: name or address"),
    Parameter(name="port", help="socket, udp: number or name of the service"),
    Parameter(name="to", type=_NUMBER, help="socket: the last port to try"),
    Parameter(name="ipv4", type=_BOOLEAN, help="socket: IPv4"),
    Parameter(name="ipv6", type=_BOOLEAN, help="socket: IPv6"),
    Parameter(name="abstract", type=_BOOLEAN, help="socket: in Linux's abstract name space"),
    Parameter(name="tight", type=_BOOLEAN, help="socket: the abstract name is not padded"),
    Parameter(name="fd", help="socket: an inherited descriptor"),
    Parameter(name="server", type=_BOOLEAN, help="socket: it listens"),
    Parameter(name="wait", type=_BOOLEAN, help="socket: a server waits for its client before the machine begins"),
    Parameter(name="telnet", type=_BOOLEAN, help="socket: the telnet protocol"),
    Parameter(name="tn3270", type=_BOOLEAN, help="socket: not supported"),
    Parameter(name="websocket", type=_BOOLEAN, help="socket: not supported"),
    Parameter(name="reconnect", type=_NUMBER, help="socket: a client tries again after so many seconds"),
    Parameter(name="nodelay", type=_BOOLEAN, help="socket: small packets at once, as by default"),
    Parameter(name="delay", type=_BOOLEAN, help="socket: the opposite"),
    Parameter(name="tls-creds", help="socket: not supported"),
    Parameter(name="tls-authz", help="socket: not supported"),
    Parameter(name="localaddr", help="udp: address of this end"),
    Parameter(name="localport", help="udp: port of this end"),
    Parameter(name="size", type=_SIZE, help="ringbuf: bytes, a power of two"),
    Parameter(name="signal", type=_BOOLEAN, help="stdio: Ctrl-C ends the process, as by default"),
    Parameter(name="chardev", help="mux: the device below"),
    Parameter(name="mux", type=_BOOLEAN, help="several front ends share it"),
    Parameter(name="logfile", help="output goes there too"),
    Parameter(name="logappend", type=_BOOLEAN, help="behind what is there"),
)
"""Parameters of a character device, of whatever kind."""

OPTIONS: Final = (
    Option(
        name="board",
        aliases=("machine", "M"),
        metavar="pc|q35|none",
        help="pc: a PC with a 440FX; q35: one with a Q35 and PCI Express; none: vCPUs and RAM alone",
        parameters=(
            Parameter(name="type", help="the board", default="pc"),
            Parameter(name="accel", help="tcg, as users of QEMU call an emulated processor"),
            Parameter(name="firmware", help="as --firmware"),
            Parameter(name="kernel", help="as --kernel"),
            Parameter(name="initrd", help="as --initrd"),
            Parameter(name="append", help="as --append"),
            Parameter(name="memory-backend", help="the object that is the RAM; its size is that of --memory"),
            Parameter(
                name="hmat",
                type=_BOOLEAN,
                help="the guest is told latencies and bandwidths of the nodes' memory (ACPI's HMAT)",
                default="off",
            ),
        ),
        implied="type",
        group="machine",
    ),
    Option(
        name="memory",
        aliases=("m",),
        metavar="SIZE[,slots=N,maxmem=SIZE]",
        help="RAM: 512M, 2G; a bare number is in MiB. slots: for memory modules, up to maxmem in all",
        parameters=(
            Parameter(name="size", type=_SIZE, help="RAM", default="128M", unit=MIB),
            Parameter(name="slots", type=_NUMBER, help="slots for memory modules", default="0"),
            Parameter(name="maxmem", type=_SIZE, help="RAM with modules in the slots, at most"),
        ),
        implied="size",
    ),
    Option(
        name="cpus",
        aliases=("smp",),
        metavar="N[,maxcpus=N][,cores=N]",
        help="number of vCPUs, of places for them, and how these are arranged; 1 if nothing is given",
        parameters=(
            Parameter(name="cpus", type=_NUMBER, help="vCPUs at the beginning; all places if it is left out"),
            Parameter(name="maxcpus", type=_NUMBER, help="places for vCPUs"),
            Parameter(name="sockets", type=_NUMBER, help="packages"),
            Parameter(name="dies", type=_NUMBER, help="dies of a package"),
            Parameter(name="cores", type=_NUMBER, help="cores of a die"),
            Parameter(name="threads", type=_NUMBER, help="threads of a core"),
        ),
        implied="cpus",
        group="smp-opts",
    ),
    Option(
        name="cpu",
        metavar="MODEL[,+FEATURE][,-FEATURE][,enforce][,hv-crash]",
        help="processor model; hv-crash: with the registers by which a guest of Hyper-V reports its crash",
        default="max",
    ),
    Option(
        name="accel",
        metavar="tcg[,notify-vmexit=run|internal-error|disable]",
        help="what executes the guest; only emulation, which QEMU calls tcg, is possible. "
        "notify-vmexit=internal-error: the machine stops in that state when a vCPU delivers exceptions without end",
    ),
    Option(
        name="object",
        metavar="TYPE,id=ID[,NAME=VALUE]",
        help="makes an object: memory-backend-ram, memory-backend-file, memory-backend-memfd, iothread, rng-builtin, "
        "rng-random, secret",
        repeated=True,
    ),
    Option(
        name="numa",
        metavar="node|dist|cpu|hmat-lb|hmat-cache,...",
        help="NUMA nodes, distances, vCPUs, latencies and bandwidths, caches: node,cpus=0-1,memdev=m0",
        repeated=True,
    ),
    Option(name="preconfig", help="serves QMP before the machine is built; x-exit-preconfig builds it"),
    Option(
        name="kernel",
        metavar="FILE",
        help="a Linux kernel (bzImage or ELF), an ELF file with a PVH note, a Multiboot image",
    ),
    Option(
        name="firmware",
        aliases=("bios",),
        metavar="FILE",
        help="firmware such as SeaBIOS, started at the reset vector: a file, or the name of an installed one "
        "(bios-256k.bin); a kernel is started by it",
    ),
    Option(name="initrd", metavar="FILE", help="initial RAM disk of the kernel (Multiboot: the module)"),
    Option(name="append", metavar="TEXT", help="the kernel's command line"),
    Option(name="bootsector", metavar="FILE", help="a disk image whose first sector the built-in BIOS starts"),
    Option(
        name="flat",
        metavar="FILE[,address=A][,mode=real|protected|long]",
        help="a flat binary, started at its address",
        parameters=(
            Parameter(name="image", help="the file"),
            Parameter(name="address", type=_NUMBER, help="where it lies and starts", default="0x7c00"),
            Parameter(name="mode", help="mode of the processor: real, protected or long", default="real"),
        ),
        implied="image",
    ),
    Option(name="vga", metavar="std|none", help="the display adapter", default="std"),
    Option(name="vgabios", metavar="FILE", help="the video BIOS, instead of SeaBIOS's that is installed"),
    Option(
        name="disk",
        aliases=("drive",),
        metavar="FILE[,NAME=VALUE]",
        help="a hard disk, CD-ROM or floppy drive with this image; the guest's writes go to the file",
        repeated=True,
        parameters=(
            Parameter(name="file", help="the image, raw; nothing: a CD-ROM or floppy drive without a medium"),
            Parameter(
                name="if",
                help="what the drive is attached to: ide (the board's adapter, which is one for SATA on a q35), floppy "
                "or none",
                default="ide",
            ),
            Parameter(name="media", help="disk or cdrom", default="disk"),
            Parameter(
                name="index",
                type=_NUMBER,
                help="place on IDE: 0 and 1 on the first channel, 2 and 3 on the next; SATA port; floppy drive 0 or 1",
            ),
            Parameter(name="bootindex", type=_NUMBER, help="firmware tries drives that have one first, in this order"),
            Parameter(name="id", help="name of the drive, for management"),
            Parameter(name="serial", help="serial number that the guest sees"),
            Parameter(name="readonly", type=_BOOLEAN, help="the guest cannot write", default="off"),
            Parameter(name="snapshot", type=_BOOLEAN, help="the guest's writes stay in memory", default="off"),
            Parameter(name="rerror", help="on failed reads: report, ignore or stop", default="auto"),
            Parameter(name="werror", help="on failed writes: report, ignore, stop or enospc", default="auto"),
            Parameter(name="format", help="raw", default="raw"),
        ),
        implied="file",
        group="drive",
    ),
    Option(name="hda", metavar="FILE", help="first disk on the first IDE channel"),
    Option(name="hdb", metavar="FILE", help="second disk on the first IDE channel"),
    Option(name="hdc", metavar="FILE", help="first disk on the second IDE channel"),
    Option(name="hdd", metavar="FILE", help="second disk on the second IDE channel"),
    Option(name="cdrom", metavar="FILE", help="a CD-ROM drive with this image"),
    Option(
        name="floppy",
        aliases=("fda",),
        metavar="FILE",
        help="first floppy drive, with this image; the guest's writes go to the file",
    ),
    Option(name="fdb", metavar="FILE", help="second floppy drive"),
    Option(
        name="boot",
        metavar="ORDER|NAME=VALUE",
        help="what firmware tries to boot, as letters: a, b floppies, c hard disk, d CD-ROM, n network",
        parameters=(
            Parameter(name="order", help="the letters", default="cad"),
            Parameter(name="once", help="the same until the machine is reset"),
            Parameter(name="menu", type=_BOOLEAN, help="firmware offers its menu", default="off"),
            Parameter(name="splash-time", type=_NUMBER, help="for so many milliseconds"),
            Parameter(name="reboot-timeout", type=_NUMBER, help="milliseconds until a reset where nothing boots"),
            Parameter(name="strict", type=_BOOLEAN, help="only drives with a bootindex are tried", default="off"),
        ),
        implied="order",
        group="boot-opts",
    ),
    Option(name="snapshot", help="the guest's writes to all disks stay in memory"),
    Option(
        name="chardev",
        metavar="BACKEND,id=LABEL",
        help="makes a character device",
        repeated=True,
        parameters=CHARDEV_PARAMETERS,
        implied="backend",
    ),
    Option(
        name="serial",
        metavar="WHERE",
        help="where a serial port goes; once for each port, the first is COM1: stdio, null, none, pty, file:PATH, "
        "pipe:PATH, unix:PATH, tcp:HOST:PORT, telnet:HOST:PORT, udp:HOST:PORT, /dev/NAME, chardev:LABEL; mon: before "
        "it shares it with the monitor (Ctrl-A c). unix: listens unless server=on or server=off is said",
        default="stdio",
        repeated=True,
    ),
    Option(name="debugcon", metavar="WHERE", help="where to the guest's bytes to port E9h go, as for --serial"),
    Option(
        name="device",
        metavar="MODEL[,id=ID][,bus=BUS][,addr=SLOT][,NAME=VALUE]",
        help="adds a device: isa-debug-exit,iobase=0xf4,iosize=4 or pvpanic-pci,addr=5; isa-debugcon and isa-serial "
        "take chardev=LABEL",
        repeated=True,
    ),
    Option(name="monitor", metavar="WHERE", help="serves the human monitor, as for --serial", repeated=True),
    Option(
        name="qmp",
        metavar="WHERE",
        help="serves QMP: unix:PATH, tcp:HOST:PORT, fd:N, or any other as for --serial",
        repeated=True,
    ),
    Option(
        name="mon",
        metavar="LABEL[,mode=M]",
        help="serves a monitor on a character device",
        repeated=True,
        parameters=(
            Parameter(name="chardev", help="label of the device"),
            Parameter(name="mode", help="readline: the human monitor; control: QMP", default="readline"),
        ),
        implied="chardev",
    ),
    Option(
        name="name",
        metavar="TEXT",
        help="name of the machine, for management",
        parameters=(Parameter(name="guest", help="the name"),),
        implied="guest",
    ),
    Option(name="uuid", metavar="UUID", help="UUID of the machine, for management and the guest (SMBIOS)"),
    Option(name="paused", aliases=("S",), help="builds the machine and waits (for cont over QMP)"),
    Option(
        name="incoming",
        metavar="file:PATH|unix:PATH|tcp:HOST:PORT|fd:N|defer",
        help="begins with the guest that comes from there (defer: from where migrate-incoming of QMP says); unix: and "
        "tcp: are listened at. The other options must be those of its machine. Under --qmp it runs if it ran, unless "
        "--paused is given",
    ),
    Option(
        name="action",
        metavar="EVENT=ACTION",
        help="what is done about resets, shutdowns, panics and watchdogs",
        parameters=(
            Parameter(name="reboot", help="reset or shutdown", default="reset"),
            Parameter(name="shutdown", help="poweroff or pause", default="poweroff"),
            Parameter(name="panic", help="none, pause, shutdown or exit-failure", default="shutdown"),
            Parameter(
                name="watchdog", help="reset, shutdown, poweroff, pause, debug, none or inject-nmi", default="reset"
            ),
        ),
    ),
    Option(name="watchdog-action", metavar="ACTION", help="what an expired watchdog does: as --action watchdog=ACTION"),
    Option(name="no-shutdown", help="a shutdown leaves the machine paused instead of ending it"),
    Option(name="no-reboot", help="a reset that the guest asks for ends the machine"),
    Option(name="seed", metavar="N", help="seed of everything random that the guest sees", default="0"),
    Option(
        name="rtc",
        metavar="TIME",
        help="what the guest's clock shows at the beginning, in UTC; utc or localtime: the host's time",
        parameters=(
            Parameter(
                name="base",
                help="an instant such as 2026-01-01T00:00:00, utc or localtime",
                default="2026-01-01T00:00:00",
            ),
            Parameter(name="clock", help="vm: the clock goes with guest time", default="vm"),
        ),
        implied="base",
    ),
    Option(name="display", metavar="none", help="where screens are shown"),
    Option(name="nographic", help="as --display none, and --serial mon:stdio where no port is said"),
    Option(name="nodefaults", help="no serial port where none is asked for"),
    Option(name="no-user-config", help="no files of configuration are read, as ever"),
    Option(name="max-instructions", metavar="N", help="ends after exactly this many instructions"),
    Option(name="stats", metavar="FILE", help="statistics as JSON at the end"),
)
"""Every option, in the order in which the help shows them."""


def described() -> tuple[CommandLineOptionInfo, ...]:
    """The options as management asks for them."""
    return tuple(
        CommandLineOptionInfo(
            option=option.group or option.name,
            parameters=tuple(
                CommandLineParameterInfo(name=p.name, type=p.type, help=p.help, default=p.default)
                for p in option.parameters
            ),
        )
        for option in OPTIONS
    )
