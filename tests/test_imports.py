"""The house rules about imports: only downwards, and no trio on floors 0 to 5.

Every import statement counts, also those inside functions and under TYPE_CHECKING: what is imported only for its
type is known all the same.  The package's own `__init__` is a facade over all floors; nothing but the top floor may
go through it.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vmcore

PACKAGE = Path(vmcore.__file__).parent

FLOORS = {
    "model": 0,
    "engine": 1,
    "hardware": 2,
    "devices": 3,
    "buses": 3,
    "firmware": 3,
    "demo": 3,
    "block": 3,
    "net": 3,
    "chardev": 3,
    "screen": 3,
    "boards": 4,
    "machine": 5,
    "vm": 6,
    "shell": 6,
    "qmp": 7,
    "gdb": 7,
    "vnc": 7,
    "testing": 7,
    "cli": 8,
    "__main__": 8,
    "__init__": 8,
}
"""Room -> floor.  A new room must be given its floor here."""

HIGHEST_WITHOUT_TRIO = 5


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def room_of(dotted: str) -> str:
    """The room of a module by its full name: "vmcore.devices.uart" -> "devices"; the facade itself is "__init__"."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def dotted_name(path: Path) -> str:
    parts = ["vmcore", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source: str, module: str, *, is_package: bool) -> Iterator[tuple[int, str]]:
    """(line, full name) of everything that a module's source imports; names imported from `vmcore` count as modules."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                kept = parts[: len(parts) - node.level + is_package]
                base = ".".join([*kept, base] if base else kept)
            if base == "vmcore":
                rooms = {path.stem for path in PACKAGE.iterdir()}
                for alias in node.names:
                    yield node.lineno, f"vmcore.{alias.name}" if alias.name in rooms else "vmcore"
            else:
                yield node.lineno, base


def violations(source: str, module: str, *, is_package: bool = False) -> list[str]:
    floor = FLOORS[room_of(module)]
    found = []
    for line, name in imports_of(source, module, is_package=is_package):
        top = name.split(".")[0]
        if top == "vmcore" and FLOORS[room_of(name)] > floor:
            found.append(f"{module}:{line}: floor {floor} imports {name} on floor {FLOORS[room_of(name)]}")
        if top in ("trio", "pytest_trio") and floor <= HIGHEST_WITHOUT_TRIO:
            found.append(f"{module}:{line}: floor {floor} imports {name}")
    return found


def test_every_room_has_a_floor() -> None:
    assert sorted({room_of(dotted_name(path)) for path in modules()} - set(FLOORS)) == []


@pytest.mark.parametrize("path", modules(), ids=dotted_name)
def test_imports_run_downwards_and_trio_stays_above_floor_five(path: Path) -> None:
    assert violations(path.read_text(), dotted_name(path), is_package=path.name == "__init__.py") == []


@pytest.mark.parametrize(
    "source",
    [
        "import vmcore.machine",
        "from vmcore.machine.machine import Machine",
        "from ..machine import Machine",
        "from .. import machine",
        "def late() -> None:\n    from vmcore.boards import pc",
        "import vmcore",
        "import trio",
        "from trio.lowlevel import checkpoint",
    ],
)
def test_the_check_itself_finds_upward_imports_and_trio(source: str) -> None:
    assert len(violations(source, "vmcore.devices.serial")) == 1


def test_the_check_itself_lets_downward_imports_pass() -> None:
    source = "import attrs\nfrom vmcore.model.errors import UsageError\nfrom . import rtc\nfrom ..hardware import irq"
    assert violations(source, "vmcore.devices.serial") == []


def test_importing_the_synchronous_machine_does_not_load_trio() -> None:
    rooms = [room for room, floor in FLOORS.items() if floor <= HIGHEST_WITHOUT_TRIO and (PACKAGE / room).is_dir()]
    program = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r})\n" + "".join(
        f"import {dotted_name(path)}\n" for path in modules() if room_of(dotted_name(path)) in rooms
    )
    program += "sys.exit('trio' in sys.modules)"
    facade = (PACKAGE / "__init__.py").read_text()
    if any(name.split(".")[0] == "vmcore" for _, name in imports_of(facade, "vmcore", is_package=True)):
        # The facade exports the shell too: keep it out of the way, so that what is loaded is loaded by the rooms.
        program = (
            "import sys, types\n"
            f"package = types.ModuleType('vmcore'); package.__path__ = [{str(PACKAGE)!r}]\n"
            "sys.modules['vmcore'] = package\n" + program
        )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
