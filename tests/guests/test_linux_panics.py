"""Linux panics on a machine with a panic notifier, which its driver finds by ACPI: what each action does about it."""

from __future__ import annotations

from pathlib import Path

import pytest
from exchange import connected
from guest_kit import MakeInitramfs

from vmcore import RunState, ShutdownCause, ShutdownRequested, VirtualMachine
from vmcore.firmware import stock
from vmcore.machine.config import MachineConfig
from vmcore.machine.machine import Machine
from vmcore.machine.snapshot import Snapshot
from vmcore.model.events import Event, GuestPanicked
from vmcore.model.run_state import GuestPanicAction

_kept: list[Snapshot] = []


@pytest.fixture
def waiting(generic_kernel: Path, initramfs: MakeInitramfs) -> Snapshot:
    """Linux with the driver, and a shell that reads the console."""
    if not _kept:
        initrd = initramfs("echo ready\nexec /bin/busybox sh", kernel=generic_kernel, modules=["pvpanic-mmio"])
        config = MachineConfig(
            kernel=generic_kernel, initrd=initrd, append="console=ttyS0 panic=3", memory="256M", devices=["pvpanic"]
        )
        with Machine(config) as machine:
            output = bytearray()

            def listen(data: bytes) -> None:
                output.extend(data)
                if b"ready" in output:
                    machine.stop()

            machine.serial[0].on_output = listen
            machine.run(until_ns=100_000_000_000)
            assert b"ready" in output, bytes(output[-2000:])
            _kept.append(machine.save())
    return _kept[0]


@pytest.mark.parametrize(
    ("panic", "shutdown", "wanted", "told"),
    [
        ("pause", "poweroff", ["GUEST_PANICKED", "STOP"], GuestPanicAction.PAUSE),
        ("shutdown", "poweroff", ["GUEST_PANICKED", "SHUTDOWN"], GuestPanicAction.POWEROFF),
        ("shutdown", "pause", ["GUEST_PANICKED", "STOP"], GuestPanicAction.PAUSE),
        ("exit-failure", "poweroff", ["GUEST_PANICKED", "SHUTDOWN"], GuestPanicAction.POWEROFF),
        ("exit-failure", "pause", ["GUEST_PANICKED", "SHUTDOWN", "STOP"], GuestPanicAction.POWEROFF),
        ("none", "poweroff", ["GUEST_PANICKED", "RESET"], GuestPanicAction.RUN),
    ],
)
async def test_a_panic(
    waiting: Snapshot, tmp_path: Path, panic: str, shutdown: str, wanted: list[str], told: GuestPanicAction
) -> None:
    """The order of events is the recorded one of QEMU 7.2; there the firmware resets once more behind `none`."""
    async with VirtualMachine.from_snapshot(waiting) as vm, connected(vm, tmp_path / "qmp") as qmp:
        await qmp.execute("set-action", panic=panic, shutdown=shutdown)
        with vm.events.subscribe(Event) as events:
            await qmp.execute("cont")
            assert await qmp.until("RESUME") == ["RESUME"]
            await vm.serial[0].send_all(b"echo c > /proc/sysrq-trigger\n")
            assert await qmp.until(wanted[-1]) == wanted
            seen = [await events.receive() for _ in range(1 + len(wanted))]
            assert [event.wire_name for event in seen] == ["RESUME", *wanted]
            assert seen[1] == GuestPanicked(told)
        if wanted[-1] == "SHUTDOWN":
            status = int(panic == "exit-failure")
            assert await vm.wait_off() == ShutdownRequested(ShutdownCause.GUEST_PANIC, status=status)
        elif wanted[-1] == "STOP":
            state = RunState.SHUTDOWN if "SHUTDOWN" in wanted else RunState.GUEST_PANICKED
            answer = await qmp.execute("query-status")
            assert answer["return"]["status"] == state.value
            if state is RunState.GUEST_PANICKED:
                # It may go on, and then does what its command line says of panics.
                await qmp.execute("cont")
                assert await qmp.until("RESET") == ["RESUME", "RESET"]
        assert b"Kernel panic - not syncing: sysrq triggered crash" in vm.serial[0].unread


@pytest.mark.skipif(stock.find(stock.LINUX_LOADER) is None, reason="SeaBIOS or QEMU's linuxboot_dma.bin is missing")
@pytest.mark.parametrize(("device", "module"), [("pvpanic", "pvpanic-mmio"), ("pvpanic-pci", "pvpanic-pci")])
async def test_the_driver_finds_it_under_seabios(
    generic_kernel: Path, initramfs: MakeInitramfs, device: str, module: str
) -> None:
    """On the ISA bus by the tables that the firmware installs, or on PCI."""
    initrd = initramfs("echo c > /proc/sysrq-trigger", kernel=generic_kernel, modules=[module])
    async with VirtualMachine(
        board="q35",
        firmware=stock.PC,
        kernel=generic_kernel,
        initrd=initrd,
        append="console=ttyS0",
        memory="256M",
        devices=[device],
    ) as vm:
        assert await vm.wait_off() == ShutdownRequested(ShutdownCause.GUEST_PANIC)
