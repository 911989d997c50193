"""An ATA disk.

Sources: T13 1410D (ATA/ATAPI-6), section 8 (commands); SFF-8035i, whose SMART data has become customary.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, final

from attrs import define, field

from vmcore.block.drive import Failed, Held
from vmcore.block.node import SECTOR
from vmcore.devices.ata_unit import AtaError, AtaUnit, Phase, Value, identity_words
from vmcore.model.block import IoOperationType

__all__ = ["AtaDisk"]

MOST_AT_ONCE: Final = 16
"""Sectors of a block of the multiple commands at most."""
HEADS: Final = 16
TRACK: Final = 63
MOST_CYLINDERS: Final = 16_383
LBA: Final = 0x40
"""Bit of the device register: the address is a block number."""
LBA28_SECTORS: Final = 0x0FFF_FFFF
LBA48_SECTORS: Final = 1 << 48
SMART_PASS: Final = (0x4F, 0xC2)
SMART_FAIL: Final = (0xF4, 0x2C)

ABRT: Final = int(AtaError.ABRT)


class Job(StrEnum):
    """What a disk is busy with."""

    NONE = "none"
    READ = "read"
    WRITE = "write"
    VERIFY = "verify"
    FLUSH = "flush"


# What a media command is: job, 48-bit address, DMA, blocks of several sectors.
_MEDIA: Final[dict[int, tuple[Job, bool, bool, bool]]] = {
    0x20: (Job.READ, False, False, False),
    0x21: (Job.READ, False, False, False),
    0x24: (Job.READ, True, False, False),
    0x25: (Job.READ, True, True, False),
    0x29: (Job.READ, True, False, True),
    0x30: (Job.WRITE, False, False, False),
    0x31: (Job.WRITE, False, False, False),
    0x34: (Job.WRITE, True, False, False),
    0x35: (Job.WRITE, True, True, False),
    0x39: (Job.WRITE, True, False, True),
    0x40: (Job.VERIFY, False, False, False),
    0x41: (Job.VERIFY, False, False, False),
    0x42: (Job.VERIFY, True, False, False),
    0xC4: (Job.READ, False, False, True),
    0xC5: (Job.WRITE, False, False, True),
    0xC8: (Job.READ, False, True, False),
    0xC9: (Job.READ, False, True, False),
    0xCA: (Job.WRITE, False, True, False),
    0xCB: (Job.WRITE, False, True, False),
}

_POWER: Final = frozenset((0xE0, 0xE1, 0xE2, 0xE3, 0xE6, 0x94, 0x95, 0x96, 0x97, 0x99))
_CHECK_POWER: Final = frozenset((0xE5, 0x98))

# SMART attributes: number, flags, value and worst, raw value, threshold.
_ATTRIBUTES: Final = (
    (0x01, 0x0003, 100, 0, 6),  # raw read error rate
    (0x03, 0x0003, 100, 16, 0),  # spin-up time
    (0x04, 0x0002, 100, 100, 20),  # start/stop count
    (0x05, 0x0003, 100, 0, 36),  # reallocated sectors
    (0x09, 0x0003, 100, 1, 0),  # power-on hours
    (0x0C, 0x0003, 100, 0, 0),  # power cycle count
)


@final
@define(eq=False)
class AtaDisk(AtaUnit):
    """A hard disk over a `Drive`.  Its geometry is 16 heads of 63 sectors, until the host sets another."""

    model: str = "vmcore disk"
    firmware: str = "1.0"
    sata: bool = False
    """Whether it hangs on a serial link, and its adapter queues commands."""

    heads: int = field(default=HEADS, init=False)
    track: int = field(default=TRACK, init=False)
    multiple: int = field(default=0, init=False)
    transfer_mode: int = field(default=0x22, init=False)
    write_cache: bool = field(default=True, init=False)
    look_ahead: bool = field(default=True, init=False)
    smart: bool = field(default=True, init=False)
    autosave: bool = field(default=True, init=False)
    self_test: int = field(default=0, init=False)
    job: str = field(default=Job.NONE, init=False)
    dma: bool = field(default=False, init=False)
    lba: int = field(default=0, init=False)
    left: int = field(default=0, init=False)
    block: int = field(default=1, init=False)
    since: int = field(default=0, init=False)

    _OWN = (
        "heads", "track", "multiple", "transfer_mode", "write_cache", "look_ahead", "smart", "autosave", "self_test",
        "job", "dma", "lba", "left", "block", "since",
    )  # fmt: skip

    @property
    def sectors(self) -> int:
        """Size of the disk; a last part of a sector does not count."""
        return min(self.drive.size // SECTOR, LBA48_SECTORS)

    @property
    def serial(self) -> str:
        """The serial number that the disk tells."""
        return self.drive.serial or f"VC{self.number + 1:05d}"

    @property
    def cylinders(self) -> int:
        """Cylinders of the default geometry."""
        return min(max(self.sectors // (HEADS * TRACK), 1), MOST_CYLINDERS)

    def reset_settings(self) -> None:
        self.heads, self.track, self.multiple = HEADS, TRACK, 0
        self.transfer_mode = 0x22
        self.write_cache = self.look_ahead = self.smart = self.autosave = True
        self.self_test = 0
        self.job, self.dma, self.lba, self.left, self.block, self.since = Job.NONE, False, 0, 0, 1, 0

    # --- commands

    def command(self, code: int) -> None:
        if code in _MEDIA:
            self._media(*_MEDIA[code])
        elif code == 0xEC:
            self.job, self.left = Job.NONE, 0
            self.offer(self.identify(), Phase.DATA_IN)
        elif code in (0xE7, 0xEA):
            self._begin(Job.FLUSH)
            self.work()
        elif code == 0xEF:
            self._set_features()
        elif code == 0xC6:
            self._set_multiple()
        elif code == 0x91:
            self._set_geometry()
        elif code == 0x90:
            self.sign()
            self.port.interrupt()
        elif code == 0xB0:
            self._smart()
        elif code in (0xF8, 0x27):
            self._native_max(code == 0x27)
        elif code in _CHECK_POWER:
            self.count = 0xFF  # Active or idle.
            self.finish()
        elif code in _POWER or 0x10 <= code <= 0x1F:
            self.finish()
        elif 0x70 <= code <= 0x7F:
            self._seek()
        else:
            if code == 0xA1:
                self.mid = self.high = 0
            self.fail(ABRT)

    def _begin(self, job: Job) -> None:
        self.job, self.since = job, self.drive.now()

    def _media(self, job: Job, wide: bool, dma: bool, multiple: bool) -> None:
        if wide and not self.device & LBA:
            self.fail(ABRT)
            return
        if multiple and not self.multiple:
            self.fail(ABRT)
            return
        count = (self.count or 0x1_0000) if wide else (self.count & 0xFF or 0x100)
        lba = self._address(wide)
        operation = IoOperationType.WRITE if job is Job.WRITE else IoOperationType.READ
        if lba is None or lba + count > self.sectors:
            self.drive.refused(operation)
            self.fail(AtaError.IDNF)
            return
        if job is Job.WRITE and self.drive.read_only:
            self.drive.refused(operation)
            self.fail(ABRT)
            return
        self._begin(job)
        self.lba, self.left, self.dma = lba, count, dma
        self.block = count if dma or job is Job.VERIFY else self.multiple if multiple else 1
        if job is Job.WRITE:
            self._expect(interrupt=False)
        else:
            self.work()

    def _address(self, wide: bool) -> int | None:
        """The first sector that the registers name; None where they name none."""
        if wide:
            low = self.high & 0xFF, self.mid & 0xFF, self.low & 0xFF
            return int.from_bytes((self.high >> 8, self.mid >> 8, self.low >> 8, *low), "big")
        head, sector = self.device & 0x0F, self.low & 0xFF
        cylinder = (self.high & 0xFF) << 8 | self.mid & 0xFF
        if self.device & LBA:
            return head << 24 | cylinder << 8 | sector
        if not 1 <= sector <= self.track or head >= self.heads:
            return None
        return (cylinder * self.heads + head) * self.track + sector - 1

    def _set_address(self, lba: int) -> None:
        """Say which sector it was."""
        if self.device & LBA:
            part = [lba >> 8 * n & 0xFF for n in range(6)]
            self.low, self.mid, self.high = (part[n + 3] << 8 | part[n] for n in range(3))
            if lba <= LBA28_SECTORS:
                self.device = self.device & ~0x0F | lba >> 24 & 0x0F
            return
        rest, sector = divmod(lba, self.track)
        cylinder, head = divmod(rest, self.heads)
        self.low, self.mid, self.high = sector + 1, cylinder & 0xFF, cylinder >> 8 & 0xFF
        self.device = self.device & ~0x0F | head

    def _expect(self, *, interrupt: bool) -> None:
        length = min(self.left, self.block) * SECTOR
        self.expect(length, Phase.DMA_OUT if self.dma else Phase.DATA_OUT, interrupt=interrupt)

    def proceed(self) -> None:
        if self.phase is not Phase.BUSY:
            return
        match self.job:
            case Job.READ:
                self._read()
            case Job.VERIFY:
                self._verify()
            case Job.WRITE:
                self._write()
            case Job.FLUSH:
                self._flush()

    def _read(self) -> None:
        count = min(self.left, self.block)
        outcome = self.drive.read(self.lba * SECTOR, count * SECTOR, self.since)
        if isinstance(outcome, Held):
            return
        if isinstance(outcome, Failed):
            self._set_address(self.lba)
            self.fail(AtaError.UNC)
            return
        self.lba += count
        self.left -= count
        self.offer(outcome.data, Phase.DMA_IN if self.dma else Phase.DATA_IN)

    def _verify(self) -> None:
        while self.left:
            count = min(self.left, 256)
            outcome = self.drive.read(self.lba * SECTOR, count * SECTOR, self.since)
            if isinstance(outcome, Held):
                return
            if isinstance(outcome, Failed):
                self._set_address(self.lba)
                self.fail(AtaError.UNC)
                return
            self.lba += count
            self.left -= count
        self.finish()

    def _write(self) -> None:
        outcome = self.drive.write(self.lba * SECTOR, bytes(self.data), self.since)
        if isinstance(outcome, Held):
            return
        if isinstance(outcome, Failed):
            self._set_address(self.lba)
            self.fail(ABRT)
            return
        count = len(self.data) // SECTOR
        self.lba += count
        self.left -= count
        if not self.write_cache:
            # Without its cache the disk says so only when the sectors are where they stay.
            self.job = Job.FLUSH
            self._flush()
        else:
            self._written()

    def _written(self) -> None:
        if self.left:
            self.job = Job.WRITE
            self._expect(interrupt=True)
        else:
            self.finish()

    def _flush(self) -> None:
        outcome = self.drive.flush(self.since)
        if isinstance(outcome, Held):
            return
        if isinstance(outcome, Failed):
            self.left = 0
            self.fail(ABRT)
            return
        self._written()

    def moved(self) -> None:
        if self.phase in (Phase.DATA_OUT, Phase.DMA_OUT):
            if self.job == Job.WRITE:
                self.work(0 if self.dma else 1_000)
            else:
                self.finish()
        elif self.left:
            self.work(1_000)
        else:
            # The host has been told of the last block of PIO before it fetched it.
            self.finish(interrupt=self.phase is Phase.DMA_IN)

    def _seek(self) -> None:
        lba = self._address(False)
        if lba is None or lba >= self.sectors:
            self.fail(AtaError.IDNF)
        else:
            self.finish()

    # --- settings

    def _set_features(self) -> None:
        match self.features & 0xFF:
            case 0x02:
                self.write_cache = True
            case 0x82:
                # What is in the cache has to be on the medium before there is none.
                self.write_cache = False
                self.left = 0
                self._begin(Job.FLUSH)
                self.work()
                return
            case 0x03 if self._known_mode(self.count & 0xFF):
                if self.count & 0xF8 not in (0x00, 0x08):
                    self.transfer_mode = self.count & 0xFF
            case 0xAA:
                self.look_ahead = True
            case 0x55:
                self.look_ahead = False
            case 0x66 | 0xCC | 0x05 | 0x85 | 0x42 | 0xC2:
                pass
            case _:
                self.fail(ABRT)
                return
        self.finish()

    @staticmethod
    def _known_mode(mode: int) -> bool:
        """Transfer modes (table 44): PIO with and without flow control, multiword DMA, Ultra DMA."""
        kind, number = mode >> 3, mode & 7
        most = {0x00: 1, 0x01: 4, 0x04: 2, 0x08: 5}.get(kind)
        return most is not None and number <= most

    def _set_multiple(self) -> None:
        count = self.count & 0xFF
        if count > MOST_AT_ONCE or count & count - 1:
            self.multiple = 0
            self.fail(ABRT)
            return
        self.multiple = count
        self.finish()

    def _set_geometry(self) -> None:
        track, heads = self.count & 0xFF, (self.device & 0x0F) + 1
        if not track:
            self.fail(ABRT)
            return
        self.track, self.heads = track, heads
        self.finish()

    def _native_max(self, wide: bool) -> None:
        if not self.device & LBA:
            self.fail(ABRT)
            return
        last = max(self.sectors - 1, 0)
        self._set_address(last if wide else min(last, LBA28_SECTORS - 1))
        self.finish()

    # --- identification

    def identify(self) -> bytes:
        """What IDENTIFY DEVICE gives (8.12)."""
        sectors = self.sectors
        small, cylinders = min(sectors, LBA28_SECTORS), self.cylinders
        current = min(sectors // (self.heads * self.track), 0xFFFF)
        addressable = min(current * self.heads * self.track, sectors)
        single, multiword, ultra = self._mode_words()
        # SMART, power management, write cache, look-ahead, NOP; 48-bit addresses, FLUSH CACHE (EXT).
        enabled = 0x4008 | self.smart | self.write_cache << 5 | self.look_ahead << 6
        words = {
            0: 0x0040, 1: cylinders, 3: HEADS, 6: TRACK, 20: 3, 21: 512, 47: 0x8000 | MOST_AT_ONCE, 48: 1,
            49: 0x0B00, 50: 0x4000, 51: 0x0200, 52: 0x0200, 53: 7,
            54: current, 55: self.heads, 56: self.track, 57: addressable, 58: addressable >> 16,
            59: 0x0100 | self.multiple if self.multiple else 0, 60: small, 61: small >> 16,
            62: single, 63: multiword, 64: 3, 65: 120, 66: 120, 67: 120, 68: 120,
            80: 0x0070, 82: 0x4069, 83: 0x7400, 84: 0x4001, 85: enabled, 86: 0x3400, 87: 0x4001, 88: ultra,
            93: 0x6B00 if self.number else 0x600B,
        }  # fmt: skip
        if self.sata:
            # Queueing, 1.5 Gbit/s; 32 commands; READ LOG EXT (Serial ATA 3.2, 13.2.1).
            words |= {75: 31, 76: 0x0102, 84: 0x4021, 87: 0x4021, 93: 0}
        words |= {100 + n: sectors >> 16 * n for n in range(4)}
        return identity_words(words, {10: (self.serial, 20), 23: (self.firmware, 8), 27: (self.model, 40)})

    def _mode_words(self) -> tuple[int, int, int]:
        kind, chosen = self.transfer_mode >> 3, 0x100 << (self.transfer_mode & 7)
        return 0, 0x07 | (chosen if kind == 0x04 else 0), 0x3F | (chosen if kind == 0x08 else 0)

    # --- SMART

    def _smart(self) -> None:
        if (self.mid & 0xFF, self.high & 0xFF) != SMART_PASS:
            self.fail(ABRT)
            return
        what = self.features & 0xFF
        if not self.smart and what != 0xD8:
            self.fail(ABRT)
            return
        self.job, self.left = Job.NONE, 0
        match what:
            case 0xD0:
                self.offer(self._smart_data(), Phase.DATA_IN)
            case 0xD1:
                self.offer(self._smart_thresholds(), Phase.DATA_IN)
            case 0xD2:
                self.autosave = bool(self.count & 0xFF)
                self.finish()
            case 0xD4 if self.low & 0xFF in (0, 1, 2, 0x81, 0x82):
                self.self_test += 1  # It is over at once, and has found nothing.
                self.finish()
            case 0xD5 if self.low & 0xFF in (0, 1, 6):
                self.offer(self._smart_log(self.low & 0xFF), Phase.DATA_IN)
            case 0xD8:
                self.smart = True
                self.finish()
            case 0xD9:
                self.smart = False
                self.finish()
            case 0xDA:
                self.mid, self.high = SMART_PASS
                self.finish()
            case _:
                self.fail(ABRT)

    @staticmethod
    def _summed(block: bytearray) -> bytes:
        block[511] = -sum(block[:511]) & 0xFF
        return bytes(block)

    def _smart_data(self) -> bytes:
        block = bytearray(512)
        block[0] = 1
        for index, (number, flags, value, raw, _) in enumerate(_ATTRIBUTES):
            at = 2 + 12 * index
            block[at : at + 6] = bytes((number, flags & 0xFF, flags >> 8, value, value, raw))
        block[362] = 0x02 | (0x80 if self.autosave else 0)
        block[364:366] = (0x20).to_bytes(2, "little")
        block[367] = 0x10 | 0x08 | 0x01
        block[368:370] = (0x0003).to_bytes(2, "little")
        block[370] = 1
        block[372] = block[373] = 2
        return self._summed(block)

    def _smart_thresholds(self) -> bytes:
        block = bytearray(512)
        block[0] = 1
        for index, (number, _, _, _, threshold) in enumerate(_ATTRIBUTES):
            block[2 + 12 * index : 4 + 12 * index] = bytes((number, threshold))
        return self._summed(block)

    def _smart_log(self, number: int) -> bytes:
        block = bytearray(512)
        if number == 0:
            block[0] = 1
            block[2] = block[12] = 1  # One sector each of error log and self-test log.
            return bytes(block)
        block[0] = 1
        return self._summed(block)

    # --- state

    def own_state(self) -> dict[str, Value]:
        return {name: getattr(self, name) for name in self._OWN} | {"job": str(self.job)}

    def take_own_state(self, own: dict[str, Any]) -> None:
        for name in self._OWN:
            setattr(self, name, own[name])
