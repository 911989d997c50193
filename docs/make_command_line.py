"""Write the tables of docs/command-line.md from the declarations of the options: `python docs/make_command_line.py`."""

from __future__ import annotations

from pathlib import Path

from vmcore.model.command_line import OPTIONS, Option

TARGET = Path(__file__).with_name("command-line.md")
BEGIN, END = "<!-- options: made by make_command_line.py -->\n", "<!-- end of options -->\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _row(option: Option) -> str:
    names = ", ".join(f"`{spelling}`" for spelling in option.spellings[:1] + option.spellings[3::2])
    written = f" `{option.metavar}`" if option.metavar is not None else ""
    default = f" (default `{option.default}`)" if option.default is not None else ""
    more = "; may be given several times" if option.repeated else ""
    parameters = "".join(
        f"<br>`{p.name}=` {p.type.value}: {p.help}" + (f" (default `{p.default}`)" if p.default is not None else "")
        for p in option.parameters
    )
    return f"| {_cell(names + written)} | {_cell(option.help + default + more + parameters)} |"


def text() -> str:
    """What the file should hold."""
    before, rest = TARGET.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    rows = ["", "| option | meaning |", "|---|---|", *map(_row, OPTIONS), ""]
    return before + BEGIN + "\n".join(rows) + "\n" + END + after


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
