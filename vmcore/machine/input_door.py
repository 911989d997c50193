"""Inputs of the machine: how each is applied, stamped and logged, and convenient forms of them.

The part of `Machine` that everything from outside comes through, between runs or from hooks within one.
"""

from __future__ import annotations

from collections.abc import Mapping

from vmcore.engine import Cpu
from vmcore.hardware.memory_map import Ram, Rom
from vmcore.machine.disks import apply_to_disks
from vmcore.machine.inputs import (
    HostReset,
    Input,
    InputRecord,
    KeyInput,
    MachineCheck,
    MediumInput,
    MemoryFault,
    MouseButton,
    MouseMove,
    Nmi,
    NodeInput,
    PlugDevice,
    PowerButton,
    ResizeInput,
    SerialBreak,
    SerialInput,
    TrayInput,
    UnplugDevice,
    WakeUp,
)
from vmcore.machine.machine_check import MachineCheckOutcome, check, inject, memory_error, reports_memory_errors
from vmcore.machine.plug import Plugged, PlugValue
from vmcore.machine.settling import Settling
from vmcore.model.errors import UsageError
from vmcore.model.events import (
    MemoryFailure,
    MemoryFailureAction,
    MemoryFailureFlags,
    MemoryFailureRecipient,
    Powerdown,
)
from vmcore.model.run_state import ShutdownCause, WakeReason

__all__ = ["InputDoor"]


