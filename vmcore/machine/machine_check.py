"""Machine checks: errors of the hardware, as a processor records and reports them, and what becomes of them.

Source: Intel SDM vol. 3B, chapter 16.  The engine has the banks and delivers #MC; here is decided whether an error can
be told to the guest at all.  Who asks for an error gets the same events as from QEMU, whose monitor command `mce` and
whose handling of failed host memory these are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from attrs import frozen

from vmcore.engine import Cpu
from vmcore.machine.inputs import MachineCheck
from vmcore.model.errors import UsageError
from vmcore.model.events import (
    Event,
    MemoryFailure,
    MemoryFailureAction,
    MemoryFailureFlags,
    MemoryFailureRecipient,
)

__all__ = ["MachineCheckOutcome", "check", "inject", "memory_error", "reports_memory_errors"]

MCG_CAP, MCG_STATUS, MCG_CTL, MC0_CTL = 0x179, 0x17A, 0x17B, 0x400
CTL_P, SER_P = 1 << 8, 1 << 24
RIPV, EIPV, MCIP = 1 << 0, 1 << 1, 1 << 2
VAL, OVER, UC, EN, MISCV, ADDRV, S, AR = (1 << bit for bit in (63, 62, 61, 60, 59, 58, 56, 55))
CR4_MCE: Final = 1 << 6
ALL: Final = (1 << 64) - 1

MEMORY_BANK: Final = 9
DATA_LOAD, SCRUBBING = 0x134, 0xC0
"""Error codes (16.9.3.1, 16.9.3.2): a data load, whose instruction cannot go on, and patrol scrubbing."""
PHYSICAL_PAGE: Final = 2 << 6 | 12
"""IA32_MCi_MISC: the address is physical and good down to bit 12."""
OTHERS_BANK: Final = 1


@frozen
class MachineCheckOutcome:
    """What became of an error.

    action: inject (the guest was told), ignore (it works on another one, and this one can wait), reset (it could not
    be told, and the machine was reset), fatal (the machine cannot go on and is off); None where the guest has switched
    the reporting of such errors off.  text: a line for people where there is something to say.
    """

    action: MemoryFailureAction | None
    text: str = ""


def _capabilities(cpu: Cpu) -> int:
    try:
        return int(cpu.read_msr(MCG_CAP))
    except KeyError:
        return 0


def _bank_count(cpu: Cpu) -> int:
    """How many banks of error records the processor has; 0 without the machine-check architecture."""
    return _capabilities(cpu) & 0xFF


def reports_memory_errors(cpu: Cpu) -> bool:
    """Whether software can recover from errors of memory: MCG_SER_P."""
    return bool(_capabilities(cpu) & SER_P)


def _broadcasts(cpu: Cpu) -> bool:
    """Whether errors reach all processors at once: since family 6, model 14 (16.10.4.1)."""
    return cpu.model.family > 6 or (cpu.model.family == 6 and cpu.model.model >= 14)


def check(cpus: Mapping[int, Cpu], given: MachineCheck) -> None:
    """UsageError for an error that no processor can report."""
    if given.cpu not in cpus:
        raise UsageError(f"there is no vCPU {given.cpu}: the machine has {tuple(cpus)}")
    banks = _bank_count(cpus[given.cpu])
    for name in ("status", "mcg_status", "address", "misc"):
        if not 0 <= (value := getattr(given, name)) <= ALL:
            raise UsageError(f"{name}={value:#x}: expected a number of 64 bits")
    if not banks:
        raise UsageError("MCE injection not supported")
    if not 0 <= given.bank < banks:
        raise UsageError("Invalid MCE bank number")
    if not given.status & VAL:
        raise UsageError("Invalid MCE status code")
    if given.broadcast and not _broadcasts(cpus[given.cpu]):
        raise UsageError("Guest CPU does not support MCA broadcast")


def memory_error(cpus: Mapping[int, Cpu], cpu: int, address: int, action_required: bool) -> MachineCheck:
    """The error that says that a page of memory is lost.  action_required: an instruction of the vCPU loads from it."""
    common = VAL | UC | EN | MISCV | ADDRV | S
    return MachineCheck(
        cpu=cpu,
        bank=MEMORY_BANK,
        status=common | AR | DATA_LOAD if action_required else common | SCRUBBING,
        mcg_status=MCIP | RIPV | (EIPV if action_required else 0),
        address=address,
        misc=PHYSICAL_PAGE,
        broadcast=_broadcasts(cpus[cpu]),
    )


def inject(
    cpus: Mapping[int, Cpu],
    given: MachineCheck,
    emit: Callable[[Event], None],
    notice: Callable[[int], None],
    *,
    may_wait: bool = False,
) -> MachineCheckOutcome:
    """Report an error at its vCPU, and to the others if it is broadcast; what became of it.

    A reset is for the caller to do.  may_wait: an error that needs no action is ignored while the guest works on
    another one.
    """
    outcome = _report(cpus[given.cpu], given, emit, may_wait)
    notice(given.cpu)
    if outcome.action is MemoryFailureAction.INJECT and given.broadcast:
        for index, cpu in cpus.items():
            if index == given.cpu:
                continue
            other = MachineCheck(index, OTHERS_BANK, VAL | UC, MCIP | RIPV)
            outcome = _report(cpu, other, emit, may_wait=False)
            notice(index)
            if outcome.action is MemoryFailureAction.RESET:
                break
    return outcome


def _report(cpu: Cpu, given: MachineCheck, emit: Callable[[Event], None], may_wait: bool) -> MachineCheckOutcome:
    number = given.cpu
    in_progress = bool(cpu.read_msr(MCG_STATUS) & MCIP)
    required = bool(given.status & AR)

    def tell(action: MemoryFailureAction, recursive: bool = False) -> None:
        emit(MemoryFailure(MemoryFailureRecipient.GUEST, action, MemoryFailureFlags(required, recursive)))

    if may_wait and in_progress and not required:
        tell(MemoryFailureAction.IGNORE, True)
        return MachineCheckOutcome(MemoryFailureAction.IGNORE)
    if given.status & UC:
        if _capabilities(cpu) & CTL_P and cpu.read_msr(MCG_CTL) != ALL:
            return MachineCheckOutcome(None, f"CPU {number}: Uncorrected error reporting disabled\n")
        if cpu.read_msr(MC0_CTL + 4 * given.bank) != ALL:
            return MachineCheckOutcome(
                None, f"CPU {number}: Uncorrected error reporting disabled for bank {given.bank}\n"
            )
        if in_progress or not cpu.cr4 & CR4_MCE:
            why = "Previous MCE still in progress" if in_progress else "MCE capability is not enabled"
            tell(MemoryFailureAction.RESET, in_progress)
            return MachineCheckOutcome(MemoryFailureAction.RESET, f"CPU {number}: {why}, raising triple fault")
    cpu.inject_machine_check(given.bank, given.status, given.address, given.misc, given.mcg_status)
    tell(MemoryFailureAction.INJECT)
    return MachineCheckOutcome(MemoryFailureAction.INJECT)
