"""The CPU models against QEMU's models of the same names: every CPUID leaf, asked by the same guest program."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vmcore.engine import Cpu, PhysicalMemory, find_model, model_names
from vmcore.model.errors import UsageError

sys.path.insert(0, str(Path(__file__).parent / "system_oracle"))

from case_runner import available, cpuid_leaves, run_image_here, run_image_qemu

# Leaf and register (0 to 3 for EAX to EDX) where a model differs from QEMU's: SVM and its leaf are not there.
DIFFERENT = {
    "qemu64": {(0x80000000, 0), (0x80000001, 2), (0x80000009, 0), (0x8000000A, 0), (0x8000000A, 1)},
}


@pytest.mark.parametrize("name", [n for n in model_names() if n != "max"])
def test_a_model_presents_the_leaves_of_qemus_model(name: str) -> None:
    if not available():
        pytest.skip("needs nasm and qemu-system-x86_64")
    ours = cpuid_leaves(name, run_image_here)
    theirs = cpuid_leaves(name, run_image_qemu)
    assert len(theirs) > 20
    for (leaf, subleaf), row in theirs.items():
        if leaf >> 28 == 4:
            continue  # the hypervisor's own leaves
        for register, value in enumerate(row):
            if (leaf, register) not in DIFFERENT.get(name, ()):
                assert ours.get((leaf, subleaf), (0, 0, 0, 0))[register] == value, (hex(leaf), subleaf, register)


def test_a_guest_knows_that_it_is_virtual() -> None:
    model = find_model("max")
    assert model.leaf(0x40000000) == (0x40000001, 0x6F636D76, 0x6D766572, 0x65726F63)
    assert "HYPERVISOR" in model.features


def test_an_unknown_model_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(UsageError, match="Nehalem"):
        find_model("i9000")
    with pytest.raises(UsageError, match="unknown CPU model"):
        Cpu(PhysicalMemory(), 0, model="i9000")


def test_topology_needs_a_sensible_number_of_processors() -> None:
    model = find_model("max")
    assert model.with_cpus(1) is model
    with pytest.raises(UsageError):
        model.with_cpus(0)
    amd = find_model("qemu64").with_cpus(4)
    assert amd.leaf(0x80000008) == (0x3028, 0, 0x2003, 0)
    row = amd.leaf(0x80000001)
    assert row is not None
    assert row[2] == 3


def test_the_document_lists_all_models_with_their_summaries() -> None:
    text = (Path(__file__).parents[2] / "docs" / "processors.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| `")]
    listed = {name.strip(" `"): summary.strip() for name, summary in rows}
    assert set(listed) == set(model_names())
    for name, summary in listed.items():
        assert summary.removesuffix(" (the default)") == find_model(name).summary
