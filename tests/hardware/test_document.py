from __future__ import annotations

import runpy
from pathlib import Path

from attrs import define

from vmcore.hardware import RO, Device, Register
from vmcore.hardware.document import document

DOCS = Path(__file__).parents[2] / "docs"


@define(eq=False)
class Lamp(Device[None]):
    STATUS = Register(4, width=16, access=RO, reset=0x40, clears=1, bits={"ON": 0, "COLOUR": (4, 6)}, doc="A|B.")

    def reset(self) -> None: ...
    def save(self) -> None: ...
    def restore(self, state: None) -> None: ...


def test_a_register_is_a_row_with_everything_that_was_declared() -> None:
    assert "| 0x4 | 16 | STATUS | read only | 0x40 | ON 0 *1c*, COLOUR 6:4 | A\\|B. |" in document([Lamp]).splitlines()


def test_the_document_of_all_devices_is_up_to_date() -> None:
    text = runpy.run_path(str(DOCS / "make_registers.py"))["text"]()
    assert (DOCS / "registers.md").read_text(encoding="utf-8") == text, "run python docs/make_registers.py"
