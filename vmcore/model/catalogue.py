"""Everything of the management model: importing this fills the registries of `wire` and `events`."""

from __future__ import annotations

from vmcore.model import (
    acpi,
    block,
    char,
    control,
    cpu_models,
    dump,
    events,
    jobs,
    machine,
    migration,
    misc,
    net,
    pci,
    qom,
    run_state,
    ui,
    virtio,
)

__all__ = [
    "acpi",
    "block",
    "char",
    "control",
    "cpu_models",
    "dump",
    "events",
    "jobs",
    "machine",
    "migration",
    "misc",
    "net",
    "pci",
    "qom",
    "run_state",
    "ui",
    "virtio",
]
