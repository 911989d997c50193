"""Model-specific registers that a board gives to its processors: some belong to a local APIC, some to a device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from vmcore.boards.board import Board
from vmcore.devices import hyperv_crash
from vmcore.devices.hyperv_crash import HyperVCrash
from vmcore.engine import Cpu

__all__ = ["give_hyperv"]

Read = Callable[[int], int | None]
Write = Callable[[int, int], bool | None]


def _none(index: int) -> int | None:
    return None


def _unchanged(index: int, value: int) -> bool | None:
    return None


def give_hyperv(
    board: Board,
    enlightenments: Sequence[str],
    others: Iterable[int] = (),
    hooks: Callable[[Cpu], tuple[Read, Write]] = lambda cpu: (_none, _unchanged),
) -> None:
    """Put the registers of Hyper-V on a board.

    others, hooks: the registers that the processors have from the board already, and by what they are read and written.
    """
    if "crash" not in enlightenments:
        return
    device = HyperVCrash(board.services.panicked)
    board.add("/machine/hyperv-crash", device)
    for cpu in board.services.cpus:
        read, write = hooks(cpu)
        cpu.set_msr_hooks((*others, *hyperv_crash.MSRS), *_with(device, read, write))


def _with(device: HyperVCrash, read: Read, write: Write) -> tuple[Read, Write]:
    def read_msr(index: int) -> int | None:
        return device.read_msr(index) if index in hyperv_crash.MSRS else read(index)

    def write_msr(index: int, value: int) -> bool | None:
        return device.write_msr(index, value) if index in hyperv_crash.MSRS else write(index, value)

    return read_msr, write_msr
