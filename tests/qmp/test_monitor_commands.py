"""The human monitor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from exchange import connected, execute, qemu, refusal

from vmcore import FlatImage, RunState, VirtualMachine
from vmcore.engine import assemble
from vmcore.machine.config import FlatMode
from vmcore.machine.inputs import KeyInput

SPIN = FlatImage(bytes.fromhex("eb fe"))
DATA = bytes.fromhex("ea 5b e0 00 f0 30 36 2f 32 33 2f 39 39 00 fc 00") + b"'\\\n\r"


def state(vm: VirtualMachine) -> RunState:
    """The run state, read anew: a property that changes behind the type checker's back."""
    return vm.state


async def say(vm: VirtualMachine, line: str, **given: Any) -> str:
    text: str = await execute(vm, "human-monitor-command", **{"command-line": line}, **given)
    assert "\n" not in text.replace("\r\n", "")
    return text.replace("\r\n", "\n")


@pytest.mark.conformance("human-monitor-command")
async def test_lines_are_run_over_the_socket(tmp_path: Path) -> None:
    async with VirtualMachine(flat=SPIN, name="foo") as vm, connected(vm, tmp_path / "qmp") as client:
        answer = await client.execute("human-monitor-command", command_line="info name")
        assert answer == {"return": "foo\r\n"}
        assert await client.execute("human-monitor-command", command_line="cont") == {"return": ""}
        assert state(vm) is RunState.RUNNING
        assert await say(vm, "info status") == "VM status: running\n"
        assert await say(vm, "stop") == ""
        assert await say(vm, "info status") == "VM status: paused\n"
        assert state(vm) is RunState.PAUSED


async def test_memory_is_shown_in_every_format() -> None:
    async with VirtualMachine(flat=FlatImage(SPIN.image + DATA, address=0x7C00)) as vm:  # type: ignore[operator]
        for line, text in (
            ("x/4xb 0x7c02", "0000000000007c02: 0xea 0x5b 0xe0 0x00\n"),
            ("xp /2xg 0x7c02", "0000000000007c02: 0x2f3630f000e05bea 0x00fc0039392f3332\n"),
            ("xp/4xh 0x7c02", "0000000000007c02: 0x5bea 0x00e0 0x30f0 0x2f36\n"),
            ("xp/4dw 0x7c02", "0000000000007c02:   14703594  792080624  959394610   16515129\n"),
            ("xp/1db 0x7c02", "0000000000007c02: -22\n"),
            ("xp/4uw 0x7c02", "0000000000007c02:   14703594  792080624  959394610   16515129\n"),
            ("xp/4ow 0x7c02", "0000000000007c02:   070055752 05715430360 07113631462   077000071\n"),
            (
                "xp/20cb 0x7c02",
                "0000000000007c02: '\\xea' '[' '\\xe0' '\\x00' '\\xf0' '0' '6' '/'\n"
                "0000000000007c0a: '2' '3' '/' '9' '9' '\\x00' '\\xfc' '\\x00'\n"
                "0000000000007c12: '\\'' '\\\\' '\\n' '\\r'\n",
            ),
            (
                "x/2i $pc",
                "0x00007c00:  eb fe                    jmp      0x7c00\n"
                "0x00007c02:  ea 5b e0 00 f0           ljmp     0xf000:0xe05b\n",
            ),
            ("xp/2xw 0x10000000", "0000000010000000: Cannot access memory\n"),
            ("xp/2i 0x10000000", "0x10000000:  Cannot access memory\n"),
        ):
            assert await say(vm, line) == text, line


async def test_files_and_keys(tmp_path: Path) -> None:
    path = tmp_path / "file"
    async with VirtualMachine(flat=SPIN) as vm:
        assert await say(vm, f'memsave $pc 2 "{path}"') == ""
        assert path.read_bytes() == b"\xeb\xfe"
        assert await say(vm, f'pmemsave 0x7c01 1 "{path}"') == ""
        assert path.read_bytes() == b"\xfe"
        missing = await say(vm, 'memsave 0 16 "/nonexist/x"')
        assert missing == "Error: Could not open '/nonexist/x': No such file or directory\n"
        await say(vm, "cont")
        assert await say(vm, "sendkey shift-a 1") == ""
        await vm.sleep(0.01)
        await say(vm, "stop")
        assert [record.input for record in vm.peek().inputs] == [
            KeyInput("shift", True),
            KeyInput("a", True),
            KeyInput("a", False),
            KeyInput("shift", False),
        ]
        assert await say(vm, "quit") == ""
        assert state(vm) is RunState.SHUTDOWN
        assert await say(vm, "cont") == "Error: Resetting the Virtual Machine is required\n"
        assert await say(vm, "system_reset") == ""
        assert state(vm) is RunState.PRELAUNCH


