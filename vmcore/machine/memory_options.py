"""The fields of a configuration that say what RAM is made of and which nodes it belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from vmcore.boards.kinds import BOARDS
from vmcore.firmware.acpi import memory_hotplug
from vmcore.firmware.acpi.numa import tables
from vmcore.firmware.numa import NumaLayout
from vmcore.firmware.platform import FIRMWARE_START, PlatformLayout
from vmcore.machine.numa import NumaOption, NumaTopology, numa_layout
from vmcore.model.errors import ConfigError, UsageError
from vmcore.model.keyval import check, parse
from vmcore.model.machine import NumaOptions
from vmcore.model.qom import (
    MemoryBackendFileProperties,
    MemoryBackendMemfdProperties,
    MemoryBackendProperties,
    ObjectOptions,
)

if TYPE_CHECKING:
    from vmcore.machine.config import MachineConfig

__all__ = [
    "MemoryBackendOption",
    "check_memory",
    "complete_numa",
    "is_identifier",
    "memory_backends",
    "numa_options",
    "object_options",
    "used_backends",
    "with_numa",
    "with_slots",
]

MemoryBackendOption = MemoryBackendProperties | MemoryBackendFileProperties | MemoryBackendMemfdProperties
"""A memory back end of any kind."""

T = TypeVar("T")

_IDENTIFIER: Final = re.compile(r"[A-Za-z][-._A-Za-z0-9]*", re.ASCII)
MAX_SLOTS: Final = 256
SMALL_TABLES: Final = 16 << 10
"""Bytes of tables about NUMA for which there is room among the others."""


def is_identifier(text: str) -> bool:
    """Whether a text can be the name of an object: a letter, then letters, digits and - . _"""
    return _IDENTIFIER.fullmatch(text) is not None


def _options(name: str, kind: type[T], value: object) -> tuple[T, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError(name, value, "a list of options")
    out: list[T] = []
    for index, option in enumerate(value):
        path = f"{name}[{index}]"
        if isinstance(option, str):
            option = parse(kind, option, path)
        elif not isinstance(option, kind) or type(option) is kind:
            raise ConfigError(path, option, f"a text or one of the classes of {kind.__name__}")
        else:
            check(option, path)
        out.append(option)
    return tuple(out)


def numa_options(value: object) -> tuple[NumaOption, ...]:
    """The field `numa`, of texts and options."""
    found: Any = _options("numa", NumaOptions, value)
    return tuple(found)


def object_options(value: object, name: str = "objects") -> tuple[ObjectOptions, ...]:
    """Objects to make, of texts and options, each with a name of its own.  name: of the field, for errors."""
    found = _options(name, ObjectOptions, value)
    names: set[str] = set()
    for index, option in enumerate(found):
        path = f"{name}[{index}]"
        if not is_identifier(option.id):
            raise ConfigError(f"{path}.id", option.id, "a letter, then letters, digits and - . _")
        if option.id in names:
            raise ConfigError(f"{path}.id", option.id, "a name that no other object has")
        names.add(option.id)
    return found


def memory_backends(value: object) -> tuple[MemoryBackendOption, ...]:
    """The field `memory_backends`, of texts and options."""
    found = object_options(value, "memory_backends")
    for index, option in enumerate(found):
        if not isinstance(option, MemoryBackendProperties):
            raise ConfigError(f"memory_backends[{index}]", option.qom_type.value, "a memory back end")
        if not option.size:
            raise ConfigError(f"memory_backends[{index}].size", option.size, "a size that is not zero")
    return found  # type: ignore[return-value]


def check_memory(config: MachineConfig) -> None:
    """Whether the fields about memory fit together, as far as that can be said before the machine is built."""
    if not isinstance(config.hmat, bool):
        raise ConfigError("hmat", config.hmat, "True or False")
    _check_slots(config)
    names = {backend.id: backend for backend in config.memory_backends}
    reserved = BOARDS[config.board].ram
    if reserved in names and config.memory_backend != reserved:
        raise ConfigError("memory_backends", reserved, "another id: this is the name of the board's own RAM")
    if config.memory_backend is not None:
        if config.memory_backend not in names:
            raise ConfigError("memory_backend", config.memory_backend, "the id of one of memory_backends")
        size = names[config.memory_backend].size
        if size != config.memory:
            raise ConfigError("memory", config.memory, f"{size}, the size of the back end {config.memory_backend}")
    if config.numa and config.board == "none":
        raise ConfigError("numa", config.numa, "nothing on board none, which has no firmware to tell of nodes")
    topology = NumaTopology.of(attrs.evolve(config, numa=())) if config.numa else None
    for index, option in enumerate(config.numa):
        assert topology is not None
        try:
            topology.add(option)
        except UsageError as error:
            raise ConfigError(f"numa[{index}]", option, f"what fits the others: {error}") from error


def _check_slots(config: MachineConfig) -> None:
    slots, most = config.memory_slots, config.max_memory
    if isinstance(slots, bool) or not isinstance(slots, int) or not 0 <= slots <= MAX_SLOTS:
        raise ConfigError("memory_slots", slots, f"a number of slots from 0 to {MAX_SLOTS}")
    if slots and config.board == "none":
        raise ConfigError("memory_slots", slots, "0 on board none, where no memory can be plugged in")
    if slots and most is None:
        raise ConfigError("max_memory", most, "a size, as there are slots for memory modules")
    if most is not None and (most < config.memory or most % 4096 or (slots and most == config.memory)):
        raise ConfigError("max_memory", most, f"whole 4 KiB pages, {'more' if slots else 'not less'} than memory")


def with_slots(layout: PlatformLayout, config: MachineConfig) -> PlatformLayout:
    """The layout with slots for memory modules."""
    if not config.memory_slots:
        return layout
    assert config.max_memory is not None
    layout = attrs.evolve(layout, memory_slots=config.memory_slots, max_memory=config.max_memory)
    if layout.high_end > 1 << layout.physical_bits:
        raise ConfigError(
            "max_memory",
            config.max_memory,
            f"so much that all is below {1 << layout.physical_bits:#x}, where this processor's addresses end",
        )
    if layout.acpi_base != FIRMWARE_START:
        more = memory_hotplug.size(layout.memory_slots)
        layout = attrs.evolve(layout, acpi_size=layout.acpi_size + (more + 0xFFF & ~0xFFF))
    return layout


def used_backends(config: MachineConfig) -> tuple[MemoryBackendOption, ...]:
    """The back ends that the RAM is made of, in the order of the RAM."""
    by_name = {backend.id: backend for backend in config.memory_backends}
    if config.memory_backend is not None:
        return (by_name[config.memory_backend],)
    return tuple(by_name[name] for name in NumaTopology.of(config).memdevs()) if config.numa else ()


def complete_numa(config: MachineConfig) -> NumaLayout | None:
    """The nodes of a configuration, None if it has none.  ConfigError where its options do not make a whole."""
    try:
        return numa_layout(config)
    except UsageError as error:
        raise ConfigError("numa", config.numa, f"a whole: {error}") from error


def with_numa(layout: PlatformLayout, config: MachineConfig) -> PlatformLayout:
    """The layout with the nodes of a configuration in it."""
    numa = complete_numa(config)
    if numa is None:
        return layout
    layout = attrs.evolve(layout, numa=numa)
    size = sum(len(content) + 16 for content in tables(layout))
    if size > SMALL_TABLES and layout.acpi_base != FIRMWARE_START:
        layout = attrs.evolve(layout, acpi_size=layout.acpi_size + (size + 0xFFF & ~0xFFF))
    return layout
