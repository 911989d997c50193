from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from images import boot_sector, bzimage, elf, multiboot_header, note

from vmcore.firmware import detect
from vmcore.firmware.image_file import ImageFile
from vmcore.firmware.linux import LinuxEntry
from vmcore.firmware.platform import PlatformLayout
from vmcore.model.errors import ConfigError, ImageError
from vmcore.model.units import MIB

LAYOUT = PlatformLayout(memory=64 * MIB)

KERNELS = {
    "linux 64-bit": bzimage(),
    "linux 16-bit": bzimage(loadflags=0, xloadflags=0, version=0x204),
    "multiboot": multiboot_header(addresses=(0x200000, 0x200000, 0, 0, 0x200020)) + b"\x90" * 64,
    "pvh": elf(notes=note(b"Xen", 18, (0x100000).to_bytes(4, "little"))),
    "linux vmlinux 64-bit": elf(),
    "linux vmlinux 32-bit": elf(bits=32),
    "boot sector": boot_sector(),
}


@pytest.mark.parametrize("kind", KERNELS)
def test_the_content_tells_the_loader(kind: str) -> None:
    assert detect.load(ImageFile("k", KERNELS[kind]), LAYOUT).kind == kind


def test_what_nobody_knows_is_refused_with_the_kinds_that_are_known() -> None:
    with pytest.raises(ImageError, match=r"k: format: b'hello wo': expected a Linux bzImage, a Multiboot"):
        detect.load(ImageFile("k", b"hello world"), LAYOUT)
    with pytest.raises(ImageError):
        detect.load(ImageFile("k", b""), LAYOUT)


def test_what_a_kind_cannot_take_is_refused_and_not_ignored() -> None:
    initrd = ImageFile("i", b"123")
    with pytest.raises(ConfigError, match="initrd"):
        detect.load(ImageFile("k", boot_sector()), LAYOUT, initrd=initrd)
    with pytest.raises(ConfigError, match="append"):
        detect.load(ImageFile("k", boot_sector()), LAYOUT, append="quiet")
    with pytest.raises(ConfigError, match="entry"):
        detect.load(ImageFile("k", KERNELS["pvh"]), LAYOUT, entry=LinuxEntry.LONG_MODE)


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("seed", range(4))
def test_mutated_files_raise_image_errors_or_load(kind: str, seed: int) -> None:
    random = Random(f"{kind} {seed}")
    original = KERNELS[kind]
    # Half of the mutations aim at the first kilobyte, where the headers are.
    for _ in range(150):
        data = bytearray(original)
        for _ in range(random.randint(1, 6)):
            at = random.randrange(min(len(data), 0x400) if random.random() < 0.5 else len(data))
            value = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
            data[at : at + random.choice((1, 1, 2, 4, 8))] = bytes([value]) * random.choice((1, 1, 2, 4, 8))
        if random.random() < 0.2:
            del data[random.randrange(len(data)) :]
        initrd = ImageFile("i", b"123") if random.random() < 0.3 else None
        try:
            image = detect.load(ImageFile("k", bytes(data)), LAYOUT, initrd=initrd)
        except (ImageError, ConfigError):
            continue
        for one, other in zip(image.segments, image.segments[1:], strict=False):
            assert one.end + one.clear <= other.address
        assert image.cpu.rip < 1 << 32


def test_a_debian_kernel_loads_by_all_its_entries() -> None:
    found = sorted(Path("/boot").glob("vmlinuz-*"))
    if not found:
        pytest.skip("no kernel in /boot")
    kernel = ImageFile(found[0].name, found[0].read_bytes())
    layout = PlatformLayout(memory=512 * MIB)
    for entry in LinuxEntry:
        assert detect.load(kernel, layout, entry=entry, append="quiet").kind == f"linux {entry.value}-bit"
