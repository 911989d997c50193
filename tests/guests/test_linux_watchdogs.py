"""Linux feeds a watchdog, and then no more: what each action does to it, in which order, and what it says itself.

Each watchdog's guest boots once and is kept from the moment on in which it begins to starve.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from exchange import connected
from guest_kit import MakeInitramfs

from vmcore import RunState, ShutdownCause, ShutdownRequested, VirtualMachine
from vmcore.machine.config import MachineConfig
from vmcore.machine.machine import Machine
from vmcore.machine.snapshot import Snapshot
from vmcore.model.events import Event, Watchdog
from vmcore.model.exits import Exit
from vmcore.model.run_state import WatchdogAction
from vmcore.model.units import SECOND

SCRIPT = """
/bin/busybox acpid -d -c /etc/acpi &
until /bin/busybox ls -l /proc/[0-9]*/fd | /bin/busybox grep -q event; do :; done
exec 9> /dev/watchdog
for i in 1 2 3 4 5; do echo fed >&9; /bin/busybox sleep 10; done
echo "starving"
exec /bin/busybox sh
"""

MODULES = {"ib700": ["ib700wdt"], "i6300esb": ["i6300esb"], "tco": ["lpc_ich", "iTCO_wdt"]}
GREETINGS = {
    "ib700": b"ib700wdt: WDT driver for IB700",
    "i6300esb": b"i6300ESB timer 0000:00:03.0: initialized",
    "tco": b"iTCO_wdt iTCO_wdt.1.auto: initialized. heartbeat=30 sec",
}
SEQUENCES = {
    "reset": ["WATCHDOG", "RESET"],
    "shutdown": ["WATCHDOG", "POWERDOWN", "SHUTDOWN"],
    "poweroff": ["WATCHDOG"],
    "pause": ["WATCHDOG", "STOP"],
    "debug": ["WATCHDOG"],
    "none": ["WATCHDOG"],
    "inject-nmi": ["WATCHDOG"],
}
"""What each action says, by the recorded behaviour of QEMU 7.2 (with a guest of its own, not this one)."""
NMI = b"Uhhuh. NMI received for unknown reason"

_kept: dict[str, Snapshot] = {}


@pytest.fixture
def starving(
    request: pytest.FixtureRequest,
    generic_kernel: Path,
    initramfs: MakeInitramfs,
    power_button_files: dict[str, tuple[int, bytes]],
) -> Snapshot:
    """Linux that has fed a watchdog for 50 s, beyond its time, and will not do so again."""
    name = request.param
    if name not in _kept:
        initrd = initramfs(
            SCRIPT, kernel=generic_kernel, modules=["evdev", "button", *MODULES[name]], files=power_button_files
        )
        config = MachineConfig(
            board="q35" if name == "tco" else "pc",
            kernel=generic_kernel,
            initrd=initrd,
            append="console=ttyS0",
            memory="256M",
            devices=[] if name == "tco" else [name],
        )
        with Machine(config) as machine:
            output = bytearray()

            def listen(data: bytes) -> None:
                output.extend(data)
                if b"starving" in output:
                    machine.stop()

            machine.serial[0].on_output = listen
            machine.run(until_ns=200_000_000_000)
            assert b"starving" in output, bytes(output[-2000:])
            assert GREETINGS[name] in output, bytes(output)
            _kept[name] = machine.save()
    return _kept[name]


@pytest.mark.parametrize(
    ("starving", "action"),
    [
        *(("ib700", action) for action in SEQUENCES),
        *(("i6300esb", action) for action in ("reset", "inject-nmi", "shutdown")),
        *(("tco", action) for action in ("reset", "inject-nmi", "pause")),
    ],
    indirect=["starving"],
)
async def test_a_starving_watchdog(starving: Snapshot, action: str, tmp_path: Path) -> None:
    async with VirtualMachine.from_snapshot(starving) as vm, connected(vm, tmp_path / "qmp") as qmp:
        await qmp.execute("set-action", watchdog=action)
        begin = vm.guest_ns
        with vm.events.subscribe(Event) as events:
            await qmp.execute("cont")
            assert await qmp.until("RESUME") == ["RESUME"]
            wanted = SEQUENCES[action]
            assert await qmp.until(wanted[-1]) == wanted
            told: list[Event] = []
            while len(told) < len(wanted) + 1:
                told.append(await events.receive())
            assert [event.wire_name for event in told] == ["RESUME", *wanted]
            assert told[1] == Watchdog(WatchdogAction(action))
        match action:
            case "reset":
                await vm.serial[0].expect(b"Linux version")
            case "shutdown":
                assert await vm.wait_off() == ShutdownRequested(ShutdownCause.GUEST_SHUTDOWN)
                assert b"reboot: Power down" in vm.serial[0].unread
            case "poweroff":
                exit: Exit = await vm.wait_off()
                assert exit == ShutdownRequested(ShutdownCause.NONE, guest=False)
            case "pause":
                assert vm.state is RunState.WATCHDOG
                left = (vm.guest_ns - begin) / SECOND
                # Its default is 30 s, of which 10 s had passed.  The TCO's count ends twice before anything happens.
                assert left == pytest.approx(50 if vm.config.board == "q35" else 20, abs=2)
                await qmp.execute("cont")
                assert await qmp.until("RESUME") == ["RESUME"]
                await vm.serial[0].send_all(b"echo $((6 * 7)) again\n")
                await vm.serial[0].expect(b"42 again")
            case "inject-nmi":
                await vm.serial[0].expect(NMI)
                await vm.serial[0].expect(b"Dazed and confused, but trying to continue")
            case _:
                assert (await qmp.execute("query-status"))["return"]["status"] == "running"
                await vm.serial[0].send_all(b"echo $((6 * 7)) again\n")
                await vm.serial[0].expect(b"42 again")
                assert NMI not in vm.serial[0].unread
