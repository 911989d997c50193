"""From the numbers that a configuration gives to the arrangement of its vCPUs.

The rules are those of QEMU's option -smp, as its manual states them: what is not given follows from the rest, cores
before packages before threads, and the places have to be exactly the product of all four numbers.
"""

from __future__ import annotations

from vmcore.engine.topology import CpuTopology
from vmcore.model.errors import ConfigError

__all__ = ["arrange"]


def arrange(
    cpus: int | None = None,
    maxcpus: int | None = None,
    sockets: int | None = None,
    dies: int | None = None,
    cores: int | None = None,
    threads: int | None = None,
) -> tuple[int, CpuTopology]:
    """The number of vCPUs at the beginning and the places for them.  ConfigError where they do not fit together.

    None stands for what is not given; one vCPU if nothing is.
    """
    dies = dies or 1
    if cpus is None and maxcpus is None:
        sockets, cores, threads = sockets or 1, cores or 1, threads or 1
    else:
        places = maxcpus or cpus or 1
        if cores is None:
            sockets, threads = sockets or 1, threads or 1
            cores = places // (sockets * dies * threads)
        elif sockets is None:
            threads = threads or 1
            sockets = places // (dies * cores * threads)
        threads = threads or places // (sockets * dies * cores)
    product = sockets * dies * cores * threads
    maxcpus = maxcpus or (product if cpus is None else cpus)
    cpus = cpus or maxcpus
    factors = f"sockets ({sockets}) * dies ({dies}) * cores ({cores}) * threads ({threads})"
    if product != maxcpus:
        problem = f"product of the hierarchy must match maxcpus: {factors} != maxcpus ({maxcpus})"
        raise ConfigError("cpus", cpus, f"another CPU topology: {problem}")
    if maxcpus < cpus:
        problem = f"maxcpus must be equal to or greater than smp: {factors} == maxcpus ({maxcpus}) < smp_cpus ({cpus})"
        raise ConfigError("cpus", cpus, f"another CPU topology: {problem}")
    return cpus, CpuTopology(sockets, dies, cores, threads)
