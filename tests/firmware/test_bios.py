"""The built-in BIOS, call by call, on a machine of ours."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from bios_machine import BUFFER, DISK, BiosMachine
from images import boot_sector

from vmcore.block.raw import SECTOR
from vmcore.model.exits import BudgetSpent

TEXT = 0xB8000


@pytest.fixture
def bios() -> Iterator[BiosMachine]:
    machine = BiosMachine()
    yield machine
    machine.machine.close()


def packet(lba: int, count: int, address: int) -> bytes:
    return struct.pack("<BBHHHQ", 16, 0, count, address & 15, address >> 4, lba)


# --- start


def test_the_boot_sector_is_entered_as_on_every_pc(bios: BiosMachine) -> None:
    cpu = bios.cpu
    assert (cpu.cs.selector, cpu.rip, cpu.rdx & 0xFF) == (0, 0x7C00, 0x80)
    assert bios.read(0x7C00, 512) == bios.sector(0)
    assert cpu.rflags & 0x200
    assert bios.read(0x475, 1) == b"\x01"
    assert (bios.word(0x400), bios.word(0x413), bios.word(0x40E)) == (0x3F8, 639, 0x9FC0)


def test_a_floppy_starts_with_drive_zero() -> None:
    bios = BiosMachine(boot_sector(sectors=2880))
    assert bios.cpu.rdx & 0xFF == 0
    result = bios.call(0x13, ah=8, dl=0)
    assert (result.carry, result.bl, result.ch, result.cl, result.dh, result.dl) == (False, 4, 79, 18, 1, 1)
    assert bios.call(0x11).ax & 0xC1 == 1
    assert bios.call(0x13, ah=0x41, bx=0x55AA, dl=0).carry
    assert bios.call(0x13, ah=0x15, dl=0).ah == 1


def test_a_disk_that_cannot_be_booted_says_so_and_halts(bios: BiosMachine) -> None:
    bios.begin(0x18)
    bios.idle()
    assert "No bootable disk." in "".join(bios.row(n) for n in range(25))


def test_bootstrap_loads_the_sector_again(bios: BiosMachine) -> None:
    bios.write(0x7C00, bytes(512))
    bios.begin(0x19)
    bios.run_to(0x7C00)
    assert bios.read(0x7C00, 512) == bios.sector(0)


def test_a_jump_to_the_reset_vector_boots_again(bios: BiosMachine) -> None:
    bios.write(0x7C00, bytes(512))
    bios.write(0x600, b"\xea" + struct.pack("<HH", 0xFFF0, 0xF000))
    bios.begin(0x12)
    bios.write(0x600, b"\xea" + struct.pack("<HH", 0xFFF0, 0xF000))
    bios.run_to(0x7C00)
    assert bios.read(0x7C00, 512) == bios.sector(0)


def test_a_reset_of_the_machine_boots_again_and_keeps_memory(bios: BiosMachine) -> None:
    bios.write(0x9000, b"kept")
    bios.write(0x7C00, bytes(512))
    bios.begin(0x12)
    bios.write(0x600, b"\xba\xf9\x0c\xb0\x06\xee\xf4")  # mov dx, 0xcf9; mov al, 6; out dx, al; hlt
    bios.run_to(0x7C00)
    assert bios.read(0x7C00, 512) == bios.sector(0)
    assert bios.read(0x9000, 4) == b"kept"


def test_a_shutdown_code_in_cmos_resumes_at_the_address_in_the_data_area(bios: BiosMachine) -> None:
    ports = bios.board.ports
    ports.write(0x70, 0x0F, 1)
    ports.write(0x71, 0x0A, 1)
    bios.write(0x467, struct.pack("<HH", 0x0700, 0x0000))
    bios.begin(0x12)
    bios.write(0x600, b"\xea" + struct.pack("<HH", 0xFFF0, 0xF000))
    bios.run_to(0x700)
    ports.write(0x70, 0x0F, 1)
    assert ports.read(0x71, 1) == 0


# --- memory and equipment


def test_memory_calls_agree_with_the_machine(bios: BiosMachine) -> None:
    assert bios.call(0x12).ax == 639
    assert bios.call(0x15, ah=0x88).ax == 15 * 1024 - 64
    result = bios.call(0x15, ax=0xE801)
    assert (result.ax, result.bx, result.cx, result.dx) == (15 * 1024 - 64, 0, 15 * 1024 - 64, 0)


def test_the_memory_map_is_walked_line_by_line(bios: BiosMachine) -> None:
    found, following = [], 0
    while True:
        result = bios.call(0x15, eax=0xE820, ebx=following, ecx=20, edx=0x534D4150, di=BUFFER)
        assert (result.carry, result.eax, result.ecx) == (False, 0x534D4150, 20)
        found.append(struct.unpack("<QQI", bios.read(BUFFER, 20)))
        following = result.ebx
        if not following:
            break
    layout = bios.board.layout
    assert found == [(r.start, r.size, r.kind) for r in layout.memory_map()]
    assert bios.call(0x15, eax=0xE820, ebx=99, ecx=20, edx=0x534D4150, di=BUFFER).carry
    assert bios.call(0x15, eax=0xE820, ebx=0, ecx=20, edx=0, di=BUFFER).carry
    assert bios.call(0x15, eax=0xE820, ebx=0, ecx=19, edx=0x534D4150, di=BUFFER).carry


def test_equipment_lists_ports_and_video(bios: BiosMachine) -> None:
    equipment = bios.call(0x11).ax
    assert equipment & 0x32 == 0x22
    assert equipment >> 9 & 7 == len(bios.machine.serial)


def test_gate_a20_is_opened_and_closed(bios: BiosMachine) -> None:
    assert bios.call(0x15, ax=0x2402).al == 1
    bios.call(0x15, ax=0x2400)
    assert bios.call(0x15, ax=0x2402).al == 0
    levels = [bios.board.a20.level]
    assert not bios.call(0x15, ax=0x2401).carry
    assert [*levels, bios.board.a20.level] == [False, True]
    assert bios.call(0x15, ax=0x2403).bx == 2
    assert bios.call(0x15, ax=0x2404).carry


def test_blocks_are_moved_to_and_from_extended_memory(bios: BiosMachine) -> None:
    bios.write(BUFFER, bytes(range(256)))
    descriptors = bytearray(48)
    for at, base in ((0x10, BUFFER), (0x18, 0x200010)):
        struct.pack_into("<HHBBH", descriptors, at, 0xFFFF, base & 0xFFFF, base >> 16 & 0xFF, 0x93, base >> 24 << 8)
    bios.write(0x800, bytes(descriptors))
    result = bios.call(0x15, ah=0x87, cx=128, si=0x800)
    assert (result.carry, result.ah) == (False, 0)
    assert bios.read(0x200010, 256) == bytes(range(256))
    assert bios.read(0x200110, 2) == bytes(2)
    assert (bios.cpu.cr0 & 1, bios.cpu.ds.limit, bios.cpu.es.limit) == (0, 0xFFFF, 0xFFFF)


def test_waiting_takes_guest_time(bios: BiosMachine) -> None:
    before = bios.machine.now_ns
    assert not bios.call(0x15, ah=0x86, cx=0, dx=5000).carry
    assert 5_000_000 <= bios.machine.now_ns - before < 5_010_000


def test_calls_that_do_not_exist_fail_as_they_should(bios: BiosMachine) -> None:
    for function in (0x53, 0x89, 0xC2, 0xD8):
        result = bios.call(0x15, ah=function)
        assert (result.carry, result.ah) == (True, 0x86)
    result = bios.call(0x15, ah=0xC0)
    assert bios.read(result.es * 16 + result.bx, 3) == b"\x08\x00\xfc"
    assert bios.call(0x15, ah=0xC1).es == 0x9FC0
    assert bios.call(0x17).ah == 1


# --- screen


def test_teletype_writes_wraps_and_scrolls(bios: BiosMachine) -> None:
    bios.call(0x10, ax=3)
    for character in b"A\r\nBC\bD\a":
        bios.call(0x10, ah=0x0E, al=character)
    assert bios.row(0).rstrip() == "A"
    assert bios.row(1).rstrip() == "BD"
    assert bios.call(0x10, ah=3).dx == 0x0102
    bios.call(0x10, ah=2, dx=0x184E)
    for character in b"xyz":
        bios.call(0x10, ah=0x0E, al=character)
    assert bios.row(0).rstrip() == "BD"
    assert bios.row(23)[78:] == "xy"
    assert bios.row(24).rstrip() == "z"
    assert bios.call(0x10, ah=3).dx == 0x1801


def test_characters_are_written_and_read_at_the_cursor(bios: BiosMachine) -> None:
    bios.call(0x10, ah=2, dx=0x0305)
    bios.call(0x10, ah=9, al=ord("*"), bl=0x1F, cx=3)
    assert bios.read(TEXT + (3 * 80 + 5) * 2, 8) == b"*\x1f" * 3 + b" \x07"
    bios.call(0x10, ah=0x0A, al=ord("+"), cx=2)
    assert bios.read(TEXT + (3 * 80 + 5) * 2, 6) == b"+\x1f+\x1f*\x1f"
    assert bios.call(0x10, ah=8).ax == 0x1F00 | ord("+")
    result = bios.call(0x10, ah=3)
    assert (result.dx, result.cx) == (0x0305, 0x0607)


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize(
    ("lines", "top", "bottom"), [(1, 2, 5), (3, 2, 5), (0, 2, 5), (9, 2, 5), (2, 0, 24), (1, 7, 7)]
)
def test_windows_scroll(bios: BiosMachine, down: bool, lines: int, top: int, bottom: int) -> None:
    left, right = 3, 9
    screen = [[chr(0x21 + (row * 7 + column) % 90) for column in range(80)] for row in range(25)]
    bios.write(TEXT, "".join(c + "\x07" for row in screen for c in row).encode("latin-1"))
    bios.call(0x10, ah=7 if down else 6, al=lines, bh=0x4E, ch=top, cl=left, dh=bottom, dl=right)
    count = lines if 0 < lines <= bottom - top else bottom - top + 1
    window = [row[left : right + 1] for row in screen[top : bottom + 1]]
    blank = [[" "] * (right - left + 1)] * count
    window = blank + window[:-count] if down else window[count:] + blank
    for number, row in enumerate(window):
        screen[top + number][left : right + 1] = row
    assert [bios.row(number) for number in range(25)] == ["".join(row) for row in screen]
    cleared = top if down else bottom
    assert bios.read(TEXT + (cleared * 80 + left) * 2 + 1, 1) == b"\x4e"


def test_strings_move_the_cursor_only_if_asked(bios: BiosMachine) -> None:
    bios.write(BUFFER, b"hi\r\nyo")
    bios.call(0x10, ax=0x1301, bx=0x002E, cx=6, dx=0x0400, bp=BUFFER)
    assert (bios.row(4).rstrip(), bios.row(5).rstrip()) == ("hi", "yo")
    assert bios.read(TEXT + 4 * 160, 4) == b"h\x2ei\x2e"
    assert bios.call(0x10, ah=3).dx == 0x0502
    bios.write(BUFFER, b"a\x11b\x22")
    bios.call(0x10, ax=0x1302, cx=2, dx=0x0A00, bp=BUFFER)
    assert bios.read(TEXT + 10 * 160, 4) == b"a\x11b\x22"
    assert bios.call(0x10, ah=3).dx == 0x0502


def test_modes_and_pages(bios: BiosMachine) -> None:
    result = bios.call(0x10, ah=0x0F)
    assert (result.al, result.ah, result.bh) == (3, 80, 0)
    bios.call(0x10, ah=5, al=2)
    assert bios.call(0x10, ah=0x0F).bh == 2
    bios.call(0x10, ah=0x0E, al=ord("p"))
    assert bios.read(TEXT + 0x2000, 1) == b"p"
    bios.call(0x10, ax=0x0001)
    assert bios.call(0x10, ah=0x0F).ax == 40 << 8 | 1
    bios.call(0x10, ax=0x0013)
    assert bios.call(0x10, ah=0x0F).al == 1
    assert bios.call(0x10, ax=0x1A00).al == 0x1A
    assert bios.call(0x10, ah=0x12, bl=0x10).bl == 3
    assert bios.call(0x10, ax=0x4F00).al != 0x4F


# --- disks


def test_sectors_are_read_by_cylinder_head_and_sector(bios: BiosMachine) -> None:
    result = bios.call(0x13, ah=2, al=3, ch=0, cl=5, dh=1, dl=0x80, bx=BUFFER)
    assert (result.carry, result.ah, result.al) == (False, 0, 3)
    assert bios.read(BUFFER, 3 * SECTOR) == bios.sector(63 + 4, 3)
    result = bios.call(0x13, ah=2, al=1, ch=1, cl=1, dh=0, dl=0x80, es=0x2000, bx=0xFFF1)
    assert not result.carry
    assert bios.read(0x2FFF1, SECTOR) == bios.sector(16 * 63)


def test_sectors_are_read_and_written_by_block(bios: BiosMachine) -> None:
    bios.write(BUFFER, packet(1500, 100, 0x20000))
    result = bios.call(0x13, ah=0x42, dl=0x80, si=BUFFER)
    assert (result.carry, result.ah) == (False, 0)
    assert bios.read(0x20000, 100 * SECTOR) == bios.sector(1500, 100)
    assert bios.word(BUFFER + 2) == 100
    bios.write(0x30000, b"w" * SECTOR)
    bios.write(BUFFER, packet(1501, 1, 0x30000))
    assert not bios.call(0x13, ah=0x43, dl=0x80, si=BUFFER).carry
    assert not bios.call(0x13, ah=0x44, dl=0x80, si=BUFFER).carry
    bios.write(BUFFER, packet(1500, 3, 0x20000))
    bios.call(0x13, ah=0x42, dl=0x80, si=BUFFER)
    assert bios.read(0x20000, 3 * SECTOR) == bios.sector(1500) + b"w" * SECTOR + bios.sector(1502)


def test_sectors_are_written_by_cylinder_head_and_sector(bios: BiosMachine) -> None:
    bios.write(BUFFER, bytes(range(256)) * 4)
    assert not bios.call(0x13, ah=3, al=2, cl=10, dl=0x80, bx=BUFFER).carry
    bios.write(BUFFER, bytes(1024))
    bios.call(0x13, ah=2, al=2, cl=10, dl=0x80, bx=BUFFER)
    assert bios.read(BUFFER, 1024) == bytes(range(256)) * 4


def test_disk_parameters_cover_the_disk(bios: BiosMachine) -> None:
    result = bios.call(0x13, ah=8, dl=0x80)
    cylinders = (result.ch | (result.cl & 0xC0) << 2) + 1
    assert (result.carry, cylinders, result.dh + 1, result.cl & 0x3F, result.dl) == (False, 2, 16, 63, 1)
    result = bios.call(0x13, ah=0x15, dl=0x80)
    assert (result.ah, result.cx << 16 | result.dx) == (3, len(DISK) // SECTOR)
    result = bios.call(0x13, ah=0x41, bx=0x55AA, dl=0x80)
    assert (result.carry, result.bx, result.cx & 1) == (False, 0xAA55, 1)
    bios.write(BUFFER, struct.pack("<H", 26))
    assert not bios.call(0x13, ah=0x48, dl=0x80, si=BUFFER).carry
    size, _, *numbers = struct.unpack("<HHIIIQH", bios.read(BUFFER, 26))
    assert (size, numbers) == (26, [2, 16, 63, len(DISK) // SECTOR, 512])


@pytest.mark.parametrize(
    ("registers", "status"),
    [
        ({"ah": 2, "al": 1, "cl": 1, "dl": 0x81}, 0x01),
        ({"ah": 2, "al": 1, "cl": 1, "dl": 0x00}, 0x80),
        ({"ah": 2, "al": 1, "cl": 0, "dl": 0x80}, 0x01),
        ({"ah": 2, "al": 0, "cl": 1, "dl": 0x80}, 0x01),
        ({"ah": 2, "al": 1, "cl": 1, "dh": 16, "dl": 0x80}, 0x01),
        ({"ah": 2, "al": 1, "ch": 2, "cl": 1, "dl": 0x80}, 0x01),
        ({"ah": 2, "al": 1, "ch": 1, "cl": 63, "dh": 15, "dl": 0x80}, 0x04),
        ({"ah": 0x05, "dl": 0x80}, 0x01),
        ({"ah": 0x41, "bx": 0x1234, "dl": 0x80}, 0x01),
    ],
)
def test_bad_disk_calls_set_carry_and_status(bios: BiosMachine, registers: dict[str, int], status: int) -> None:
    result = bios.call(0x13, bx=BUFFER, **registers) if "bx" not in registers else bios.call(0x13, **registers)
    assert (result.carry, result.ah) == (True, status)
    last = bios.call(0x13, ah=1, dl=registers["dl"])
    assert last.ah == (status if registers["dl"] == 0x80 else last.ah)
    assert not bios.call(0x13, ah=0, dl=0x80).carry


def test_bad_packets_are_refused(bios: BiosMachine) -> None:
    for lba, count, status in ((len(DISK) // SECTOR, 1, 4), (0, 128, 1), (1 << 40, 1, 4)):
        bios.write(BUFFER, packet(lba, count, 0x20000))
        result = bios.call(0x13, ah=0x42, dl=0x80, si=BUFFER)
        assert (result.carry, result.ah, bios.word(BUFFER + 2)) == (True, status, 0)
    bios.write(BUFFER, b"\x08" + bytes(15))
    assert bios.call(0x13, ah=0x42, dl=0x80, si=BUFFER).ah == 1


# --- keyboard


def press(bios: BiosMachine, *keys: str) -> None:
    for key in keys:
        bios.machine.keyboard.press(key)
    for key in reversed(keys):
        bios.machine.keyboard.release(key)
    bios.idle()


@pytest.mark.parametrize(
    ("keys", "entry"),
    [
        (("a",), 0x1E61),
        (("shift", "a"), 0x1E41),
        (("ctrl", "a"), 0x1E01),
        (("alt", "a"), 0x1E00),
        (("1",), 0x0231),
        (("shift", "1"), 0x0221),
        (("ret",), 0x1C0D),
        (("esc",), 0x011B),
        (("spc",), 0x3920),
        (("backspace",), 0x0E08),
        (("tab",), 0x0F09),
        (("shift", "tab"), 0x0F00),
        (("f1",), 0x3B00),
        (("shift", "f1"), 0x5400),
        (("ctrl", "f1"), 0x5E00),
        (("alt", "f1"), 0x6800),
        (("up",), 0x4800),
        (("ctrl", "left"), 0x7300),
        (("delete",), 0x5300),
    ],
)
def test_keys_become_entries_of_the_buffer(bios: BiosMachine, keys: tuple[str, ...], entry: int) -> None:
    assert bios.call(0x16, ah=1).zero
    press(bios, *keys)
    result = bios.call(0x16, ah=1)
    assert (result.zero, result.ax) == (False, entry)
    assert bios.call(0x16, ah=0).ax == entry
    assert bios.call(0x16, ah=1).zero
    assert bios.call(0x16, ah=2).al & 0x0F == 0


def test_reading_waits_for_a_key(bios: BiosMachine) -> None:
    bios.begin(0x16, ah=0)
    assert isinstance(bios.idle(1000), BudgetSpent)
    bios.machine.keyboard.press("x")
    assert bios.finish().ax == 0x2D78


def test_extended_keys_are_only_for_the_extended_calls(bios: BiosMachine) -> None:
    press(bios, "f12")
    press(bios, "up")
    assert bios.call(0x16, ah=0x10).ax == 0x8600
    assert bios.call(0x16, ah=0x11).ax == 0x48E0
    press(bios, "f12")
    assert bios.call(0x16, ah=0).ax == 0x4800
    assert bios.call(0x16, ah=1).zero


def test_shift_states_are_told(bios: BiosMachine) -> None:
    bios.machine.keyboard.press("shift")
    bios.idle()
    assert bios.call(0x16, ah=2).al == 0x02
    bios.machine.keyboard.release("shift")
    press(bios, "caps_lock")
    assert bios.call(0x16, ah=2).al == 0x40
    press(bios, "a")
    press(bios, "shift", "b")
    assert bios.call(0x16, ah=0).al == ord("A")
    assert bios.call(0x16, ah=0).al == ord("b")


def test_entries_can_be_stored_until_the_buffer_is_full(bios: BiosMachine) -> None:
    stored = [bios.call(0x16, ah=5, cx=0x1E61 + n).al for n in range(16)]
    assert stored == [0] * 15 + [1]
    assert [bios.call(0x16, ah=0).ax for _ in range(15)] == [0x1E61 + n for n in range(15)]


def test_control_alt_delete_boots_again(bios: BiosMachine) -> None:
    bios.write(0x7C00, b"\xfb\xf4\xeb\xfc")
    bios.cpu.rip = 0x7C00
    bios.write(0x7D00, b"gone")
    for key in ("ctrl", "alt", "delete"):
        bios.machine.keyboard.press(key)
    bios.cpu.add_breakpoint(0xFE05B)
    bios.idle()
    assert bios.cpu.rip == 0xE05B
    assert bios.word(0x472) == 0x1234


# --- serial, time


def test_the_serial_port_is_set_up_written_and_read(bios: BiosMachine) -> None:
    assert bios.call(0x14, ah=0, al=0xE3, dx=0).ah & 0x60 == 0x60
    for character in b"ok":
        assert not bios.call(0x14, ah=1, al=character, dx=0).ah & 0x80
    bios.idle()
    assert bios.machine.serial[0].take() == b"ok"
    bios.machine.serial[0].send(b"!")
    assert bios.call(0x14, ah=2, dx=0).ax & 0x80FF == ord("!")
    assert bios.call(0x14, ah=3, dx=3).ah == 0x80


def test_teletype_is_mirrored_to_the_serial_port_if_configured() -> None:
    bios = BiosMachine(boots=False)
    flags = bios.read(0xFFC05, 1)[0]
    bios.machine.memory.load(0xFFC05, bytes([flags | 1]))
    bios.run_to(0x7C00)
    for character in b"hi\r\n":
        bios.call(0x10, ah=0x0E, al=character)
    bios.idle()
    assert bios.machine.serial[0].take() == b"hi\r\n"


def test_ticks_count_from_midnight_at_18_hertz(bios: BiosMachine) -> None:
    result = bios.call(0x1A, ah=0)
    ticks = result.cx << 16 | result.dx
    seconds = 15 * 3600 + 9 * 60 + 26
    assert abs(ticks - seconds * 1193182 / 65536) < 20
    bios.cpu.rip = 0x7C00
    bios.idle(10_000)
    result = bios.call(0x1A, ah=0)
    assert abs((result.cx << 16 | result.dx) - ticks - 182) <= 1
    bios.call(0x1A, ah=1, cx=0x18, dx=0x00AF)
    bios.cpu.rip = 0x7C00
    bios.idle(100)
    result = bios.call(0x1A, ah=0)
    assert (result.al, result.cx) == (1, 0)
    assert bios.call(0x1A, ah=0).al == 0


def test_the_clock_is_read_and_set(bios: BiosMachine) -> None:
    result = bios.call(0x1A, ah=2)
    assert (result.carry, result.ch, result.cl) == (False, 0x15, 0x09)
    result = bios.call(0x1A, ah=4)
    assert (result.ch, result.cl, result.dh, result.dl) == (0x20, 0x26, 0x03, 0x14)
    bios.call(0x1A, ah=3, cx=0x2358, dx=0x3000)
    bios.call(0x1A, ah=5, cx=0x2027, dx=0x1231)
    result = bios.call(0x1A, ah=2)
    assert (result.cx, result.dh) == (0x2358, 0x30)
    result = bios.call(0x1A, ah=4)
    assert (result.cx, result.dx) == (0x2027, 0x1231)
    assert bios.call(0x1A, ah=0xB1).carry


def test_the_alarm_raises_its_interrupt(bios: BiosMachine) -> None:
    bios.write(0x700, b"\xfe\x06\x00\x09\xcf")  # inc byte [0x900]; iret
    bios.write(0x4A * 4, struct.pack("<HH", 0x700, 0))
    assert not bios.call(0x1A, ah=6, cx=0x1509, dx=0x2800).carry
    assert bios.call(0x1A, ah=6, cx=0x1509, dx=0x2900).carry
    bios.cpu.rip = 0x602
    bios.idle(3000)
    assert bios.read(0x900, 1) == b"\x01"
    bios.call(0x1A, ah=7)
    assert not bios.call(0x1A, ah=6, cx=0x1509, dx=0x2900).carry
