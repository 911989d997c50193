"""How the vCPUs of a machine are arranged: packages in sockets, dies, cores, threads.

An APIC ID is made of fields for thread, core, die and package, each as wide as its numbers need (SDM Vol. 3A 10.9,
"Programming considerations for hardware multi-threading capable processors"), so the IDs of a machine whose numbers
are no powers of two have gaps.
"""

from __future__ import annotations

from attrs import frozen

from vmcore.model.errors import UsageError

__all__ = ["CpuPlace", "CpuTopology"]


@frozen
class CpuPlace:
    """Where a vCPU is: number of its package, of the die in it, of the core in that and of the thread in that."""

    socket: int
    die: int
    core: int
    thread: int


@frozen
class CpuTopology:
    """Numbers of packages, of dies in each, of cores in each and of threads in each: all from 1."""

    sockets: int = 1
    dies: int = 1
    cores: int = 1
    threads: int = 1

    def __attrs_post_init__(self) -> None:
        if min(self.sockets, self.dies, self.cores, self.threads) < 1:
            raise UsageError(f"{self}: each number has to be at least 1")

    @property
    def total(self) -> int:
        """Places for vCPUs."""
        return self.sockets * self.package

    @property
    def package(self) -> int:
        """Threads of a package."""
        return self.dies * self.cores * self.threads

    @property
    def core_shift(self) -> int:
        """Bits of an APIC ID below the number of the core."""
        return (self.threads - 1).bit_length()

    @property
    def die_shift(self) -> int:
        """Bits of an APIC ID below the number of the die."""
        return self.core_shift + (self.cores - 1).bit_length()

    @property
    def package_shift(self) -> int:
        """Bits of an APIC ID below the number of the package."""
        return self.die_shift + (self.dies - 1).bit_length()

    def place(self, index: int) -> CpuPlace:
        """Where the vCPU of an index is: threads count fastest, then cores, dies and packages."""
        core, thread = divmod(index, self.threads)
        die, core = divmod(core, self.cores)
        socket, die = divmod(die, self.dies)
        return CpuPlace(socket, die, core, thread)

    def index(self, place: CpuPlace) -> int:
        """Index of the vCPU at a place."""
        return ((place.socket * self.dies + place.die) * self.cores + place.core) * self.threads + place.thread

    def apic_id(self, index: int) -> int:
        """APIC ID of the vCPU of an index."""
        at = self.place(index)
        return at.socket << self.package_shift | at.die << self.die_shift | at.core << self.core_shift | at.thread
