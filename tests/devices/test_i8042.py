from __future__ import annotations

import pytest
from attrs import define, field
from workbench import GuestTime, Wire

from vmcore.devices.i8042 import GAP, I8042
from vmcore.hardware import PortSpace

DATA, STATUS = 0, 4


@define
class Bench:
    """A controller with everything that it drives."""

    time: GuestTime = field(factory=GuestTime)
    irq1: Wire = field(factory=Wire)
    irq12: Wire = field(factory=Wire)
    a20: Wire = field(factory=Wire)
    resets: list[int] = field(factory=list)
    chip: I8042 = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.chip = I8042(
            keyboard_irq=self.irq1.line,
            aux_irq=self.irq12.line,
            a20=self.a20.line,
            system_reset=lambda: self.resets.append(self.time.now),
            clock=self.time.clock,
        )

    def status(self) -> int:
        return self.chip.port_read(STATUS, 1)

    def read(self) -> int:
        return self.chip.port_read(DATA, 1)

    def command(self, code: int, *parameters: int) -> None:
        self.chip.port_write(STATUS, code, 1)
        for parameter in parameters:
            self.chip.port_write(DATA, parameter, 1)

    def data(self, value: int) -> None:
        self.chip.port_write(DATA, value, 1)

    def drain(self) -> str:
        """Read as a guest does: as long as there is a byte, waiting for the next."""
        codes = bytearray()
        while self.status() & 1:
            codes.append(self.read())
            self.time.advance(GAP)
        return codes.hex(" ")


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_controller_starts_as_firmware_leaves_it(bench: Bench) -> None:
    assert bench.status() == 0x14
    bench.command(0x20)
    assert bench.status() == 0x1D
    assert bench.read() == 0x65
    assert bench.status() == 0x1C
    assert bench.a20.line.level


@pytest.mark.parametrize(
    ("command", "answer"), [(0xAA, 0x55), (0xAB, 0x00), (0xA9, 0x00), (0xC0, 0x80), (0xD0, 0xDF), (0xE0, 0x00)]
)
def test_commands_answer(bench: Bench, command: int, answer: int) -> None:
    bench.chip.port_write(STATUS, 0x60, 1)
    bench.data(0x00)  # No interrupts: they show in the output port.
    bench.command(command)
    assert bench.status() & 1
    assert bench.read() == (answer & ~0x10 if command == 0xD0 else answer)
    assert not bench.status() & 1


def test_the_self_test_sets_the_system_flag(bench: Bench) -> None:
    bench.command(0x60, 0x00)
    assert not bench.status() & 0x04
    bench.command(0xAA)
    assert bench.status() & 0x04


def test_the_controllers_memory_is_read_and_written(bench: Bench) -> None:
    bench.command(0x60, 0x47)
    bench.command(0x7F, 0xA5)
    bench.command(0x20)
    assert bench.read() == 0x47
    bench.command(0x3F)
    assert bench.read() == 0xA5


def test_the_status_tells_commands_from_data(bench: Bench) -> None:
    bench.command(0x60)
    assert bench.status() & 0x08
    bench.data(0x65)
    assert not bench.status() & 0x08


def test_a_key_interrupts_and_is_translated(bench: Bench) -> None:
    bench.chip.keyboard.press("a")
    assert bench.irq1.levels == [True]
    assert bench.status() & 0x21 == 0x01
    assert bench.read() == 0x1E
    assert bench.irq1.levels == [True, False]
    bench.chip.keyboard.release("a")
    bench.time.advance(GAP)
    assert bench.read() == 0x9E


def test_each_byte_of_a_key_is_an_edge_of_its_own(bench: Bench) -> None:
    bench.chip.keyboard.press("up")
    bench.chip.keyboard.release("up")
    assert bench.drain() == "e0 48 e0 c8"
    assert bench.irq1.levels == [True, False] * 4


def test_without_translation_the_keyboards_own_codes_show(bench: Bench) -> None:
    bench.command(0x60, 0x05)
    bench.chip.keyboard.press("up")
    bench.chip.keyboard.release("up")
    assert bench.drain() == "e0 75 e0 f0 75"


def test_a_byte_can_be_read_twice_before_the_next_comes(bench: Bench) -> None:
    bench.chip.keyboard.press("a")
    bench.chip.keyboard.press("b")
    assert bench.read() == 0x1E
    assert bench.read() == 0x1E
    bench.time.advance(GAP)
    assert bench.read() == 0x30


def test_without_its_interrupt_a_key_waits_to_be_polled(bench: Bench) -> None:
    bench.command(0x60, 0x64)
    bench.chip.keyboard.press("a")
    assert bench.irq1.levels == []
    assert bench.status() & 1
    bench.command(0x60, 0x65)  # Switching it on with a full buffer raises it.
    assert bench.irq1.levels == [True]


def test_a_disabled_port_holds_its_bytes(bench: Bench) -> None:
    bench.command(0xAD)
    bench.chip.keyboard.press("a")
    assert not bench.status() & 1
    bench.command(0xAE)
    assert bench.read() == 0x1E


