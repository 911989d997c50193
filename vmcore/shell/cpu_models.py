"""CPU models as management asks for them, by `vm.cpu_models`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vmcore.engine.cpu_options import implemented, with_switches
from vmcore.engine.feature_names import feature_aliases, feature_of, named_features
from vmcore.engine.models import CpuModel, find_model, model_names
from vmcore.machine.plug_cpu import CPU_PROPERTIES, cpu_type
from vmcore.model.cpu_models import CpuDefinitionInfo, CpuModelExpansionInfo, CpuModelExpansionType, CpuModelInfo
from vmcore.model.errors import CommandError

__all__ = ["definitions", "expand"]

BASE = "base"
"""The model without features, which others are told as differences from."""
MOVING = "max"
"""The model that grows with the engine, so that a guest on it cannot count on another version's."""


def definitions() -> tuple[CpuDefinitionInfo, ...]:
    """The models that a machine can be built with."""
    names = {feature: name for name, feature in named_features().items()}
    return tuple(
        CpuDefinitionInfo(
            name=name,
            typename=cpu_type(name),
            migration_safe=name != MOVING,
            static=name == BASE,
            unavailable_features=tuple(
                names[feature] for feature in sorted(find_model(name).features - implemented()) if feature in names
            ),
            deprecated=False,
        )
        for name in model_names()
    )


def expand(kind: CpuModelExpansionType, asked: CpuModelInfo) -> CpuModelExpansionInfo:
    """Take a model apart: into `base` and properties that never change, or into all its properties."""
    if asked.name not in model_names():
        raise CommandError("GenericError", f"CPU model '{asked.name}' not found")
    switches = _switches(asked.name, asked.props if isinstance(asked.props, Mapping) else {})
    model, _ = with_switches(find_model(asked.name), switches)
    props: dict[str, Any] = {name: feature in model.features for name, feature in named_features().items()}
    props |= _identity(model)
    if kind is CpuModelExpansionType.STATIC:
        return CpuModelExpansionInfo(model=CpuModelInfo(name=BASE, props=props))
    props |= {name: feature in model.features for name, feature in feature_aliases().items()}
    props |= {name: default for name, (_, default) in CPU_PROPERTIES.items()}
    props |= {"level": props["min-level"], "xlevel": props["min-xlevel"], "phys-bits": model.phys_bits}
    return CpuModelExpansionInfo(model=CpuModelInfo(name=asked.name, props=props))


def _switches(model: str, props: Mapping[str, Any]) -> dict[str, bool]:
    for name in props:
        if feature_of(name) is None:
            raise CommandError("GenericError", f"Property '{cpu_type(model)}.{name}' not found")
    for name, value in props.items():
        if not isinstance(value, bool):
            raise CommandError("GenericError", f"Invalid parameter type for '{name}', expected: boolean")
    return dict(props)


def _identity(model: CpuModel) -> dict[str, Any]:
    """What a processor says of itself besides its features."""
    basic, extended = model.leaf(0), model.leaf(0x80000000)
    return {
        "vendor": model.vendor.rstrip("\0"),
        "family": model.family,
        "model": model.model,
        "stepping": model.stepping,
        "min-level": basic[0] if basic else 0,
        "min-xlevel": extended[0] if extended else 0,
        "model-id": model.brand,
    }
