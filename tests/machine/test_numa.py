"""NUMA topologies, and the ACPI tables that tell of them."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from vmcore import ConfigError, Machine, MachineConfig
from vmcore.firmware.acpi.numa import hmat, memory_ranges, slit, srat, tables
from vmcore.machine.build import plan_cpu, plan_layout
from vmcore.machine.snapshot_file import load_snapshot, save_snapshot
from vmcore.model.keyval import parse
from vmcore.model.machine import NumaNodeOptions, NumaOptions

MIB = 1 << 20
TWO = ("node,nodeid=0,cpus=0-1,memdev=m0", "node,nodeid=1,cpus=2,cpus=3,memdev=m1")


def config(*numa: str, **more: Any) -> MachineConfig:
    given: dict[str, Any] = {
        "memory": "64M",
        "cpus": 4,
        "memory_backends": ["memory-backend-ram,id=m0,size=48M", "memory-backend-ram,id=m1,size=16M"],
        "numa": numa,
    }
    return MachineConfig(**(given | more))


def layout(made: MachineConfig) -> Any:
    return plan_layout(made, plan_cpu(made))


def test_options_are_read_as_people_write_them() -> None:
    assert parse(NumaOptions, "node,nodeid=1,cpus=0-2,cpus=7,memdev=a,,b", "numa") == NumaNodeOptions(
        nodeid=1, cpus=(0, 1, 2, 7), memdev="a,b"
    )
    assert parse(NumaOptions, '{"type": "node", "nodeid": 1, "mem": 5}', "numa") == NumaNodeOptions(nodeid=1, mem=5)
    for text, path in (
        ("node,cpus=3-1", "numa.cpus"),
        ("node,nodeid=1,nodeid=2", "numa.nodeid"),
        ("node,nosuch=1", "numa.nosuch"),
        ("node,nodeid=70000", "numa.nodeid"),
        ("dist,src=0", "numa"),
        ("what", "numa.type"),
        ("{", "numa"),
    ):
        with pytest.raises(ConfigError) as caught:
            parse(NumaOptions, text, "numa")
        assert caught.value.path == path


@pytest.mark.parametrize(
    ("numa", "text"),
    [
        (["node"], "should equal RAM size"),
        (["node,memdev=m0", "node,nodeid=2,memdev=m1"], "Node ID missing: 1"),
        (["node,memdev=m0", "node,memdev=m0"], "should equal RAM size"),
        (["node,memdev=m0", "node,memdev=nosuch"], "ambiguous"),
        ([*TWO, "node,nodeid=2", "dist,src=0,dst=1,val=20"], "distance between node 0 and 2 is missing"),
        (
            [
                *TWO,
                "node,nodeid=2",
                *(f"dist,src={a},dst={b},val={v}" for a, b, v in ((0, 1, 20), (1, 0, 30), (2, 0, 30), (2, 1, 30))),
            ],
            "both directions of all node pairs",
        ),
        (["cpu,node-id=0,socket-id=0"], "must be defined"),
        (["hmat-cache,node-id=0,size=1,level=1,associativity=none,policy=none,line=8"], "disabled"),
    ],
)
def test_what_does_not_fit_is_refused(numa: list[str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        layout(config(*numa))


def test_srat_says_which_processors_and_memory_belong_together() -> None:
    found = layout(config(*TWO))
    table = srat(found, found.numa)
    assert sum(table) & 0xFF == 0
    at, cpus, memory = 48, [], []
    while at < len(table):
        if table[at] == 0:
            assert struct.unpack_from("<I", table, at + 4)[0] == 1
            cpus.append((table[at + 3], table[at + 2]))
        else:
            node, _, base, size, _, flags = struct.unpack_from("<IHQQII", table, at + 2)
            assert flags == 1
            memory.append((node, base, size))
        at += table[at + 1]
    assert cpus == [(0, 0), (1, 0), (2, 1), (3, 1)]
    assert memory == [(0, 0, 0xA0000), (0, MIB, 47 * MIB), (1, 48 * MIB, 16 * MIB)]


def test_a_node_across_the_hole_below_4_gib_has_two_ranges() -> None:
    backends = ["memory-backend-ram,id=m0,size=1G,reserve=off", "memory-backend-ram,id=m1,size=3G,reserve=off"]
    found = layout(config("node,memdev=m0", "node,memdev=m1", memory="4G", memory_backends=backends))
    gib = 1 << 30
    assert list(memory_ranges(found, found.numa)) == [
        (0, 0, 0xA0000),
        (0, MIB, gib - MIB),
        (1, gib, 2 * gib),
        (1, 4 * gib, gib),
    ]


def test_slit_has_both_directions() -> None:
    found = layout(config(*TWO, "dist,src=1,dst=0,val=30"))
    assert slit(found.numa.distances)[36:] == struct.pack("<Q4B", 2, 10, 30, 30, 10)
    assert len(tables(layout(config(*TWO)))) == 1


def test_hmat_has_latencies_bandwidths_and_caches() -> None:
    found = layout(
        config(
            "node,cpus=0-3,memdev=m0",
            "node,memdev=m1,initiator=0",
            "hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=access-latency,latency=50",
            "hmat-lb,initiator=0,target=1,hierarchy=memory,data-type=access-latency,latency=700",
            "hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=access-bandwidth,bandwidth=2G",
            "hmat-lb,initiator=0,target=1,hierarchy=memory,data-type=access-bandwidth,bandwidth=512M",
            "hmat-cache,node-id=0,size=64K,level=1,associativity=direct,policy=write-back,line=64",
            hmat=True,
        )
    )
    table = hmat(found.numa)
    assert sum(table) & 0xFF == 0
    at, parts = 40, []
    while at < len(table):
        kind, _, size = struct.unpack_from("<HHI", table, at)
        parts.append((kind, table[at : at + size]))
        at += size
    assert [kind for kind, _ in parts] == [0, 0, 1, 1, 2]
    assert struct.unpack_from("<HHII", parts[1][1], 8) == (1, 0, 0, 1)
    latency, bandwidth = parts[2][1], parts[3][1]
    assert struct.unpack_from("<BB", latency, 8) == (0, 0)
    assert struct.unpack_from("<IIIQIII2H", latency, 12) == (1, 2, 0, 10_000, 0, 0, 1, 5, 70)
    assert struct.unpack_from("<BB", bandwidth, 8) == (0, 3)
    assert struct.unpack_from("<IIIQIII2H", bandwidth, 12) == (1, 2, 0, 512, 0, 0, 1, 4, 1)
    assert struct.unpack_from("<IIQI", parts[4][1], 8) == (0, 0, 64 << 10, 1 | 1 << 4 | 1 << 8 | 1 << 12 | 64 << 16)


@pytest.mark.skipif(
    shutil.which("iasl") is None, reason="no iasl on this machine (Debian: apt-get install acpica-tools)"
)
def test_the_tables_are_read_by_the_acpi_compiler(tmp_path: Path) -> None:
    found = layout(config(*TWO, "dist,src=1,dst=0,val=30", hmat=True))
    for table in tables(found):
        name = table[:4].decode()
        path = tmp_path / f"{name}.dat"
        path.write_bytes(table)
        result = subprocess.run(["iasl", "-d", str(path)], capture_output=True, text=True, check=True)
        text = (tmp_path / f"{name}.dsl").read_text()
        assert "Invalid" not in text, text
        assert "rror" not in result.stderr, result.stderr


def test_many_nodes_have_room_for_their_tables() -> None:
    backends = [f"memory-backend-ram,id=m{n},size=1M" for n in range(64)]
    numa = [f"node,cpus={n},memdev=m{n}" for n in range(64)]
    numa += [f"dist,src={a},dst={b},val=20" for a in range(64) for b in range(a)]
    numa += [
        f"hmat-lb,initiator={a},target={b},hierarchy={level},data-type=read-latency,latency={10 + b}"
        for level in ("memory", "first-level")
        for a in range(64)
        for b in range(64)
    ]
    with Machine(config(*numa, cpus=64, memory_backends=backends, hmat=True)) as machine:
        assert machine.board.layout.acpi_size > 64 << 10


def test_a_snapshot_file_keeps_the_nodes(tmp_path: Path) -> None:
    made = config(*TWO, "dist,src=0,dst=1,val=30")
    with Machine(made) as machine:
        machine.memory.write(50 * MIB, b"in the second node")
        with (tmp_path / "file").open("wb") as file:
            save_snapshot(machine.save(), file)
        with (tmp_path / "file").open("rb") as file:
            snapshot = load_snapshot(file)
        assert snapshot.config == made
        with Machine.from_snapshot(snapshot) as other:
            assert other.digest() == machine.digest()
