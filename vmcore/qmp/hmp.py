"""The human monitor: lines of text in, text out.

The commands, their arguments and the form of what they show are those that users of QEMU's monitor know; what a line
gets wrong is said in its output, it is no error of the caller's.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, final

from attrs import evolve, frozen

from vmcore.engine import Cpu, disassemble
from vmcore.engine.registers import Attributes
from vmcore.hardware.decoding import HiddenMemory
from vmcore.hardware.memory_map import Ram, Rom
from vmcore.model.errors import CommandError, GuestError, UsageError
from vmcore.model.keyval import OptionError
from vmcore.model.qkeycode import QKeyCode
from vmcore.model.run_state import WatchdogAction
from vmcore.model.ui import ImageFormat, IntWrapper, KeyValue, QKeyCodeWrapper
from vmcore.qmp import hmp_block, hmp_devices
from vmcore.qmp.hmp_expression import Format, LineError, Scanner
from vmcore.qmp.hmp_info import SUBJECTS
from vmcore.qmp.hmp_migration import COMMANDS as MIGRATION
from vmcore.shell.input import HOLD_SECONDS

if TYPE_CHECKING:
    from vmcore.machine.machine import Machine
    from vmcore.vm import VirtualMachine

__all__ = ["HumanMonitor"]

LONGEST: Final = 15
"""Bytes of an instruction at most."""

BYTES: Final = 1 << 20
"""Bytes that one line shows at most."""


@final
class HumanMonitor:
    """Runs lines on a virtual machine, with one vCPU as the current one."""

    def __init__(self, vm: VirtualMachine, cpu: int = 0) -> None:
        self.vm = vm
        self.index = cpu

    async def run(self, line: str) -> str:
        """Run one line; what it says."""
        line = line.strip()
        if not line:
            return ""
        name = line.split("/")[0].split()[0] if not line.startswith("/") else line.split()[0]
        command = _BY_NAME.get(name)
        if command is None:
            return f"unknown command: '{name}'\n"
        try:
            return await command.run(self, line[len(name) :])
        except LineError as error:
            return f'{error}\nTry "help {name}" for more information\n'
        except (CommandError, UsageError) as error:
            return f"Error: {error}\n"

    def scanner(self, machine: Machine, text: str) -> Scanner:
        """Reads arguments, with the registers of the current vCPU."""
        return Scanner(text, machine.cpus[self.index])


@frozen
class _Command:
    """A command of the monitor.  name: with its short forms behind `|`."""

    name: str
    parameters: str
    help: str
    run: Callable[[HumanMonitor, str], Awaitable[str]]


# --- showing memory --------------------------------------------------------------------------------------------------


async def _x(monitor: HumanMonitor, text: str) -> str:
    return await _dump(monitor, text, physical=False)


async def _xp(monitor: HumanMonitor, text: str) -> str:
    return await _dump(monitor, text, physical=True)


async def _dump(monitor: HumanMonitor, text: str, *, physical: bool) -> str:
    async with monitor.vm.parked() as machine:
        scan = monitor.scanner(machine, text)
        how = scan.format(sizes=True)
        address = scan.number() % (1 << 64)
        _end(scan, "xp" if physical else "x")
        cpu = machine.cpus[monitor.index]

        def read(at: int, size: int) -> bytes | None:
            return _read_physical(machine, at, size) if physical else _read_virtual(cpu, at, size)

        return _instructions(read, cpu, address, how.count) if how.kind == "i" else _values(read, address, how)


Read = Callable[[int, int], bytes | None]


def _read_physical(machine: Machine, address: int, size: int) -> bytes | None:
    for at in {address, address + size - 1}:
        found = machine.board.memory_map.resolve(at)
        moved = machine.board.memory_decoder.at(at)
        fixed = found is not None and isinstance(found[0], Ram | Rom)
        if not fixed and not (moved is not None and isinstance(moved[0].target, HiddenMemory)):
            return None
    return machine.memory.read(address, size)


def _read_virtual(cpu: Cpu, address: int, size: int) -> bytes | None:
    try:
        return cpu.read_virtual(address, size)
    except (GuestError, OverflowError):
        return None


def _values(read: Read, address: int, how: Format) -> str:
    out = []
    left = min(how.count * how.size, BYTES)
    while left > 0:
        size = min(left, 8 if how.size == 1 else 16)
        data = read(address, size)
        out.append(f"{address:016x}:")
        if data is None:
            out.append(" Cannot access memory\n")
            break
        values = (int.from_bytes(data[at : at + how.size], "little") for at in range(0, size, how.size))
        out.extend(f" {_value(value, how)}" for value in values)
        out.append("\n")
        address = (address + size) % (1 << 64)
        left -= size
    return "".join(out)


def _value(value: int, how: Format) -> str:
    bits = how.size * 8
    match how.kind:
        case "o":
            return f"0{value:o}".rjust(-(-bits // 3)) if value else "0".rjust(-(-bits // 3))
        case "u":
            return f"{value:{-(-bits * 10 // 33)}}"
        case "d":
            signed = value - (1 << bits) if value >> bits - 1 else value
            return f"{signed:{-(-bits * 10 // 33)}}"
        case "c":
            return _character(value)
    return f"0x{value:0{bits // 4}x}"


def _character(value: int) -> str:
    value &= 0xFF
    special = {"'": "\\'", "\\": "\\\\", "\n": "\\n", "\r": "\\r"}
    shown = special.get(chr(value)) or (chr(value) if 32 <= value <= 126 else f"\\x{value:02x}")
    return f"'{shown}'"


def _instructions(read: Read, cpu: Cpu, address: int, count: int) -> str:
    bits = 64 if cpu.efer >> 10 & 1 and cpu.cs.attributes & Attributes.L else 32
    if bits == 32 and not cpu.cs.attributes & Attributes.DB:
        bits = 16
    out = []
    for _ in range(min(count, BYTES // LONGEST)):
        data = next((d for d in (read(address, size) for size in range(LONGEST, 0, -1)) if d is not None), None)
        if data is None:
            out.append(f"0x{address:08x}:  Cannot access memory\n")
            break
        found = disassemble(data, address, bits, 1)[0]
        out.append(f"0x{address:08x}:  {found.data.hex(' '):<24} {found.mnemonic:<8} {found.operands}".rstrip() + "\n")
        address = (address + len(found.data)) % (1 << 64)
    return "".join(out)


async def _print(monitor: HumanMonitor, text: str) -> str:
    async with monitor.vm.parked() as machine:
        scan = monitor.scanner(machine, text)
        how = scan.format(sizes=False)
        value = scan.number()
        _end(scan, "print|p")
    match how.kind:
        case "o":
            return f"0{value % (1 << 64):o}\n" if value else "0\n"
        case "u":
            return f"{value % (1 << 64)}\n"
        case "c":
            return f"{_character(value)}\n"
        case "d" | "i":
            return f"{value}\n"
    return f"{value % (1 << 64):#x}\n"


# --- files -----------------------------------------------------------------------------------------------------------


async def _memsave(monitor: HumanMonitor, text: str) -> str:
    address, size, path = await _place(monitor, text, "memsave")
    await monitor.vm.dump.virtual(path, address, size, monitor.index)
    return ""


async def _pmemsave(monitor: HumanMonitor, text: str) -> str:
    address, size, path = await _place(monitor, text, "pmemsave")
    await monitor.vm.dump.physical(path, address, size)
    return ""


async def _place(monitor: HumanMonitor, text: str, name: str) -> tuple[int, int, str]:
    async with monitor.vm.parked() as machine:
        scan = monitor.scanner(machine, text)
        address, size = scan.number(), scan.number()
        path = scan.word(f"{name}: filename expected")
        _end(scan, name)
        return address % (1 << 64), size, path


# --- the machine's life ----------------------------------------------------------------------------------------------


def _plain(
    name: str, action: Callable[[VirtualMachine], Awaitable[None]]
) -> Callable[[HumanMonitor, str], Awaitable[str]]:
    async def run(monitor: HumanMonitor, text: str) -> str:
        if text.strip():
            raise LineError(f"{name}: extraneous characters at the end of line")
        await action(monitor.vm)
        return ""

    return run


async def _cont(vm: VirtualMachine) -> None:
    if vm.state.needs_reset:
        raise CommandError("GenericError", "Resetting the Virtual Machine is required")
    await vm.cont()


async def _nmi(vm: VirtualMachine) -> None:
    for index in vm.peek().present_cpus:
        await vm.nmi(index)


async def _sendkey(monitor: HumanMonitor, text: str) -> str:
    async with monitor.vm.parked() as machine:
        scan = monitor.scanner(machine, text)
        names = scan.word("sendkey: string expected")
        hold = scan.number() / 1000 if scan.more else HOLD_SECONDS
        _end(scan, "sendkey")
    keys: list[KeyValue] = []
    for name in names.split("-"):
        if name in tuple(QKeyCode):
            keys.append(QKeyCodeWrapper(data=QKeyCode(name)))
        elif name.startswith("0x"):
            try:
                keys.append(IntWrapper(data=int(name, 16)))
            except ValueError:
                return f"invalid parameter: {name}\n"
        else:
            return f"invalid parameter: {name}\n"
    if monitor.vm.state.is_live:
        await monitor.vm.input.press(keys, hold if hold > 0 else HOLD_SECONDS)
    return ""


async def _screendump(monitor: HumanMonitor, text: str) -> str:
    async with monitor.vm.parked() as machine:
        scan = monitor.scanner(machine, text)
        path = scan.word("screendump: filename expected")
        given = scan.word("screendump: string expected") if scan.flag("-f") else "ppm"
        device = scan.word("") if scan.more else None
        if scan.more:
            scan.number()  # The head of the device.
        _end(scan, "screendump")
    if given not in tuple(ImageFormat):
        return f"Error: Invalid parameter '{given}'\n"
    if device is not None:
        raise CommandError("DeviceNotFound", f"Device '{device}' not found")
    await monitor.vm.screen.dump(path, ImageFormat(given))
    return ""


async def _mouse_move(monitor: HumanMonitor, text: str) -> str:
    async with monitor.vm.parked() as machine:
        scan = monitor.scanner(machine, text)
        steps = [scan.word("mouse_move: string expected"), scan.word("mouse_move: string expected")]
        if scan.more:
            steps.append(scan.word(""))
        _end(scan, "mouse_move")
    dx, dy, dz = (*(_leading_number(step) for step in steps), 0)[:3]
    if monitor.vm.state.is_live:
        await monitor.vm.input.move_mouse(dx, dy, dz)
    return ""


def _leading_number(text: str) -> int:
    """A number as far as there is one: the arguments are words, and anything else in them counts as nothing."""
    found = re.match(r"[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)", text)
    return 0 if found is None else int(found.group(), 0) if "x" in found.group().lower() else int(found.group())


async def _mouse_button(monitor: HumanMonitor, text: str) -> str:
    async with monitor.vm.parked() as machine:
        scan = monitor.scanner(machine, text)
        buttons = scan.number()
        _end(scan, "mouse_button")
    if monitor.vm.state.is_live:
        await monitor.vm.input.set_buttons(buttons)
    return ""


async def _mouse_set(monitor: HumanMonitor, text: str) -> str:
    async with monitor.vm.parked() as machine:
        scan = monitor.scanner(machine, text)
        index = scan.number()
        _end(scan, "mouse_set")
    if index not in [mouse.index for mouse in await monitor.vm.input.mice()]:
        return f"Mouse at index '{index}' not found\n"
    return ""  # There is one pointing device at most, and it gets the input already.


async def _cpu(monitor: HumanMonitor, text: str) -> str:
    async with monitor.vm.parked() as machine:
        scan = monitor.scanner(machine, text)
        index = scan.number()
        _end(scan, "cpu")
        if index not in machine.present_cpus:
            return "invalid CPU index\n"
    monitor.index = index
    return ""


# --- objects ---------------------------------------------------------------------------------------------------------


async def _object_add(monitor: HumanMonitor, text: str) -> str:
    try:
        await monitor.vm.objects.add(_word(text, "object_add"))
    except OptionError as error:
        return f"Error: {error.wire or error}\n"
    return ""


async def _device_add(monitor: HumanMonitor, text: str) -> str:
    return await hmp_devices.device_add(monitor.vm, _word(text, "device_add"))


async def _device_del(monitor: HumanMonitor, text: str) -> str:
    return await hmp_devices.device_del(monitor.vm, _word(text, "device_del"))


async def _object_del(monitor: HumanMonitor, text: str) -> str:
    await monitor.vm.objects.remove(_word(text, "object_del"))
    return ""


def _word(text: str, name: str) -> str:
    """The one argument of a command."""
    words = text.split()
    if not words:
        raise LineError(f"{name}: string expected")
    if len(words) > 1:
        raise LineError(f"{name}: extraneous characters at the end of line")
    return words[0]


# --- info and help ---------------------------------------------------------------------------------------------------


async def _info(monitor: HumanMonitor, text: str) -> str:
    words = text.split(maxsplit=1)
    if not words:
        return _subjects()
    name, rest = words[0], words[1] if len(words) > 1 else ""
    subject = SUBJECTS.get(name)
    if subject is None:
        return f"unknown command: 'info {name}'\n"
    try:
        async with monitor.vm.parked() as machine:
            scan = monitor.scanner(machine, rest)
            shown = subject.show(monitor.vm, machine, monitor.index, scan)
            _end(scan, name)
            return shown
    except LineError as error:
        return f'{error}\nTry "help info {name}" for more information\n'


def _subjects() -> str:
    return "".join(f"info {name} {s.parameters} -- {s.help}\n" for name, s in sorted(SUBJECTS.items()))


async def _help(monitor: HumanMonitor, text: str) -> str:
    words = text.split()
    if words[:1] == ["info"]:
        found = SUBJECTS.get(words[1]) if len(words) > 1 else None
        return f"info {words[1]} {found.parameters} -- {found.help}\n" if found is not None else _subjects()
    if words:
        named = _BY_NAME.get(words[0])
        return f"unknown command: '{words[0]}'\n" if named is None else _described(named)
    return "".join(_described(command) for command in sorted(COMMANDS, key=lambda command: command.name))


def _described(command: _Command) -> str:
    return f"{command.name} {command.parameters} -- {command.help}\n"


def _end(scan: Scanner, name: str) -> None:
    if scan.more:
        raise LineError(f"{name}: extraneous characters at the end of line")


async def _mce(monitor: HumanMonitor, text: str) -> str:
    async with monitor.vm.parked() as machine:
        scan = monitor.scanner(machine, text)
        broadcast = scan.flag("-b")
        cpu, bank = scan.number(), scan.number()
        status, mcg_status, address, misc = (scan.number() % (1 << 64) for _ in range(4))
        _end(scan, "mce")
        if cpu not in machine.present_cpus:
            return ""
    try:
        outcome = await monitor.vm.inject_machine_check(
            cpu, bank, status, mcg_status=mcg_status, address=address, misc=misc, broadcast=broadcast
        )
    except UsageError as error:
        return f"{error}\n"
    return outcome.text


async def _watchdog_action(monitor: HumanMonitor, text: str) -> str:
    async with monitor.vm.parked() as machine:
        scan = monitor.scanner(machine, text)
        word = scan.word("watchdog_action: string expected")
        _end(scan, "watchdog_action")
        if word not in tuple(WatchdogAction):
            return f"Error: invalid parameter value: {word}\n"
        machine.actions = evolve(machine.actions, watchdog=WatchdogAction(word))
    return ""


COMMANDS: Final = (
    _Command("block_resize", "device size", "give a disk another size", hmp_block.resize),
    _Command("change", "device [-f] filename [format]", "change a medium (-f: though it is locked)", hmp_block.change),
    _Command("cont|c", "", "let the guest run", _plain("cont|c", _cont)),
    _Command("cpu", "index", "choose the current vCPU", _cpu),
    _Command("device_add", "driver[,prop=value][,...]", "plug a device in", _device_add),
    _Command("device_del", "device", "ask the guest to let go of a device", _device_del),
    _Command("eject", "[-f] device", "take out a medium (-f: though it is locked)", hmp_block.eject),
    _Command("help|?", "[cmd]", "show what there is", _help),
    _Command("info", "[subject]", "show something about the machine", _info),
    _Command(
        "mce",
        "[-b] cpu bank status mcgstatus addr misc",
        "let a vCPU find a hardware error (-b: broadcast it to the others)",
        _mce,
    ),
    _Command("memsave", "addr size file", "write linear memory to a file", _memsave),
    _Command("mouse_button", "state", "change mouse button state (1=L, 2=M, 4=R)", _mouse_button),
    _Command("mouse_move", "dx dy [dz]", "move the mouse", _mouse_move),
    _Command("mouse_set", "index", "choose the mouse that gets the input", _mouse_set),
    _Command("nmi", "", "send an NMI to every vCPU", _plain("nmi", _nmi)),
    _Command("object_add", "type,id=id[,name=value]", "make an object", _object_add),
    _Command("object_del", "id", "unmake an object", _object_del),
    _Command("pmemsave", "addr size file", "write physical memory to a file", _pmemsave),
    _Command("print|p", "/fmt expr", "show the value of an expression", _print),
    _Command("quit|q", "", "switch the machine off", _plain("quit|q", lambda vm: vm.quit())),
    _Command("screendump", "filename [-f format] [device [head]]", "write the screen to a file", _screendump),
    _Command("sendkey", "keys [hold_ms]", "press keys: sendkey ctrl-alt-f1", _sendkey),
    _Command("stop|s", "", "pause the guest", _plain("stop|s", lambda vm: vm.stop())),
    _Command("system_powerdown", "", "press the power button", _plain("system_powerdown", lambda vm: vm.powerdown())),
    _Command("system_reset", "", "press the reset button", _plain("system_reset", lambda vm: vm.reset())),
    _Command("system_wakeup", "", "wake a guest that sleeps", _plain("system_wakeup", lambda vm: vm.wake())),
    _Command("watchdog_action", f"[{'|'.join(WatchdogAction)}]", "say what an expired watchdog does", _watchdog_action),
    _Command("x", "/fmt addr", "show linear memory", _x),
    _Command("xp", "/fmt addr", "show physical memory", _xp),
    *(_Command(*command) for command in MIGRATION),
)
"""Every command of the monitor."""

_BY_NAME: Final = {name: command for command in COMMANDS for name in command.name.split("|")}
