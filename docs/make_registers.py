"""Write docs/registers.md from the declarations of all devices."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any

import vmcore.buses
import vmcore.devices
from vmcore.hardware import Device
from vmcore.hardware.document import document

TARGET = Path(__file__).with_name("registers.md")


def text() -> str:
    """What the file should hold."""
    kinds: set[type[Device[Any]]] = set()
    rooms = [(vmcore.devices.__path__, "vmcore.devices."), (vmcore.buses.__path__, "vmcore.buses.")]
    for module in (module for path, prefix in rooms for module in pkgutil.iter_modules(path, prefix)):
        for _, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(kind, Device) and not inspect.isabstract(kind):
                kinds.add(kind)
    return document(kinds)


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
