"""Random cases for privileged code: descriptors, gates, frames and control registers of all kinds, right and wrong."""

from __future__ import annotations

import random
import struct

from case_runner import TARGET, TARGET16, SystemCase
from system_bench import CODE, DATA, FREE, GDT, IDT, STACKS, TASK, TSS, descriptor, gate

# Selectors that exist, with every privilege level asked for.
SELECTORS = (0x08, 0x10, 0x18, 0x20, 0x28, 0x30, 0x38, 0x58, 0x60, 0x70, FREE, FREE, FREE, FREE, 0x90, 0x98, 0xB0, 0xB8)


class Generator:
    """Cases by seed; `mode` is one of SystemCase's."""

    def __init__(self, seed: int, long: bool) -> None:
        self.r = random.Random(seed)
        self.long = long

    def case(self) -> SystemCase:
        r = self.r
        mode = r.choice(("long", "long", "compat") if self.long else ("prot", "prot", "prot", "prot16", "v86"))
        cpl = 3 if mode == "v86" else r.choice((0, 0, 3, 3, 1, 2))
        if mode == "compat" or mode == "prot16":
            cpl = r.choice((0, 3)) if mode == "compat" else 0
        case = SystemCase(mode, cpl, b"")
        if r.random() < 0.4:
            case.flags |= r.getrandbits(22) & (0x200000 | 0x40000 | 0x7000 | 0xCD5)
        if r.random() < 0.5:
            case.flags |= 0x3000 if r.random() < 0.5 else 0x1000
        kinds = [
            *(self.load_segment, self.load_segment, self.look, self.far_transfer, self.far_transfer, self.far_transfer),
            *(self.far_return, self.far_return, self.interrupt_return, self.interrupt_return, self.interrupt_return),
            *(self.interrupt, self.interrupt, self.flags, self.fast_call, self.control, self.ports),
            *(self.table_registers, self.msr),
        ]
        r.choice(kinds)(case)
        return case

    # Pieces

    def selector(self) -> int:
        r = self.r
        if r.random() < 0.06:
            return r.choice((0, 1, 3, 4, 0xFFF8, 0x1000, r.getrandbits(16)))
        return r.choice(SELECTORS) | (r.getrandbits(2) if r.random() < 0.6 else r.choice((0, 3)))

    def random_descriptor(self, *, code: bool = False) -> int:
        r = self.r
        access = r.getrandbits(8) if r.random() < 0.25 else 0x80 | r.getrandbits(7)
        if code and r.random() < 0.75:
            access |= 0x98
            if r.random() < 0.5:
                access &= ~4
        flags = (
            r.getrandbits(4)
            if r.random() < 0.2
            else r.choice((0xC, 0xC, 4, 0xA, 0xA) if self.long else (0xC, 0xC, 8, 4, 0))
        )
        limit = (
            0xFFFFF
            if code or r.random() < 0.7
            else r.choice((0, 0xFF, 0x67, 0x2B, 0x2A, 0x66, 0x103FF, 0x10401, r.getrandbits(20)))
        )
        base = 0 if code or r.random() < 0.8 else r.choice((0, 0x10, TSS, TASK))
        return descriptor(base, limit, access, flags)

    def gate_word(self, types: tuple[int, ...], selector: int | None = None) -> int:
        r = self.r
        kind = r.choice(types) if r.random() < 0.9 else r.getrandbits(5)
        access = kind | (r.choice((0, 3, 3, r.getrandbits(2))) << 5) | (0x80 if r.random() < 0.93 else 0)
        small = kind in (4, 6, 7)
        target = TARGET16 if small else TARGET
        sel = selector if selector is not None else self.selector()
        return gate(sel, target, access, r.choice((0, 0, 0, 1, r.getrandbits(5))))

    def segment_patches(self, case: SystemCase, *, code: bool = False) -> None:
        case.patches.append((GDT + FREE, self.random_descriptor(code=code)))
        if self.r.random() < 0.1:
            case.patches.append((GDT + FREE + 8, self.r.choice((0, 0, 0xFFFF8000, 0x80000000, self.r.getrandbits(64)))))

    def system_patches(self, case: SystemCase) -> None:
        """FREE becomes a gate or a task; the task at TASK becomes one that can run."""
        r = self.r
        choice = r.random()
        if choice < 0.6:
            code_selector = r.choice((0x08, 0x18, 0x20, 0x30, 0x58, 0x90, 0xB0)) | r.choice((0, 0, r.getrandbits(2)))
            case.patches.append(
                (GDT + FREE, self.gate_word((4, 12, 12, 12, 5), code_selector if r.random() < 0.85 else None))
            )
            case.patches.append(
                (GDT + FREE + 8, 0 if r.random() < 0.93 else r.choice((0x8000, 0xFFFFFFFF, 0x1F << 40)))
            )
        elif choice < 0.8:
            access = (0x80 if r.random() < 0.95 else 0) | r.choice((0, 0x60)) | r.choice((9, 9, 1, 11, 3))
            limit = 0x67 if r.random() < 0.85 else r.choice((0x66, 0x2B, 0x2A))
            case.patches.append((GDT + FREE, descriptor(TASK, limit, access)))
        else:
            case.patches.append(
                (GDT + FREE, gate(r.choice((0x60, 0x60, 0x60, 0x38, 8)), 0, 0x85 | r.choice((0, 0x60))))
            )
        self.task_patches(case)

    def task_patches(self, case: SystemCase) -> None:
        r = self.r
        level = r.choice((0, 0, 3))
        code = (0x20 | 3) if level else 0x08
        data = (0x28 | 3) if level else 0x10
        if r.random() < 0.3:
            code, data = (self.selector(), data) if r.random() < 0.5 else (code, self.selector())
        flags = 2 if r.random() < 0.6 else (2 | r.getrandbits(22) & 0x247CD5)
        words = {
            4: STACKS[0] - 0x200,
            8: 0x10,
            0x1C: 0x44000,
            0x20: TARGET,
            0x24: flags,
            0x28: 0x11111111,
            0x2C: 0x22222222,
            0x38: STACKS[0] - 0x100 if level == 0 else STACKS[3],
            0x48: data if r.random() < 0.9 else self.selector(),
            0x4C: code,
            0x50: data,
            0x54: data if r.random() < 0.9 else self.selector(),
            0x58: 0,
            0x5C: data if r.random() < 0.7 else 0,
            0x60: r.choice((0, 0, 0x70, self.selector())),
        }
        if r.random() < 0.3:  # as a 16-bit TSS
            words = {}
            small = bytearray(44)
            for offset, value in (
                (0x02, STACKS[0] & 0xFFFF),
                (0x04, 0x10),
                (0x0E, TARGET16),
                (0x10, flags & 0x7FFF),
                (0x12, 0x1111),
                (0x1A, 0xBE00),
                (0x22, data),
                (0x24, code),
                (0x26, data),
                (0x28, data),
            ):
                small[offset : offset + 2] = struct.pack("<H", value)
            for i in range(0, 44, 8):
                case.patches.append((TASK + i, int.from_bytes(small[i : i + 8], "little")))
        else:
            for offset, value in sorted(words.items()):
                case.patches.append((TASK + offset, value))  # the upper half is overwritten by the next or stays 0

    # Kinds

    def load_segment(self, case: SystemCase) -> None:
        r = self.r
        self.segment_patches(case)
        case.registers["rax"] = self.selector()
        code = r.choice(
            (
                b"\x8e\xd8",
                b"\x8e\xc0",
                b"\x8e\xd0",
                b"\x8e\xe0",
                b"\x8e\xe8",
                b"\x50\x0f\xa1",
                b"\x50\x0f\xa9",
                b"\x50\x1f",
                b"\x50\x17",
            )
        )
        if case.mode == "long" and code[-1] in (0x1F, 0x17):
            code = b"\x8e\xd0"
        if r.random() < 0.15 and case.mode in ("prot", "compat"):
            case.patches.append((DATA, r.getrandbits(32) | self.selector() << 32))
            code = r.choice((b"\xc5\x1d", b"\x0f\xb2\x25", b"\x0f\xb4\x1d")) + struct.pack("<I", DATA)
        case.code = code

    def look(self, case: SystemCase) -> None:
        r = self.r
        self.segment_patches(case)
        if r.random() < 0.4:
            case.patches.append((GDT + FREE, self.gate_word((4, 5, 12, 14, 9, 1, 2))))
        case.registers["rax"] = self.selector()
        case.registers["rcx"] = 0x5555555555555555 if self.long else 0x55555555
        prefix = r.choice((b"", b"", b"\x66", b"\x48" if case.mode == "long" else b""))
        case.code = prefix + r.choice((b"\x0f\x02\xc8", b"\x0f\x03\xc8", b"\x0f\x00\xe0", b"\x0f\x00\xe8"))
        if case.mode != "long" and r.random() < 0.2:
            case.registers["rcx"] = r.getrandbits(2)
            case.code = b"\x63\xc8"

    def far_transfer(self, case: SystemCase) -> None:
        r = self.r
        if r.random() < 0.6:
            self.system_patches(case)
        else:
            self.segment_patches(case, code=True)
        selector = self.selector() if r.random() < 0.3 else FREE | r.choice((0, 0, 3, r.getrandbits(2)))
        target = TARGET
        if r.random() < 0.2:
            target = TARGET16
        small = r.random() < 0.2 or case.mode in ("prot16", "v86")
        if case.mode == "v86":
            place = r.randrange(16)
            case.code = r.choice((b"\x9a", b"\xea")) + struct.pack("<HH", place * 16, 0xBF0 - place)
            return
        if case.mode == "long" or (case.mode not in ("prot16", "v86") and r.random() < 0.4):
            wide = case.mode == "long" and r.random() < 0.4
            case.code = b"\x48" * wide + b"\xff" + r.choice((b"\x1c\x25", b"\x2c\x25")) + struct.pack("<I", DATA)
            if case.mode != "long":
                case.code = b"\xff" + r.choice((b"\x1d", b"\x2d")) + struct.pack("<I", DATA)
            if wide:
                case.patches.append((DATA, target))
                case.patches.append((DATA + 8, selector))
            else:
                case.patches.append((DATA, target | selector << 32))
        else:
            opcode = r.choice((b"\x9a", b"\xea"))
            if small:
                prefix = b"" if case.mode in ("prot16", "v86") else b"\x66"
                case.code = prefix + opcode + struct.pack("<HH", TARGET16 & 0xFFFF, selector)
            else:
                case.code = opcode + struct.pack("<IH", target, selector)

    def frame(self, case: SystemCase, words: list[int], width: int) -> bytes:
        """Code that pushes `words`, the last first in memory, in the stack's width; registers hold them."""
        code = b""
        for word in words:
            if width == 8:
                code += b"\x68" + struct.pack("<I", word & 0xFFFFFFFF)
            elif width == 4:
                code += (
                    (b"\x66" if case.mode in ("prot16", "v86") else b"")
                    + b"\x68"
                    + struct.pack("<I", word & 0xFFFFFFFF)
                )
            else:
                code += (
                    (b"" if case.mode in ("prot16", "v86") else b"\x66") + b"\x68" + struct.pack("<H", word & 0xFFFF)
                )
        return code

    def width(self, case: SystemCase) -> tuple[int, bytes]:
        """Width of a frame and the prefix for it."""
        r = self.r
        if case.mode == "long":
            return r.choice(((8, b"\x48"), (8, b"\x48"), (8, b"\x48"), (2, b"\x66")))
        if case.mode in ("prot16", "v86"):
            return r.choice(((2, b""), (4, b"\x66")))
        return r.choice(((4, b""), (4, b""), (4, b""), (2, b"\x66")))

    def far_return(self, case: SystemCase) -> None:
        r = self.r
        self.segment_patches(case, code=True)
        width, prefix = self.width(case)
        target = TARGET16 if width == 2 or case.mode == "v86" else TARGET
        words = (
            [self.selector(), r.choice((STACKS[3] - 64, STACKS[3] - 64, 0x1001))]
            if r.random() < 0.8
            else [0x2B, STACKS[3]]
        )
        extra = r.choice((None, None, 0, 8, 16))
        words += [0] * ((extra or 0) // width)
        words += [self.selector() if r.random() < 0.6 else r.choice((0x23, 0x33, 0x08, 0x18)), target]
        if case.mode == "v86":
            words[-2:] = [0xBE1, 0xF0]
        case.code = (
            self.frame(case, words, width) + prefix + (b"\xcb" if extra is None else b"\xca" + struct.pack("<H", extra))
        )

    def interrupt_return(self, case: SystemCase) -> None:
        r = self.r
        self.segment_patches(case, code=True)
        width, prefix = self.width(case)
        target = TARGET16 if width == 2 or case.mode == "v86" else TARGET
        flags = r.getrandbits(22) & 0x247FD7 & ~0x4300 | 2
        if r.random() < 0.9:
            flags &= ~0x100
        words: list[int] = []
        cs = self.selector() if r.random() < 0.6 else r.choice((0x23, 0x33, 0x08, 0x18))
        if not self.long and width == 4 and case.cpl == 0 and r.random() < 0.25:
            flags |= 0x20000
            words = [r.getrandbits(12) for _ in range(4)]
            cs, target = 0x0BF0, 0
        words += [
            self.selector() if r.random() < 0.5 else r.choice((0x2B, 0x10, 0)),
            r.choice((STACKS[3] - 64, STACKS[3] - 64, 0x1001)),
        ]
        if case.mode == "v86":
            cs, target = 0xBE1, 0xF0
        words += [flags, cs, target]
        if r.random() < 0.08 and not self.long:
            case.flags |= 0x4000
            self.task_patches(case)
            case.patches = case.patches[:24]
            case.patches.append((TSS, r.choice((0x60, 0x60, 0x38, 0))))
            case.patches.append((GDT + 0x60, descriptor(TASK, 0x67, 0x8B if r.random() < 0.8 else 0x89)))
        case.code = self.frame(case, words, width) + prefix + b"\xcf"

    def interrupt(self, case: SystemCase) -> None:
        r = self.r
        self.segment_patches(case, code=True)
        vector = r.choice((0x90, 3, 4, 6, 13, 0x90, 0x90))
        types = (14, 15, 14, 15, 6, 7, 5) if not self.long else (14, 15, 14, 15, 6)
        code_selector = (
            r.choice((0x08, 0x18, 0x58, *(() if case.mode == "v86" else (0x90, 0xB0)), FREE, 0x60))
            if r.random() < 0.9
            else None
        )
        word = self.gate_word(types, code_selector)
        if word >> 40 & 15 == 5:
            self.task_patches(case)
            case.patches = case.patches[:20]
        if self.long:
            word &= ~(0xF8 << 32)
            case.patches.append((IDT + 16 * vector, word))
            case.patches.append((IDT + 16 * vector + 8, 0 if r.random() < 0.95 else r.choice((0x8000, 0xFFFF8000))))
        else:
            case.patches.append((IDT + 8 * vector, word))
        if r.random() < 0.15:
            case.patches.append(
                (TSS + 4, r.getrandbits(32) if r.random() < 0.5 else 0x20FFC | (r.choice((0x10, 0, 8, 0x2B)) << 32))
            )
        case.code = {
            0x90: b"\xcd\x90",
            3: r.choice((b"\xcc", b"\xcd\x03")),
            4: b"\xcd\x04",
            6: b"\x0f\x0b",
            13: b"\x8e\xd8",
        }[vector]
        if vector == 13:
            case.registers["rax"] = 0xFFF8

    def flags(self, case: SystemCase) -> None:
        r = self.r
        value = r.getrandbits(22) & ~0x100
        case.code = r.choice(
            (
                b"\x50\x9d\x9c\x5b",
                b"\x50\x9d\x9c\x5b",
                b"\xfa\x9c\x5b",
                b"\xfb\x90\x9c\x5b",
                b"\x9c\x5b",
                b"\x66\x9c\x66\x5b",
                b"\x50\x66\x9d\x66\x9c\x66\x5b\x59",
            )
        )
        case.registers["rax"] = value

    def fast_call(self, case: SystemCase) -> None:
        r = self.r
        case.sysenter_cs = r.choice((0x18, 0x08, 0, 0x18, 0x1B))
        case.registers["rcx"] = TARGET if r.random() < 0.8 else STACKS[3]
        case.registers["rdx"] = TARGET if r.random() < 0.9 else 0x8000000000000000
        if not self.long:
            case.registers["rcx"] &= 0xFFFFFFFF
            case.registers["rdx"] &= 0xFFFFFFFF
        prefix = b"\x48" if case.mode == "long" and r.random() < 0.6 else b""
        if r.random() < 0.5 and case.mode == "long" and case.cpl == 0:
            value = r.getrandbits(22) & 0x244CD7  # R11: mov r11d, imm32
            case.code = b"\x41\xbb" + struct.pack("<I", value) + prefix + b"\x0f\x07"
        else:
            case.code = prefix + r.choice(
                (b"\x0f\x05", b"\x0f\x34", b"\x0f\x35") if case.mode == "long" else (b"\x0f\x34", b"\x0f\x35")
            )

    def control(self, case: SystemCase) -> None:
        r = self.r
        register = r.choice((0, 0, 4, 4, 3, 2))
        if register == 0:
            value = 0x80000011 ^ (1 << r.choice((1, 2, 3, 5, 16, 18, 30, 31, 31, 0, 63 if self.long else 2)))
        elif register == 4:
            value = (0x620 if self.long else 0x600) ^ (1 << r.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)))
            if value >> 16 or value & 0x3:
                value = (0x620 if self.long else 0x600) | 1 << r.choice((2, 3, 7))
        elif register == 3:
            value = (0x40000 if self.long else 0x44000) | r.choice(
                (0, 8, 0x18, 1 << 45 if self.long else 0, 1 << 63 if self.long else 0)
            )
        else:
            value = r.getrandbits(31)
        case.registers["rax"] = value
        case.code = bytes((0x0F, 0x22, 0xC0 | register << 3))
        if r.random() < 0.1:
            case.code = bytes((0x0F, 0x22, 0xC0 | r.choice((1, 5, 6, 7)) << 3)) if case.cpl == 0 else b"\x0f\x22\xc0"
        if r.random() < 0.15:
            case.registers["rax"] = r.getrandbits(16)
            case.code = r.choice((b"\x0f\x01\xf0", b"\x0f\x01\xe0", b"\x0f\x06", b"\x0f\x20\xc3", b"\x0f\x20\xe3"))

    def ports(self, case: SystemCase) -> None:
        r = self.r
        port = r.choice((0x200, 0x201, 0x207, 0x20F, 0xFFFF, 0xFFF8, r.randrange(0x200, 0x300)))
        at = TSS + 0x88 + port // 8
        if r.random() < 0.7:
            case.patches.append((at, r.choice((0, r.getrandbits(16), 0xFF00, 0xFE, 0xFF7F))))
        if r.random() < 0.2:
            case.patches.append((TSS + 0x66, r.choice((0x2FFF - port // 8, 0x2FFE - port // 8, 0xFFFF, 0x3000))))
        case.registers["rdx"] = port
        # Reads of ports that nobody has.
        case.code = r.choice((b"\xec", b"\xed", b"\x66\xed"))
        case.registers["rax"] = 0x12345678

    def table_registers(self, case: SystemCase) -> None:
        r = self.r
        self.segment_patches(case)
        if r.random() < 0.7:
            access = (0x80 if r.random() < 0.9 else 0) | r.choice((2, 9, 1, 11, 12, 3))
            case.patches.append((GDT + FREE, descriptor(r.choice((0x9000, TASK)), 0x67, access)))
            case.patches.append(
                (GDT + FREE + 8, 0 if r.random() < 0.8 else r.choice((0xFFFF, 0x8000, 0xFFFF8000, 0x1F << 40)))
            )
        case.registers["rax"] = self.selector() if r.random() < 0.4 else FREE
        case.code = r.choice((b"\x0f\x00\xd0", b"\x0f\x00\xd8", b"\x0f\x00\xc3", b"\x0f\x00\xcb"))
        if case.mode == "long" and r.random() < 0.3:
            case.code = r.choice((b"\x0f\x01\xf8", b"\x48\x0f\x00\xc3"))

    def msr(self, case: SystemCase) -> None:
        r = self.r
        number = r.choice(
            (
                0xC0000080,
                0xC0000080,
                0xC0000081,
                0xC0000082,
                0xC0000084,
                0xC0000100,
                0xC0000101,
                0xC0000102,
                0x174,
                0x175,
                0x277,
            )
        )
        case.registers["rcx"] = number
        case.registers["rax"] = (
            r.choice((0, 0x901, 0x801, 0xD01, 0x101)) if number == 0xC0000080 else r.choice((0x07070707, 0x00070406))
        )
        case.registers["rdx"] = 0 if number == 0xC0000080 else r.choice((0, 0, 0x00000406, 0x07060100))
        if number in (0x175, 0xC0000082, 0xC0000100, 0xC0000101, 0xC0000102):
            case.registers["rdx"] &= 0x7FFF
        if number in (0xC0000084, 0x174):
            case.registers["rdx"] = 0
        if number == 0x174:
            case.registers["rax"] &= 0xFFFF
        case.code = r.choice((b"\x0f\x30\x0f\x32", b"\x0f\x32"))


__all__ = ["CODE", "Generator"]
