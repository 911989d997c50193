"""PS/2 mouse with the IntelliMouse wheel and the two side buttons of the IntelliMouse Explorer.

Source: IBM Personal System/2 Hardware Interface Technical Reference, "Auxiliary Device"; Microsoft's IntelliMouse PS/2
protocol: after the sample rates 200, 100, 80 the mouse calls itself 3 and adds a wheel byte, after 200, 200, 80 it
calls itself 4 and adds two buttons to that byte.
"""

from __future__ import annotations

from attrs import define, field, frozen

from vmcore.devices.ps2 import ACKNOWLEDGE, PASSED, REPORTS, RESEND, Ps2Device, Ps2State

SCALE_1, SCALE_2, RESOLUTION, STATUS, STREAM, READ, WRAP_OFF, WRAP = 0xE6, 0xE7, 0xE8, 0xE9, 0xEA, 0xEB, 0xEC, 0xEE
REMOTE, IDENTIFY, RATE, ENABLE, DISABLE, DEFAULTS, RESET = 0xF0, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xFF

PLAIN, WHEEL, EXPLORER = 0, 3, 4
KNOCKS: dict[tuple[int, ...], int] = {(200, 100, 80): WHEEL, (200, 200, 80): EXPLORER}

LEFT, RIGHT, MIDDLE, SIDE, EXTRA = (1 << bit for bit in range(5))
BUTTONS = {"left": LEFT, "right": RIGHT, "middle": MIDDLE, "side": SIDE, "extra": EXTRA}
"""Buttons by the names of QEMU's InputButton."""


@frozen
class Ps2MouseState:
    """State of a mouse.  dx, dy, dz, changed: movement and button changes not reported yet."""

    port: Ps2State
    reporting: bool
    remote: bool
    wrap: bool
    double: bool
    resolution: int
    rate: int
    rates: tuple[int, ...]
    identity: int
    buttons: int
    dx: int
    dy: int
    dz: int
    changed: bool


