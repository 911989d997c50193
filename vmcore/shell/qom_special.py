"""Properties in the object tree that are no fields of an object: those of users' objects, and what vCPUs tell of
CPUID.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from vmcore.boards.kinds import BOARDS
from vmcore.engine import Cpu
from vmcore.engine.models import CpuModel
from vmcore.hardware.tree import Node
from vmcore.model.errors import CommandError, UsageError
from vmcore.model.machine import X86CPUFeatureWordInfo, X86CPURegister32
from vmcore.shell.user_objects import UserObject

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine

__all__ = ["SpecialProperty", "special_properties"]


@frozen
class SpecialProperty:
    """A property.  type: as management clients call it; set raises CommandError where it cannot be set."""

    type: str
    get: Callable[[], Any]
    set: Callable[[Any], None]


def special_properties(vm: VirtualMachine, node: Node) -> Mapping[str, SpecialProperty]:
    """Those of the object at a node, by name."""
    value = node.value
    if isinstance(value, UserObject):
        return {found.name: _of_object(value, found.name, found.type) for found in value.properties}
    if isinstance(value, Cpu):
        return {
            "feature-words": SpecialProperty(
                "X86CPUFeatureWordInfo", lambda: feature_words(value.model), _read_only(f"{node.name}.feature-words")
            ),
            "filtered-features": SpecialProperty(
                "X86CPUFeatureWordInfo", filtered_features, _read_only(f"{node.name}.filtered-features")
            ),
        }
    if node.path == "/machine" and not vm.preconfig:
        main = vm.config.memory_backend or BOARDS[vm.config.board].ram
        if main in vm.objects:
            path = f"/objects/{main}"
            return {
                "memory-backend": SpecialProperty(
                    "link<memory-backend>", lambda: path, _read_only("machine.memory-backend")
                )
            }
    return {}


def _of_object(value: UserObject, name: str, kind: str) -> SpecialProperty:
    def set_it(new: Any) -> None:
        try:
            value.set(name, new)
        except UsageError as error:
            raise CommandError("GenericError", str(error)) from error

    return SpecialProperty(kind, lambda: value.get(name), set_it)


def _read_only(name: str) -> Callable[[Any], None]:
    def refuse(_new: Any) -> None:
        raise CommandError("GenericError", f"Property '{name}' is not writable")

    return refuse


# --- feature words

_REGISTERS: Final = (X86CPURegister32.EAX, X86CPURegister32.EBX, X86CPURegister32.ECX, X86CPURegister32.EDX)
_WITH_SUBLEAVES: Final = (7, 0xD, 0x12, 0x14)
"""Leaves of CPUID that have subleaves (SDM Vol. 2A, CPUID)."""
_WORDS: Final = (
    *((1, 0, 3), (1, 0, 2), (7, 0, 1), (7, 0, 2), (7, 0, 3), (7, 1, 0)),
    *((0x80000001, 0, 3), (0x80000001, 0, 2), (0x80000007, 0, 3), (0x80000008, 0, 1)),
    *((0xC0000001, 0, 3), (0x40000001, 0, 0), (0x40000001, 0, 3), (0x8000000A, 0, 3)),
    *((0xD, 1, 0), (6, 0, 0), (0xD, 0, 0), (0xD, 0, 3), (0x14, 0, 2)),
    *((0x12, 0, 0), (0x12, 0, 1), (0x12, 1, 0), (0xD, 1, 2), (0xD, 1, 3)),
)
"""Leaf, subleaf and register of each word of feature bits, in the order in which management clients know them."""


def feature_words(model: CpuModel) -> tuple[X86CPUFeatureWordInfo, ...]:
    """The words of feature bits that CPUID returns on a model, the last first."""
    return tuple(
        _word(leaf, subleaf, register, _bits(model, leaf, subleaf, register))
        for leaf, subleaf, register in reversed(_WORDS)
    )


def filtered_features() -> tuple[X86CPUFeatureWordInfo, ...]:
    """The features that a model should have and this processor has not: none, as models have what is implemented."""
    return tuple(_word(leaf, subleaf, register, 0) for leaf, subleaf, register in reversed(_WORDS))


def _word(leaf: int, subleaf: int, register: int, features: int) -> X86CPUFeatureWordInfo:
    return X86CPUFeatureWordInfo(
        cpuid_input_eax=leaf,
        cpuid_input_ecx=subleaf if leaf in _WITH_SUBLEAVES else None,
        cpuid_register=_REGISTERS[register],
        features=features,
    )


def _bits(model: CpuModel, leaf: int, subleaf: int, register: int) -> int:
    row = model.leaf(leaf, subleaf)
    return 0 if row is None else row[register]
