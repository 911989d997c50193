"""Fast handlers make no calls: they leave by a jump to the next handler, so that registers need not be saved anywhere.

The compiled handlers are disassembled; what they may do besides jumping is nothing that returns.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vmcore.engine import _native, disassemble

SIGNATURE = re.compile(r"\(Cpu\*, Op const\*, (?:long|long long)\)(?: \[clone [^\]]*\])*$")
# Entries to slow code; they are made of calls.
SLOW = re.compile(r"^(?:void )?h_\w+\(")
# Divisions of 128 bits are a function of the compiler's library.
DIVISION = re.compile(r"\bi?div64\(")


def _handlers() -> list[tuple[str, int, int]]:
    """Name, address and size of every handler in the library, from its symbols."""
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm is not installed")
    library = str(_native.__file__)
    listing = subprocess.run([nm, "-CS", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    found = []
    for line in listing.splitlines():
        parts = line.split(maxsplit=3)
        if len(parts) == 4 and parts[2] in "tT" and SIGNATURE.search(parts[3]):
            found.append((parts[3], int(parts[0], 16), int(parts[1], 16)))
    return found


def _text(library: Path) -> tuple[bytes, list[tuple[int, int, int]]]:
    """The file, and its loadable segments: address, offset, size (ELF-64, little endian)."""
    data = library.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01" or int.from_bytes(data[18:20], "little") != 62:
        pytest.skip("not an ELF file for x86-64")
    table, size, count = (int.from_bytes(data[a:b], "little") for a, b in ((32, 40), (54, 56), (56, 58)))
    segments = []
    for index in range(count):
        header = data[table + index * size : table + (index + 1) * size]
        if int.from_bytes(header[:4], "little") == 1:
            offset, address, _, length = (int.from_bytes(header[at : at + 8], "little") for at in (8, 16, 24, 32))
            segments.append((address, offset, length))
    return data, segments


def test_fast_handlers_make_no_calls() -> None:
    library = Path(str(_native.__file__))
    data, segments = _text(library)
    if b"__asan_init" in data:
        pytest.skip("a build with sanitizers calls from everywhere")
    handlers = _handlers()
    if not handlers:
        pytest.skip("the library has no symbols")
    assert len(handlers) > 500
    calling, slow = [], []
    for name, address, size in handlers:
        start, offset, _ = next(s for s in segments if s[0] <= address < s[0] + s[2])
        code = data[offset + address - start : offset + address - start + size]
        calls = [i for i in disassemble(code, address) if i.mnemonic == "call"]
        if calls and SLOW.match(name):
            slow.append(name)
        elif calls and not DIVISION.search(name):
            calling.append(f"{name}: {calls[0]}")
    assert slow, "calls would have been seen: the slow entries make some"
    assert not calling, f"{len(calling)} handlers make calls:\n" + "\n".join(calling[:20])


def test_every_instruction_of_the_tables_is_there() -> None:
    """A form whose function were missing would raise #UD, as the tables' functions are weak."""
    if not shutil.which("nm"):
        pytest.skip("needs nm")
    package = Path(_native.__file__).parent
    spec = importlib.util.spec_from_file_location("generate", package / "native" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    sys.modules["generate"] = generate
    spec.loader.exec_module(generate)
    features = {name for name, _ in generate.read_features(package / "tables" / "features.def")}
    wanted = {form.slow for form in generate.read_forms(package / "tables", features)}
    symbols = subprocess.run(["nm", "-C", _native.__file__], check=True, capture_output=True, text=True).stdout
    if "run_for" not in symbols:
        pytest.skip("the extension module has no symbols")
    defined = set(re.findall(r"^[0-9a-f]+ [tTwW] x_(\w+)\(Cpu&, Op const&\)$", symbols, re.MULTILINE))
    assert wanted - defined == set()
