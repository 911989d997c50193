"""Nodes of the block graph: content, parts, overlays, faults, locks."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest

from vmcore.block.filters import DebugNode, OverlayNode, RawNode
from vmcore.block.graph import BlockGraph, implicit
from vmcore.block.locks import LockedError
from vmcore.block.node import Fault, NodeOptions, StateRule
from vmcore.block.protocols import FileNode, MemoryNode, NullNode
from vmcore.model.errors import CommandError, UsageError

CONTENT = Random(2).randbytes(40_000)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(CONTENT)
    return path


def file_options(path: Path, name: str = "file", **more: object) -> NodeOptions:
    return NodeOptions(driver="file", name=name, filename=str(path), **more)  # type: ignore[arg-type]


# --- content


def test_a_file_is_read_and_written_in_place(image: Path) -> None:
    node = FileNode("n", str(image))
    assert node.size == len(CONTENT)
    assert node.read(100, 1000) == CONTENT[100:1100]
    assert node.read(39_990, 100) == CONTENT[39_990:] + bytes(90), "behind its end there are zeros"
    node.write(5, b"hello")
    node.flush()
    assert image.read_bytes() == CONTENT[:5] + b"hello" + CONTENT[10:]
    node.resize(50_000)
    assert (node.size, image.stat().st_size) == (50_000, 50_000)
    node.close()
    node.close()


def test_a_file_that_was_cut_while_in_use_is_an_error_of_the_host(image: Path) -> None:
    node = FileNode("n", str(image))
    os.truncate(image, 1000)
    with pytest.raises(OSError, match="Input/output error"):
        node.read(0, 2000)
    node.close()


def test_a_raw_node_shows_a_part() -> None:
    node = RawNode("r", MemoryNode("m", CONTENT), offset=1024, size=2048, read_only=True)
    assert node.size == 2048
    assert node.read(10, 20) == CONTENT[1034:1054]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"size": 1000}, "Specified size is not multiple of 512"),
        ({"offset": 1 << 20}, "Offset (1048576) cannot be greater than size of the containing file (40000)"),
        ({"size": 1 << 20}, "The sum of offset (0) and size (1048576) has to be smaller or equal"),
    ],
)
def test_parts_that_are_none(part: dict[str, int], message: str) -> None:
    with pytest.raises(CommandError) as caught:
        RawNode("r", MemoryNode("m", CONTENT), read_only=True, **part)
    assert str(caught.value).startswith(message)


def test_an_overlay_is_the_base_with_what_was_written() -> None:
    """Against a plain byte array, at random places and sizes."""
    random = Random(3)
    base = MemoryNode("m", CONTENT)
    overlay = OverlayNode("o", base)
    model = bytearray(CONTENT)
    for _ in range(300):
        offset = random.randrange(len(CONTENT) - 1)
        length = min(random.choice((1, 512, 4096, 12_288, 700)), len(CONTENT) - offset)
        if random.random() < 0.5:
            data = random.randbytes(length)
            overlay.write(offset, data)
            model[offset : offset + length] = data
        else:
            assert overlay.read(offset, length) == model[offset : offset + length]
    assert overlay.read(0, len(CONTENT)) == model
    assert base.read(0, len(CONTENT)) == CONTENT
    state = pickle.loads(pickle.dumps(overlay.save()))
    again = OverlayNode("o", MemoryNode("m", CONTENT))
    again.restore(state)
    assert again.read(0, len(CONTENT)) == model
    assert again.save() == overlay.save()


def test_a_write_that_fails_half_way_changes_nothing() -> None:
    base = DebugNode("d", MemoryNode("m", CONTENT), faults=(Fault(operation="read", offset=8192, length=4096),))
    overlay = OverlayNode("o", base)
    with pytest.raises(OSError, match="Input/output error"):
        overlay.write(0, b"x" * 9000)
    assert overlay.read(0, 4096) == CONTENT[:4096]


# --- faults


def failures(node: DebugNode, operations: str) -> str:
    """For each of r, w and f: itself if it worked, a dot if it failed."""
    out = ""
    for letter in operations:
        try:
            if letter == "r":
                node.read(512, 512)
            elif letter == "w":
                node.write(512, bytes(512))
            else:
                node.flush()
            out += letter
        except OSError:
            out += "."
    return out


@pytest.mark.parametrize(
    ("fault", "asked", "seen"),
    [
        (Fault(), "rwf", "..."),
        (Fault(operation="read"), "rwfr", ".wf."),
        (Fault(operation="write", count=1), "wrww", ".rww"),
        (Fault(operation="flush", skip=1, count=1), "fff", "f.f"),
        (Fault(offset=512), "rwf", "..f"),
        (Fault(offset=1024), "rwf", "rwf"),
        (Fault(offset=0, length=513), "rwf", "..f"),
        (Fault(operation="read", event="read_aio"), "rw", "rw"),
    ],
)
def test_faults_strike_where_their_rule_says(fault: Fault, asked: str, seen: str) -> None:
    assert failures(DebugNode("d", NullNode("n"), faults=(fault,)), asked) == seen


def test_a_fault_says_what_the_host_would() -> None:
    node = DebugNode("d", NullNode("n"), faults=(Fault(errno=errno.ENOSPC),))
    with pytest.raises(OSError, match="No space left on device") as caught:
        node.write(0, bytes(512))
    assert caught.value.errno == errno.ENOSPC


def test_events_of_the_node_above_arm_faults_and_change_states() -> None:
    debug = DebugNode(
        "d",
        NullNode("n"),
        faults=(Fault(operation="write", event="write_aio", state=2),),
        states=(StateRule(event="read_aio", state=1, new_state=2),),
    )
    raw = RawNode("r", debug)
    raw.write(0, bytes(512))
    raw.read(0, 512)
    with pytest.raises(OSError, match="Input/output error"):
        raw.write(0, bytes(512))
    assert debug.save() is not None


def test_chance_is_a_function_of_the_seed_and_part_of_the_state() -> None:
    def make(seed: int) -> DebugNode:
        return DebugNode("d", NullNode("n"), faults=(Fault(probability=0.3),), seed=seed)

    first, second, other = make(1), make(1), make(2)
    pattern = failures(first, "r" * 200)
    assert failures(second, "r" * 200) == pattern
    assert failures(other, "r" * 200) != pattern
    assert 30 < pattern.count(".") < 90
    copy = make(1)
    copy.restore(first.save())
    assert failures(copy, "r" * 50) == failures(first, "r" * 50)


# --- locks


def test_a_writer_is_alone_and_readers_are_many(image: Path) -> None:
    readers = [FileNode(f"r{n}", str(image), read_only=True) for n in range(2)]
    with pytest.raises(LockedError, match='Failed to get "write" lock'):
        FileNode("w", str(image))
    for reader in readers:
        reader.close()
    writer = FileNode("w", str(image))
    with pytest.raises(LockedError, match='Failed to get "write" lock') as caught:
        FileNode("w2", str(image))
    assert caught.value.hint == f"Is another process using the image [{image}]?"
    with pytest.raises(LockedError, match='Failed to get shared "write" lock'):
        FileNode("r", str(image), read_only=True)
    FileNode("unlocked", str(image), locking=False).close()
    writer.close()
    FileNode("w2", str(image)).close()


@pytest.mark.skipif(shutil.which("qemu-io") is None, reason="qemu-io is not installed")
def test_qemu_respects_the_locks(image: Path) -> None:
    writer = FileNode("w", str(image))
    command = ["qemu-io", "-f", "raw", "-c", "read 0 512", str(image)]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert 'Failed to get "write" lock' in refused.stderr
    assert f"Is another process using the image [{image}]?" in refused.stderr
    writer.close()
    assert "512/512" in subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


# --- the graph


def test_nodes_refer_to_each_other_and_go_in_order(image: Path) -> None:
    graph = BlockGraph()
    graph.add(file_options(image))
    graph.add(NodeOptions(driver="raw", name="raw", child="file"))
    with pytest.raises(CommandError, match="Block device file is in use"):
        graph.delete("file")
    graph.delete("raw")
    graph.delete("file")
    assert graph.nodes == {}
    graph.add(implicit(file_options(image)))
    graph.add(NodeOptions(driver="raw", name="raw", child="file"))
    graph.delete("raw")
    assert graph.nodes == {}, "what was made for the node above goes with it"
    FileNode("again", str(image)).close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (NodeOptions(driver="raw", name="x", child="nof"), "Cannot find device='nof' nor node-name='nof'"),
        (NodeOptions(driver="null-co", name="n"), "Duplicate nodes with node-name='n'"),
        (
            NodeOptions(driver="file", name="x", filename="/nowhere/at/all"),
            "Could not open '/nowhere/at/all': No such file or directory",
        ),
        (NodeOptions(driver="file", name="x", filename="/tmp"), "Could not open '/tmp': Is a directory"),
        (NodeOptions(driver="qed", name="x"), "Unknown driver 'qed'"),
    ],
)
def test_nodes_that_cannot_be(options: NodeOptions, message: str) -> None:
    graph = BlockGraph()
    graph.add(NodeOptions(driver="null-co", name="n"))
    with pytest.raises(CommandError) as caught:
        graph.add(options)
    assert str(caught.value) == message
    assert list(graph.nodes) == ["n"]


def test_two_writers_of_one_node_are_refused() -> None:
    graph = BlockGraph()
    graph.add(NodeOptions(driver="null-co", name="n"))
    graph.add(NodeOptions(driver="raw", name="one", child="n"))
    with pytest.raises(CommandError, match="does not allow 'write' on n"):
        graph.add(NodeOptions(driver="raw", name="two", child="n"))
    graph.add(NodeOptions(driver="raw", name="three", child="n", read_only=True))


def test_a_state_needs_the_same_nodes() -> None:
    one, other = BlockGraph(), BlockGraph()
    one.add(NodeOptions(driver="null-co", name="n"))
    with pytest.raises(UsageError, match=r"node 'n'.*is not in this machine"):
        other.restore(one.save())
    other.add(NodeOptions(driver="null-co", name="n"))
    other.restore(one.save())


def test_a_file_that_was_written_since_is_noticed(image: Path) -> None:
    """However soon the write comes after the mark: many are tried within one step of the file system's clock."""
    graph = BlockGraph()
    node = graph.add(file_options(image))
    for number in range(50):
        marks = graph.marks()
        graph.check_marks(marks)
        node.write(0, bytes([number]))
        with pytest.raises(UsageError, match="was written since the snapshot was taken"):
            graph.check_marks(marks)
    graph.close()
