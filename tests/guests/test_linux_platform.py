"""Linux on the interrupt controllers, timers and clocks that it takes when told to, or when there are no others.

What it takes by itself (TSC deadline, IOAPIC) is what all other boots show.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vmcore.machine.config import MachineConfig
from vmcore.machine.machine import Machine
from vmcore.model.events import RtcChange
from vmcore.model.exits import ShutdownRequested
from vmcore.model.run_state import ShutdownCause

SCRIPT = """
export PATH=/bin
alias bb=/bin/busybox
sources=/sys/devices/system
echo clocksource: $(bb cat $sources/clocksource/clocksource0/current_clocksource)
echo clockevent: $(bb cat $sources/clockevents/clockevent0/current_device)
bb hwclock -r -u -f /dev/rtc0
echo +2 > /sys/class/rtc/rtc0/wakealarm
before=$(bb cut -d' ' -f1 /proc/uptime)
bb sleep 3
echo slept: $before $(bb cut -d' ' -f1 /proc/uptime)
bb date -u -s '2030-05-06 07:08:09'
bb hwclock -w -u -f /dev/rtc0
bb sleep 2
bb hwclock -r -u -f /dev/rtc0
bb cat /proc/interrupts
bb poweroff -f
"""
START = datetime(2026, 1, 1, tzinfo=UTC)

PIC = "nolapic noapic hpet=disable"
PIT = "nolapic_timer hpet=disable"
ONE_SHOT = "lapic=notscdeadline clocksource=acpi_pm hpet=disable"
HPET = "nolapic_timer clocksource=hpet"


@pytest.mark.parametrize(
    ("append", "cpu", "cpus", "source", "event", "timer"),
    [
        pytest.param(PIC, "max", 1, "tsc", "pit", r"  0: +\d{3,} +XT-PIC +timer", id="8259 and 8254"),
        pytest.param(PIT, "qemu64", 1, "tsc", "pit", r"  0: +\d{3,} +IO-APIC +2-edge +timer", id="IOAPIC and 8254"),
        pytest.param(ONE_SHOT, "Nehalem", 2, "acpi_pm", "lapic", r"LOC:( +\d\d+){2} ", id="local APIC and PM timer"),
        pytest.param(HPET, "qemu64", 1, "hpet", "hpet", r"  0: +\d{2,} +IO-APIC +2-edge +timer", id="HPET"),
    ],
)
def test_linux_keeps_time_with(
    cloud_kernel: Path,
    initramfs: Callable[[str], bytes],
    append: str,
    cpu: str,
    cpus: int,
    source: str,
    event: str,
    timer: str,
) -> None:
    config = MachineConfig(
        kernel=cloud_kernel,
        initrd=initramfs(SCRIPT),
        append=f"console=ttyS0 panic=-1 {append}",
        memory="256M",
        cpu=cpu,
        cpus=cpus,
        rtc=START.isoformat(),
    )
    with Machine(config) as machine:
        result = machine.run(until_ns=20_000_000_000)
        log = machine.serial[0].take().decode()
        assert result == ShutdownRequested(ShutdownCause.GUEST_SHUTDOWN), log[-2000:]
        changes = [each for each in machine.take_events() if isinstance(each, RtcChange)]
    assert re.search(rf"^clocksource: {source}", log, re.MULTILINE)
    assert f"clockevent: {event}\r" in log
    assert re.search(timer, log)
    assert "Thu Jan  1 00:00:0" in log
    slept = re.search(r"^slept: (\S+) (\S+)", log, re.MULTILINE)
    assert slept is not None
    assert 2.99 <= float(slept[2]) - float(slept[1]) <= 3.02
    # With an HPET in legacy replacement mode Linux makes the clock's interrupts from one of its timers.
    once = r"^  8: +\d+ .*rtc0" if event == "hpet" else r"^  8: +1 .*rtc0"
    assert re.search(once, log, re.MULTILINE), "the alarm interrupts once"
    assert "Mon May  6 07:08:1" in log
    offset = (datetime(2030, 5, 6, 7, 8, 9, tzinfo=UTC) - START).total_seconds()
    assert [change.qom_path for change in changes] == ["/machine/rtc"]
    assert offset - 10 < changes[0].offset < offset
    assert not re.search(r"WARNING:|BUG:|nstable|purious (?!interr)|timed out|MP-BIOS|doesn't work|ERR: +[1-9]", log)
