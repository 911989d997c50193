"""From the command line to a machine's configuration.  What there is to be given: `vmcore.model.command_line`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from vmcore.chardev.text import Wanted
from vmcore.cli.disks import read_disks
from vmcore.cli.wiring import Wiring
from vmcore.firmware.boot_options import BootOptions
from vmcore.machine.config import DeviceOption, FlatImage, MachineConfig
from vmcore.machine.hyperv import ENLIGHTENMENTS
from vmcore.machine.memory_options import object_options
from vmcore.model.command_line import OPTIONS, Option
from vmcore.model.errors import ConfigError, UsageError
from vmcore.model.keyed import typed
from vmcore.model.qom import MemoryBackendProperties, ObjectOptions
from vmcore.model.run_state import NotifyVmexitOption, RebootAction, ShutdownAction
from vmcore.shell.migration import DEFER, check_incoming

__all__ = ["DemoOptions", "RunOptions", "parse"]

EPILOG: Final = """\
Every option may be written with one hyphen or two.

exit status: 0 the guest switched itself off; odd: (value << 1) | 1 of isa-debug-exit; 2 bad usage, configuration or
file; 4 --max-instructions are spent; 6 the guest waits for ever and no input can come; 8 a triple fault where
nothing resets the machine; 70 a fault of vmcore itself; 130, 143, 129 ended by SIGINT, SIGTERM, SIGHUP."""


@frozen(kw_only=True)
class RunOptions:
    """`vmcore run`, checked."""

    config: MachineConfig
    chardevs: tuple[Wanted, ...]
    attach: dict[str, str]
    """Port -> label of the character device that is plugged into it."""
    monitors: tuple[str, ...]
    """Labels of character devices with a human monitor."""
    qmp_on: tuple[str, ...]
    """Labels of character devices with QMP."""
    paused: bool
    incoming: str | None
    max_instructions: int | None
    qmp: tuple[str, ...]
    """Endpoints with QMP."""
    stats: Path | None
    preconfig: bool
    objects: tuple[ObjectOptions, ...]

    @property
    def has_clients(self) -> bool:
        """Whether somebody may say something about the machine: over QMP or a monitor."""
        return bool(self.qmp or self.qmp_on or self.monitors)


@frozen
class DemoOptions:
    """`vmcore` without a command."""


# --- the parser ------------------------------------------------------------------------------------------------------


class _Help(argparse.RawDescriptionHelpFormatter):
    """Shows each option once, not with one hyphen and with two."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if action.dest == "help" or not action.option_strings:
            return super()._format_action_invocation(action)
        names = ", ".join(action.option_strings[::2])
        return names if action.nargs == 0 else f"{names} {action.metavar}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vmcore", description="A PC that you can import. Without a command: a demonstration guest."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="run a guest",
        usage="python -m vmcore run [OPTION ...]",
        epilog=EPILOG,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    for option in OPTIONS:
        _declare(run, option)
    return parser


def _declare(parser: argparse.ArgumentParser, option: Option) -> None:
    default = option.default or next((p.default for p in option.parameters if p.name == option.implied), None)
    text = option.help + (f" (default {default})" if default is not None else "")
    if option.metavar is None:
        parser.add_argument(*option.spellings, dest=option.attribute, action="store_true", help=text)
    elif option.repeated or option.parameters:
        parser.add_argument(
            *option.spellings, dest=option.attribute, action="append", default=[], metavar=option.metavar, help=text
        )
    else:
        parser.add_argument(*option.spellings, dest=option.attribute, metavar=option.metavar, help=text)


class _Given:
    """What the command line gives: `given.kernel`, and `given.of("memory")` for an option with parameters."""

    def __init__(self, namespace: argparse.Namespace) -> None:
        self._namespace = namespace

    def __getattr__(self, name: str) -> Any:
        return getattr(self._namespace, name)

    def of(self, name: str) -> dict[str, Any]:
        option = next(option for option in OPTIONS if option.name == name)
        defaults = [f"{p.name}={p.default}" for p in option.parameters if p.default is not None]
        return typed(name, [*defaults, *getattr(self._namespace, option.attribute)], option.parameters, option.implied)