@define(eq=False)
class Ps2Mouse(Ps2Device):
    """Movements and buttons go in, packets of three or four bytes come out, as fast as the guest takes them."""

    reporting: bool = field(init=False, default=False)
    """Whether the guest wants to hear of movements as they happen."""
    remote: bool = field(init=False, default=False)
    """The guest asks for each packet itself."""
    wrap: bool = field(init=False, default=False)
    """Every byte is echoed."""
    double: bool = field(init=False, default=False)
    """Scaling 2:1; it holds for stream mode."""
    resolution: int = field(init=False, default=2)
    rate: int = field(init=False, default=100)
    identity: int = field(init=False, default=PLAIN)
    buttons: int = field(init=False, default=0)
    """Buttons that are down: left, right, middle, side, extra in bits 0 to 4."""
    _rates: tuple[int, ...] = field(init=False, default=())
    _dx: int = field(init=False, default=0)
    _dy: int = field(init=False, default=0)
    _dz: int = field(init=False, default=0)
    _changed: bool = field(init=False, default=False)

    def move(self, dx: int = 0, dy: int = 0, dz: int = 0) -> None:
        """Move by counts: right, up, and the wheel towards the user.  What the guest has not taken adds up."""
        self._dx += dx
        self._dy += dy
        self._dz += dz if self.identity != PLAIN else 0
        self._stream()
        self.on_data()

    def button(self, name: str, down: bool) -> bool:
        """Push or let go a button of BUTTONS.  False when an earlier change still waits for the guest: try again."""
        bit = BUTTONS[name]
        if bool(self.buttons & bit) == down:
            return True
        if self._changed and self.reporting and not self.remote:
            return False
        self.buttons ^= bit
        self._changed = True
        self._stream()
        self.on_data()
        return True

    def receive(self, byte: int) -> None:
        if self.wrap and byte not in (WRAP_OFF, RESET):
            self.reply(byte)
            self.on_data()
        else:
            super().receive(byte)

    def command(self, byte: int) -> None:
        if byte in (RESOLUTION, RATE):
            self._command = byte
        elif byte in (SCALE_1, SCALE_2):
            self.double = byte == SCALE_2
        elif byte in (STREAM, REMOTE):
            self.remote = byte == REMOTE
            self._forget()
        elif byte in (WRAP, WRAP_OFF):
            self.wrap = byte == WRAP
            self._forget()
        elif byte in (ENABLE, DISABLE):
            self.reporting = byte == ENABLE
            self._forget()
        elif byte == DEFAULTS:
            self._defaults()
        elif byte == RESET:
            self.reset()
        elif byte not in (STATUS, READ, IDENTIFY):
            self.reply(RESEND)
            return
        self.reply(ACKNOWLEDGE)
        if byte == RESET:
            self.reply(PASSED, PLAIN)
        elif byte == IDENTIFY:
            self.reply(self.identity)
        elif byte == STATUS:
            self.reply(self._status(), self.resolution, self.rate)
        elif byte == READ:
            self.reply(*self._packet())

    def parameter(self, command: int, byte: int) -> bool:
        if command == RESOLUTION:
            if byte > 3:
                self.reply(RESEND)
                return True
            self.resolution = byte
        else:
            self.rate = byte
            self._rates = (*self._rates[-2:], byte)
            self.identity = KNOCKS.get(self._rates, self.identity)
        self.reply(ACKNOWLEDGE)
        return True

    def drained(self) -> None:
        self._stream()

    def reset(self) -> None:
        super().reset()
        self._defaults()
        self.wrap = False
        self.identity = PLAIN
        self._rates = ()

    def _defaults(self) -> None:
        self.reporting = self.remote = self.double = False
        self.resolution, self.rate = 2, 100
        self._forget()

    def _forget(self) -> None:
        self._reports.clear()
        self._dx = self._dy = self._dz = 0
        self._changed = False

    def _status(self) -> int:
        # Here, unlike in packets, the right button is in bit 0.
        buttons = (self.buttons & LEFT) << 2 | (self.buttons & MIDDLE) >> 1 | (self.buttons & RIGHT) >> 1
        return self.remote << 6 | self.reporting << 5 | self.double << 4 | buttons

    def _stream(self) -> None:
        """Report what there is, as far as there is room."""
        if not self.reporting or self.remote or self.wrap:
            return
        while (self._changed or self._dx or self._dy or self._dz) and len(self._reports) <= REPORTS - 4:
            self.report(self._packet())

    def _packet(self) -> bytes:
        dx, dy = _clamp(self._dx, 255), _clamp(self._dy, 255)
        self._dx -= dx
        self._dy -= dy
        self._changed = False
        if self.double and not self.remote:
            dx, dy = _clamp(_doubled(dx), 255), _clamp(_doubled(dy), 255)
        packet = bytes([(dy < 0) << 5 | (dx < 0) << 4 | 0x08 | self.buttons & 7, dx & 0xFF, dy & 0xFF])
        if self.identity == PLAIN:
            return packet
        dz = _clamp(self._dz, 7)
        self._dz -= dz
        if self.identity == EXPLORER:
            return packet + bytes([self.buttons >> 3 << 4 | dz & 0x0F])
        return packet + bytes([dz & 0xFF])

    def save(self) -> Ps2MouseState:
        """The whole state as an immutable value."""
        return Ps2MouseState(
            port=self.save_port(),
            reporting=self.reporting,
            remote=self.remote,
            wrap=self.wrap,
            double=self.double,
            resolution=self.resolution,
            rate=self.rate,
            rates=self._rates,
            identity=self.identity,
            buttons=self.buttons,
            dx=self._dx,
            dy=self._dy,
            dz=self._dz,
            changed=self._changed,
        )

    def restore(self, state: Ps2MouseState) -> None:
        """Take a saved state; tells nobody."""
        self.restore_port(state.port)
        self.reporting, self.remote, self.wrap, self.double = state.reporting, state.remote, state.wrap, state.double
        self.resolution, self.rate, self._rates = state.resolution, state.rate, state.rates
        self.identity, self.buttons = state.identity, state.buttons
        self._dx, self._dy, self._dz, self._changed = state.dx, state.dy, state.dz, state.changed


def _clamp(value: int, limit: int) -> int:
    return max(-limit, min(limit, value))


def _doubled(count: int) -> int:
    """Scaling 2:1: 0, 1, 1, 3, 6, 9, and twice the count from 6 on."""
    size = abs(count)
    scaled = (0, 1, 1, 3, 6, 9)[size] if size < 6 else 2 * size
    return scaled if count >= 0 else -scaled
