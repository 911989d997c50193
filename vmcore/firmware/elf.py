"""ELF executables for i386 and x86-64, as far as a boot loader needs them.

Source: Tool Interface Standard, "Executable and Linking Format" 1.2; System V ABI, AMD64 supplement.
"""

from __future__ import annotations

from attrs import frozen

from vmcore.firmware.image_file import ImageFile
from vmcore.firmware.placement import Placement

__all__ = ["ElfFile", "ElfNote", "ElfSegment", "is_elf"]

MACHINE_386 = 3
MACHINE_X86_64 = 62
EXECUTABLE = 2
SHARED = 3
# More than any kernel has; what a file can make us do stays bounded.
MOST_HEADERS = 0x80
MOST_NOTES = 0x10000

PT_LOAD = 1
PT_NOTE = 4


def is_elf(data: bytes) -> bool:
    """Whether a file starts as an ELF file does."""
    return data[:4] == b"\x7fELF"


@frozen
class ElfSegment:
    """A program header of type PT_LOAD or PT_NOTE."""

    kind: int
    offset: int
    virtual: int
    physical: int
    file_size: int
    memory_size: int
    alignment: int


@frozen
class ElfNote:
    """One entry of a note segment."""

    owner: bytes
    kind: int
    content: bytes


@frozen
class ElfFile:
    """A checked ELF executable."""

    file: ImageFile
    is_64: bool
    raw_entry: int
    segments: tuple[ElfSegment, ...]
    notes: tuple[ElfNote, ...]

    @classmethod
    def parse(cls, file: ImageFile) -> ElfFile:
        """Reads the header, program headers and notes; ImageError names what is wrong."""
        if not is_elf(file.data):
            file.fail("e_ident", file.data[:4], "an ELF file")
        bits = file.u8(4, "EI_CLASS")
        if bits not in (1, 2):
            file.fail("EI_CLASS", bits, "1 (32-bit) or 2 (64-bit)")
        if (order := file.u8(5, "EI_DATA")) != 1:
            file.fail("EI_DATA", order, "1 (little endian)")
        wide = bits == 2
        machine = file.u16(0x12, "e_machine")
        if machine not in ((MACHINE_386, MACHINE_X86_64) if not wide else (MACHINE_X86_64,)):
            file.fail("e_machine", machine, "0x3 (i386) or 0x3e (x86-64)")
        if (kind := file.u16(0x10, "e_type")) not in (EXECUTABLE, SHARED):
            file.fail("e_type", kind, "0x2 (executable)")
        word = 8 if wide else 4
        entry = file.number(0x18, word, "e_entry")
        table = file.number(0x20 if wide else 0x1C, word, "e_phoff")
        size = file.u16(0x36 if wide else 0x2A, "e_phentsize")
        count = file.u16(0x38 if wide else 0x2C, "e_phnum")
        if count > MOST_HEADERS:
            file.fail("e_phnum", count, f"at most {MOST_HEADERS:#x} program headers")
        if size < (56 if wide else 32):
            file.fail("e_phentsize", size, "at least 0x38" if wide else "at least 0x20")
        headers = [cls._header(file, table + number * size, wide, number) for number in range(count)]
        segments = tuple(header for header in headers if header.kind == PT_LOAD and header.memory_size)
        if not segments:
            file.fail("e_phnum", count, "at least one program header of type PT_LOAD")
        notes = tuple(note for header in headers if header.kind == PT_NOTE for note in _notes(file, header))
        return cls(file, wide, entry, segments, notes)

    @staticmethod
    def _header(file: ImageFile, at: int, wide: bool, number: int) -> ElfSegment:
        def name(field: str) -> str:
            return f"program header {number} {field}"

        kind = file.u32(at, name("p_type"))
        names = ("p_offset", "p_vaddr", "p_paddr", "p_filesz", "p_memsz")
        first, word = (8, 8) if wide else (4, 4)
        values = [file.number(at + first + word * i, word, name(field)) for i, field in enumerate(names)]
        offset, virtual, physical, file_size, memory_size = values
        alignment = file.number(at + (48 if wide else 28), word, name("p_align"))
        if kind == PT_LOAD:
            file.part(offset, file_size, name("p_filesz"))
            if memory_size < file_size:
                file.fail(name("p_memsz"), memory_size, f"at least p_filesz {file_size:#x}")
        return ElfSegment(kind, offset, virtual, physical, file_size, memory_size, alignment)

    @property
    def entry(self) -> int:
        """Physical address of the entry point: e_entry itself may be given as a physical or a virtual address."""
        for segment in self.segments:
            if segment.physical <= self.raw_entry < segment.physical + segment.memory_size:
                return self.raw_entry
        for segment in self.segments:
            if segment.virtual <= self.raw_entry < segment.virtual + segment.memory_size:
                return self.raw_entry - segment.virtual + segment.physical
        return self.file.fail("e_entry", self.raw_entry, "an address within a loaded segment")

    def place(self, where: Placement) -> None:
        """Places all loaded segments at their physical addresses."""
        for number, segment in enumerate(self.segments):
            data = self.file.part(segment.offset, segment.file_size, "p_filesz")
            name = f"segment {number} of the program"
            where.put(segment.physical, data, name, size=segment.memory_size, clear=True)


def _notes(file: ImageFile, header: ElfSegment) -> list[ElfNote]:
    """The notes of one segment.  Names and contents are padded to 4 bytes, or to 8 where the segment is aligned so."""
    pad = 8 if header.alignment == 8 else 4
    notes = []
    at, end = header.offset, header.offset + header.file_size
    if header.file_size > MOST_NOTES:
        file.fail("p_filesz", header.file_size, f"at most {MOST_NOTES:#x} bytes of notes")
    file.part(header.offset, header.file_size, "p_filesz")
    while at + 12 <= end:
        name_size = file.u32(at, "n_namesz")
        size = file.u32(at + 4, "n_descsz")
        kind = file.u32(at + 8, "n_type")
        name_at = at + 12
        content_at = at + -(-(12 + name_size) // pad) * pad
        name = file.part(name_at, name_size, "n_namesz").rstrip(b"\0")
        notes.append(ElfNote(name, kind, file.part(content_at, size, "n_descsz")))
        at = content_at + -(-size // pad) * pad
    return notes
