"""How a device tells the machine that something happened: it calls the `emit` that it was given."""

from __future__ import annotations

from collections.abc import Callable

from vmcore.model.events import Event

Emit = Callable[[Event], None]


def discard(event: Event) -> None:
    """An `emit` for nobody: devices built on their own, in tests and in sketches."""
