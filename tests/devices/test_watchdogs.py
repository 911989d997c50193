"""The watchdogs: IB700, 6300ESB and the TCO block of I/O controller hubs."""

from __future__ import annotations

import pytest
from workbench import GuestTime, Wire

from vmcore.devices.i6300esb import ENABLE, FINE, FREE_RUNNING, LOCKED, OUTPUT_OFF, SILENT, I6300EsbWatchdog
from vmcore.devices.ib700 import Ib700
from vmcore.devices.tco import Tco

SECOND = 1_000_000_000
PRELOAD1, PRELOAD2, GIS, RELOAD = 0x0, 0x4, 0x8, 0xC


class Expiries:
    """When the watchdog expired."""

    def __init__(self) -> None:
        self.time = GuestTime()
        self.at: list[int] = []

    def __call__(self) -> None:
        self.at.append(self.time.now)


# --- IB700


@pytest.mark.parametrize("value", [*range(16), 0xF7])
@pytest.mark.parametrize("port", [2, 3])
def test_the_ib700_counts_two_seconds_less_for_each_step(value: int, port: int) -> None:
    over = Expiries()
    device = Ib700(over.time.clock, over)
    over.time.advance(123)
    device.port_write(port, value, 1)
    over.time.advance(60 * SECOND)
    assert over.at == [123 + (30 - 2 * (value & 15)) * SECOND]
    assert not device.running


@pytest.mark.parametrize("port", [0, 1])
def test_the_ib700_is_started_anew_and_stopped(port: int) -> None:
    over = Expiries()
    device = Ib700(over.time.clock, over)
    for _ in range(5):
        device.port_write(2, 14, 1)
        over.time.advance(2 * SECOND - 1)
    assert device.running
    device.port_write(port, 0, 1)
    over.time.advance(60 * SECOND)
    assert over.at == []
    assert device.port_read(0, 1) == 0xFF


# --- 6300ESB


class Esb(Expiries):
    def __init__(self) -> None:
        super().__init__()
        self.wire = Wire()
        self.device = I6300EsbWatchdog(self.time.clock, self, self.wire.line)

    def unlocked(self, offset: int, value: int, size: int) -> None:
        for key in (0x80, 0x86):
            self.device.mmio_write(RELOAD, key, 2)
        self.device.mmio_write(offset, value, size)


MILLISECOND = (1 << 15) * SECOND / 33_000_000


def test_the_esb_has_two_stages_of_which_the_second_expires() -> None:
    esb = Esb()
    esb.unlocked(PRELOAD1, 999, 4)
    esb.unlocked(PRELOAD2, 499, 4)
    esb.device.write_lock(ENABLE)
    esb.time.advance(int(1000 * MILLISECOND) + 1)
    assert esb.device.mmio_read(GIS, 4) == 1
    assert esb.wire.high()
    assert esb.at == []
    esb.device.mmio_write(GIS, 1, 4)
    assert not esb.wire.high()
    esb.time.advance(10 * SECOND)
    assert esb.at == [pytest.approx(1500 * MILLISECOND, abs=2)]
    assert esb.device.mmio_read(RELOAD, 2) == 0x200
    esb.device.reset()
    assert esb.device.mmio_read(RELOAD, 2) == 0x200, "the guest learns why it was reset"
    assert esb.device.mmio_read(PRELOAD1, 4) == 0xFFFFF
    esb.unlocked(RELOAD, 0x200, 2)
    assert esb.device.mmio_read(RELOAD, 2) == 0


def test_the_esb_takes_preload_values_only_behind_the_whole_sequence() -> None:
    esb = Esb()
    esb.device.mmio_write(PRELOAD1, 1, 4)
    esb.device.mmio_write(RELOAD, 0x86, 2)
    esb.device.mmio_write(PRELOAD1, 1, 4)
    esb.device.mmio_write(RELOAD, 0x80, 2)
    esb.device.mmio_write(PRELOAD1, 1, 4)
    esb.device.mmio_write(RELOAD, 0x86, 2)
    esb.device.mmio_write(PRELOAD1, 1, 4)
    assert esb.device.mmio_read(PRELOAD1, 4) == 0xFFFFF
    esb.unlocked(PRELOAD1, 0xABC12345, 4)
    assert esb.device.mmio_read(PRELOAD1, 4) == 0x12345
    esb.device.mmio_write(PRELOAD1, 1, 4)
    assert esb.device.mmio_read(PRELOAD1, 4) == 0x12345, "each write needs it"