def _check_incoming(uri: str, qmp: bool) -> None:
    try:
        check_incoming(uri)
    except UsageError as error:
        forms = "file:PATH, unix:PATH, tcp:HOST:PORT, fd:N or defer"
        raise ConfigError("incoming", uri, forms) from error
    if uri == DEFER and not qmp:
        raise ConfigError("incoming", uri, "--qmp beside it")


def parse(arguments: Sequence[str]) -> RunOptions | DemoOptions:
    """Read the command line.  Exits like argparse for what is no option; raises ConfigError for values that cannot
    be.
    """
    namespace = _parser().parse_args(arguments)
    return DemoOptions() if namespace.command is None else _run_options(_Given(namespace))


# --- what becomes of it ----------------------------------------------------------------------------------------------


def _run_options(given: _Given) -> RunOptions:
    board = given.of("board")
    for name, accel in (("board.accel", board.get("accel")), ("accel", given.accel)):
        if accel is not None and "tcg" not in accel.split(",")[0].split(":"):
            raise ConfigError(name, accel, "tcg")
    told = dict(part.partition("=")[::2] for part in (given.accel or "").split(",")[1:])
    wiring, devices = _wiring(given, has_ports=board["type"] != "none")
    limit = None if given.max_instructions is None else _number("max-instructions", given.max_instructions)
    if limit is not None and (wiring.qmp or wiring.qmp_on or wiring.monitors):
        raise ConfigError("max-instructions", limit, "nothing beside --qmp and --monitor")
    if given.incoming is not None:
        _check_incoming(given.incoming, bool(wiring.qmp or wiring.qmp_on or wiring.monitors))
    if given.display not in (None, "none"):
        raise ConfigError("display", given.display, "none")
    if given.preconfig and not (wiring.qmp or wiring.qmp_on):
        raise ConfigError("preconfig", given.preconfig, "it beside --qmp, over which it ends")
    objects = object_options(given.object, "object")
    action = given.of("action")
    _one_of("action.reboot", action["reboot"], RebootAction)
    _one_of("action.shutdown", action["shutdown"], ShutdownAction)
    memory = given.of("memory")
    cpu, hyperv = _cpu(given.cpu or "max")
    config = MachineConfig(
        board=board["type"],
        memory_backends=tuple(each for each in objects if isinstance(each, MemoryBackendProperties)),
        memory_backend=board.get("memory-backend"),
        numa=given.numa,
        hmat=board["hmat"],
        memory=memory["size"],
        memory_slots=memory["slots"],
        max_memory=memory.get("maxmem"),
        **given.of("cpus"),
        cpu=cpu,
        hyperv=hyperv,
        firmware=given.firmware if given.firmware is not None else board.get("firmware"),
        kernel=given.kernel if given.kernel is not None else board.get("kernel"),
        initrd=given.initrd if given.initrd is not None else board.get("initrd"),
        append=given.append if given.append is not None else board.get("append", ""),
        bootsector=given.bootsector,
        disks=read_disks(
            given.disk,
            {name: getattr(given, name) for name in ("hda", "hdb", "hdc", "hdd", "floppy", "fdb")},
            given.cdrom,
            given.snapshot,
        ),
        boot=_boot(given),
        flat=_flat(given),
        serials=wiring.serials,
        devices=devices,
        notify_vmexit=told.get("notify-vmexit", NotifyVmexitOption.RUN),
        seed=0 if given.seed is None else _number("seed", given.seed),
        rtc=_rtc(given),
        no_reboot=given.no_reboot or action["reboot"] == RebootAction.SHUTDOWN,
        no_shutdown=given.no_shutdown or action["shutdown"] == ShutdownAction.PAUSE,
        panic_action=action["panic"],
        watchdog_action=given.watchdog_action or action["watchdog"],
        name=given.of("name").get("guest"),
        uuid=given.uuid,
        vga=given.vga or "std",
        vgabios=given.vgabios,
    )
    return RunOptions(
        config=config,
        chardevs=tuple(wiring.chardevs),
        attach=wiring.attach,
        monitors=tuple(wiring.monitors),
        qmp_on=tuple(wiring.qmp_on),
        paused=given.paused,
        incoming=given.incoming,
        max_instructions=limit,
        qmp=tuple(wiring.qmp),
        stats=None if given.stats is None else Path(given.stats),
        preconfig=given.preconfig,
        objects=tuple(each for each in objects if not isinstance(each, MemoryBackendProperties)),
    )


