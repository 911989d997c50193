"""PCI devices and memory modules that come and go under Debian's kernel."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from attrs import evolve
from test_linux_guests import complaints
from test_seabios import SEABIOS

from vmcore import VirtualMachine
from vmcore.model.acpi import AcpiDeviceOst, ACPISlotType
from vmcore.model.errors import CommandError
from vmcore.model.events import Event, GuestPanicked
from vmcore.model.machine import MemUnplugError
from vmcore.model.qom import DeviceDeleted, DeviceUnplugGuestError
from vmcore.model.run_state import PanicAction
from vmcore.shell.events import EventStream
from vmcore.shell.user_objects import MemoryObject

E = TypeVar("E", bound=Event)

SHELL = """
/bin/busybox stty -echo
echo ready
while read -r line; do
  eval "$line"
  echo the end of it
done
"""
PCI, MEMORY = "/sys/bus/pci/devices", "/sys/devices/system/memory"
MIB = 1 << 20
BLOCK = 128 * MIB
"""What Linux takes memory in."""
DEVICE_CHECK, EJECT_REQUEST = 1, 3
SUCCESS, IN_PROGRESS = 0, 0x84


def waiting(events: EventStream[E]) -> list[E]:
    found = []
    with suppress(trio.WouldBlock):
        while True:
            found.append(events.receive_nowait())
    return found


class Shell:
    """The guest's shell, by which it is asked things."""

    def __init__(self, vm: VirtualMachine) -> None:
        self._stream = vm.serial[0]
        self.log = b""

    async def ready(self) -> None:
        """Wait for it."""
        self.log += (await self._stream.expect(b"ready\r\n")).before

    async def say(self, line: str) -> str:
        """What a line prints."""
        await self._stream.send_all(f"{line}\n".encode())
        printed = (await self._stream.expect(b"the end of it\r\n")).before
        self.log += printed
        return printed.decode().replace("\r", "").strip()

    async def appears(self, path: str) -> None:
        """Wait until there is a file."""
        await self.say(f"while ! test -e {path}; do :; done")

    async def total(self) -> int:
        """Bytes of memory that the guest has."""
        return int((await self.say("busybox head -n 1 /proc/meminfo")).split()[1]) * 1024


def machine(kernel: Path, initrd: bytes, **fields: object) -> VirtualMachine:
    fields = {"memory": "256M", "vga": "none"} | fields
    return VirtualMachine(kernel=kernel, initrd=initrd, append="console=ttyS0 quiet panic=-1", **fields)  # type: ignore[arg-type]


async def test_a_pci_device_comes_is_used_goes_and_comes_again(
    cloud_kernel: Path, initramfs: Callable[..., bytes]
) -> None:
    initrd = initramfs(SHELL, kernel=cloud_kernel, modules=["pvpanic-pci"])
    async with machine(cloud_kernel, initrd, panic_action=PanicAction.NONE) as vm:
        shell, driver = Shell(vm), "/sys/bus/pci/drivers/pvpanic-pci"
        with vm.fail_after(60):
            await shell.ready()
            assert "05.0" not in await shell.say(f"busybox ls {PCI}")
            for _ in range(2):
                await vm.hotplug.add("pvpanic-pci", id="p", properties={"addr": "5"})
                await shell.appears(f"{driver}/0000:00:05.0")
                assert await shell.say(f"busybox cat {PCI}/0000:00:05.0/vendor {PCI}/0000:00:05.0/device") == (
                    "0x1b36\n0x0011"
                )
                assert await shell.say("busybox cat /sys/bus/pci/slots/5/power") == "1"
                async with vm.events.expect(DeviceDeleted) as gone:
                    await vm.hotplug.remove("p")
                assert gone.value == DeviceDeleted(device="p", path="/machine/peripheral/p")
                assert "05.0" not in await shell.say(f"busybox ls {PCI}")

            await vm.hotplug.add("pvpanic-pci", id="p")
            await shell.appears(f"{driver}/0000:00:02.0")
            # The guest may throw it out by itself.
            async with vm.events.expect(DeviceDeleted):
                await vm.serial[0].send_all(b"echo 0 > /sys/bus/pci/slots/2/power\n")
            await vm.serial[0].expect(b"the end of it\r\n")
            assert complaints(shell.log) == []

            await vm.hotplug.add("pvpanic-pci")
            await shell.appears(f"{driver}/0000:00:02.0")
            async with vm.events.expect(GuestPanicked):
                await vm.serial[0].send_all(b"echo c > /proc/sysrq-trigger\n")


