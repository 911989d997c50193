"""Writes conformance.md: the honest state of everything in the management documents.

python docs/make_conformance.py
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from vmcore.qmp.commands import load
from vmcore.qmp.registry import COMMANDS, ELSEWHERE

HERE: Final = Path(__file__).parent
TESTS: Final = HERE.parent / "tests"

DOCUMENTS: Final[dict[str, dict[str, Any]]] = json.loads((HERE / "documents.json").read_text())
"""What the management documents say, without their words."""

AROUND: Final = [
    "qmp_capabilities",
    "query-version",
    "query-commands",
    "query-qmp-schema",
    "query-events",
    "query-kvm",
    "query-uuid",
    "quit",
    "system_reset",
    "system_powerdown",
    "system_wakeup",
    "inject-nmi",
    "send-key",
    "input-send-event",
    "memsave",
    "pmemsave",
    "dump-guest-memory",
    "query-dump",
    "query-dump-guest-memory-capability",
    "qom-list",
    "qom-get",
    "qom-set",
    "qom-list-types",
    "qom-list-properties",
    "device-list-properties",
    "object-add",
    "object-del",
    "device_add",
    "device_del",
    "query-chardev",
    "query-chardev-backends",
    "chardev-add",
    "chardev-remove",
    "chardev-change",
    "ringbuf-read",
    "ringbuf-write",
    "query-memory-size-summary",
    "query-memory-devices",
    "query-cpu-definitions",
    "query-cpu-model-expansion",
    "query-rx-filter",
    "migrate",
    "migrate-incoming",
    "migrate_cancel",
    "query-migrate",
    "query-migrate-capabilities",
    "migrate-set-capabilities",
    "query-migrate-parameters",
    "migrate-set-parameters",
    "query-jobs",
    "job-pause",
    "job-resume",
    "job-cancel",
    "job-complete",
    "job-dismiss",
    "job-finalize",
    "snapshot-save",
    "snapshot-load",
    "snapshot-delete",
]
"""Commands around those of the documents, that every client expects."""

_VIRTIO = "virtio devices"
_BLOCK = "image formats that can be damaged"
_JOBS = "block jobs"
_ARCHITECTURES = "machines of other architectures"
_CARDS = "network cards"
_VNC = "the VNC server"
_SPICE = "a SPICE server"

WAITS: Final[dict[str, str]] = {
    "x-query-virtio": _VIRTIO,
    "x-query-virtio-status": _VIRTIO,
    "query-rx-filter": _CARDS,
    "NIC_RX_FILTER_CHANGED": _CARDS,
    "BALLOON_CHANGE": "the virtio balloon",
    "BLOCK_IMAGE_CORRUPTED": _BLOCK,
    "BLOCK_JOB_*": _JOBS,
    "QUORUM_*": "the quorum block driver",
    "SPICE_*": _SPICE,
    "VNC_*": _VNC,
    "VFU_CLIENT_HANGUP": "the vfio-user server",
    "get-win32-socket": "hosts that run Windows: it exists there only",
    "RunState.colo": "network cards with their filters and replicated disks: it is lock-stepping over the network",
    "SysEmuTarget.[!x]*": _ARCHITECTURES,
    "SysEmuTarget.xtensa*": _ARCHITECTURES,
    "CpuInfoArch.[!x]*": _ARCHITECTURES,
    "CpuInfo.[!x]*": _ARCHITECTURES,
    "CpuInfoFast.*": _ARCHITECTURES,
    "CpuS390State.*": _ARCHITECTURES,
    "S390CrashReason.*": _ARCHITECTURES,
    "GuestPanicInformationType.s390": _ARCHITECTURES,
    "GuestPanicInformation.s390": _ARCHITECTURES,
    "ShutdownCause.host-ui": "a display of its own, such as SPICE's: it is the closing of a window",
}
"""Name, or pattern of names -> what it waits for."""

_NO_CPUID = "CPUID returns nothing in it, so no feature word is ever there"

NEVER: Final[dict[str, str]] = {
    "ShutdownCause.none": "it says that no shutdown is asked for, which no message tells",
    "ShutdownCause.snapshot-load": "by the documents it does not occur in the protocol",
    "ShutdownCause.subsystem-reset": "by the documents it causes no event",
    **{f"X86CPURegister32.{register}": _NO_CPUID for register in ("ESP", "EBP", "ESI", "EDI")},
}
"""What by its meaning cannot go over the wire of this machine -> why."""


def items() -> Iterator[tuple[str, str, list[str]]]:
    """Everything of the documents: kind, title, names."""
    yield "command", "Commands", list(DOCUMENTS["commands"])
    yield "event", "Events", list(DOCUMENTS["events"])
    for name, enum in DOCUMENTS["enums"].items():
        yield "value", f"Values of {name}", [f"{name}.{value}" for value in enum["data"]]
    for name, union in DOCUMENTS["unions"].items():
        yield "branch", f"Branches of {name}", [f"{name}.{tag}" for tag in union["data"]]
    yield "command", "Commands around those of the documents", list(AROUND)


def waits_for(name: str) -> str | None:
    """What something waits for, None if nothing is known that it waits for."""
    return next((reason for pattern, reason in WAITS.items() if fnmatchcase(name, pattern)), None)


def shown() -> dict[str, list[str]]:
    """Name -> the tests that are marked to show it, as "file::test", found by reading the files."""
    found: dict[str, list[str]] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        source = path.read_text()
        if "mark.conformance" not in source:
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for name in _claims(node):
                    found.setdefault(name, []).append(f"{path.relative_to(TESTS)}::{node.name}")
    return found


def _claims(test: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for decorator in test.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.conformance":
            for argument in decorator.args:
                # Either "name" or *["name", ...], and nothing that must be computed.
                value = ast.literal_eval(argument.value if isinstance(argument, ast.Starred) else argument)
                yield from [value] if isinstance(value, str) else value


INTRODUCTION = """# Conformance

