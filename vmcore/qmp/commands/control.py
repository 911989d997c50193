"""The commands about the protocol itself."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Final

from vmcore.model.control import CommandInfo, EventInfo, QMPCapability, SchemaInfo, VersionInfo, VersionTriple
from vmcore.model.events import EVENTS
from vmcore.qmp.convert import to_wire
from vmcore.qmp.registry import COMMANDS, command
from vmcore.qmp.schema import schema

if TYPE_CHECKING:
    from typing import Any

    from vmcore.qmp.server import Monitor
    from vmcore.vm import VirtualMachine

__all__ = ["PROTOCOL_VERSION", "version", "version_info"]

PROTOCOL_VERSION: Final = VersionTriple(major=7, minor=2, micro=0)
"""The version of QEMU whose words are spoken, as clients decide by it what they may say."""


def version_info() -> VersionInfo:
    """What a client is told about this program."""
    try:
        package = f"vmcore {installed_version('vmcore')}"
    except PackageNotFoundError:  # used from a source tree
        package = "vmcore"
    return VersionInfo(qemu=PROTOCOL_VERSION, package=package)


def version() -> dict[str, Any]:
    """The version as the greeting has it."""
    value: dict[str, Any] = to_wire(version_info(), VersionInfo)
    return value


@command("qmp_capabilities", allow_preconfig=True, since="0.13")
async def qmp_capabilities(
    vm: VirtualMachine, *, enable: tuple[QMPCapability, ...] | None = None, monitor: Monitor
) -> None:
    """End the negotiation: from now on the connection has commands and events.

    enable: what is to be switched on for this connection.
    """
    monitor.session.negotiate([capability.value for capability in enable or ()])


@command("query-version", allow_preconfig=True, since="0.14")
async def query_version(vm: VirtualMachine) -> VersionInfo:
    """The version of the protocol's words, and the program that speaks them."""
    return version_info()


@command("query-commands", allow_preconfig=True, since="0.14")
async def query_commands(vm: VirtualMachine) -> tuple[CommandInfo, ...]:
    """The names of all commands."""
    return tuple(CommandInfo(name=name) for name in COMMANDS)


@command("query-events", features=("deprecated",), since="1.2")
async def query_events(vm: VirtualMachine) -> tuple[EventInfo, ...]:
    """The names of all events.  Superseded by query-qmp-schema."""
    return tuple(EventInfo(name=name) for name in EVENTS)


@command("query-qmp-schema", allow_preconfig=True, since="2.5")
async def query_qmp_schema(vm: VirtualMachine) -> tuple[SchemaInfo, ...]:
    """All commands and events, and the types that they use.  Derived from their definitions."""
    return schema()