async def test_a_machine_restored_has_the_device_and_lets_it_go(
    cloud_kernel: Path, initramfs: Callable[..., bytes]
) -> None:
    async with machine(cloud_kernel, initramfs(SHELL)) as vm:
        shell = Shell(vm)
        with vm.fail_after(60):
            await shell.ready()
            await vm.hotplug.add("i6300esb", id="dog", properties={"addr": "0x1f.0"})
            await shell.appears(f"{PCI}/0000:00:1f.0")
        snapshot = await vm.snapshot()
    async with VirtualMachine.from_snapshot(snapshot) as again:
        with again.fail_after(60):
            shell = Shell(again)
            assert "1f.0" in await shell.say(f"busybox ls {PCI}")
            await again.hotplug.unplug("dog")
            assert "1f.0" not in await shell.say(f"busybox ls {PCI}")


@pytest.mark.skipif(SEABIOS is None, reason="seabios is not installed")
async def test_stock_firmware_hands_the_slots_on(cloud_kernel: Path, initramfs: Callable[..., bytes]) -> None:
    fields = {"firmware": SEABIOS, "memory_slots": 2, "max_memory": "1G"}
    async with machine(cloud_kernel, initramfs(SHELL), devices=["i6300esb,id=dog,addr=4"], **fields) as vm:
        shell = Shell(vm)
        with vm.fail_after(60):
            await shell.ready()
            assert "04.0" in await shell.say(f"busybox ls {PCI}")
            async with vm.events.expect(DeviceDeleted):
                await vm.hotplug.remove("dog")
            await vm.hotplug.add("pvpanic-pci", id="p")
            await shell.appears(f"{PCI}/0000:00:02.0")
            await vm.objects.add("memory-backend-ram,id=m0,size=128M")
            await vm.hotplug.add("pc-dimm", id="d0", properties={"memdev": "m0"})
            await shell.appears(f"{MEMORY}/memory32")


async def test_behind_a_bridge_there_is_what_the_machine_began_with(
    cloud_kernel: Path, initramfs: Callable[..., bytes]
) -> None:
    initrd = initramfs(SHELL, kernel=cloud_kernel, modules=["pvpanic-pci"])
    devices = ["pci-bridge,id=br,chassis_nr=1,addr=3", "pvpanic-pci,bus=br,addr=7"]
    async with machine(cloud_kernel, initrd, devices=devices) as vm:
        shell = Shell(vm)
        with vm.fail_after(60):
            await shell.ready()
            await shell.appears("/sys/bus/pci/drivers/pvpanic-pci/0000:01:07.0")
            (root,) = await vm.query.pci()
            (bridge,) = [device.pci_bridge for device in root.devices if device.pci_bridge is not None]
            assert bridge.bus.secondary == 1
            assert bridge.devices is not None
            (behind,) = bridge.devices
            assert (behind.bus, behind.slot, behind.id.device) == (1, 7, 0x11)
            where = behind.regions[0].address
            assert bridge.bus.memory_range.base <= where <= bridge.bus.memory_range.limit
        assert complaints(shell.log) == []


