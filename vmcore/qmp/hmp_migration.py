"""The human monitor's words about migration and snapshots: what they take, and how what they show is written."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from vmcore.model.errors import CommandError
from vmcore.model.migration import (
    MigrateSetParameters,
    MigrationCapability,
    MigrationInfo,
    MigrationStatus,
    MultiFDCompression,
)
from vmcore.model.net import InetSocketAddress, SocketAddress, UnixSocketAddress
from vmcore.model.wire import members
from vmcore.qmp.hmp_expression import LineError, Scanner

if TYPE_CHECKING:
    from vmcore.machine.machine import Machine
    from vmcore.qmp.hmp import HumanMonitor
    from vmcore.vm import VirtualMachine

__all__ = ["COMMANDS", "SUBJECTS"]

Run = Callable[["HumanMonitor", str], Awaitable[str]]
Show = Callable[["VirtualMachine", "Machine", int, Scanner], str]


def _words(monitor: HumanMonitor, text: str, name: str, count: int, *, optional: bool = False) -> list[str]:
    """Exactly so many words; optional: the last one may be missing."""
    scan = Scanner(text, monitor.vm.peek().cpus[0])
    words: list[str] = []
    while len(words) < count and (scan.more or not (optional and len(words) == count - 1)):
        words.append(scan.word(f"{name}: string expected"))
    if scan.more:
        raise LineError(f"{name}: extraneous characters at the end of line")
    return words


# --- moving the guest ------------------------------------------------------------------------------------------------


async def _migrate(monitor: HumanMonitor, text: str) -> str:
    flags, rest = set(), text.lstrip()
    while match := re.match(r"-(\S)(?=\s|$|[dbir])\s*", rest):
        if match[1] not in "dbir":
            raise LineError(f"migrate: unsupported option -{match[1]}")
        flags.add(match[1])
        rest = rest[match.end() :]
    (uri,) = _words(monitor, rest, "migrate", 1)
    if flags & {"b", "i"}:
        raise CommandError("GenericError", "QEMU compiled without old-style (blk/-b, inc/-i) block migration")
    await monitor.vm.migration.start(uri, resume="r" in flags)
    return "" if "d" in flags else "terminal does not allow synchronous migration, continuing detached\n"


async def _cancel(monitor: HumanMonitor, text: str) -> str:
    _words(monitor, text, "migrate_cancel", 0)
    await monitor.vm.migration.cancel()
    return ""


async def _incoming(monitor: HumanMonitor, text: str) -> str:
    (uri,) = _words(monitor, text, "migrate_incoming", 1)
    await monitor.vm.migration.listen(uri)
    return ""


async def _continue(monitor: HumanMonitor, text: str) -> str:
    (state,) = _words(monitor, text, "migrate_continue", 1)
    if state not in tuple(MigrationStatus):
        return f"Error: invalid parameter value: {state}\n"
    await monitor.vm.migration.go_on(MigrationStatus(state))
    return ""


def _never(name: str, count: int, why: str) -> Run:
    async def run(monitor: HumanMonitor, text: str) -> str:
        _words(monitor, text, name, count)
        raise CommandError("GenericError", why)

    return run


# --- how -------------------------------------------------------------------------------------------------------------


async def _set_capability(monitor: HumanMonitor, text: str) -> str:
    words = _words(monitor, text, "migrate_set_capability", 2, optional=True)
    if len(words) < 2 or words[1] not in ("on", "off"):
        raise LineError("Expected 'on' or 'off'")
    name, state = words
    if name not in tuple(MigrationCapability):
        return f"Error: invalid parameter value: {name}\n"
    monitor.vm.migration.set_capabilities({MigrationCapability(name): state == "on"})
    return ""


async def _set_parameter(monitor: HumanMonitor, text: str) -> str:
    name, value = _words(monitor, text, "migrate_set_parameter", 2)
    names = {member.name: member.attribute for member in members(MigrateSetParameters)}
    if name not in names:
        return f"Error: invalid parameter value: {name}\n"
    if name == "block-bitmap-mapping":
        return "Error: The block-bitmap-mapping parameter can only be set through QMP\n"
    changes: dict[str, Any] = {names[name]: _value(name, value)}
    monitor.vm.migration.set_parameters(MigrateSetParameters(**changes))
    return ""


_SWITCHES: Final = ("compress-wait-thread", "cpu-throttle-tailslow", "block-incremental")
_TEXTS: Final = ("tls-creds", "tls-hostname", "tls-authz")
_SIZES: Final = (
    *("announce-initial", "announce-max", "announce-rounds", "announce-step"),
    *("downtime-limit", "xbzrle-cache-size", "max-postcopy-bandwidth"),
)
_NO_SIZE: Final = (
    "Parameter '{}' expects a non-negative number below 2^64\n"
    "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively."
)


def _value(name: str, text: str) -> Any:
    if name in _TEXTS:
        return text
    if name in _SWITCHES:
        if text not in ("on", "off"):
            raise CommandError("GenericError", f"Parameter '{name}' expects 'on' or 'off'")
        return text == "on"
    if name == "multifd-compression":
        if text not in tuple(MultiFDCompression):
            raise CommandError("GenericError", f"Parameter '{name}' does not accept value '{text}'")
        return MultiFDCompression(text)
    if name == "max-bandwidth":
        size = _size(text, 1 << 20)
        if size is None:
            raise CommandError("GenericError", f"Invalid size {text}")
        return size
    if name in _SIZES:
        size = _size(text, 1)
        if size is None:
            raise CommandError("GenericError", _NO_SIZE.format(name))
        return size
    bits = 32 if name == "x-checkpoint-delay" else 8
    try:
        number = int(text, 0)
    except ValueError:
        number = -1
    if number < 0:
        raise CommandError("GenericError", f"Parameter '{name}' expects uint64")
    if number >> bits:
        raise CommandError("GenericError", f"Parameter '{name}' expects uint{bits}_t")
    return number


def _size(text: str, unit: int) -> int | None:
    """A number of bytes with a suffix; without one it is in units.  None for no size."""
    match = re.fullmatch(r"(0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]*)?)([bBkKmMgGtTpPeE]?)", text)
    if match is None or ("." in match[1] and not match[2] and unit == 1):
        return None
    if match[2]:
        unit = 1024 ** "bkmgtpe".index(match[2].lower())
    number = float(match[1]) if "." in match[1] else int(match[1], 16 if match[1][:2] in ("0x", "0X") else 10)
    size = int(number * unit)
    return size if size < 1 << 64 else None


# --- snapshots -------------------------------------------------------------------------------------------------------


async def _savevm(monitor: HumanMonitor, text: str) -> str:
    words = _words(monitor, text, "savevm", 1, optional=True)
    await monitor.vm.snapshots.save(words[0] if words else None)
    return ""


async def _loadvm(monitor: HumanMonitor, text: str) -> str:
    (tag,) = _words(monitor, text, "loadvm", 1)
    await monitor.vm.snapshots.load(tag)
    return ""


async def _delvm(monitor: HumanMonitor, text: str) -> str:
    (tag,) = _words(monitor, text, "delvm", 1)
    # A name that nothing has is no mistake here.
    if any(kept.tag == tag for kept in monitor.vm.snapshots.kept):
        monitor.vm.snapshots.delete(tag)
    return ""


def _snapshots(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    kept = vm.snapshots.kept
    if not kept:
        return "There is no snapshot available.\n"
    lines = [("ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT")]
    for one in kept:
        date = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.date))
        lines.append(("--", one.tag, _human(one.size), date, _clock(one.guest_ns), str(one.instructions)))
    return "List of snapshots present on all disks:\n" + "".join(
        f"{number:<9} {tag:<16} {size:>8}{date:>20}{clock:>13}{count:>11}\n"
        for number, tag, size, date, clock, count in lines
    )


def _human(size: int) -> str:
    """Bytes with three digits that count."""
    power = 0 if not size else min(int(math.log2(size)) // 10, 6)
    return f"{size / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB')[power]}"


def _clock(ns: int) -> str:
    seconds, ms = divmod(ns // 1_000_000, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{ms:03}"


# --- showing ---------------------------------------------------------------------------------------------------------


def _info(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    return "".join(f"{line}\n" for line in _info_lines(vm.migration.progress))


def _info_lines(info: MigrationInfo) -> Iterator[str]:
    if info.status is not None:
        why = f" ({info.error_desc})" if info.status is MigrationStatus.FAILED and info.error_desc else ""
        yield f"Migration status: {info.status.value}{why}"
        yield f"total time: {info.total_time or 0} ms"
    for name, ms in (
        ("expected downtime", info.expected_downtime),
        ("downtime", info.downtime),
        ("setup", info.setup_time),
    ):
        if ms is not None:
            yield f"{name}: {ms} ms"
    if info.ram is not None:
        ram = info.ram
        yield f"transferred ram: {ram.transferred >> 10} kbytes"
        yield f"throughput: {ram.mbps:.2f} mbps"
        yield f"remaining ram: {ram.remaining >> 10} kbytes"
        yield f"total ram: {ram.total >> 10} kbytes"
        yield f"duplicate: {ram.duplicate} pages"
        yield f"skipped: {ram.skipped} pages"
        yield f"normal: {ram.normal} pages"
        yield f"normal bytes: {ram.normal_bytes >> 10} kbytes"
        yield f"dirty sync count: {ram.dirty_sync_count}"
        yield f"page size: {ram.page_size >> 10} kbytes"
        yield f"multifd bytes: {ram.multifd_bytes >> 10} kbytes"
        yield f"pages-per-second: {ram.pages_per_second}"
        if ram.dirty_pages_rate:
            yield f"dirty pages rate: {ram.dirty_pages_rate} pages"
        if ram.precopy_bytes:
            yield f"precopy ram: {ram.precopy_bytes >> 10} kbytes"
        if ram.downtime_bytes:
            yield f"downtime ram: {ram.downtime_bytes >> 10} kbytes"
    if info.compression is not None:
        yield f"compression pages: {info.compression.pages} pages"
        yield f"compression busy: {info.compression.busy}"
        yield f"compression busy rate: {info.compression.busy_rate:.2f}"
        yield f"compressed size: {info.compression.compressed_size >> 10} kbytes"
        yield f"compression rate: {info.compression.compression_rate:.2f}"
    if info.cpu_throttle_percentage is not None:
        yield f"cpu throttle percentage: {info.cpu_throttle_percentage}"
    if info.socket_address is not None:
        yield "socket address: ["
        for address in info.socket_address:
            yield f"\t{_address(address)}"
        yield "]"


def _address(address: SocketAddress) -> str:
    match address:
        case UnixSocketAddress():
            return f"unix:{address.path}"
        case InetSocketAddress():
            return f"tcp:{address.host}:{address.port}"
    return address.type.value


def _capabilities(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    return "".join(f"{name.value}: {'on' if on else 'off'}\n" for name, on in vm.migration.capabilities.items())


_SHOWN: Final = (
    *("announce-initial ms", "announce-max ms", "announce-rounds", "announce-step ms", "compress-level"),
    *("compress-threads", "compress-wait-thread", "decompress-threads", "throttle-trigger-threshold"),
    *("cpu-throttle-initial", "cpu-throttle-increment", "cpu-throttle-tailslow", "max-cpu-throttle", "tls-creds"),
    *("tls-hostname", "max-bandwidth bytes/second", "downtime-limit ms", "x-checkpoint-delay ms"),
    *("block-incremental", "multifd-channels", "multifd-compression", "xbzrle-cache-size bytes"),
    *("max-postcopy-bandwidth", "tls-authz"),
)
"""Parameters in the order in which they are shown, with their units."""


def _parameters(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    out = []
    for shown in _SHOWN:
        name, _, unit = shown.partition(" ")
        value = getattr(vm.migration.parameters, name.replace("-", "_"))
        if isinstance(value, bool):
            text = "on" if value else "off"
        elif name in _TEXTS:
            text = f"'{value}'"
        else:
            text = f"{value} {unit}".rstrip()
        out.append(f"{name}: {text}\n")
    return "".join(out)


COMMANDS: Final[tuple[tuple[str, str, str, Run], ...]] = (
    ("delvm", "tag", "forget a snapshot", _delvm),
    ("loadvm", "tag", "go back to a snapshot", _loadvm),
    ("migrate", "[-d] uri", "send the guest to another machine", _migrate),
    ("migrate_cancel", "", "keep the guest that is on its way", _cancel),
    ("migrate_continue", "state", "let a migration go on that waits in this state", _continue),
    ("migrate_incoming", "uri", "wait for a guest, after --incoming defer", _incoming),
    (
        *("migrate_pause", "", "pause a migration in postcopy, which there is not"),
        _never("migrate_pause", 0, "migrate-pause is currently only supported during postcopy-active state"),
    ),
    (
        *("migrate_recover", "uri", "go on with a paused migration, which there is not"),
        _never("migrate_recover", 1, "Migrate recover can only be run when postcopy is paused."),
    ),
    ("migrate_set_capability", "capability state", "switch a way of migrating on or off", _set_capability),
    ("migrate_set_parameter", "parameter value", "change how migrations are done", _set_parameter),
    (
        *("migrate_start_postcopy", "", "begin postcopy, which there is not"),
        _never(
            *("migrate_start_postcopy", 0),
            "Enable postcopy with migrate_set_capability before the start of migration",
        ),
    ),
    ("savevm", "[tag]", "keep a snapshot of the machine", _savevm),
)
"""Name, parameters, help and function of each command."""

SUBJECTS: Final[dict[str, tuple[str, str, Show]]] = {
    "migrate": ("", "how the latest migration goes", _info),
    "migrate_capabilities": ("", "which ways of migrating are on", _capabilities),
    "migrate_parameters": ("", "how migrations are done", _parameters),
    "snapshots": ("", "the snapshots that are kept", _snapshots),
}
"""Parameters, help and function of what `info` shows."""
