"""An ATAPI CD-ROM drive.

Sources: T13 1410D (ATA/ATAPI-6), section 9.8 and 9.9 (packet protocols); SFF-8020i; MMC-3 (T10 1363-D), section 6
(commands) and 5 (features, mode pages); SPC-2 (T10 1236-D) for INQUIRY, REQUEST SENSE and MODE SENSE.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, final

from attrs import define, field

from vmcore.block.drive import Failed, Held
from vmcore.devices.ata_unit import AtaError, AtaUnit, Phase, Value, identity_words

__all__ = ["BLOCK", "AtapiCdrom", "Sense"]

BLOCK: Final = 2048
"""Bytes of a block of data."""
PACKET: Final = 12
PIECE: Final = 512
"""Blocks that are read from the medium in one go."""
DVD_BLOCKS: Final = 360_000
"""A medium with more blocks than 80 minutes of a CD have is a DVD."""

COMMAND: Final = 1
"""Bit of the interrupt reason: a command packet, not data (C/D)."""
TO_HOST: Final = 2
"""Bit of the interrupt reason: towards the host (I/O)."""


class Sense(NamedTuple):
    """Why a command failed: sense key, additional code, qualifier."""

    key: int
    code: int
    qualifier: int = 0


NO_SENSE: Final = Sense(0, 0)
NO_MEDIUM_CLOSED: Final = Sense(2, 0x3A, 1)
NO_MEDIUM_OPEN: Final = Sense(2, 0x3A, 2)
UNREADABLE: Final = Sense(3, 0x11)
UNKNOWN_COMMAND: Final = Sense(5, 0x20)
OUT_OF_RANGE: Final = Sense(5, 0x21)
BAD_FIELD: Final = Sense(5, 0x24)
REMOVAL_PREVENTED: Final = Sense(5, 0x53, 2)
MEDIUM_CHANGED: Final = Sense(6, 0x28)

# Media events of GET EVENT STATUS NOTIFICATION (MMC-3, table 59).
EJECT_REQUEST: Final = 1
NEW_MEDIA: Final = 2
MEDIA_REMOVAL: Final = 3

# Profiles (MMC-3, table 76).
CD_ROM: Final = 0x0008
DVD_ROM: Final = 0x0010


def _msf(block: int) -> bytes:
    """Minute, second and frame of a block, with the two seconds before the first (MMC-3, 4.2.3.4)."""
    frames = block + 150
    return bytes((frames // (60 * 75), frames // 75 % 60, frames % 75))


@final
@define(eq=False)
class AtapiCdrom(AtaUnit):
    """A CD-ROM drive over a `Drive`."""

    ATAPI_SIGNATURE = True

    vendor: str = "vmcore"
    model: str = "CD-ROM"
    firmware: str = "1.0"

    sense: tuple[int, int, int] = field(default=NO_SENSE, init=False)
    attention: bool = field(default=False, init=False)
    """The medium was changed, and the host does not know it yet."""
    gone: bool = field(default=False, init=False)
    """The host is to be told once that there is no medium, though a new one may be there already."""
    event: int = field(default=0, init=False)
    packet: bool = field(default=False, init=False)
    """A packet command is under way, its packet included."""
    dma: bool = field(default=False, init=False)
    transfer_mode: int = field(default=0x22, init=False)
    limit: int = field(default=0, init=False)
    lba: int = field(default=0, init=False)
    left: int = field(default=0, init=False)
    since: int = field(default=0, init=False)
    reply: bytes = field(default=b"", init=False, repr=False)
    sent: int = field(default=0, init=False)
    """Bytes of the reply that were offered."""

    _OWN = (
        "attention", "gone", "event", "packet", "dma", "transfer_mode", "limit", "lba", "left", "since", "reply",
        "sent",
    )  # fmt: skip

    def reset_settings(self) -> None:
        self.sense = NO_SENSE
        self.attention = self.gone = False
        self.event = 0
        self.transfer_mode = 0x22
        self.drive.guest_lock(False)
        self._idle()

    def _idle(self) -> None:
        self.packet = self.dma = False
        self.limit = self.lba = self.left = self.since = self.sent = 0
        self.reply = b""

    def soft_reset(self) -> None:
        super().soft_reset()
        self._idle()

    @property
    def blocks(self) -> int:
        """Blocks of the medium."""
        return -(-self.drive.size // BLOCK)

    # --- ATA commands

    def command(self, code: int) -> None:
        if code == 0xA0:
            self._packet()
        elif code == 0xA1:
            self.offer(self.identify(), Phase.DATA_IN)
        elif code == 0x08:
            self.soft_reset()
        elif code == 0x90:
            self.sign()
            self.port.interrupt()
        elif code in (0xE0, 0xE1, 0xE2, 0xE3, 0xE6):
            self.finish()
        elif code == 0xE5:
            self.count = 0xFF
            self.finish()
        elif code == 0xEF and self.features & 0xFF == 0x03:
            if self.count & 0xF8 not in (0x00, 0x08):
                self.transfer_mode = self.count & 0xFF
            self.finish()
        else:
            if code in (0xEC, 0x20):  # By this, too, hosts tell a packet device (9.12).
                self.sign()
            self.fail(AtaError.ABRT)

    def _packet(self) -> None:
        self._idle()
        self.dma = bool(self.features & 1)
        self.limit = (self.high & 0xFF) << 8 | self.mid & 0xFF
        self.packet = True
        self.count = COMMAND
        self.expect(PACKET, Phase.DATA_OUT, interrupt=False)

    def moved(self) -> None:
        if self.phase is Phase.DATA_OUT:
            packet = bytes(self.data)
            self.phase, self.data, self.position = Phase.IDLE, b"", 0
            self._execute(packet)
        elif self.reply:
            self._send()
        elif self.left:
            self.work(1_000)
        elif self.packet:
            self._done()
        else:
            self.finish(interrupt=False)  # The identification block.

    # --- replies

    def _good(self) -> None:
        """The command is done, without data."""
        self.sense = NO_SENSE
        self._done()

    def _done(self) -> None:
        self._idle()
        self.count = COMMAND | TO_HOST
        self.finish()

    def _check(self, sense: Sense) -> None:
        """The command fails; REQUEST SENSE will tell why."""
        self.sense = sense
        self._idle()
        self.count = COMMAND | TO_HOST
        self.fail(sense.key << 4 | (AtaError.ABRT if sense.key else 0))

    def _answer(self, data: bytes, allocated: int) -> None:
        """Send as much as the host has room for."""
        self.sense = NO_SENSE
        data = data[:allocated]
        if not data:
            self._done()
            return
        self.reply, self.sent = data, 0
        self._send()

    def _send(self) -> None:
        """Offer the next part of the reply: all by DMA, else as much as the byte count limit says (9.8)."""
        self.count = TO_HOST
        if self.dma:
            part, self.reply = self.reply, b""
            self.offer(part, Phase.DMA_IN)
            return
        limit = 0xFFFE if self.limit in (0, 0xFFFF) else self.limit
        rest = len(self.reply) - self.sent
        if rest > limit:
            rest = max(limit & ~1, 2)
        part = self.reply[self.sent : self.sent + rest]
        self.sent += rest
        if self.sent >= len(self.reply):
            self.reply, self.sent = b"", 0
        self.mid, self.high = len(part) & 0xFF, len(part) >> 8
        # The host reads words.
        self.offer(part + bytes(len(part) & 1), Phase.DATA_IN)

    # --- packet commands

    def _execute(self, packet: bytes) -> None:
        known = _COMMANDS.get(packet[0])
        if known is None:
            self._check(UNKNOWN_COMMAND)
            return
        if packet[0] not in _DESPITE_ATTENTION and self._attend():
            return
        if packet[0] in _NEED_MEDIUM and not self._ready():
            return
        known(self, packet)

    def _attend(self) -> bool:
        """Tell of a change of the medium, if the host does not know it; whether that was so."""
        if self.gone:
            self.gone = False
            self._check(NO_MEDIUM_CLOSED)
            return True
        if self.attention and self.drive.present:
            self.attention = False
            self._check(MEDIUM_CHANGED)
            return True
        return False

    def _ready(self) -> bool:
        if self.drive.present:
            return True
        self._check(NO_MEDIUM_OPEN if self.drive.tray_open else NO_MEDIUM_CLOSED)
        return False

    def _test_unit_ready(self, packet: bytes) -> None:
        self._good()

    def _request_sense(self, packet: bytes) -> None:
        key, code, qualifier = self.sense
        if not key and self.attention and self.drive.present:
            key, code, qualifier = MEDIUM_CHANGED
            self.attention = False
        data = bytes((0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, code, qualifier, 0, 0, 0, 0))
        self._answer(data, packet[4])

    def _inquiry(self, packet: bytes) -> None:
        if packet[1] & 3 or packet[2]:
            self._check(BAD_FIELD)
            return
        data = bytes((0x05, 0x80, 0x00, 0x21, 31, 0, 0, 0))
        for text, length in ((self.vendor, 8), (self.model, 16), (self.firmware, 4)):
            data += text.encode("ascii", "replace")[:length].ljust(length)
        self._answer(data, packet[3] << 8 | packet[4])

    def _read_capacity(self, packet: bytes) -> None:
        self._answer(struct.pack(">II", max(self.blocks - 1, 0), BLOCK), 8)

    def _read_10(self, packet: bytes) -> None:
        self._read_blocks(*struct.unpack(">IxH", packet[2:9]))

    def _read_12(self, packet: bytes) -> None:
        self._read_blocks(*struct.unpack(">II", packet[2:10]))

    def _read_cd(self, packet: bytes) -> None:
        count = int.from_bytes(packet[6:9], "big")
        wanted = packet[9] & 0xF8
        if packet[1] & 0x1C not in (0x00, 0x08) or packet[10] & 7 or wanted not in (0x00, 0x10):
            self._check(BAD_FIELD)  # Mode 1 blocks, of which there is nothing but the user data.
        else:
            self._read_blocks(int.from_bytes(packet[2:6], "big"), count if wanted else 0)

    def _read_blocks(self, lba: int, count: int) -> None:
        if lba + count > self.blocks:
            self._check(OUT_OF_RANGE)
            return
        if not count:
            self._good()
            return
        self.sense = NO_SENSE
        self.lba, self.left, self.since = lba, count, self.drive.now()
        self.work()

    def proceed(self) -> None:
        if self.phase is not Phase.BUSY or not self.left:
            return
        if not self._ready():
            return
        count = min(self.left, PIECE)
        outcome = self.drive.read(self.lba * BLOCK, count * BLOCK, self.since)
        if isinstance(outcome, Held):
            return
        if isinstance(outcome, Failed):
            self._check(UNREADABLE)
            return
        self.lba += count
        self.left -= count
        self.reply, self.sent = outcome.data, 0
        self._send()

    def _seek(self, packet: bytes) -> None:
        if int.from_bytes(packet[2:6], "big") >= self.blocks:
            self._check(OUT_OF_RANGE)
        else:
            self._good()

    def _start_stop(self, packet: bytes) -> None:
        power, load_eject, start = packet[4] >> 4, packet[4] & 2, packet[4] & 1
        if power or not load_eject:
            self._good()
            return
        if not start and self.drive.locked and not self.drive.tray_open:
            self._check(REMOVAL_PREVENTED)
            return
        if start and self.drive.tray_open:
            self.attention = self.drive.medium is not None
            self.event = NEW_MEDIA if self.attention else 0
        self.drive.guest_tray(not start)
        self._good()

    def _prevent_allow(self, packet: bytes) -> None:
        self.drive.guest_lock(bool(packet[4] & 1))
        self._good()

    def _mechanism_status(self, packet: bytes) -> None:
        state = 0x10 if self.drive.tray_open else 0
        self._answer(bytes((0, state, 0, 0, 0, 1, 0, 0)), packet[8] << 8 | packet[9])

    def _set_speed(self, packet: bytes) -> None:
        self._good()

    # Tables of contents: one track of data.

    def _read_toc(self, packet: bytes) -> None:
        msf = bool(packet[1] & 2)
        form = packet[2] & 0x0F or packet[9] >> 6
        first, allocated = packet[6], packet[7] << 8 | packet[8]

        def address(block: int) -> bytes:
            return b"\0" + _msf(block) if msf else struct.pack(">I", block)

        if form == 0:
            if first > 1 and first != 0xAA:
                self._check(BAD_FIELD)
                return
            tracks = b"" if first == 0xAA else b"\0\x14\x01\0" + address(0)
            body = b"\x01\x01" + tracks + b"\0\x14\xaa\0" + address(self.blocks)
        elif form == 1:
            body = b"\x01\x01" + b"\0\x14\x01\0" + address(0)
        elif form == 2:
            body = b"\x01\x01"
            lead_out = _msf(self.blocks)
            for point, place in ((0xA0, b"\x01\0\0"), (0xA1, b"\x01\0\0"), (0xA2, lead_out), (1, _msf(0))):
                body += bytes((1, 0x14, 0, point, 0, 0, 0, 0)) + place
        else:
            self._check(BAD_FIELD)
            return
        self._answer(struct.pack(">H", len(body)) + body, allocated)

    def _disc_information(self, packet: bytes) -> None:
        if packet[1] & 7:
            self._check(BAD_FIELD)
            return
        data = bytearray(34)
        data[1] = 32
        data[2] = 0x0E  # Complete, the last session too.
        data[3:7] = b"\x01\x01\x01\x01"
        data[7] = 0x20
        data[16:24] = b"\xff" * 8
        self._answer(bytes(data), packet[7] << 8 | packet[8])

    # What the drive can.

    @property
    def _profile(self) -> int:
        if not self.drive.present:
            return 0
        return DVD_ROM if self.blocks > DVD_BLOCKS else CD_ROM

    def _get_configuration(self, packet: bytes) -> None:
        kind, first = packet[1] & 3, packet[2] << 8 | packet[3]
        if kind == 3:
            self._check(BAD_FIELD)
            return
        current = self._profile
        profiles = b"".join(struct.pack(">HBB", p, p == current, 0) for p in (DVD_ROM, CD_ROM))
        features: dict[int, tuple[int, bytes]] = {
            0x0000: (0x03, profiles),
            0x0001: (0x03, struct.pack(">I", 2)),
            0x0002: (0x03, bytes(4)),
            0x0003: (0x03, b"\x29\0\0\0"),
            0x0010: (0x01 if current else 0x00, struct.pack(">IHBB", BLOCK, 1, 0, 0)),
            0x001E: (0x01 if current == CD_ROM else 0x00, bytes(4)),
            0x001F: (0x01 if current == DVD_ROM else 0x00, b""),
        }
        body = struct.pack(">H", 0) + struct.pack(">H", current)
        for number, (flags, content) in features.items():
            wanted = number == first if kind == 2 else number >= first and (kind == 0 or flags & 1)
            if wanted:
                body += struct.pack(">HBB", number, flags, len(content)) + content
        self._answer(struct.pack(">I", len(body)) + body, packet[7] << 8 | packet[8])

    def _event_status(self, packet: bytes) -> None:
        if not packet[1] & 1:
            self._check(BAD_FIELD)  # Only when asked; the drive cannot wait for an event.
            return
        allocated = packet[7] << 8 | packet[8]
        if not packet[4] & 0x10:
            self._answer(b"\0\x02\x80\x10", allocated)
            return
        event, self.event = self.event, 0
        state = self.drive.tray_open | (self.drive.present << 1)
        self._answer(bytes((0, 6, 0x04, 0x10, event, state, 0, 0)), allocated)

    def _mode_sense(self, packet: bytes) -> None:
        page, control = packet[2] & 0x3F, packet[2] >> 6
        if control == 3:
            self._check(Sense(5, 0x39))
            return
        recovery = bytes((0x01, 6, 0, 5, 0, 0, 0, 0))
        lock = 0x01 | (0x02 if self.drive.locked else 0)
        # Reads CD-R and DVD-ROM; mode 2 forms, multisession; tray that locks and ejects; 706 kB/s and 512 KiB.
        abilities = bytes((0x2A, 18, 0x3B, 0, 0x70, 0, 0x28 | lock, 0)) + struct.pack(">HHHHI", 706, 2, 512, 706, 0)
        pages = {0x01: recovery, 0x2A: abilities}
        chosen = b"".join(pages.values()) if page == 0x3F else pages.get(page)
        if chosen is None:
            self._check(BAD_FIELD)
            return
        if control == 1:
            chosen = chosen[:2] + bytes(len(chosen) - 2)
        kind = 0x70 if not self.drive.present else 0x01
        header = struct.pack(">HBBHH", 6 + len(chosen), kind, 0, 0, 0)
        self._answer(header + chosen, packet[7] << 8 | packet[8])

    # --- what the user does

    def medium_changed(self, loaded: bool) -> None:
        self.gone = self.gone or loaded
        self.attention = loaded
        self.event = NEW_MEDIA if loaded else MEDIA_REMOVAL

    def eject_requested(self) -> None:
        self.event = EJECT_REQUEST

    # --- identification

    def identify(self) -> bytes:
        """What IDENTIFY PACKET DEVICE gives (8.13)."""
        kind, chosen = self.transfer_mode >> 3, 0x100 << (self.transfer_mode & 7)
        words = {
            0: 0x85C0, 49: 0x0B00, 53: 6, 63: 0x07 | (chosen if kind == 0x04 else 0), 64: 3, 65: 120, 66: 120,
            67: 120, 68: 120, 80: 0x0070, 82: 0x4218, 83: 0x4000, 84: 0x4000, 85: 0x4218, 86: 0, 87: 0x4000,
            88: 0x3F | (chosen if kind == 0x08 else 0), 93: 0x6B00 if self.number else 0x600B,
        }  # fmt: skip
        serial = self.drive.serial or f"VC{self.number + 1:05d}"
        return identity_words(
            words, {10: (serial, 20), 23: (self.firmware, 8), 27: (f"{self.vendor} {self.model}", 40)}
        )

    # --- state

    def own_state(self) -> dict[str, Value]:
        key, code, qualifier = self.sense
        own: dict[str, Value] = {name: getattr(self, name) for name in self._OWN}
        return own | {"sense": key << 16 | code << 8 | qualifier}

    def take_own_state(self, own: dict[str, Any]) -> None:
        for name in self._OWN:
            setattr(self, name, own[name])
        sense = own["sense"]
        self.sense = Sense(sense >> 16, sense >> 8 & 0xFF, sense & 0xFF)


_COMMANDS: Final[Mapping[int, Callable[[AtapiCdrom, bytes], None]]] = {
    0x00: AtapiCdrom._test_unit_ready,
    0x03: AtapiCdrom._request_sense,
    0x12: AtapiCdrom._inquiry,
    0x1B: AtapiCdrom._start_stop,
    0x1E: AtapiCdrom._prevent_allow,
    0x25: AtapiCdrom._read_capacity,
    0x28: AtapiCdrom._read_10,
    0x2B: AtapiCdrom._seek,
    0x43: AtapiCdrom._read_toc,
    0x46: AtapiCdrom._get_configuration,
    0x4A: AtapiCdrom._event_status,
    0x51: AtapiCdrom._disc_information,
    0x5A: AtapiCdrom._mode_sense,
    0xA8: AtapiCdrom._read_12,
    0xBB: AtapiCdrom._set_speed,
    0xBD: AtapiCdrom._mechanism_status,
    0xBE: AtapiCdrom._read_cd,
}

_DESPITE_ATTENTION: Final = frozenset((0x03, 0x12, 0x46, 0x4A))
"""Commands that a changed medium does not fail (SPC-2, 6.10; MMC-3, 6.8)."""
_NEED_MEDIUM: Final = frozenset((0x00, 0x25, 0x28, 0x2B, 0x43, 0x51, 0xA8, 0xBE))
