"""The contract between devices and the machine: what a device is given, and what it owes in return.

A device is handed its interrupt lines, the clock, `emit` and its back ends, and knows neither its base address nor the
machine.  It owes declared registers, `reset`, `save` and `restore`, and it never raises whatever the guest does to it.
"""

from vmcore.hardware.cells import COLLECT, KEEP, READ, UNTIL, WRITE, Cells, Counter
from vmcore.hardware.clock import NS_PER_SECOND, Clock, Timer, ns_from_ticks, ticks_from_ns
from vmcore.hardware.device import Device
from vmcore.hardware.emit import Emit, discard
from vmcore.hardware.irq import IrqLine, SharedLine
from vmcore.hardware.memory_map import Alias, MemoryMap, Mmio, Ram, Region, Rom
from vmcore.hardware.ports import PortRange, PortSpace
from vmcore.hardware.registers import RO, RW, WO, Access, Register
from vmcore.hardware.tree import Node, ObjectTree, Property

__all__ = [
    "COLLECT",
    "KEEP",
    "NS_PER_SECOND",
    "READ",
    "RO",
    "RW",
    "UNTIL",
    "WO",
    "WRITE",
    "Access",
    "Alias",
    "Cells",
    "Clock",
    "Counter",
    "Device",
    "Emit",
    "IrqLine",
    "MemoryMap",
    "Mmio",
    "Node",
    "ObjectTree",
    "PortRange",
    "PortSpace",
    "Property",
    "Ram",
    "Region",
    "Register",
    "Rom",
    "SharedLine",
    "Timer",
    "discard",
    "ns_from_ticks",
    "ticks_from_ns",
]
