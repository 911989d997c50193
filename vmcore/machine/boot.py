"""From the configuration's files to a boot image, and from that to memory and vCPUs."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

from vmcore.engine import Cpu, PhysicalMemory, Segment, TableRegister
from vmcore.firmware import bootsector, detect, direct_kernel, flat, stock
from vmcore.firmware.boot_image import GENERAL_REGISTERS, BootImage, CpuMode
from vmcore.firmware.fw_cfg import Firmware
from vmcore.firmware.image_file import ImageFile
from vmcore.firmware.linux import SetupData
from vmcore.firmware.linux_header import SetupHeader, is_linux
from vmcore.firmware.platform import PlatformLayout
from vmcore.machine.config import Image, MachineConfig
from vmcore.machine.disk_config import DiskInterface
from vmcore.model.errors import ConfigError
from vmcore.model.units import KIB, MIB

__all__ = ["load", "load_firmware", "program_msrs", "start_cpus", "write_segments"]

SETUP_DATA_VERSION: Final = 0x209
"""Linux boot protocol from which on there is a list of setup data."""

EFER_LMA: Final = 1 << 10
"""Set by the processor itself, once paging is on."""


def load(config: MachineConfig, layout: PlatformLayout) -> BootImage | None:
    """What the configuration starts, ready to be written to memory; None where it starts nothing, or leaves it to its
    firmware.
    """
    if config.firmware is not None:
        return None
    if config.kernel is not None:
        kernel = _read("kernel", config.kernel)
        initrd = None if config.initrd is None else _read("initrd", config.initrd)
        setup_data: list[SetupData] = []
        if is_linux(kernel.data) and SetupHeader.parse(kernel).version >= SETUP_DATA_VERSION:
            # The guest's generator starts from the seed: it need not wait for noise that a deterministic machine
            # has not.
            seed = blake2b(config.seed.to_bytes(8, "little"), digest_size=32, person=b"setup data").digest()
            setup_data.append(SetupData.random_seed(seed))
        return detect.load(kernel, layout, initrd=initrd, append=config.append, setup_data=setup_data)
    if config.bootsector is not None:
        return bootsector.load(_read("bootsector", config.bootsector), layout)
    if config.flat is not None:
        given = config.flat
        binary = _read("flat.image", given.image)
        return flat.load(binary, layout, address=given.address, mode=CpuMode(given.mode.value), entry=given.entry)
    units = {
        "a": any(disk.interface is DiskInterface.FLOPPY and disk.path is not None for disk in config.drives),
        "c": any(disk.interface is DiskInterface.IDE and not disk.is_cdrom for disk in config.drives),
    }
    wanted = config.boot.once or config.boot.order
    first = next((letter for letter in wanted if units.get(letter)), None)
    return bootsector.from_disks(layout, floppy=first == "a") if any(units.values()) else None


def load_firmware(config: MachineConfig, layout: PlatformLayout) -> Firmware | None:
    """The firmware that the configuration names, if it does, with the kernel that it is to start."""
    if config.firmware is None:
        return None
    named = config.firmware
    if isinstance(named, Path) and not named.exists() and named.name == str(named):
        named = stock.find(named.name) or named
    image = _read("firmware", named)
    size = len(image.data)
    if not 64 * KIB <= size <= 16 * MIB or size % (64 * KIB):
        image.fail("size", size, "64 KiB to 16 MiB, a multiple of 64 KiB")
    if config.kernel is None:
        return Firmware(image=image.data, boot=config.boot)
    loader = stock.find(stock.LINUX_LOADER)
    if loader is None:
        raise ConfigError(
            "kernel", "<with firmware>", f"QEMU's option ROM {stock.LINUX_LOADER}, which is not installed"
        )
    initrd = None if config.initrd is None else _read("initrd", config.initrd)
    kernel = direct_kernel.cut(_read("kernel", config.kernel), initrd, config.append, layout)
    rom = f"genroms/{stock.LINUX_LOADER}"
    return Firmware(
        image=image.data,
        kernel=kernel,
        files={rom: loader.read_bytes()},
        boot_order=(f"/rom@{rom}",),
        boot=config.boot,
    )


def write_segments(memory: PhysicalMemory, image: BootImage) -> None:
    """Put the image's bytes in place, ROM included."""
    for segment in image.segments:
        memory.load(segment.address, segment.data)
        if segment.clear:
            memory.load(segment.end, bytes(segment.clear))
        if segment.clear:
            memory.load(segment.address + len(segment.data), bytes(segment.clear))


def start_cpus(cpus: Sequence[Cpu], image: BootImage) -> None:
    """Give the first vCPU the state in which the image starts; the model-specific registers go to all."""
    program_msrs(cpus, image)
    state, first = image.cpu, cpus[0]
    # In the order in which a program would have to do it: paging and long mode come on with CR0.
    first.cr4 = state.cr4
    if state.efer:
        first.efer = state.efer & ~EFER_LMA
    first.cr3 = state.cr3
    first.cr0 = state.cr0
    for name, segment in state.segments().items():
        setattr(first, name, Segment(segment.selector, segment.base, segment.limit, segment.attributes))
    first.gdtr = TableRegister(state.gdtr.base, state.gdtr.limit)
    first.idtr = TableRegister(state.idtr.base, state.idtr.limit)
    for name in GENERAL_REGISTERS:
        setattr(first, name, getattr(state, name))
    first.rflags = state.rflags
    first.rip = state.rip


def program_msrs(cpus: Sequence[Cpu], image: BootImage) -> None:
    """Set the model-specific registers that firmware sets, on all vCPUs."""
    for cpu in cpus:
        for index, value in image.msrs:
            if _has_msr(cpu, index):
                cpu.write_msr(index, value)


def _has_msr(cpu: Cpu, index: int) -> bool:
    try:
        cpu.read_msr(index)
    except KeyError:
        return False
    return True


def _read(path: str, image: Image) -> ImageFile:
    if isinstance(image, bytes):
        return ImageFile(f"<{path}>", image)
    try:
        return ImageFile(str(image), image.read_bytes())
    except OSError as error:
        raise ConfigError(path, str(image), f"a file that can be read ({error.strerror})") from error
