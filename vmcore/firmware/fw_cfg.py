"""What the firmware configuration device holds: numbers by selector, and a directory of files.

Source: the interface that QEMU documents in docs/specs/fw_cfg.rst; the names of the files are those that SeaBIOS and
OVMF look for.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from vmcore.firmware import acpi, smbios
from vmcore.firmware.boot_options import BootOptions
from vmcore.firmware.platform import FOUR_GIB, MemoryKind, PlatformLayout

__all__ = ["DirectKernel", "Firmware", "contents"]

SIGNATURE, IDENTITY, UUID, RAM_SIZE, NO_GRAPHIC, CPUS = 0x00, 0x01, 0x02, 0x03, 0x04, 0x05
KERNEL_ADDRESS, KERNEL_SIZE, INITRD_ADDRESS, INITRD_SIZE = 0x07, 0x08, 0x0A, 0x0B
BOOT_DEVICE, BOOT_MENU, MAX_CPUS = 0x0C, 0x0E, 0x0F
KERNEL_ENTRY, KERNEL_DATA, INITRD_DATA = 0x10, 0x11, 0x12
COMMAND_LINE_ADDRESS, COMMAND_LINE_SIZE, COMMAND_LINE_DATA = 0x13, 0x14, 0x15
SETUP_ADDRESS, SETUP_SIZE, SETUP_DATA = 0x16, 0x17, 0x18
DIRECTORY, FIRST_FILE = 0x19, 0x20
IRQ0_OVERRIDE, HPET = 0x8002, 0x8004

BYTES_AND_DMA: Final = 3
WAIT_FOR_EVER: Final = b"\xff\xff\xff\xff"
"""Milliseconds until firmware that found nothing to boot resets the machine."""
NAME_SIZE: Final = 56
SYSTEM_STATE_SUPPORTED: Final = 0x80


@frozen(kw_only=True)
class DirectKernel:
    """A kernel that an option ROM takes from the device.  address: where its parts are to go."""

    setup: bytes
    kernel: bytes
    initrd: bytes
    command_line: bytes
    setup_address: int
    kernel_address: int
    initrd_address: int
    command_line_address: int


@frozen(kw_only=True)
class Firmware:
    """What the reset vector leads to.

    image: of the ROM; kernel: what it is to start; files: what it finds beside the machine's own facts, by name;
    boot_order: device paths, first first; boot: what else there is to be said about booting.
    """

    image: bytes = field(repr=lambda data: f"<{len(data):#x} bytes>")
    kernel: DirectKernel | None = None
    files: Mapping[str, bytes] = field(factory=dict, repr=lambda files: str(sorted(files)))
    boot_order: tuple[str, ...] = ()
    boot: BootOptions = field(factory=BootOptions)


def contents(layout: PlatformLayout, firmware: Firmware, *, graphic: bool = False) -> dict[int, bytes]:
    """Every item of a machine by selector.  graphic: whether there is a display."""
    cpus = layout.present.bit_count().to_bytes(2, "little")
    # Firmware makes room by APIC IDs, not by vCPUs.
    most = (layout.topology.apic_id(layout.topology.total - 1) + 1).to_bytes(2, "little")
    items = {
        SIGNATURE: b"QEMU",
        IDENTITY: BYTES_AND_DMA.to_bytes(4, "little"),
        UUID: layout.uuid,
        RAM_SIZE: layout.memory.to_bytes(8, "little"),
        NO_GRAPHIC: int(not graphic).to_bytes(2, "little"),
        CPUS: cpus,
        MAX_CPUS: most,
        BOOT_DEVICE: firmware.boot.order[:1].encode().ljust(2, b"\0"),
        BOOT_MENU: int(firmware.boot.menu).to_bytes(2, "little"),
        IRQ0_OVERRIDE: b"\1\0\0\0",
    }
    if firmware.kernel is not None:
        items |= _kernel(firmware.kernel)
    named = {
        "etc/boot-fail-wait": _wait(firmware.boot.reboot_timeout_ms),
        "etc/e820": _ram(layout),
        "etc/max-cpus": most,
        "etc/system-states": _system_states(layout),
        **firmware.boot.files,
        **firmware.files,
    }
    order = [*firmware.boot_order, *(["HALT"] if firmware.boot.strict else [])]
    if order:
        named["bootorder"] = "\n".join(order).encode() + b"\0"
    if layout.memory_slots:
        # Firmware gives addresses above 4 GiB to PCI from here on.
        named["etc/reserved-memory-end"] = layout.high_end.to_bytes(8, "little")
    if not graphic and layout.serial:
        named["etc/sercon-port"] = layout.serial[0].base.to_bytes(2, "little")
    if layout.pvpanic:
        named["etc/pvpanic-port"] = layout.pvpanic.to_bytes(2, "little")
    if layout.acpi:
        named |= acpi.files(layout) | smbios.files(layout)
    return items | _directory(named)


def _wait(milliseconds: int | None) -> bytes:
    return WAIT_FOR_EVER if milliseconds is None else milliseconds.to_bytes(4, "little")


def _directory(files: Mapping[str, bytes]) -> dict[int, bytes]:
    """The directory, by name, and the files behind the selectors that it gives them."""
    items, entries = {}, b""
    for selector, (name, data) in enumerate(sorted(files.items()), FIRST_FILE):
        text = name.encode()
        if len(text) >= NAME_SIZE:
            raise ValueError(f"{name}: a file's name has at most {NAME_SIZE - 1} bytes")
        items[selector] = data
        entries += struct.pack(f">IHH{NAME_SIZE}s", len(data), selector, 0, text)
    items[DIRECTORY] = len(files).to_bytes(4, "big") + entries
    return items


def _ram(layout: PlatformLayout) -> bytes:
    """RAM as it is wired; what of it is in use is the firmware's business."""
    ranges = [(0, layout.low_ram)]
    if layout.high_ram:
        ranges.append((FOUR_GIB, layout.high_ram))
    return b"".join(struct.pack("<QQI", start, size, MemoryKind.RAM) for start, size in ranges)


def _system_states(layout: PlatformLayout) -> bytes:
    """S0 to S5: the SLP_TYP value, with the highest bit where the state is supported."""
    states = bytearray(6)
    states[0] = SYSTEM_STATE_SUPPORTED
    for state, kind in ((3, layout.s3_sleep_type), (4, layout.s4_sleep_type), (5, layout.s5_sleep_type)):
        states[state] = 0 if kind is None else SYSTEM_STATE_SUPPORTED | kind
    return bytes(states)


def _kernel(kernel: DirectKernel) -> dict[int, bytes]:
    def number(value: int) -> bytes:
        return value.to_bytes(4, "little")

    return {
        SETUP_ADDRESS: number(kernel.setup_address),
        SETUP_SIZE: number(len(kernel.setup)),
        SETUP_DATA: kernel.setup,
        KERNEL_ADDRESS: number(kernel.kernel_address),
        KERNEL_SIZE: number(len(kernel.kernel)),
        KERNEL_DATA: kernel.kernel,
        KERNEL_ENTRY: number(kernel.kernel_address),
        INITRD_ADDRESS: number(kernel.initrd_address),
        INITRD_SIZE: number(len(kernel.initrd)),
        INITRD_DATA: kernel.initrd,
        COMMAND_LINE_ADDRESS: number(kernel.command_line_address),
        COMMAND_LINE_SIZE: number(len(kernel.command_line)),
        COMMAND_LINE_DATA: kernel.command_line,
    }