def test_the_esb_is_reloaded_to_the_first_stage() -> None:
    esb = Esb()
    esb.device.write_configuration(SILENT)
    for place in (PRELOAD1, PRELOAD2):
        esb.unlocked(place, 999, 4)
    esb.device.write_lock(ENABLE)
    for _ in range(5):
        esb.time.advance(int(1500 * MILLISECOND))
        esb.unlocked(RELOAD, 0x100, 2)
    assert (esb.at, esb.wire.levels) == ([], [])
    esb.device.mmio_write(RELOAD, 0x100, 2)
    esb.time.advance(int(2000 * MILLISECOND) + 2)
    assert len(esb.at) == 1


def test_the_esb_is_stopped_until_its_lock_is_locked() -> None:
    esb = Esb()
    esb.unlocked(PRELOAD1, 9, 4)
    esb.unlocked(PRELOAD2, 9, 4)
    esb.device.write_lock(ENABLE)
    esb.device.write_lock(0)
    esb.time.advance(SECOND)
    assert esb.at == []
    esb.device.write_lock(ENABLE | LOCKED)
    esb.device.write_lock(0)
    assert esb.device.lock == ENABLE | LOCKED
    esb.time.advance(SECOND)
    assert len(esb.at) == 1


def test_the_esb_without_output_does_not_expire_but_tells() -> None:
    esb = Esb()
    esb.device.write_configuration(OUTPUT_OFF | FINE)
    esb.unlocked(PRELOAD1, 9, 4)
    esb.unlocked(PRELOAD2, 9, 4)
    esb.device.write_lock(ENABLE)
    assert not esb.device.running
    esb.time.advance(SECOND)
    assert esb.at == []
    assert esb.device.mmio_read(RELOAD, 2) == 0x200


def test_the_free_running_esb_has_the_second_stage_alone() -> None:
    esb = Esb()
    esb.device.write_configuration(FINE)
    esb.unlocked(PRELOAD2, 33_000_000 // 32 - 1, 4)
    esb.device.write_lock(ENABLE | FREE_RUNNING)
    esb.time.advance(3 * SECOND + 100)
    assert [round(at / SECOND, 3) for at in esb.at] == [1, 2, 3]
    assert esb.wire.levels == []


# --- TCO


class TcoBench(Expiries):
    def __init__(self, forbidden: bool = False) -> None:
        super().__init__()
        self.smis = 0
        self.device = Tco(self.time.clock, self, self._smi, no_reboot=lambda: forbidden)

    def _smi(self) -> None:
        self.smis += 1


def test_the_tco_expires_the_second_time() -> None:
    tco = TcoBench()
    tco.time.advance(100 * SECOND)
    assert not tco.device.running, "it stands until it is first reloaded"
    tco.device.port_write(0x12, 10, 2)
    tco.device.port_write(0x00, 1, 2)
    assert tco.device.port_read(0x00, 2) == 10
    tco.time.advance(6 * SECOND)
    assert (tco.smis, tco.at) == (1, [])
    assert tco.device.port_read(0x04, 2) == 8
    tco.time.advance(6 * SECOND)
    assert tco.at == [112 * SECOND]
    assert tco.device.port_read(0x06, 2) == 6
    tco.device.reset()
    assert tco.device.port_read(0x06, 2) == 6
    tco.device.port_write(0x06, 6, 2)
    assert tco.device.port_read(0x06, 2) == 0


def test_the_tco_is_reloaded_and_halted() -> None:
    tco = TcoBench()
    tco.device.port_write(0x12, 3, 2)
    for _ in range(5):
        tco.device.port_write(0x00, 0, 2)
        tco.time.advance(SECOND)
    tco.device.port_write(0x08, 0x800, 2)
    left = tco.device.port_read(0x00, 2)
    tco.time.advance(100 * SECOND)
    assert tco.device.port_read(0x00, 2) == left == 2
    tco.device.port_write(0x08, 0, 2)
    tco.time.advance(2 * 600_000_000 + 3 * 600_000_000)
    assert len(tco.at) == 1


def test_a_forbidden_tco_only_tells() -> None:
    tco = TcoBench(forbidden=True)
    tco.device.port_write(0x00, 0, 2)
    tco.time.advance(20 * SECOND)
    assert tco.at == []
    assert tco.device.port_read(0x06, 2) == 2


def test_the_initial_values_0_and_1_are_ignored_and_the_lock_stays() -> None:
    tco = TcoBench()
    for value in (0, 1):
        tco.device.port_write(0x12, value, 2)
    assert tco.device.port_read(0x12, 2) == 4
    tco.device.port_write(0x08, 0x1000, 2)
    tco.device.port_write(0x08, 0, 2)
    assert tco.device.port_read(0x08, 2) == 0x1000
