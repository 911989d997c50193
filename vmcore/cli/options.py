"""What the command line takes, and what a machine's configuration becomes of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from vmcore.machine.config import DeviceOption, FlatImage, FlatMode, MachineConfig
from vmcore.model.errors import ConfigError

__all__ = ["DemoOptions", "Endpoint", "RunOptions", "parse"]

EPILOG: Final = """\
exit status: 0 the guest switched itself off; odd: (value << 1) | 1 of isa-debug-exit; 2 bad usage, configuration or
file; 4 --max-instructions are spent; 6 the guest waits for ever and no input can come; 8 a triple fault where
nothing resets the machine; 70 a fault of vmcore itself; 130, 143, 129 ended by SIGINT, SIGTERM, SIGHUP."""


@frozen
class Endpoint:
    """Where bytes go to and come from.  kind: "stdio", "file", "unix" or "null"; path: for file and unix."""

    kind: str
    path: str = ""

    @classmethod
    def parse(cls, text: str, option: str, kinds: Sequence[str]) -> Endpoint:
        kind, colon, path = text.partition(":")
        wants_path = kind in ("file", "unix")
        if kind not in kinds or wants_path != bool(colon) or (wants_path and not path):
            forms = ", ".join(k + (":PATH" if k in ("file", "unix") else "") for k in kinds)
            raise ConfigError(option, text, f"one of {forms}")
        return cls(kind, path)


@frozen(kw_only=True)
class RunOptions:
    """`vmcore run`, checked."""

    config: MachineConfig
    serial: tuple[Endpoint, ...]
    debugcon: Endpoint | None
    paused: bool
    incoming: str | None
    max_instructions: int | None
    qmp: tuple[str, ...]
    stats: Path | None


@frozen
class DemoOptions:
    """`vmcore` without a command."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vmcore", description="A PC that you can import. Without a command: a demonstration guest."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run a guest",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = run.add_argument
    add(
        "--board",
        choices=("pc", "none"),
        default="pc",
        help="pc (default): an ISA PC with ACPI; none: vCPUs and RAM alone",
    )
    add("--memory", default="128M", metavar="SIZE", help="RAM, such as 512M or 2G (default 128M)")
    add("--cpus", type=int, default=1, metavar="N", help="number of vCPUs (default 1)")
    add("--cpu", default="max", metavar="MODEL", help="CPU model (default max)")
    add("--kernel", metavar="FILE", help="Linux bzImage, ELF with a PVH note, Multiboot image")
    add("--initrd", metavar="FILE", help="initial RAM disk of the kernel")
    add("--append", default="", metavar="TEXT", help="the kernel's command line")
    add("--bootsector", metavar="FILE", help="disk image whose first sector the built-in BIOS starts")
    add(
        "--flat",
        metavar="FILE[,address=A][,mode=real|protected|long]",
        help="flat binary, started at its address (default 0x7c00, real)",
    )
    add(
        "--serial",
        action="append",
        metavar="WHERE",
        help="stdio (default), file:PATH, unix:PATH (listens), null; once for each port",
    )
    add("--debugcon", metavar="file:PATH", help="what the guest writes to port 0xe9 goes to this file")
    add(
        "--device",
        action="append",
        default=[],
        metavar="MODEL[,id=ID][,NAME=VALUE]",
        help="add a device, such as isa-debug-exit,iobase=0xf4,iosize=4",
    )
    add(
        "--qmp",
        action="append",
        default=[],
        metavar="WHERE",
        help="serve QMP at unix:PATH, tcp:HOST:PORT or fd:N; may be given several times",
    )
    add("--name", help="name of the machine, for management")
    add("--uuid", help="UUID of the machine, for management and the guest")
    add("--no-shutdown", action="store_true", help="a shutdown leaves the machine paused instead of ending it")
    add("--paused", action="store_true", help="build the machine and wait, do not run it")
    add("--incoming", metavar="file:PATH", help="begin with the guest that was migrated to this file")
    add("--no-reboot", action="store_true", help="a reset that the guest asks for ends the machine")
    add(
        "--seed", type=_number, default=0, metavar="N", help="seed of everything random that the guest sees (default 0)"
    )
    add(
        "--rtc",
        default="2026-01-01T00:00:00",
        metavar="TIME",
        help="what the guest's clock shows at the beginning (UTC)",
    )
    add("--max-instructions", type=_number, metavar="N", help="end after this many instructions")
    add("--stats", type=Path, metavar="FILE", help="write statistics as JSON when the machine ends")
    return parser


def _number(text: str) -> int:
    return int(text, 0)


def _flat(text: str) -> FlatImage:
    path, *pairs = text.split(",")
    address, mode = 0x7C00, FlatMode.REAL
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            if name == "address":
                address = int(value, 0)
            elif name == "mode":
                mode = FlatMode(value)
            else:
                raise ConfigError(f"flat.{name}", value, "address or mode")
        except ValueError as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(
                f"flat.{name}", value, "a number" if name == "address" else "real, protected or long"
            ) from None
    return FlatImage(path, address, None, mode)


def parse(arguments: Sequence[str]) -> RunOptions | DemoOptions:
    """Read the command line.  Exits like argparse for what is no option; raises ConfigError for values that cannot
    be.
    """
    given = _parser().parse_args(arguments)
    if given.command is None:
        return DemoOptions()
    serial = tuple(
        Endpoint.parse(text, "serial", ("stdio", "file", "unix", "null")) for text in given.serial or ["stdio"]
    )
    if sum(end.kind == "stdio" for end in serial) > 1:
        raise ConfigError("serial", "stdio", "stdio for one port only")
    debugcon = None if given.debugcon is None else Endpoint.parse(given.debugcon, "debugcon", ("file", "null"))
    devices = [DeviceOption.parse(text, f"device[{index}]") for index, text in enumerate(given.device)]
    if debugcon is not None and not any(device.model == "isa-debugcon" for device in devices):
        devices.append(DeviceOption.parse("isa-debugcon", "debugcon"))
    if given.max_instructions is not None and given.max_instructions < 0:
        raise ConfigError("max-instructions", given.max_instructions, "a number from 0 up")
    if given.max_instructions is not None and given.qmp:
        raise ConfigError("max-instructions", given.max_instructions, "nothing beside --qmp")
    if given.incoming is not None:
        Endpoint.parse(given.incoming, "incoming", ("file",))
    config = MachineConfig(
        board=given.board,
        memory=given.memory,
        cpus=given.cpus,
        cpu=given.cpu,
        kernel=given.kernel,
        initrd=given.initrd,
        append=given.append,
        bootsector=given.bootsector,
        flat=None if given.flat is None else _flat(given.flat),
        serials=len(serial) if given.board == "pc" else 0,
        devices=devices,
        seed=given.seed,
        rtc=given.rtc,
        no_reboot=given.no_reboot,
        no_shutdown=given.no_shutdown,
        name=given.name,
        uuid=given.uuid,
    )
    return RunOptions(
        config=config,
        serial=serial if given.board == "pc" else (),
        debugcon=debugcon,
        paused=given.paused,
        incoming=given.incoming,
        max_instructions=given.max_instructions,
        qmp=tuple(given.qmp),
        stats=given.stats,
    )
