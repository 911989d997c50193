"""From the numbers of a configuration to the arrangement of its vCPUs: as QEMU's -smp has them."""

from __future__ import annotations

import attrs
import pytest

from vmcore.engine.topology import CpuTopology
from vmcore.machine.config import MachineConfig
from vmcore.machine.topology import arrange
from vmcore.model.errors import ConfigError

# What query-hotpluggable-cpus of QEMU 7.2 (pc) shows for -smp: vCPUs, then sockets, dies, cores, threads.
ARRANGED = [
    ({}, 1, (1, 1, 1, 1)),
    ({"cpus": 4}, 4, (1, 1, 4, 1)),
    ({"cpus": 4, "maxcpus": 8}, 4, (1, 1, 8, 1)),
    ({"cpus": 4, "maxcpus": 8, "sockets": 2, "cores": 2, "threads": 2}, 4, (2, 1, 2, 2)),
    ({"cpus": 2, "dies": 2}, 2, (1, 2, 1, 1)),
    ({"maxcpus": 6, "cores": 2}, 6, (3, 1, 2, 1)),
    ({"sockets": 2, "cores": 2}, 4, (2, 1, 2, 1)),
    ({"cpus": 2, "threads": 2}, 2, (1, 1, 1, 2)),
    ({"cores": 3, "threads": 2}, 6, (1, 1, 3, 2)),
    ({"cpus": 3, "sockets": 2, "maxcpus": 4}, 3, (2, 1, 2, 1)),
    ({"cpus": 4, "dies": 2, "maxcpus": 8}, 4, (1, 2, 4, 1)),
    ({"dies": 2}, 2, (1, 2, 1, 1)),
    ({"cpus": 5, "threads": 2, "maxcpus": 6}, 5, (1, 1, 3, 2)),
]

REFUSED = [
    (
        {"cpus": 8, "maxcpus": 4},
        "maxcpus must be equal to or greater than smp: "
        "sockets (1) * dies (1) * cores (4) * threads (1) == maxcpus (4) < smp_cpus (8)",
    ),
    (
        {"cpus": 4, "sockets": 3},
        "product of the hierarchy must match maxcpus: sockets (3) * dies (1) * cores (1) * threads (1) != maxcpus (4)",
    ),
    (
        {"cpus": 4, "sockets": 2, "cores": 2, "threads": 2},
        "product of the hierarchy must match maxcpus: sockets (2) * dies (1) * cores (2) * threads (2) != maxcpus (4)",
    ),
    (
        {"cpus": 4, "cores": 8},
        "product of the hierarchy must match maxcpus: sockets (0) * dies (1) * cores (8) * threads (1) != maxcpus (4)",
    ),
    (
        {"cpus": 3, "cores": 2},
        "product of the hierarchy must match maxcpus: sockets (1) * dies (1) * cores (2) * threads (1) != maxcpus (3)",
    ),
]


@pytest.mark.parametrize(("given", "cpus", "arrangement"), ARRANGED)
def test_what_is_not_given_follows(given: dict[str, int], cpus: int, arrangement: tuple[int, int, int, int]) -> None:
    assert arrange(**given) == (cpus, CpuTopology(*arrangement))
    config = MachineConfig(**given)  # type: ignore[arg-type]
    assert config.cpus == cpus
    assert config.topology == CpuTopology(*arrangement)


@pytest.mark.parametrize(("given", "text"), REFUSED)
def test_numbers_that_do_not_fit_are_refused_with_their_product(given: dict[str, int], text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        MachineConfig(**given)  # type: ignore[arg-type]
    assert text in str(refused.value)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"maxcpus": 0}, "maxcpus"),
        ({"maxcpus": 65}, "maxcpus"),
        ({"sockets": 0}, "sockets"),
        ({"dies": "2"}, "dies"),
        ({"sockets": 9, "cores": 9}, "cpus"),
        ({"board": "none", "cpus": 1, "maxcpus": 2}, "maxcpus"),
    ],
)
def test_numbers_out_of_range_are_refused(given: dict[str, object], path: str) -> None:
    with pytest.raises(ConfigError) as refused:
        MachineConfig(**given)  # type: ignore[arg-type]
    assert refused.value.path == path


def test_a_number_can_be_changed_in_a_copy() -> None:
    assert attrs.evolve(MachineConfig(cpus=2), cpus=4).topology == CpuTopology(cores=4)