async def test_registers_of_a_vcpu_in_long_mode() -> None:
    image = FlatImage(
        assemble("mov rax, -2; hlt", bits=64),
        0x100000,
        mode=FlatMode.LONG,
    )
    async with VirtualMachine(flat=image, cpus=2) as vm:
        await vm.run(instructions=1)
        text = await say(vm, "info registers")
        assert text.startswith("\nCPU#0\nRAX=fffffffffffffffe RBX=")
        assert f"RIP={vm.cpu.rip:016x} RFL={vm.cpu.rflags:08x} [" in text
        assert " DPL=0 CS64 [" in text
        assert "XMM15=" in text
        assert (await say(vm, "info registers", **{"cpu-index": 1})).startswith("\nCPU#1\nEAX=")
        assert (await say(vm, "info registers -a")).count("CPU#") == 2
        assert await say(vm, "info registers 1") == await say(vm, "info registers", **{"cpu-index": 1})
        assert await say(vm, "p/d $rax") == "-2\n"
        code = await say(vm, "x/1i $pc")
        assert code.endswith("hlt\n")


async def test_what_is_mapped_is_what_the_vcpu_translates() -> None:
    image = FlatImage(b"\xf4", 0x100000, mode=FlatMode.LONG)
    async with VirtualMachine(flat=image) as vm:
        lines = (await say(vm, "info tlb")).splitlines()
        assert lines
        for line in (lines[0], lines[-1]):
            linear, physical = (int(part.strip(":"), 16) for part in line.split()[:2])
            assert vm.cpu.translate(linear) == physical
        first = (await say(vm, "info mem")).splitlines()[0]
        start, end = (int(part, 16) for part in first.split()[0].split("-"))
        assert vm.cpu.translate(end - 4096) is not None
        assert int(first.split()[1], 16) == end - start
    async with VirtualMachine(flat=SPIN) as vm:
        assert await say(vm, "info tlb") == await say(vm, "info mem") == "PG disabled\n"


async def test_the_machine_is_shown() -> None:
    async with VirtualMachine(flat=SPIN, devices=["isa-debug-exit,iobase=0xf4,iosize=4,id=leave"]) as vm:
        tree = await say(vm, "info mtree")
        assert "  0000000000000000-000000000009ffff (prio 0, ram): conventional\n" in tree
        assert "  00000000000000f4-00000000000000f7 (prio 0, i/o): isa-debug-exit\n" in tree
        devices = await say(vm, "info qtree")
        assert '  dev: isa-debug-exit, id "leave"\n' in devices
        assert '  dev: local-apic, id ""\n    apic-id = 0 (0x0)\n' in devices
        pic = await say(vm, "info pic")
        assert "  pin 0  0x0000000000010000 dest=0 vec=0   active-hi edge  masked fixed  physical\n" in pic
        assert pic.count("irq_base=") == 2
        assert await say(vm, "info cpus") == f"* CPU #0: thread_id={vm.thread_id}\n"
        assert (await say(vm, "info version")).startswith("7.2.0vmcore")
        helped = await say(vm, "help")
        assert "x /fmt addr -- " in helped
        assert await say(vm, "help x") in helped
        assert await say(vm, "info") == await say(vm, "help info")
        assert await say(vm, "nmi") == ""


async def test_a_vcpu_that_there_is_not_is_an_error() -> None:
    expected = ("GenericError", "Parameter 'cpu-index' expects a CPU number")
    async with VirtualMachine(flat=SPIN) as vm:
        found = await refusal(vm, "human-monitor-command", **{"command-line": "info cpus", "cpu-index": 9})
        assert found == expected


SAME = (
    "", "  ", "nosuch", "info nosuch", "info status", "info name", "info uuid", "info mem", "info tlb",
    "p/d 5", "p/x 0x10+3*2", "p/d -5", "p/u -5", "p/o 8", "p/o 0", "p/c 65", "p/c 10", "p/x 1+", "p/x (1+2",
    "p/x", "p/x 1/0", "p/x 7%4", "p/x 1<<3", "p/x ~0", "p/x -1", "p/x $eflags", "p/x $cs", "p/x $eip", "print/x $pc",
    "p/x $nosuch", "p/x 08", "p/x 0x", 'p/x "a', "p/x 'a'", "p/d -7/2", "p/d -7%2", "p/x 6&3|8^1", "p/d 2-3-4",
    "p/x 0xffffffffffffffff+2", "p/z 1", "p/x 1 2", "p/x +-+5", "p/d 010",
    "x/xw", "x/4xw 0x500", "xp/8xb 0x500", "xp/3xg 0x500", "xp/4dw 0x500", "xp/4uh 0x500", "xp/4ow 0x500",
    "xp/20cb 0x500", "xp/4xz 0", "xp/0xw 0", "x/2sw 0", "xp/4xb 0x10000000", "xp/4xw 0x500 7",
    "sendkey", "sendkey a", "sendkey nosuch", "sendkey a b", "memsave 0 16 /nonexist/x", "memsave 0",
    'memsave 0 16 "/nonexist/x"', "stop", "stop now", "cont now", "cpu 1", "cpu 7", "cpu", "quit x",
    "info registers 3", "info registers foo",
)  # fmt: skip


async def test_lines_say_what_they_say_to_qemu() -> None:
    with qemu("-smp", "2", "-name", "foo") as theirs:
        async with VirtualMachine(memory="32M", cpus=2, name="foo") as vm:
            differences = []
            for line in SAME:
                expected = theirs.execute("human-monitor-command", command_line=line)["return"]
                ours = await execute(vm, "human-monitor-command", **{"command-line": line})
                if ours != expected:
                    differences.append((line, ours, expected))
            assert differences == []
