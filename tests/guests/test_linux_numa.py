"""Linux on a machine with NUMA nodes: what it makes of the ACPI tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from vmcore import Machine, MachineConfig

SCRIPT = """
nodes=/sys/devices/system/node
for node in 0 1 2; do
    echo node$node cpus: $(/bin/busybox cat $nodes/node$node/cpulist) end
    echo node$node distances: $(/bin/busybox cat $nodes/node$node/distance) end
    echo node$node: $(/bin/busybox grep MemTotal $nodes/node$node/meminfo) end
    for kind in read_latency read_bandwidth; do
        echo node$node $kind: $(/bin/busybox cat $nodes/node$node/access0/initiators/$kind) end
    done
done
echo possible: $(/bin/busybox cat $nodes/possible) end
/bin/busybox poweroff -f
"""


def test_linux_sees_nodes_distances_and_latencies(cloud_kernel: Path, initramfs: Callable[[str], bytes]) -> None:
    config = MachineConfig(
        kernel=cloud_kernel,
        initrd=initramfs(SCRIPT),
        append="console=ttyS0 panic=-1 quiet",
        memory="512M",
        cpus=4,
        memory_backends=[f"memory-backend-ram,id=m{node},size={size}M" for node, size in enumerate((256, 128, 128))],
        numa=[
            "node,nodeid=0,cpus=0-1,memdev=m0",
            "node,nodeid=1,cpus=2-3,memdev=m1",
            "node,nodeid=2,memdev=m2,initiator=1",
            "dist,src=0,dst=1,val=21",
            "dist,src=0,dst=2,val=31",
            "dist,src=1,dst=2,val=41",
            *(
                f"hmat-lb,initiator={a},target={b},hierarchy=memory,data-type=access-latency,latency={10 + 5 * b}"
                for a in (0, 1)
                for b in (0, 1, 2)
            ),
            *(
                f"hmat-lb,initiator={a},target={b},hierarchy=memory,data-type=access-bandwidth,bandwidth={4 - b}G"
                for a in (0, 1)
                for b in (0, 1, 2)
            ),
        ],
        hmat=True,
    )
    with Machine(config) as machine:
        machine.run(until_ns=30_000_000_000)
        log = machine.serial[0].take().decode()
    assert "possible: 0-2 end" in log, log[-3000:]
    assert "node0 cpus: 0-1 end" in log
    assert "node1 cpus: 2-3 end" in log
    assert "node2 cpus: end" in log
    assert "node0 distances: 10 21 31 end" in log
    assert "node1 distances: 21 10 41 end" in log
    assert "node2 distances: 31 41 10 end" in log
    sizes = [int(size) >> 10 for size in re.findall(r"node\d: Node \d MemTotal: (\d+) kB end", log)]
    for told, size in zip(sizes, (256, 128, 128), strict=True):
        assert size * 0.7 < told <= size
    for node, (latency, bandwidth) in enumerate(((10, 4096), (15, 3072), (20, 2048))):
        assert f"node{node} read_latency: {latency} end" in log
        assert f"node{node} read_bandwidth: {bandwidth} end" in log
