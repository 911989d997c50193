"""Diagnostic port 0x80: firmware writes how far it has come, and Linux writes there to let a moment pass.

Source: IBM PC AT Technical Reference, "Diagnostic Checkpoint Port".  The port is a page register of the DMA controller
that no channel uses, so it reads as last written.
"""

from __future__ import annotations

from attrs import define, frozen

from vmcore.hardware import READ, WRITE, Device, Emit, Register
from vmcore.model.events import PostCode


@frozen
class PostPortState:
    """code: the last one written."""

    code: int


@define(eq=False)
class PostPort(Device[PostPortState]):
    """One port that keeps a byte, and tells of it where that is wanted; where it is not, accesses need no Python."""

    emit: Emit | None = None
    """Gets a `PostCode` for every byte written.  None, as on the boards, for silence: some guests write here after
    every access to another port, to let a moment pass, and would pay for an event each time."""

    CODE = Register(0, doc="The last checkpoint.")

    def __attrs_post_init__(self) -> None:
        if self.emit is None:
            self.cells.allow(0, 1, READ | WRITE)

    @CODE.on_write
    def _write(self, value: int) -> None:
        self.CODE = value
        if self.emit is not None:
            self.emit(PostCode(value))

    def reset(self) -> None:
        """Forget the last checkpoint."""
        super().reset()

    def save(self) -> PostPortState:
        return PostPortState(self.CODE)

    def restore(self, state: PostPortState) -> None:
        self.CODE = state.code
