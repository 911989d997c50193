"""What the human monitor's `info` shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from vmcore.engine import Cpu
from vmcore.engine.paging import LARGE, NO_EXECUTE, USER, WRITABLE, mapped_pages, paging
from vmcore.engine.registers import Activity, Attributes, Segment
from vmcore.hardware.decoding import HiddenMemory
from vmcore.hardware.device import Device
from vmcore.hardware.memory_map import Alias, Mmio, Rom
from vmcore.model.run_state import RunState
from vmcore.qmp import hmp_memory, hmp_pci
from vmcore.qmp.hmp_block import show_block, show_statistics
from vmcore.qmp.hmp_expression import Scanner
from vmcore.qmp.hmp_migration import SUBJECTS as MIGRATION

if TYPE_CHECKING:
    from vmcore.machine.machine import Machine
    from vmcore.vm import VirtualMachine

__all__ = ["SUBJECTS", "Subject"]

PAGES: Final = 100_000
"""Pages that are listed at most: tables can map more than there is."""


@frozen
class Subject:
    """Something to show.  parameters, help: for people; show: makes the text, the machine being parked."""

    parameters: str
    help: str
    show: Callable[[VirtualMachine, Machine, int, Scanner], str]


def _status(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    more = "" if vm.state in (RunState.RUNNING, RunState.PAUSED) else f" ({vm.state.value})"
    return f"VM status: {'running' if vm.state.executes else 'paused'}{more}\n"


def _version(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    from vmcore.qmp.commands.control import version_info

    info = version_info()
    return f"{info.qemu.major}.{info.qemu.minor}.{info.qemu.micro}{info.package}\n"


def _name(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    return f"{vm.config.name}\n" if vm.config.name else ""


def _uuid(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    return f"{vm.config.uuid or '00000000-0000-0000-0000-000000000000'}\n"


def _cpus(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    return "".join(
        f"{'*' if number == index else ' '} CPU #{number}: thread_id={vm.thread_id}\n"
        for number in machine.present_cpus
    )


# --- registers -------------------------------------------------------------------------------------------------------


def _registers(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    if scan.flag("-a"):
        return "\n".join(_one_cpu(machine, machine.cpus[number]) for number in machine.present_cpus)
    wanted = scan.number() if scan.more else index
    if wanted not in machine.present_cpus:
        return f"CPU#{wanted} not available\n"
    return _one_cpu(machine, machine.cpus[wanted])


def _one_cpu(machine: Machine, cpu: Cpu) -> str:
    long_mode = bool(cpu.efer & 1 << 10)
    state = cpu.save()
    flags = "".join(letter if cpu.rflags >> bit & 1 else "-" for letter, bit in _FLAGS)
    tail = (
        f"[{flags}] CPL={cpu.cpl} II={int(bool(state.shadow))} A20={int(machine.memory.a20)} SMM=0 "
        f"HLT={int(cpu.activity != Activity.ACTIVE)}"
    )
    lines = ["", f"CPU#{cpu.index}"]
    if long_mode and Attributes(cpu.cs.attributes) & Attributes.L:
        rows = [("rax", "rbx", "rcx", "rdx"), ("rsi", "rdi", "rbp", "rsp")]
        rows += [("r8", "r9", "r10", "r11"), ("r12", "r13", "r14", "r15")]
        lines += [" ".join(f"{name.upper():3}={getattr(cpu, name):016x}" for name in row) for row in rows]
        lines.append(f"RIP={cpu.rip:016x} RFL={cpu.rflags:08x} {tail}")
    else:
        rows = [("eax", "ebx", "ecx", "edx"), ("esi", "edi", "ebp", "esp")]
        lines += [" ".join(f"{name.upper()}={getattr(cpu, name):08x}" for name in row) for row in rows]
        lines.append(f"EIP={cpu.rip & 0xFFFFFFFF:08x} EFL={cpu.rflags:08x} {tail}")
    width = 16 if long_mode else 8
    protected = bool(cpu.cr0 & 1)
    for name in ("es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"):
        label = "LDT" if name == "ldtr" else name.upper()
        lines.append(f"{label:3}={_segment(getattr(cpu, name), width, protected, long_mode)}")
    for name in ("gdtr", "idtr"):
        table = getattr(cpu, name)
        lines.append(f"{name[:3].upper()}=     {table.base:0{width}x} {table.limit:08x}")
    lines.append(f"CR0={cpu.cr0:08x} CR2={cpu.cr2:0{width}x} CR3={cpu.cr3:0{width}x} CR4={cpu.cr4:08x}")
    lines.append("".join(f"DR{n}={getattr(cpu, f'dr{n}'):016x} " for n in range(4)))
    lines.append(f"DR6={cpu.dr6:016x} DR7={cpu.dr7:016x}")
    lines.append(f"EFER={cpu.efer:016x}")
    lines.append(
        f"FCW={state.fcw:04x} FSW={state.fpu_sw & ~0x3800 | state.fpu_top << 11:04x} [ST={state.fpu_top}] "
        f"FTW={state.fpu_valid:02x} MXCSR={state.mxcsr:08x}"
    )
    values = [f"FPR{n}={v & (1 << 64) - 1:016x} {v >> 64:04x}" for n, v in enumerate(state.fpu_registers)]
    values += [
        f"XMM{n:02}={v >> 64:016x} {v & (1 << 64) - 1:016x}"
        for n in range(16 if long_mode else 8)
        for v in (getattr(cpu, f"xmm{n}"),)
    ]
    lines += [" ".join(values[n : n + 2]) for n in range(0, len(values), 2)]
    return "\n".join(lines) + "\n"


_FLAGS: Final = (("D", 10), ("O", 11), ("S", 7), ("Z", 6), ("A", 4), ("P", 2), ("C", 0))
_SYSTEM: Final = ("Reserved", "TSS16-avl", "LDT", "TSS16-busy", "CallGate16", "TaskGate", "IntGate16", "TrapGate16")
_SYSTEM_32: Final = (
    *("Reserved", "TSS32-avl", "Reserved", "TSS32-busy"),
    *("CallGate32", "Reserved", "IntGate32", "TrapGate32"),
)


def _segment(segment: Segment, width: int, protected: bool, long_mode: bool) -> str:
    bits = Attributes(segment.attributes)
    text = f"{segment.selector:04x} {segment.base:0{width}x} {segment.limit:08x} {int(bits) << 8 & 0xFFFF00:08x}"
    if not protected or not bits & Attributes.P:
        return text
    text += f" DPL={segment.privilege} "
    if not bits & Attributes.S:
        kind = int(bits) & 0xF
        name = (_SYSTEM_32 if kind & 8 else _SYSTEM)[kind & 7]
        return text + (name.replace("32", "64") if long_mode else name)
    accessed = "A" if bits & Attributes.ACCESSED else "-"
    second = bool(bits & Attributes.WRITABLE)
    first = bool(bits & Attributes.EXPAND_DOWN)
    if bits & Attributes.CODE:
        size = "64" if long_mode and bits & Attributes.L else "32" if bits & Attributes.DB else "16"
        return text + f"CS{size} [{'C' if first else '-'}{'R' if second else '-'}{accessed}]"
    size = "  " if long_mode or bits & Attributes.DB else "16"
    return text + f"DS{size} [{'E' if first else '-'}{'W' if second else '-'}{accessed}]"


# --- memory ----------------------------------------------------------------------------------------------------------


_ENTRY: Final = (
    *((NO_EXECUTE, "X"), (1 << 8, "G"), (LARGE, "P"), (1 << 6, "D"), (1 << 5, "A")),
    *((1 << 4, "C"), (1 << 3, "T"), (USER, "U"), (WRITABLE, "W")),
)
"""Bits of an entry and how they are shown."""


def _tlb(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    cpu = machine.cpus[index]
    if not paging(cpu):
        return "PG disabled\n"
    out = []
    for page in islice(mapped_pages(cpu), PAGES):
        # In a 4 KiB page's entry the bit of large pages says something else.
        entry = page.entry & ~LARGE if page.size == 4096 else page.entry
        shown = "".join(letter if entry & bit else "-" for bit, letter in _ENTRY)
        out.append(f"{page.linear:016x}: {page.physical:016x} {shown}\n")
    return "".join(out)


def _mem(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    cpu = machine.cpus[index]
    if not paging(cpu):
        return "PG disabled\n"
    ranges: list[list[int]] = []
    for page in islice(mapped_pages(cpu), PAGES):
        if ranges and ranges[-1][1] == page.linear and ranges[-1][2] == page.rights:
            ranges[-1][1] += page.size
        else:
            ranges.append([page.linear, page.linear + page.size, page.rights])
    return "".join(
        f"{start:016x}-{end:016x} {end - start:016x} "
        f"{'u' if rights & USER else '-'}r{'w' if rights & WRITABLE else '-'}\n"
        for start, end, rights in ranges
    )


def _mtree(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    lines = ["address-space: memory"]
    for region in machine.board.memory_map:
        kind = "rom" if isinstance(region, Rom) else "i/o" if isinstance(region, Mmio) else "ram"
        name = region.name
        if isinstance(region, Alias):
            kind, name = "i/o", f"alias {name} @{region.target:016x}-{region.target + region.size - 1:016x}"
        lines.append(f"  {region.base:016x}-{region.base + region.size - 1:016x} (prio 0, {kind}): {name}")
    for base, size, claim in machine.board.memory_decoder.shown:
        kind = ("rom" if claim.target.read_only else "ram") if isinstance(claim.target, HiddenMemory) else "i/o"
        lines.append(f"  {base:016x}-{base + size - 1:016x} (prio -1, {kind}): {claim.name}")
    lines += ["", "address-space: I/O"]
    for claimed in machine.board.ports.ranges:
        end = claimed.base + claimed.length - 1
        lines.append(f"  {claimed.base:016x}-{end:016x} (prio 0, i/o): {claimed.name}")
    return "\n".join(lines) + "\n\n"


# --- devices ---------------------------------------------------------------------------------------------------------


def _qtree(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    lines = ["bus: main-system-bus", "  type System"]
    for node in machine.tree.root.walk():
        if isinstance(node.value, Device):
            named = node.path.startswith("/machine/peripheral/")
            lines.append(f'  dev: {vm.qom.type_name(node)}, id "{node.name if named else ""}"')
            lines.extend(
                f"    {found.name} = {_shown(machine.tree.get(node.path, found.name))}"
                for found in machine.tree.properties(node.path)
                if found.name not in node.children
            )
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value} ({value:#x})" if isinstance(value, int) else f'"{value}"'


def _pic(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    return "".join(_interrupt_controllers(machine))


def _interrupt_controllers(machine: Machine) -> Iterator[str]:
    from vmcore.devices.ioapic import IoApic
    from vmcore.devices.pic8259 import Pic8259

    for device in machine.board.devices.values():
        if isinstance(device, IoApic):
            state = device.save()
            yield f"ioapic: id=0x{state.apic_id:02x} sel=0x{state.index:02x}\n"
            for pin, entry in enumerate(state.table):
                vector, mode = entry & 0xFF, _DELIVERY[entry >> 8 & 7]
                yield (
                    f"  pin {pin:<2} 0x{entry:016x} dest={entry >> 56:x} vec={vector:<3} "
                    f"active-{'lo' if entry >> 13 & 1 else 'hi'} {'level' if entry >> 15 & 1 else 'edge '} "
                    f"{'masked' if entry >> 16 & 1 else '      '} {mode:6} "
                    f"{'logical' if entry >> 11 & 1 else 'physical'}\n"
                )
    for device in machine.board.devices.values():
        if isinstance(device, Pic8259):
            pics = device.save()
            for number, chip in enumerate((pics.master, pics.slave)):
                yield (
                    f"pic{number}: irr={chip.irr:02x} imr={chip.imr:02x} isr={chip.isr:02x} "
                    f"hprio={(chip.lowest + 1) & 7} irq_base={chip.base:02x} rr_sel={int(chip.read_isr)} "
                    f"elcr={chip.elcr:02x} fnm={int(chip.fully_nested)}\n"
                )


_DELIVERY: Final = ("fixed", "lowest", "SMI", "...", "NMI", "INIT", "...", "extINT")

SUBJECTS: Final[dict[str, Subject]] = {
    "block": Subject("[-n] [-v] [device]", "the drives and what is in them (-n: the nodes; -v: more)", show_block),
    "blockstats": Subject("", "what the drives have done", show_statistics),
    "cpus": Subject("", "the vCPUs and the thread that executes them", _cpus),
    "iothreads": Subject("", "the I/O threads", hmp_memory.iothreads),
    "mem": Subject("", "linear memory that is mapped, with the rights to it", _mem),
    "memdev": Subject("", "the memory back ends", hmp_memory.memdev),
    "memory-devices": Subject("", "the memory modules", hmp_memory.memory_devices),
    "memory_size_summary": Subject("", "how much memory the machine has", hmp_memory.memory_size_summary),
    "mtree": Subject("", "the physical address space and the ports", _mtree),
    "name": Subject("", "the name of the machine", _name),
    "numa": Subject("", "the NUMA nodes", hmp_memory.numa),
    "pci": Subject("", "the PCI buses and the functions on them", hmp_pci.pci),
    "pic": Subject("", "the interrupt controllers", _pic),
    "qtree": Subject("", "the devices and their properties", _qtree),
    "registers": Subject("[-a|vcpu]", "the registers of a vCPU (-a: of all)", _registers),
    "status": Subject("", "whether the guest runs", _status),
    "tlb": Subject("", "the pages that are mapped", _tlb),
    "uuid": Subject("", "the UUID of the machine", _uuid),
    "version": Subject("", "the version of this program", _version),
    **{name: Subject(*subject) for name, subject in MIGRATION.items()},
}
"""What there is to show."""
