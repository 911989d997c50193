"""CPU models with features put in and taken away: "qemu64,+aes,-sse4.1,rdrand=on,enforce".

The syntax is that of QEMU's option -cpu: the model's name, then `name=on|off` (a bare name means on), `+name` and
`-name`, which come last wherever they stand; `check` warns of features that the engine has not, `enforce` refuses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from attrs import frozen

from vmcore.engine.feature_names import feature_of, named_features
from vmcore.engine.models import CpuModel, feature_bits, find_model, model_names
from vmcore.model.errors import ConfigError

__all__ = ["CpuChoice", "choose_cpu", "implemented", "with_switches"]

_SWITCH = {"on": True, "yes": True, "true": True, "y": True, "off": False, "no": False, "false": False, "n": False}
_REGISTERS = ("EAX", "EBX", "ECX", "EDX")


@cache
def implemented() -> frozenset[str]:
    """The features that the engine has: no model announces another."""
    return frozenset().union(*(find_model(name).features for name in model_names()))


@frozen
class CpuChoice:
    """What a text asks for.

    name: of the model it begins with; model: with its features as asked for, but for those that the engine has not;
    warnings: of each of these, if the text has not said check=off.
    """

    name: str
    model: CpuModel
    warnings: tuple[str, ...] = ()


@cache
def choose_cpu(text: str) -> CpuChoice:
    """Read and check a text.  ConfigError for a model or a property that there is not."""
    name, *parts = text.split(",")
    if name not in model_names():
        raise ConfigError("cpu", name, f"the name of a CPU model: {', '.join(model_names())}")
    switches: dict[str, bool] = {}
    late: dict[str, bool] = {}
    check, enforce = True, False
    for part in parts:
        if part[:1] in ("+", "-"):
            late[part[1:]] = part[0] == "+"
            _known(name, part[1:])
            continue
        key, equals, value = part.partition("=")
        if equals and value not in _SWITCH:
            raise ConfigError(f"cpu.{key}", value, "on or off")
        on = _SWITCH[value] if equals else True
        if key == "check":
            check = on
        elif key == "enforce":
            enforce = on
        else:
            _known(name, key)
            switches[key] = on
    switches |= late
    model, missing = with_switches(find_model(name), switches)
    warnings = tuple(f"TCG doesn't support requested feature: {_place(feature)}" for feature in missing)
    if enforce and warnings:
        raise ConfigError("cpu", text, f"only features that the engine has: {'; '.join(warnings)}")
    return CpuChoice(name, model, warnings if check else ())


def with_switches(model: CpuModel, switches: Mapping[str, bool]) -> tuple[CpuModel, tuple[str, ...]]:
    """The model with features switched by name, and the engine's names of those that it has not and were asked for."""
    missing: list[str] = []
    for name, on in switches.items():
        feature = feature_of(name)
        assert feature is not None, name
        if not on:
            model = model.without(feature)
        elif feature in implemented():
            model = model.including(feature)
        else:
            missing.append(feature)
    return model, tuple(missing)


def _known(model: str, name: str) -> None:
    if feature_of(name) is None:
        raise ConfigError(
            f"cpu.{name}", model, f"a property that there is: Property '{model}-x86_64-cpu.{name}' not found"
        )


def _place(feature: str) -> str:
    """A feature as QEMU names it in warnings: CPUID.07H:EBX.avx2 [bit 5]."""
    place = feature_bits()[feature]
    assert place is not None
    name = next(name for name, found in named_features().items() if found == feature)
    return f"CPUID.{place.leaf:02X}H:{_REGISTERS[place.register]}.{name} [bit {place.bit}]"
