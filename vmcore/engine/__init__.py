"""The CPU engine: native core, its Python face, assembling and disassembling."""

from __future__ import annotations

from vmcore.engine.assemble import assemble, can_assemble
from vmcore.engine.cpu import FEATURES, Cpu
from vmcore.engine.disassemble import Instruction, disassemble
from vmcore.engine.instructions import InstructionForm, instruction_forms
from vmcore.engine.memory import PAGE_SIZE, PhysicalMemory
from vmcore.engine.models import CpuModel, find_model, model_names
from vmcore.engine.registers import Activity, Attributes, CpuState, Flags, RunExit, Segment, TableRegister

__all__ = [
    "FEATURES",
    "PAGE_SIZE",
    "Activity",
    "Attributes",
    "Cpu",
    "CpuModel",
    "CpuState",
    "Flags",
    "Instruction",
    "InstructionForm",
    "PhysicalMemory",
    "RunExit",
    "Segment",
    "TableRegister",
    "assemble",
    "can_assemble",
    "disassemble",
    "find_model",
    "instruction_forms",
    "model_names",
]