def _cpu(text: str) -> tuple[str, tuple[str, ...]]:
    """Model with its features, and Hyper-V enlightenments; hv-passthrough stands for all that there are."""
    model: list[str] = []
    wanted: list[str] = []
    for flag in text.split(","):
        name = flag.removeprefix("+").replace("_", "-").removesuffix("=on")
        if not name.startswith("hv-"):
            model.append(flag)
        elif name == "hv-passthrough":
            wanted += ENLIGHTENMENTS
        elif name.removeprefix("hv-") in ENLIGHTENMENTS:
            wanted.append(name.removeprefix("hv-"))
        else:
            raise ConfigError("cpu", flag, ", ".join(f"hv-{name}" for name in (*ENLIGHTENMENTS, "passthrough")))
    return ",".join(model), tuple(wanted)


def _wiring(given: _Given, *, has_ports: bool) -> tuple[Wiring, list[DeviceOption]]:
    """Character devices with what is plugged into them, and the devices that are left."""
    wiring = Wiring()
    for text in given.chardev:
        wiring.chardev(text)
    if has_ports:
        default = "mon:stdio" if given.nographic and not given.monitor else "stdio"
        own_port = any(text.partition(",")[0] == "isa-serial" for text in given.device)
        wanted = not own_port and (given.nographic or not given.nodefaults) and not _on_stdio(given)
        for text in given.serial or ([default] if wanted else [] if given.nodefaults or own_port else ["null"]):
            wiring.serial(text)
    devices: list[DeviceOption] = []
    consoles = 0
    for index, text in enumerate(given.device):
        device = wiring.device(text, f"device[{index}]", consoles)
        if device is not None:
            devices.append(device)
            consoles += device.model == "isa-debugcon"
    if given.debugcon is not None:
        if not consoles:
            devices.append(DeviceOption.parse("isa-debugcon", "debugcon"))
        wiring.debugcon(given.debugcon, 0)
    for text in given.monitor:
        wiring.monitor(text)
    for text in given.qmp:
        wiring.qmp_at(text)
    for text in given.mon:
        wiring.mon(text)
    return wiring, devices


def _on_stdio(given: _Given) -> bool:
    """Whether something else than a serial port has the standard streams."""
    return any(text == "stdio" for text in (*given.monitor, *given.qmp)) or any(
        text.partition(",")[0].removeprefix("backend=") == "stdio" for text in given.chardev
    )


def _boot(given: _Given) -> BootOptions:
    boot = given.of("boot")
    timeout = boot.get("reboot-timeout")
    return BootOptions(
        boot["order"],
        once=boot.get("once"),
        menu=boot["menu"],
        menu_wait_ms=boot.get("splash-time"),
        reboot_timeout_ms=timeout,
        strict=boot["strict"],
    )


def _flat(given: _Given) -> FlatImage | None:
    if not given.flat:
        return None
    flat = given.of("flat")
    if "image" not in flat:
        raise ConfigError("flat", given.flat[-1], "the path of a file first")
    return FlatImage(flat["image"], flat["address"], None, flat["mode"])


def _rtc(given: _Given) -> str:
    rtc = given.of("rtc")
    if rtc["clock"] != "vm":
        raise ConfigError("rtc.clock", rtc["clock"], "vm: only guest time drives the clock")
    base: str = rtc["base"]
    if base in ("utc", "localtime"):
        # The one place where the host's clock decides something that the guest sees: because the user says so.
        now = datetime.now(UTC) if base == "utc" else datetime.now().astimezone().replace(tzinfo=UTC)
        return now.isoformat(timespec="seconds")
    return base


def _number(path: str, text: str) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if number < 0:
        raise ConfigError(path, text, "a number from 0 up")
    return number


def _one_of(path: str, value: str, values: Any) -> None:
    if value not in tuple(values):
        raise ConfigError(path, value, "one of " + ", ".join(values))
