"""The instruction forms that the engine knows, read from the tables that its decoder is generated from."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from attrs import frozen

__all__ = ["InstructionForm", "instruction_forms"]

TABLES = Path(__file__).with_name("tables")


@frozen
class InstructionForm:
    """One line of tables/*.ops; FORMAT.md there explains the columns.

    table: the file's name without suffix; features: the column as written (`-`, `A+B`, `A/B`); attributes: a set of
    words.
    """

    table: str
    line: int
    encoding: str
    mnemonic: str
    operands: tuple[str, ...]
    features: str
    attributes: frozenset[str]
    semantics: str

    @property
    def text(self) -> str:
        """Mnemonic and operands, as in the table."""
        return f"{self.mnemonic} {','.join(self.operands)}".rstrip()

    @property
    def needs(self) -> frozenset[str]:
        """Every feature that the form mentions."""
        return frozenset(self.features.replace("/", "+").split("+")) - {"-"}


@cache
def instruction_forms() -> tuple[InstructionForm, ...]:
    """All forms, table by table, in the order of the lines."""
    forms = []
    for path in sorted(TABLES.glob("*.ops")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            text = line.split("#", 1)[0].strip()
            if not text:
                continue
            encoding, name, features, attributes, semantics = (part.strip() for part in text.split("|"))
            mnemonic, _, operands = name.partition(" ")
            forms.append(
                InstructionForm(
                    table=path.stem,
                    line=number,
                    encoding=encoding,
                    mnemonic=mnemonic,
                    operands=tuple(part.strip() for part in operands.split(",") if part.strip()),
                    features=features,
                    attributes=frozenset(attributes.split()) - {"-"},
                    semantics=semantics,
                )
            )
    return tuple(forms)
