"""What there is on PCI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmcore.model.pci import PciInfo
from vmcore.qmp.registry import command

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine


@command("query-pci", since="0.14")
async def query_pci(vm: VirtualMachine) -> tuple[PciInfo, ...]:
    """The PCI buses and the functions on them, as the guest has set them up."""
    return await vm.query.pci()
