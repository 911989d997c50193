"""CPU models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmcore.model.cpu_models import CpuDefinitionInfo, CpuModelExpansionInfo, CpuModelExpansionType, CpuModelInfo
from vmcore.qmp.registry import command
from vmcore.shell import cpu_models

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine


@command("query-cpu-definitions", since="1.2")
async def query_cpu_definitions(vm: VirtualMachine) -> tuple[CpuDefinitionInfo, ...]:
    """The CPU models that a machine can be built with."""
    return cpu_models.definitions()


@command("query-cpu-model-expansion", since="2.8")
async def query_cpu_model_expansion(
    vm: VirtualMachine, *, type: CpuModelExpansionType, model: CpuModelInfo
) -> CpuModelExpansionInfo:
    """Take a CPU model apart.

    type: static: into the model `base` and properties, which mean the same for ever; full: into all its properties;
    model: its name and, if wanted, features that are switched on or off.  A feature that cannot be had stays off.
    """
    return cpu_models.expand(type, model)
