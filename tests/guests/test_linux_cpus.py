"""vCPUs that come and go under Debian's kernel."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from test_linux_guests import complaints
from test_seabios import SEABIOS

from vmcore import VirtualMachine
from vmcore.model.acpi import AcpiDeviceOst
from vmcore.model.events import Event
from vmcore.model.qom import DeviceDeleted
from vmcore.shell.events import EventStream

E = TypeVar("E", bound=Event)

SHELL = "exec /bin/busybox sh"
ONLINE = b"busybox cat /sys/devices/system/cpu/online\n"
DEVICE_CHECK, EJECT_REQUEST = 1, 3
SUCCESS, IN_PROGRESS = 0, 0x84


def waiting(events: EventStream[E]) -> list[E]:
    found = []
    with suppress(trio.WouldBlock):
        while True:
            found.append(events.receive_nowait())
    return found


async def test_vcpus_are_plugged_used_and_unplugged(cloud_kernel: Path, initramfs: Callable[[str], bytes]) -> None:
    async with VirtualMachine(
        kernel=cloud_kernel,
        initrd=initramfs(SHELL),
        append="console=ttyS0 quiet panic=-1",
        memory="256M",
        cpus=1,
        maxcpus=3,
    ) as vm:
        shell = vm.serial[0]

        async def say(line: bytes, answer: bytes) -> bytes:
            await shell.send_all(line)
            return (await shell.expect(answer)).before

        with vm.fail_after(60):
            boot = (await shell.expect(b"# ")).before
            assert list(vm.hotplug.cpus) == [0]
            await say(b"busybox nproc --all\n", b"\n1\r\n")

            events = vm.events.subscribe(AcpiDeviceOst | DeviceDeleted)
            await vm.hotplug.add_cpu(1, id="second")
            await vm.hotplug.add_cpu(2)
            assert list(vm.hotplug.cpus) == [0, 1, 2]
            await say(b"while ! test -e /sys/devices/system/cpu/cpu2; do :; done; echo there\n", b"\nthere\r\n")
            for index in (1, 2):
                await say(b"echo 1 > /sys/devices/system/cpu/cpu%d/online; echo up $?\n" % index, b"\nup 0\r\n")
            await say(ONLINE, b"\n0-2\r\n")
            log = await say(b"busybox taskset 4 busybox cut -d ' ' -f 39 /proc/self/stat\n", b"\n2\r\n")
            came = sorted((event.info for event in waiting(events)), key=lambda info: info.slot)
            assert [(i.device, i.slot, i.source, i.status) for i in came] == [
                ("second", "1", DEVICE_CHECK, SUCCESS),
                (None, "2", DEVICE_CHECK, SUCCESS),
            ]

            await vm.hotplug.remove_cpu(2)
            await vm.hotplug.remove_cpu(1)
            assert list(vm.hotplug.cpus) == [0]
            log += await say(ONLINE, b"\n0\r\n")
            gone = waiting(events)
            assert [event.path for event in gone if isinstance(event, DeviceDeleted)] == [
                "/machine/peripheral-anon/device[0]/lapic",
                "/machine/peripheral-anon/device[0]",
                "/machine/peripheral/second/lapic",
                "/machine/peripheral/second",
            ]
            said = [event.info for event in gone if isinstance(event, AcpiDeviceOst)]
            assert [(i.device, i.slot, i.source, i.status) for i in said] == [
                (None, "2", EJECT_REQUEST, IN_PROGRESS),
                (None, "2", EJECT_REQUEST, SUCCESS),
                ("second", "1", EJECT_REQUEST, IN_PROGRESS),
                (None, "1", EJECT_REQUEST, SUCCESS),
            ]
        assert complaints(boot + log) == []


@pytest.mark.skipif(SEABIOS is None, reason="seabios is not installed")
async def test_stock_firmware_starts_what_was_plugged_in_before_and_the_rest_can_come_later(
    cloud_kernel: Path, initramfs: Callable[[str], bytes]
) -> None:
    async with VirtualMachine(
        kernel=cloud_kernel,
        initrd=initramfs(SHELL),
        firmware=SEABIOS,
        append="console=ttyS0 quiet panic=-1",
        memory="256M",
        cpus=1,
        maxcpus=3,
    ) as vm:
        shell = vm.serial[0]
        with vm.fail_after(60):
            await vm.hotplug.add_cpu(1)
            await shell.expect(b"# ")
            await shell.send_all(ONLINE)
            await shell.expect(b"\n0-1\r\n")
            await vm.hotplug.add_cpu(2)
            await shell.send_all(b"while ! test -e /sys/devices/system/cpu/cpu2; do :; done; echo there\n")
            await shell.expect(b"\nthere\r\n")
            await shell.send_all(b"echo 1 > /sys/devices/system/cpu/cpu2/online\n" + ONLINE)
            await shell.expect(b"\n0-2\r\n")
            await vm.hotplug.remove_cpu(1)
            await shell.send_all(ONLINE)
            await shell.expect(b"\n0,2\r\n")


TOPOLOGY = """
cd /sys/devices/system/cpu
for n in 0 1 2 3 4 5 6 7 8 9 10 11; do
  read package < cpu$n/topology/physical_package_id
  read die < cpu$n/topology/die_id
  read core < cpu$n/topology/core_id
  siblings=$(/bin/busybox cat cpu$n/topology/thread_siblings_list)
  echo "place $n: $package $die $core $siblings"
done
echo the end
exec /bin/busybox sh
"""


async def test_linux_finds_packages_dies_cores_and_threads(
    cloud_kernel: Path, initramfs: Callable[[str], bytes]
) -> None:
    async with VirtualMachine(
        kernel=cloud_kernel,
        initrd=initramfs(TOPOLOGY),
        append="console=ttyS0 quiet panic=-1",
        memory="256M",
        sockets=1,
        dies=2,
        cores=3,
        threads=2,
    ) as vm:
        with vm.fail_after(60):
            log = (await vm.serial[0].expect(b"the end")).before
        places = [line.split() for line in log.decode().splitlines() if line.startswith("place")]
        topology = vm.config.topology
        assert len(places) == topology.total == 12
        for index, (_, _, package, die, _, siblings) in enumerate(places):
            place = topology.place(index)
            assert (int(package), int(die)) == (place.socket, place.die)
            assert siblings == f"{index & ~1}-{index | 1}"
        assert len({(die, core) for _, _, _, die, core, _ in places}) == 6
        assert complaints(log) == []


async def test_a_vcpu_comes_to_the_node_that_it_belongs_to(
    cloud_kernel: Path, initramfs: Callable[[str], bytes]
) -> None:
    async with VirtualMachine(
        kernel=cloud_kernel,
        initrd=initramfs(SHELL),
        append="console=ttyS0 quiet panic=-1",
        memory="256M",
        memory_backends=["memory-backend-ram,id=m0,size=128M", "memory-backend-ram,id=m1,size=128M"],
        numa=["node,nodeid=0,cpus=0-1,memdev=m0", "node,nodeid=1,cpus=2-3,memdev=m1"],
        cpus=2,
        maxcpus=4,
    ) as vm:
        shell = vm.serial[0]
        with vm.fail_after(60):
            await shell.expect(b"# ")
            await vm.hotplug.add_cpu(3)
            await shell.send_all(b"while ! test -e /sys/devices/system/cpu/cpu2; do :; done; echo there\n")
            await shell.expect(b"\nthere\r\n")
            await shell.send_all(b"cd /sys/devices/system/cpu/cpu2; echo 1 > online; echo it is in node*\n")
            await shell.expect(b"it is in node1\r\n")