What of the management documents works, and which test shows it by doing it; what does not yet, and what it waits
for. This page is made by `python docs/make_conformance.py` from the commands that are registered and from the marks
of the tests. A marked test fails if what it claims to show does not happen in it: the command runs without an error,
the event is published, the value or the branch goes over the wire.

A name of the form `Enumeration.value` or `Union.tag` is a value of an enumeration or a branch of a union.
"""


def state(kind: str, name: str, tests: dict[str, list[str]]) -> tuple[str, str]:
    """The state of something, and what shows it or what it waits for."""
    if name in tests:
        return "works", "<br>".join(f"`{test}`" for test in tests[name])
    if name in NEVER:
        return "never", NEVER[name]
    reason = waits_for(name)
    if reason is not None:
        return "not yet", f"waits for {reason}"
    if kind == "command" and name not in COMMANDS and name not in ELSEWHERE:
        return "not yet", "is not there"
    return "not shown", "is declared, and no test shows it"


def rows() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Title of a table and its rows: name, state, why."""
    load()
    tests = shown()
    for kind, title, names in items():
        yield title, [(name, *state(kind, name, tests)) for name in names]


def page() -> str:
    """The whole page."""
    tables = list(rows())
    out = [INTRODUCTION]
    counts: dict[str, int] = {}
    for _, table in tables:
        for _, how, _ in table:
            counts[how] = counts.get(how, 0) + 1
    out.append(
        ", ".join(f"{how}: {counts[how]}" for how in ("works", "not yet", "not shown", "never") if how in counts)
        + ".\n"
    )
    for title, table in tables:
        out.append(f"## {title}\n\n| name | state | shown by, or waits for |\n|---|---|---|")
        out.extend(f"| `{name}` | {how} | {why} |" for name, how, why in table)
        out.append("")
    return "\n".join(out)


if __name__ == "__main__":
    (HERE / "conformance.md").write_text(page())