class InputDoor(Settling):
    """Inputs, and their log."""

    @property
    def inputs(self) -> tuple[InputRecord, ...]:
        """Everything that has reached the machine, in order: with the configuration, all that it takes to replay it."""
        return tuple(self._inputs)

    @property
    def input_count(self) -> int:
        """How many inputs have reached the machine: grows with each."""
        return len(self._inputs)

    def apply(self, what: Input) -> bool:
        """Apply an input now, and log it.  The methods below are its convenient forms.

        False, and nothing logged, where it found no room or nobody to take it.
        """
        self._check_open()
        record = InputRecord(self.instructions, self.now_ns, what)
        match what:
            case SerialInput(port, data):
                self.serial[port].apply(data)
            case SerialBreak(port):
                if not self.serial[port].break_():
                    return False
            case KeyInput(key, pressed):
                # A key that wakes the machine does nothing else.
                if not self._wake_up(WakeReason.OTHER) and not self.board.key(key, pressed):
                    return False
            case MouseMove(dx, dy, dz):
                if not self.board.move_mouse(dx, dy, dz):
                    return False
            case MouseButton(button, pressed):
                if not (pressed and self._wake_up(WakeReason.OTHER)) and not self.board.mouse_button(button, pressed):
                    return False
            case PlugDevice(device):
                self.plug.plug(device)
                if self._image is not None and self.instructions == self._reset_at:
                    self._rewrite_tables()
            case UnplugDevice(path):
                self.plug.ask_to_go(path)
            case PowerButton():
                self._press_power_button()
            case WakeUp():
                if not self._wake_up(WakeReason.OTHER):
                    return False
            case Nmi(cpu):
                self._send_nmi(cpu)
            case MachineCheck():
                self._checked = self._machine_check(what, may_wait=False)
            case MemoryFault(address, required):
                self._checked = self._memory_fault(address, required)
            case TrayInput() | MediumInput() | NodeInput() | ResizeInput():
                apply_to_disks(self.block, what)
            case HostReset(cause):
                self._off = self._broken = None
                self._requests.clear()
                self._reset(cause)
        self._inputs.append(record)
        return True

    def power_button(self) -> None:
        """Press the power button: the guest is asked to switch itself off."""
        self.apply(PowerButton())

    def wake(self) -> bool:
        """Wake the guest from ACPI S3; False where it does not sleep."""
        return self.apply(WakeUp())

    def nmi(self, cpu: int = 0) -> None:
        """Send a non-maskable interrupt to one vCPU."""
        if not 0 <= cpu < len(self.cpus) or not self.board.present >> cpu & 1:
            raise UsageError(f"there is no vCPU {cpu}: the machine has {self.present_cpus}")
        self.apply(Nmi(cpu))

    def device_add(
        self,
        driver: str,
        *,
        id: str | None = None,
        bus: str | None = None,
        properties: Mapping[str, PlugValue] | None = None,
    ) -> Plugged:
        """Plug a device in, such as a vCPU ("max-x86_64-cpu", socket-id, core-id, thread-id).  CommandError where it
        cannot be.
        """
        device = self.plug.plan(driver, id, bus, properties)
        self.apply(PlugDevice(device))
        return device

    def device_del(self, id: str) -> None:
        """Ask the guest to let go of a device; DeviceDeleted comes when it has.  CommandError where it cannot go.

        id: its name, or its path in the object tree.
        """
        self.apply(UnplugDevice(self.plug.check_removal(id).path))

    @property
    def present_cpus(self) -> tuple[int, ...]:
        """Indices of the vCPUs that there are; the others of `cpus` are not plugged in."""
        present = self.board.present
        return tuple(index for index in range(len(self.cpus)) if present >> index & 1)

    @property
    def _present(self) -> dict[int, Cpu]:
        return {index: self.cpus[index] for index in self.present_cpus}

    def cpu_path(self, index: int) -> str:
        """Where a vCPU is in the object tree."""
        path = self.tree.path_of(self.cpus[index])
        if path is None:
            raise UsageError(f"vCPU {index} is not plugged in: the machine has {self.present_cpus}")
        return path

    def inject_machine_check(self, what: MachineCheck) -> MachineCheckOutcome:
        """Let a vCPU find an error of its hardware; what became of that.  It may have reset the machine."""
        check(self._present, what)
        self._check_resettable("inject_machine_check")
        self.apply(what)
        return self._checked

    def memory_failure(self, address: int, *, action_required: bool) -> MachineCheckOutcome:
        """The host's memory behind a guest-physical address failed; what became of that.

        action_required: an instruction of the guest needs it now, else it was found in passing.  A guest whose
        processors can report it is told by a machine check.  Where that is not so, and for addresses without memory, it
        is the machine's own trouble: passed over if no action is required, else the machine is off.
        """
        if isinstance(address, bool) or not isinstance(address, int) or not 0 <= address < 1 << 52:
            raise UsageError(f"address={address!r}: expected a guest-physical address")
        self._check_resettable("memory_failure")
        self.apply(MemoryFault(address, action_required))
        return self._checked

    def reset(self, cause: ShutdownCause = ShutdownCause.HOST_QMP_SYSTEM_RESET) -> None:
        """Reset the machine.  Guest time, the instruction count and the content of RAM go on; also revives a
        machine that is off.
        """
        if self._in_run:
            raise UsageError("reset called from within a run: stop it first")
        self.apply(HostReset(cause))

    def _check_resettable(self, what: str) -> None:
        self._check_parked(what)
        if self._in_run:
            raise UsageError(f"{what} called from within a run: stop it first")
        if self._off is not None:
            raise UsageError(f"the machine is off ({self._off}): reset or restore it first")

    def _press_power_button(self) -> None:
        self._emit(Powerdown())
        self.board.press_power_button()

    def _send_nmi(self, cpu: int) -> None:
        self.cpus[cpu].nmi()
        self._scheduler.notice(cpu)

    def _machine_check(self, what: MachineCheck, may_wait: bool) -> MachineCheckOutcome:
        outcome = inject(self._present, what, self._emit, self._scheduler.notice, may_wait=may_wait)
        if outcome.action is MemoryFailureAction.RESET:
            self._guest_reset(stop_on_reset=False)
        return outcome

    def _memory_fault(self, address: int, required: bool) -> MachineCheckOutcome:
        index = self._scheduler.turn if required else self.present_cpus[0]
        found = self.board.memory_map.resolve(address)
        is_memory = found is not None and isinstance(found[0], Ram | Rom)
        if is_memory and reports_memory_errors(self.cpus[index]):
            return self._machine_check(memory_error(self._present, index, address, required), may_wait=True)
        action = MemoryFailureAction.FATAL if required else MemoryFailureAction.IGNORE
        self._emit(MemoryFailure(MemoryFailureRecipient.HYPERVISOR, action, MemoryFailureFlags(required, False)))
        if required:
            self._shut_down(ShutdownCause.HOST_ERROR, status=1)
        return MachineCheckOutcome(action)

    def _send_serial(self, index: int, data: bytes) -> None:
        self.apply(SerialInput(index, data))

    def _press_key(self, key: str, pressed: bool) -> bool:
        return self.apply(KeyInput(key, pressed))
