"""What reaches a machine from outside, as values: the log of them, with the configuration, is the whole story of a run.

Each input is stamped with the machine's instruction count and guest time at which it took effect.  The count alone
would not do: while all vCPUs are halted time is skipped without instructions.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from vmcore.block.node import NodeOptions
from vmcore.machine.plug import Plugged
from vmcore.model.run_state import ShutdownCause

__all__ = [
    "HostReset",
    "Input",
    "InputRecord",
    "KeyInput",
    "MachineCheck",
    "MediumInput",
    "MemoryFault",
    "MouseButton",
    "MouseMove",
    "Nmi",
    "NodeInput",
    "PlugDevice",
    "PowerButton",
    "ResizeInput",
    "SerialBreak",
    "SerialInput",
    "TrayInput",
    "UnplugDevice",
    "WakeUp",
]


@frozen
class SerialInput:
    """Bytes for a serial port."""

    port: int
    data: bytes


@frozen
class SerialBreak:
    """A break at a serial port: its line is held at space for longer than a character."""

    port: int


@frozen
class KeyInput:
    """A key is pressed or released.  key: its name, as `Machine.keyboard` takes it."""

    key: str
    pressed: bool


@frozen
class MouseMove:
    """The mouse is moved by counts: right, up, and its wheel towards the user."""

    dx: int = 0
    dy: int = 0
    dz: int = 0


@frozen
class MouseButton:
    """A button of the mouse is pressed or released.  button: left, middle, right, side or extra."""

    button: str
    pressed: bool


@frozen
class PowerButton:
    """The power button is pressed."""


@frozen
class WakeUp:
    """Whatever wakes a sleeping machine on the user's behalf."""


@frozen
class Nmi:
    """A non-maskable interrupt at one vCPU."""

    cpu: int


@frozen
class PlugDevice:
    """A device is plugged in: what `DevicePlug.plan` has found in order."""

    device: Plugged


@frozen
class UnplugDevice:
    """The guest is asked to let go of a device, by its path in the object tree."""

    path: str


@frozen
class MachineCheck:
    """An error of the hardware at one vCPU.

    bank: where it is recorded; status: IA32_MCi_STATUS; mcg_status: IA32_MCG_STATUS; address, misc: IA32_MCi_ADDR and
    IA32_MCi_MISC; broadcast: all other vCPUs are interrupted too (Intel SDM vol. 3B, chapter 16).
    """

    cpu: int
    bank: int
    status: int
    mcg_status: int = 0
    address: int = 0
    misc: int = 0
    broadcast: bool = False


@frozen
class MemoryFault:
    """The host's memory behind a guest-physical address failed.  action_required: an instruction needs it now."""

    address: int
    action_required: bool


@frozen
class HostReset:
    """The reset button is pressed."""

    cause: ShutdownCause


@frozen
class TrayInput:
    """The user opens or closes the tray of a drive, by its number.  force: though the guest has locked it."""

    drive: int
    open: bool
    force: bool = False


@frozen
class MediumInput:
    """The user puts the node of this name into a drive with an open tray, or takes out what is in it (None)."""

    drive: int
    node: str | None


@frozen
class NodeInput:
    """A block node is made, or taken away (None)."""

    name: str
    options: NodeOptions | None = None


@frozen
class ResizeInput:
    """A block node is given another size in bytes."""

    name: str
    size: int


Input: TypeAlias = (
    SerialInput
    | SerialBreak
    | KeyInput
    | MouseMove
    | MouseButton
    | PowerButton
    | WakeUp
    | Nmi
    | PlugDevice
    | UnplugDevice
    | MachineCheck
    | MemoryFault
    | HostReset
    | TrayInput
    | MediumInput
    | NodeInput
    | ResizeInput
)


@frozen
class InputRecord:
    """An input and when it took effect: instructions retired by all vCPUs, and guest time in nanoseconds."""

    instructions: int
    ns: int
    input: Input
