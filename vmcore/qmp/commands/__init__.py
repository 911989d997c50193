"""The commands, one subject a file.  Importing a file registers what is in it; `load` imports all."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules


def load() -> None:
    """Register every command."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