def test_a_byte_for_the_keyboard_switches_its_port_on(bench: Bench) -> None:
    bench.command(0xAD)
    bench.data(0xF2)
    assert bench.drain() == "fa ab 41"  # The identity goes through the translation, too.
    bench.command(0x20)
    assert bench.read() & 0x10 == 0


def test_a_keyboard_reset_passes(bench: Bench) -> None:
    bench.data(0xFF)
    assert bench.drain() == "fa aa"


def test_lights_are_set(bench: Bench) -> None:
    bench.data(0xED)
    bench.data(0x04)
    assert bench.drain() == "fa fa"
    assert bench.chip.keyboard.leds == 4


def test_the_mouse_answers_on_the_auxiliary_port(bench: Bench) -> None:
    bench.command(0x60, 0x47)
    bench.command(0xD4, 0xFF)
    assert bench.status() & 0x21 == 0x21
    assert bench.irq12.levels == [True]
    assert bench.irq1.levels == []
    assert bench.drain() == "fa aa 00"
    bench.command(0xD4, 0xF4)
    assert bench.drain() == "fa"
    mouse = bench.chip.mouse
    assert mouse is not None
    mouse.move(1, 2)
    assert bench.drain() == "08 01 02"


def test_mouse_packets_stay_in_order_however_many(bench: Bench) -> None:
    bench.command(0x60, 0x47)
    bench.command(0xD4, 0xF4)
    mouse = bench.chip.mouse
    assert mouse is not None
    for _ in range(300):
        mouse.move(2, 1)
    packets = bytes.fromhex(bench.drain().removeprefix("fa "))
    assert set(packets[::3]) == {0x08}
    assert (sum(packets[1::3]), sum(packets[2::3])) == (600, 300)


def test_the_auxiliary_port_can_be_switched_off(bench: Bench) -> None:
    bench.command(0xD4, 0xF4)
    bench.drain()
    bench.command(0xA7)
    mouse = bench.chip.mouse
    assert mouse is not None
    mouse.move(1, 0)
    assert not bench.status() & 1
    bench.command(0xA8)
    assert bench.status() & 0x21 == 0x21


def test_bytes_can_be_put_into_the_output_buffer_as_if_from_a_device(bench: Bench) -> None:
    bench.command(0x60, 0x47)
    bench.command(0xD2, 0x12)
    assert bench.status() & 0x21 == 0x01
    assert bench.irq1.levels == [True]
    assert bench.read() == 0x12
    bench.command(0xD3, 0x5A)
    assert bench.status() & 0x21 == 0x21
    assert bench.irq12.levels == [True]
    assert bench.read() == 0x5A


def test_the_output_port_drives_the_a20_gate(bench: Bench) -> None:
    bench.command(0xD1, 0xDD)
    bench.command(0xD0)
    assert not bench.read() & 0x02
    bench.command(0xD1, 0xDF)
    bench.command(0xDD)
    bench.command(0xDF)
    assert bench.a20.levels == [True, False, True, False, True]
    assert not bench.resets


@pytest.mark.parametrize("parameters", [(0xFE,), (0xF0,), (0xD1, 0xDE)])
def test_the_reset_line_can_be_pulsed(bench: Bench, parameters: tuple[int, ...]) -> None:
    bench.command(*parameters)
    assert len(bench.resets) == 1


def test_pulsing_no_line_or_another_resets_nothing(bench: Bench) -> None:
    bench.command(0xFF)
    bench.command(0xFD)
    assert not bench.resets


def test_the_ports_between_are_not_the_controllers(bench: Bench) -> None:
    ports = PortSpace()
    ports.claim(0x60, 1, bench.chip, "i8042")
    ports.claim(0x64, 1, bench.chip, "i8042", offset=4)
    assert ports.read(0x64, 1) == 0x14
    assert ports.read(0x61, 1) == 0xFF
    ports.write(0x64, 0xFE, 1)
    assert len(bench.resets) == 1


def test_a_restored_controller_goes_on_where_the_saved_one_was(bench: Bench) -> None:
    bench.command(0x60, 0x47)
    bench.chip.keyboard.press("up")
    bench.chip.keyboard.release("up")
    bench.read()
    bench.command(0xD4, 0xF2)
    saved = bench.chip.save()
    other = Bench()
    other.chip.restore(saved)
    assert other.chip.save() == saved
    assert (other.irq1.levels, other.irq12.levels) == ([], [])
    bench.time.advance(GAP)
    other.time.advance(GAP)
    assert other.drain() == bench.drain() == "48 e0 c8 fa 00"
    assert other.chip.save() != saved


def test_reset_empties_everything(bench: Bench) -> None:
    fresh = bench.chip.save()
    bench.chip.keyboard.press("up")
    bench.command(0xD1, 0x01)
    bench.command(0x60, 0x00)
    bench.chip.reset()
    assert bench.chip.save() == fresh
    assert not bench.irq1.line.level
