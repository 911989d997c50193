"""Turns the instruction tables (tables/*.ops, features.def) into C++ for the engine.

Writes into the build directory: `features.inc` (the Feature enum and the CPUID bit of each), `tables.inc` (rows, opcode
maps, slow functions and translation rules) and `rows.inc` (row numbers by name, for the translator).  A file is only
rewritten when its text changes, so that an unchanged table compiles nothing anew.  FORMAT.md describes the input.

Run as a script: `generate.py TABLES OUTPUT`.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

MAPS = {"": 0, "0F": 1, "0F38": 2, "0F3A": 3}
VEX_MAPS = {"0F": 4, "0F38": 5, "0F3A": 6}
VEX_L = {"LIG": 0, "LZ": 1, "128": 1, "256": 2}  # 0 any, 1 clear, 2 set
VEX_W = {"WIG": 0, "W0": 1, "W1": 2}
PREFIXES = {"NP": 1, "66": 2, "F3": 4, "F2": 8}
ATTRIBUTES = ["lock", "end", "only64", "no64", "d64", "f64", "x87", "mmx", "sse", "prot", "io", "string"]

# How an operand letter uses ModRM, immediates and the operand size.  None: no part of it.
REG_KINDS = {"G": "GPR", "P": "MMX", "V": "XMM", "C": "GPR", "D": "GPR", "S": "SEGMENT", "T": "GPR"}
RM_KINDS = {"E": "GPR", "M": "GPR", "R": "GPR", "Q": "MMX", "W": "XMM", "U": "XMM", "N": "MMX"}
IMMEDIATES = {
    "Ib": "IMM8", "Ibs": "IMM8S", "Iw": "IMM16", "Iz": "IMMZ", "Iv": "IMMV", "Jb": "REL8", "Jz": "RELZ", "Ap": "FAR",
    "Ob": "MOFFS", "Ov": "MOFFS", "Id": "IMM32",
}  # fmt: skip
SIZES = {"b": "B", "w": "W", "d": "D", "q": "Q", "v": "V", "y": "Y", "z": "Z"}
FIXED = {
    "AL": "B", "eAX": "Z", "rAX": "V", "CL": None, "DX": None, "1": None, "AX": "W", "AH": None, "ST0": None,
    "ES": None, "CS": None, "SS": None, "DS": None, "FS": None, "GS": None, "EAX": "D", "RAX": "Q", "XMM0": None,
}  # fmt: skip


class TableError(Exception):
    """A line of the tables is wrong; says which."""


@dataclass
class Form:
    """One line of a table."""

    where: str
    encoding: str
    text: str  # mnemonic and operands
    features: list[str]
    feature_any: bool
    attributes: list[str]
    rule: str | None
    slow: str | None
    map: int = 0
    opcodes: list[int] = field(default_factory=list)
    prefixes: int = 15
    modrm: bool = False
    modrm_mask: int = 0
    modrm_value: int = 0
    mod: int = 0  # 0 any, 1 memory, 2 register
    reg_kind: str = "NONE"
    rm_kind: str = "NONE"
    opcode_reg: str = "NONE"
    size: str = "V"
    immediates: list[str] = field(default_factory=list)
    vex_l: int = 0
    vex_w: int = 0
    vvvv: bool = False  # an operand is named by VEX.vvvv

    @property
    def mnemonic(self) -> str:
        return self.text.split()[0]

    @property
    def operands(self) -> list[str]:
        parts = self.text.split(None, 1)
        return [p.strip() for p in parts[1].split(",")] if len(parts) > 1 else []

    @property
    def modes(self) -> int:
        """Bit 0: legal outside 64-bit mode, bit 1: in 64-bit mode."""
        return 2 if "only64" in self.attributes else 1 if "no64" in self.attributes else 3

    @property
    def specificity(self) -> tuple[int, int, int, int]:
        return (
            bin(self.modrm_mask).count("1") + (1 if self.mod else 0),
            1 if self.prefixes != 15 else 0,
            1 if self.modes != 3 else 0,
            -len(self.opcodes),
        )

    def parse_encoding(self) -> None:
        tokens = self.encoding.split()
        vex = re.fullmatch(r"VEX\.(\w+)\.(\w+)\.(\w+)\.(\w+)", tokens[0]) if tokens else None
        if vex:
            tokens.pop(0)
            try:
                self.vex_l, self.prefixes, self.vex_w = VEX_L[vex[1]], PREFIXES[vex[2]], VEX_W[vex[4]]
                self.map = VEX_MAPS[vex[3]]
            except KeyError as unknown:
                raise TableError(f"{self.where}: {unknown} in {self.encoding!r} is unknown") from None
        elif tokens and tokens[0] in PREFIXES and len(tokens) > 1:
            self.prefixes = PREFIXES[tokens.pop(0)]
        escape = ""
        if tokens and tokens[0] == "0F":
            escape = tokens.pop(0)
            if tokens and tokens[0] in ("38", "3A"):
                escape += tokens.pop(0)
        if not vex:
            self.map = MAPS[escape]
        match = re.fullmatch(r"([0-9A-F]{2})(\+r)?", tokens[0] if tokens else "")
        if not match:
            raise TableError(f"{self.where}: no opcode in {self.encoding!r}")
        first = int(match[1], 16)
        self.opcodes = list(range(first, first + 8)) if match[2] else [first]
        for token in tokens[1:]:
            if token == "/r":
                self.modrm = True
            elif re.fullmatch(r"/[0-7]", token):
                self.modrm = True
                self.modrm_mask |= 0x38
                self.modrm_value |= int(token[1]) << 3
            elif token in ("mem", "reg"):
                self.modrm = True
                self.mod = 1 if token == "mem" else 2
            elif match := re.fullmatch(r"([0-9A-F]{2})(\+i)?", token):
                self.modrm = True
                self.modrm_mask = 0xF8 if match[2] else 0xFF
                self.modrm_value = int(match[1], 16)
            elif token not in ("ib", "iw", "id", "iz", "iq", "cb", "cw", "cd"):
                raise TableError(f"{self.where}: {token!r} in {self.encoding!r} is unknown")

    def parse_operands(self) -> None:
        size: str | None = None
        fallback: str | None = None
        for operand in self.operands:
            if operand in FIXED:
                size = size or FIXED[operand]
                continue
            if operand in IMMEDIATES:
                self.immediates.append(IMMEDIATES[operand])
                if operand in ("Iz", "Ibs", "Iv", "Jb", "Jz", "Ap"):
                    fallback = "V"
                elif operand == "Ob":
                    size = size or "B"
                elif operand == "Ov":
                    size = size or "V"
                continue
            if operand == "STi":
                self.modrm = True
                continue
            letter, suffix = operand[0], operand[1:]
            if letter == "Z":
                self.opcode_reg = "GPR8" if suffix == "b" else "GPR"
            elif letter in REG_KINDS:
                self.modrm = True
                self.reg_kind = "GPR8" if operand == "Gb" else REG_KINDS[letter]
            elif letter in RM_KINDS:
                self.modrm = True
                self.rm_kind = "GPR8" if operand in ("Eb", "Rb") else RM_KINDS[letter]
                if letter in "RUN" and letter != "R":
                    self.mod = self.mod or 2
                if letter == "R":
                    self.mod = 3 if self.mod == 0 else self.mod  # mod is ignored: always a register
                if letter == "M":
                    self.mod = self.mod or 1
            elif letter in "BH":
                self.vvvv = True
            elif letter not in "XY":
                raise TableError(f"{self.where}: operand {operand!r} is unknown")
            if letter in "GERMZXYB" and suffix in SIZES:
                size = size or SIZES[suffix]
        self.size = size or fallback or "V"


def read_features(path: Path) -> list[tuple[str, str]]:
    result = []
    for line in path.read_text(encoding="utf-8").splitlines():
        line = line.split("#")[0].strip()
        if line:
            name, bit = line.split()[:2]
            result.append((name, bit))
    return result


def read_forms(tables: Path, features: set[str]) -> list[Form]:
    forms = []
    for path in sorted(tables.glob("*.ops")):
        for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            line = raw.split("#")[0].strip()
            if not line:
                continue
            where = f"{path.name}:{number}"
            columns = [c.strip() for c in line.split("|")]
            if len(columns) != 5:
                raise TableError(f"{where}: {len(columns)} columns instead of 5")
            encoding, text, feature_text, attribute_text, semantics = columns
            if encoding.startswith("EVEX."):
                continue
            names = [] if feature_text == "-" else re.split(r"[+/]", feature_text)
            for name in names:
                if name not in features:
                    raise TableError(f"{where}: feature {name!r} is not in features.def")
            if len(names) > 3:
                raise TableError(f"{where}: more than three features")
            attributes = [] if attribute_text == "-" else attribute_text.split()
            for attribute in attributes:
                if attribute not in ATTRIBUTES:
                    raise TableError(f"{where}: attribute {attribute!r} is unknown")
            rule = slow = None
            for part in semantics.split():
                kind, _, name = part.partition(":")
                if kind == "fast":
                    rule = name
                elif kind == "slow":
                    slow = name
                elif part == "ud":
                    slow = "ud"
                else:
                    raise TableError(f"{where}: semantics {part!r} is unknown")
            slow = slow or rule
            form = Form(where, encoding, text, names, "/" in feature_text, attributes, rule, slow)
            form.parse_encoding()
            form.parse_operands()
            forms.append(form)
    return forms


def build_maps(forms: list[Form]) -> list[list[list[int]]]:
    """For every map and opcode the candidate rows, most specific first."""
    maps: list[list[list[int]]] = [[[] for _ in range(256)] for _ in range(7)]
    for index, form in enumerate(forms):
        for opcode in form.opcodes:
            maps[form.map][opcode].append(index)
    for table in maps:
        for rows in table:
            rows.sort(key=lambda i: forms[i].specificity, reverse=True)
            for a, b in pairwise(rows):
                f, g = forms[a], forms[b]
                same = (
                    f.specificity == g.specificity
                    and (f.modrm_mask, f.modrm_value, f.mod, f.modes, f.vex_l, f.vex_w)
                    == (g.modrm_mask, g.modrm_value, g.mod, g.modes, g.vex_l, g.vex_w)
                    and f.prefixes & g.prefixes
                )
                if same:
                    raise TableError(f"{g.where}: {g.encoding!r} is already {f.text!r} ({f.where})")
    return maps


# Rows that no encoding leads to.  Their numbers are ROW_*.
PSEUDO = ["ud", "nm", "no_mmx", "no_sse", "too_long", "fetch_fault"]


def emit_tables(forms: list[Form]) -> str:
    out = ["// Generated from tables/*.ops.", ""]
    slow = sorted({f.slow for f in forms if f.slow and f.slow not in PSEUDO})
    rules = sorted({f.rule for f in forms if f.rule})
    out += [f"void x_{name}(Cpu &, const Op &);" for name in slow]
    out += [f"VMCORE_OPTIONAL Handler rule_{name}(const Translation_ &, Op &);" for name in rules]
    out.append("const SlowFn slow_functions[] = {")
    out += [f"    x_{name}," for name in PSEUDO]
    out += [f"    x_{form.slow}," for form in forms]
    out.append("};")
    out.append("const RuleFn rule_functions[] = {")
    out += ["    nullptr," for _ in PSEUDO]
    out += [f"    {'rule_' + form.rule if form.rule else 'nullptr'}," for form in forms]
    out.append("};")
    out.append("const Row rows[] = {")
    for name in PSEUDO:
        attributes = "ATTR_END" if name != "x" else "0"
        kinds = "KIND_NONE, KIND_NONE, KIND_NONE, SIZE_V"
        out.append(f'    {{0, 0, 0, 0, 3, 0, {kinds}, {{0, 0}}, {attributes}, {{0, 0, 0}}, 0, 0, 0, 0, 0, "{name}"}},')
    for form in forms:
        attributes = " | ".join("ATTR_" + a.upper() for a in form.attributes if a not in ("only64", "no64")) or "0"
        immediates = [*("I_" + i for i in form.immediates), "0", "0"][:2]
        features = [*("F_" + f for f in form.features), "0", "0", "0"][:3]
        out.append(
            f"    {{{form.prefixes}, {form.modrm_mask:#x}, {form.modrm_value:#x}, {form.mod}, {form.modes}, "
            f"{int(form.modrm)}, KIND_{form.reg_kind}, KIND_{form.rm_kind}, KIND_{form.opcode_reg}, "
            f"SIZE_{form.size}, {{{', '.join(immediates)}}}, "
            f'{attributes}, {{{", ".join(features)}}}, {len(form.features)}, {int(form.feature_any)}, '
            f'{form.vex_l}, {form.vex_w}, {int(form.vvvv)}, "{form.text}"}},'
        )
    out.append("};")
    maps = build_maps(forms)
    candidates: list[int] = []
    out.append("const Candidates opcode_maps[7][256] = {")
    for table in maps:
        cells = []
        for rows in table:
            cells.append(f"{{{len(candidates)}, {len(rows)}}}")
            candidates += [r + len(PSEUDO) for r in rows]
        out.append("    {" + ", ".join(cells) + "},")
    out.append("};")
    out.append("const u16 candidate_rows[] = {" + ", ".join(map(str, candidates)) + "};")
    out.append(f"const unsigned row_count = {len(forms) + len(PSEUDO)};")
    return "\n".join(out) + "\n"


def emit_features(features: list[tuple[str, str]]) -> str:
    out = ["// Generated from tables/features.def.", "#pragma once", "enum Feature : unsigned char {"]
    out += [f"    F_{name}," for name, _ in features]
    out += ["    FEATURE_COUNT", "};", "// X(name, leaf, subleaf, register 0-3 = EAX EBX ECX EDX, bit)"]
    out.append("#define VMCORE_FEATURE_BITS(X) \\")
    for name, bit in features:
        if bit != "-":
            leaf, subleaf, register, index = bit.split(".")
            number = ["eax", "ebx", "ecx", "edx"].index(register)
            out.append(f"    X({name}, 0x{int(leaf, 16):x}u, {int(subleaf, 16)}, {number}, {index}) \\")
    out += ["    /**/", "// X(name): every feature", "#define VMCORE_FEATURE_NAMES(X) \\"]
    out += [f"    X({name}) \\" for name, _ in features]
    out += ["    /**/", ""]
    return "\n".join(out)


def write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def main(arguments: list[str]) -> int:
    tables, output = Path(arguments[0]), Path(arguments[1])
    try:
        features = read_features(tables / "features.def")
        forms = read_forms(tables, {name for name, _ in features})
        write_if_changed(output / "features.inc", emit_features(features))
        write_if_changed(output / "tables.inc", emit_tables(forms))
    except TableError as error:
        print(f"generate.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