async def test_memory_comes_is_used_and_goes(cloud_kernel: Path, initramfs: Callable[..., bytes]) -> None:
    async with machine(cloud_kernel, initramfs(SHELL), memory_slots=3, max_memory="4G") as vm:
        shell = Shell(vm)
        with vm.fail_after(60):
            await shell.ready()
            before = await shell.total()
            backend = await vm.objects.add(f"memory-backend-ram,id=m0,size={2 * BLOCK}")
            events = vm.events.subscribe(AcpiDeviceOst | DeviceDeleted)
            await vm.hotplug.add("pc-dimm", id="d0", properties={"memdev": "m0"})
            for number in (32, 33):
                await shell.appears(f"{MEMORY}/memory{number}")
                await shell.say(f"echo online_movable > {MEMORY}/memory{number}/state")
            (came,) = waiting(events)
            assert isinstance(came, AcpiDeviceOst)
            info = came.info
            assert (info.device, info.slot, info.slot_type) == ("d0", "0", ACPISlotType.DIMM)
            assert (info.source, info.status) == (DEVICE_CHECK, SUCCESS)
            assert await shell.total() == before + 2 * BLOCK
            assert (await vm.query.memory_size()).plugged_memory == 2 * BLOCK

            await shell.say("busybox mkdir /t; busybox mount -t tmpfs -o size=300M none /t")
            await shell.say("busybox dd if=/dev/zero bs=1M count=200 2>/dev/null | busybox tr '\\0' x > /t/x")
            assert isinstance(backend, MemoryObject)
            assert backend.memory is not None
            with backend.memory.view() as view:
                assert b"x" * 4096 in bytes(view)
            await shell.say("busybox rm /t/x")

            async with vm.events.expect(AcpiDeviceOst, lambda event: event.info.status == SUCCESS):
                await vm.hotplug.remove("d0")
            seen: list[Event] = [*waiting(events)]
            assert seen == [
                AcpiDeviceOst(info=evolve(info, source=EJECT_REQUEST, status=IN_PROGRESS)),
                DeviceDeleted(device="d0", path="/machine/peripheral/d0"),
                AcpiDeviceOst(info=evolve(info, device=None, source=EJECT_REQUEST, status=SUCCESS)),
            ]
            assert await shell.total() == before
            await vm.objects.remove("m0")
            assert await vm.query.memory_devices() == ()
        assert complaints(shell.log) == []


async def test_a_q35_takes_memory_and_no_pci_devices(cloud_kernel: Path, initramfs: Callable[..., bytes]) -> None:
    fields = {"board": "q35", "memory_slots": 1, "max_memory": "1G"}
    async with machine(cloud_kernel, initramfs(SHELL), **fields) as vm:
        shell = Shell(vm)
        with vm.fail_after(60):
            await shell.ready()
            with pytest.raises(CommandError, match=r"Bus 'pcie\.0' does not support hotplugging"):
                await vm.hotplug.add("pvpanic-pci")
            await vm.objects.add("memory-backend-ram,id=m0,size=128M")
            await vm.hotplug.add("pc-dimm", id="d0", properties={"memdev": "m0"})
            await shell.appears(f"{MEMORY}/memory32")
            await vm.hotplug.unplug("d0")
        assert complaints(shell.log) == []


async def test_the_guest_keeps_memory_that_it_cannot_spare(cloud_kernel: Path, initramfs: Callable[..., bytes]) -> None:
    initrd = initramfs(SHELL, kernel=cloud_kernel, modules=["brd"])
    async with machine(cloud_kernel, initrd, memory_slots=1, max_memory="1G") as vm:
        shell = Shell(vm)
        with vm.fail_after(60):
            await shell.ready()
            await vm.objects.add(f"memory-backend-ram,id=m0,size={BLOCK}")
            await vm.hotplug.add("pc-dimm", id="d0", properties={"memdev": "m0"})
            await shell.appears(f"{MEMORY}/memory32")
            await shell.say(f"echo online_kernel > {MEMORY}/memory32/state")
            # The pages of this RAM disk cannot be moved.
            await shell.say("busybox dd if=/dev/zero of=/dev/ram0 bs=1M count=8 2>/dev/null")
            events = vm.events.subscribe(MemUnplugError | DeviceUnplugGuestError | DeviceDeleted | AcpiDeviceOst)
            with pytest.raises(CommandError, match="the guest keeps device d0"):
                await vm.hotplug.unplug("d0")
            seen = waiting(events)
            assert [type(event) for event in seen][-3:] == [AcpiDeviceOst, MemUnplugError, DeviceUnplugGuestError]
            assert seen[-1] == DeviceUnplugGuestError(device="d0", path="/machine/peripheral/d0")
            assert [module.data.id for module in await vm.query.memory_devices()] == ["d0"]  # type: ignore[attr-defined]
