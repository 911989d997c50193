"""Which board a configuration asks for."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from attrs import evolve

from vmcore.block.raw import RawDisk
from vmcore.boards.board import AddedDevice, Board, BoardServices
from vmcore.boards.none import NoneBoard, none_layout
from vmcore.boards.pc import PcBoard, pc_layout
from vmcore.boards.q35 import Q35Board, q35_layout
from vmcore.engine.cpu_options import choose_cpu
from vmcore.engine.models import CpuModel
from vmcore.firmware import video_bios
from vmcore.firmware.boot_image import BootImage
from vmcore.firmware.fw_cfg import Firmware
from vmcore.firmware.image_file import ImageFile
from vmcore.firmware.platform import PlatformLayout
from vmcore.machine.config import DEVICE_MODELS, MachineConfig
from vmcore.machine.hyperv import with_hyperv
from vmcore.machine.memory_options import with_numa, with_slots
from vmcore.model.errors import ConfigError
from vmcore.model.units import MIB

__all__ = ["build_board", "plan_cpu", "plan_layout"]

PCI_HOTPLUG: Final = 0xAE00
"""First port of the registers by which PCI devices come and go."""
BRIDGES: Final = 1 << 0 | 1 << 1
DISPLAY: Final = 1 << 2
"""Slots of the root bus whose devices are the board's own."""


def plan_cpu(config: MachineConfig) -> CpuModel:
    """The processor, arranged as the configuration says."""
    return with_hyperv(choose_cpu(config.cpu).model.with_topology(config.topology), config.hyperv)


def plan_layout(config: MachineConfig, model: CpuModel) -> PlatformLayout:
    """Where everything will be, before anything is built."""
    layout = _plan_board(config, model)
    if config.board == "pc":
        layout = evolve(layout, pci_hotplug=PCI_HOTPLUG, pci_fixed=BRIDGES | DISPLAY * layout.text_screen)
    return with_numa(with_slots(layout, config), config)


def _plan_board(config: MachineConfig, model: CpuModel) -> PlatformLayout:
    long_mode = "LM" in model.features
    if config.board == "none":
        return none_layout(
            memory=config.memory,
            cpus=config.cpus,
            topology=config.topology,
            long_mode=long_mode,
            physical_bits=model.phys_bits,
        )
    layout = pc_layout(
        uuid=UUID(config.uuid).bytes if config.uuid else bytes(16),
        memory=config.memory,
        cpus=config.cpus,
        topology=config.topology,
        serials=config.serials,
        long_mode=long_mode,
        physical_bits=model.phys_bits,
        screen=has_screen(config),
        floppies=any(disk.is_floppy for disk in config.drives),
    )
    ports = [int(device.properties["ioport"]) for device in config.devices if device.model == "pvpanic"]
    layout = evolve(layout, pvpanic=ports[0] if ports else 0)
    return q35_layout(layout) if config.board == "q35" else layout


def has_screen(config: MachineConfig) -> bool:
    """Whether there is a display adapter.  Its window, and a copy of its BIOS, lie below 1 MiB of RAM addresses."""
    return config.vga == "std" and config.memory >= MIB


def _video_bios(config: MachineConfig) -> bytes:
    if config.vgabios is None:
        return video_bios.find()
    if isinstance(config.vgabios, bytes):
        return video_bios.check(ImageFile("<vgabios>", config.vgabios))
    try:
        return video_bios.check(ImageFile(str(config.vgabios), config.vgabios.read_bytes()))
    except OSError as error:
        raise ConfigError("vgabios", str(config.vgabios), f"a file that can be read ({error.strerror})") from error


def build_board(
    config: MachineConfig,
    services: BoardServices,
    layout: PlatformLayout,
    image: BootImage | None,
    firmware: Firmware | None,
) -> Board:
    """The board, complete and wired."""
    added = [
        AddedDevice(
            model=device.model,
            properties={name: int(value) for name, value in device.properties.items()},
            path=f"/machine/peripheral/{device.id}" if device.id else f"/machine/peripheral-anon/device{index}",
            where=f"devices[{index}]",
        )
        for index, device in enumerate(config.devices)
        if device.model in DEVICE_MODELS
    ]
    if config.board == "none":
        return NoneBoard(services, layout, added, config.hyperv)
    boot_disks = image.disks if image is not None else ()
    disks = {disk.unit: RawDisk.from_bytes(disk.data, read_only=disk.read_only) for disk in boot_disks}
    kind = Q35Board if config.board == "q35" else PcBoard
    rom = _video_bios(config) if has_screen(config) else b""
    return kind(services, layout, disks, added, firmware, config.hyperv, video_bios=rom)
