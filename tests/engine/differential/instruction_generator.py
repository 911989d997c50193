"""Random test cases out of the instruction tables.

A case is one or more encoded instructions, an initial state under which they are likely to do something (memory
operands lie in
the window, divisors are sometimes useful, jumps stay inside the code), and the masks for what the manuals leave
undefined.
Everything follows from the seed.
"""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Sequence
from typing import Final, final

from attrs import define, field, frozen
from host_oracle import CASE, CODE, CODE_BYTES, CONTEXT, DATA, DATA_SIZE, WINDOW, WINDOW_SIZE
from undefined_results import Undefined, undefined_of

from vmcore.engine import InstructionForm, instruction_forms

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = range(8)

BOUNDARIES: Final = tuple(
    sorted(
        {
            value & (1 << 64) - 1
            for bits in (4, 7, 8, 15, 16, 31, 32, 52, 63, 64)
            for value in ((1 << bits) - 1, 1 << bits, (1 << bits) + 1, -(1 << bits), 1 - (1 << bits))
        }
        | {0, 1, 2, 3, 5, 9, 0x10, 0x20, 0x40, 0x7F, 0x80, 0x5555555555555555, 0xAAAAAAAAAAAAAAAA, 0x0123456789ABCDEF}
    )
)
# Canonical addresses near the host's own mappings would be another address space than the guest's.
SAFE_BOUNDARIES: Final = tuple(value for value in BOUNDARIES if not 0x1_0000_0000 <= value < 0x8000_0000_0000)

IMMEDIATE_BYTES: Final = {"Ib": 1, "Ibs": 1, "Iw": 2, "Id": 4, "Jb": 1}
SLOTS: Final = 0xFF00 // CODE_BYTES
"""Places for code, one after the other, within the reach of 16 bits."""
ARITHMETIC: Final = 0x8D5
"""CF, PF, AF, ZF, SF, OF."""

STACK_USERS: Final = frozenset(["push", "pop", "pushf", "popf", "pusha", "popa", "call", "ret", "enter", "leave"])


@frozen
class Case:
    """One case, ready for any oracle.  packed: a `CASE`; code: the instructions alone; undefined: what not to
    compare."""

    packed: bytes = field(repr=False)
    mode: int
    code: bytes
    forms: tuple[InstructionForm, ...]
    undefined: Undefined

    @property
    def rip(self) -> int:
        """Where it starts (in 16-bit mode relative to the segment)."""
        return int(CONTEXT.unpack(self.packed[: CONTEXT.size])[16])


@define
class Setup:
    """What the instructions of a case want of the initial state."""

    gpr: list[int]
    fixed: set[int] = field(factory=set)
    """Registers that a memory operand or the like depends on."""
    window: bytearray = field(factory=bytearray)
    x87: bool = False

    def want(self, register: int, value: int) -> bool:
        """Give a register a value; False if another one needs it already."""
        if register in self.fixed:
            return False
        self.fixed.add(register)
        self.gpr[register] = value & (1 << 64) - 1
        return True


class CannotEncode(Exception):
    """These choices do not fit together: choose again."""


@final
class Generator:
    """Makes cases.  features: names of features that both sides have; modes: 64, 32, 16; calm: floating-point
    exceptions are masked,
    none has happened, and no x87 register is empty.
    """

    def __init__(
        self,
        seed: int,
        features: frozenset[str],
        excluded: Callable[[InstructionForm], bool],
        modes: Sequence[int] = (64, 64, 32, 16),
        *,
        calm: bool = False,
    ) -> None:
        self.random = random.Random(seed)
        self.modes = modes
        self.calm = calm
        self.forms: dict[int, list[InstructionForm]] = {
            mode: [
                form
                for form in instruction_forms()
                if ("only64" not in form.attributes if mode != 64 else "no64" not in form.attributes)
                and not form.encoding.startswith("EVEX")
                and available(form, features)
                and not excluded(form)
            ]
            for mode in set(modes)
        }
        self.modes = [mode for mode in modes if self.forms[mode]]
        self._fpu_images = [self._fpu_image() for _ in range(2048)]
        self._windows = [self._window() for _ in range(512)]
        self._next_slot = 0

    # State

    def value(self) -> int:
        """A 64-bit value: boundary, small, or anything."""
        r = self.random
        kind = r.random()
        if kind < 0.45:
            return r.choice(SAFE_BOUNDARIES)
        if kind < 0.6:
            return r.getrandbits(8)
        if kind < 0.75:
            return r.getrandbits(32)
        value = r.getrandbits(64)
        # Never a canonical user address.
        return value | 0x8000_0000_0000 if value < 0x8000_0000_0000 else value

    def _float(self, bits: int) -> int:
        r = self.random
        exponent_bits, fraction_bits = (8, 23) if bits == 32 else (11, 52)
        sign = r.getrandbits(1) << (bits - 1)
        top = (1 << exponent_bits) - 1
        kind = r.random()
        if kind < 0.08:
            return sign
        if kind < 0.14:
            return sign | top << fraction_bits  # infinity
        if kind < 0.22:
            return sign | top << fraction_bits | r.getrandbits(fraction_bits)  # a NaN, quiet or signalling
        if kind < 0.30:
            return sign | r.getrandbits(fraction_bits)  # denormal
        bias = top >> 1
        if kind < 0.75:  # of a size that gives something with others
            exponent = min(top, max(0, bias + r.randint(-40, 70)))
        else:
            exponent = r.randint(0, top)
        fraction = r.getrandbits(fraction_bits)
        if r.random() < 0.4:
            fraction = r.choice(
                (0, 1, (1 << fraction_bits) - 1, 1 << fraction_bits - 1, fraction & -1 << fraction_bits // 2)
            )
        return sign | exponent << fraction_bits | fraction

    def _float80(self) -> int:
        r = self.random
        sign = r.getrandbits(1) << 15
        kind = r.random()
        if kind < 0.08:
            return sign << 64
        if kind < 0.13:
            return (sign | 0x7FFF) << 64 | 1 << 63
        if kind < 0.20:
            return (sign | 0x7FFF) << 64 | 1 << 63 | r.getrandbits(63)
        if kind < 0.25:
            return sign << 64 | r.getrandbits(63)  # denormal
        if kind < 0.28:
            return (sign | r.choice((0, 1, 0x3FFF, 0x7FFF))) << 64 | r.getrandbits(
                64
            )  # unnormal, pseudo-infinity and the like
        if kind < 0.8:
            exponent = 0x3FFF + r.randint(-70, 70)
        else:
            exponent = r.randint(1, 0x7FFE)
        fraction = r.getrandbits(63)
        if r.random() < 0.4:
            fraction = r.choice((0, 1, (1 << 63) - 1, 1 << 62, fraction & -1 << 40, fraction & -1 << 11))
        return (sign | exponent) << 64 | 1 << 63 | fraction

    def _vector(self) -> bytes:
        r = self.random
        kind = r.random()
        if kind < 0.35:
            return struct.pack("<2Q", self._float(64), self._float(64))
        if kind < 0.7:
            return struct.pack("<4I", *(self._float(32) for _ in range(4)))
        if kind < 0.85:
            return struct.pack("<2Q", self.value(), self.value())
        return r.randbytes(16)

    def _fpu_image(self) -> bytes:
        r = self.random
        image = bytearray(512)
        control = 0x37F
        if r.random() < 0.5:
            control = (
                0x40
                | r.choice((0, 2, 3)) << 8
                | r.getrandbits(2) << 10
                | (0x3F if r.random() < 0.7 else r.getrandbits(6))
            )
        status = r.getrandbits(3) << 11 | (r.getrandbits(16) & 0x4700)
        if r.random() < 0.2:
            status |= r.getrandbits(7)
            if status & ~control & 0x3F:
                if r.random() < 0.8:
                    status &= ~0x3F  # else an exception is pending
                else:
                    status |= 0x8080
        valid = 0xFF if r.random() < 0.5 else r.getrandbits(8)
        if self.calm:
            control |= 0x3F
            status &= ~0x80FF
            valid = 0xFF
        struct.pack_into("<HHBB", image, 0, control, status, valid, 0)
        mxcsr = 0x1F80
        if r.random() < 0.5:
            mxcsr = r.getrandbits(16) | (0x1F80 if r.random() < 0.8 else 0)
        if self.calm:
            mxcsr = mxcsr & 0x6000 | 0x1F80
        struct.pack_into("<II", image, 24, mxcsr, 0xFFFF)
        for i in range(8):
            image[32 + 16 * i : 42 + 16 * i] = self._float80().to_bytes(10, "little")
        for i in range(16):
            image[160 + 16 * i : 176 + 16 * i] = self._vector()
        return bytes(image)

    def _window(self) -> bytes:
        r = self.random
        pieces = []
        for _ in range(WINDOW_SIZE // 16):
            kind = r.random()
            if kind < 0.5:
                pieces.append(self._vector())
            elif kind < 0.6:
                pieces.append(self._float80().to_bytes(10, "little") + bytes(6))
            elif kind < 0.7:
                pieces.append(bytes(r.choice((0x00, 0x09, 0x12, 0x99, 0x50)) for _ in range(9)) + b"\x80" + bytes(6))
            else:
                pieces.append(struct.pack("<2Q", self.value(), self.value()))
        return b"".join(pieces)

    # Cases

    def case(self, length: int = 1) -> Case:
        """A case of `length` instructions."""
        r = self.random
        while True:
            mode = r.choice(self.modes)
            setup = Setup([self.value() for _ in range(16)])
            if mode != 64:
                setup.gpr[8:] = [0] * 8
            base = 0 if mode == 16 else DATA
            setup.want(RSP, WINDOW - DATA + base + 512 + r.randint(-8, 8) * r.choice((1, 2, 8)))
            setup.window = bytearray(r.choice(self._windows))
            self._next_slot = (self._next_slot + 1) % SLOTS
            start = self._next_slot * CODE_BYTES  # relative to CODE
            code = b""
            encoders: list[Encoder] = []
            try:
                for number in range(length):
                    form = r.choice(self.forms[mode])
                    encoder = Encoder(self, form, mode, setup, start + len(code), is_last=number == length - 1)
                    code += encoder.encode()
                    encoders.append(encoder)
                    if len(code) > CODE_BYTES - 2:
                        raise CannotEncode
            except CannotEncode:
                continue
            undefined = Undefined()
            for encoder in encoders:  # now that the setup is complete
                undefined = undefined.then(
                    encoder.form, undefined_of(encoder.form, encoder, setup, first=encoder is encoders[0])
                )
            forms = tuple(encoder.form for encoder in encoders)
            flags = 2 | 0x200 | (r.getrandbits(12) & ARITHMETIC) | (r.random() < 0.15) << 10
            if not self.calm and r.random() < 0.04:
                flags |= 1 << 18  # AC
            filled = code.ljust(CODE_BYTES - 2, b"\x90") + b"\x0f\x0b"
            if mode == 32 or mode == 16:
                setup.gpr[:8] = [value & 0xFFFF_FFFF for value in setup.gpr[:8]]
            rip = start if mode == 16 else CODE + start
            context = CONTEXT.pack(*setup.gpr, rip, flags, r.choice(self._fpu_images))
            return Case(CASE.pack(context, mode, filled, bytes(setup.window)), mode, code, forms, undefined)


def available(form: InstructionForm, features: frozenset[str]) -> bool:
    """Whether `features` give this form."""
    if form.features == "-":
        return True
    if "/" in form.features:
        return any(name in features for name in form.features.split("/"))
    return all(name in features for name in form.features.split("+"))


@final
class Encoder:
    """Encodes one form with random choices, and asks the setup for what the operands need."""

    def __init__(
        self, generator: Generator, form: InstructionForm, mode: int, setup: Setup, offset: int, *, is_last: bool = True
    ) -> None:
        self.generator = generator
        self.random = generator.random
        self.form = form
        self.mode = mode
        self.setup = setup
        self.is_last = is_last
        """Whether nothing but fillers comes after it: then it may jump anywhere."""
        self.offset = offset
        """Of the instruction, relative to CODE."""
        self.prefixes = b""
        self.rex = 0
        self.modrm: int | None = None
        self.operand_size = 0
        self.address_size = 0
        self.memory: int | None = None
        """Linear address of the memory operand."""
        self.immediates: list[int] = []
        self.locked = False
        self.repeated = False

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    # -- the whole

    def encode(self) -> bytes:
        tokens = self.form.encoding.split()
        if tokens[0].startswith("VEX"):
            return self._encode_vex(tokens)
        mandatory = tokens.pop(0) if tokens[0] in ("NP", "66", "F3", "F2") and len(tokens) > 1 else ""
        opcode, spec = self._opcode(tokens)
        prefixes = []
        wide = any(re.fullmatch(r"[A-Z](v|z)|[er]AX|Ibs|Jb|Ap|Mp", operand) for operand in self.form.operands) or (
            not self.form.operands
        )
        override = False
        if mandatory:
            if mandatory != "NP":
                prefixes.append(int(mandatory, 16))
                override = mandatory == "66"
        else:
            jump = self.form.mnemonic.startswith(("j", "loop", "call", "ret"))
            if wide and self.chance(0.3) and not (jump and self.mode != 32 and self.chance(1.0)):
                if jump:
                    raise CannotEncode  # 16-bit RIP: vendors differ in 64-bit mode, and elsewhere it leaves the code
                prefixes.append(0x66)
                override = True
            if "string" in self.form.attributes and self.chance(0.6):
                prefixes.append(self.random.choice((0xF2, 0xF3)))
                self.repeated = True
        default_address = self.mode
        self.address_size = default_address
        if self.chance(0.12):
            prefixes.append(0x67)
            self.address_size = {64: 32, 32: 16, 16: 32}[default_address]
        if self.chance(0.06):
            # CS is readable code over the same bytes only outside 16-bit mode.
            prefixes.append(self.random.choice((0x26, 0x36, 0x3E) if self.mode == 16 else (0x26, 0x2E, 0x36, 0x3E)))
        if self.chance(0.25 if "lock" in self.form.attributes else 0.01):
            prefixes.append(0xF0)
            self.locked = True
        self.random.shuffle(prefixes)
        self.prefixes = bytes(prefixes)
        if self.mode == 64 and self.chance(0.6):
            self.rex = 0x40 | self.random.getrandbits(4)
            if self.chance(0.5):
                self.rex &= ~8
        self.operand_size = self._operand_size(override)
        body = b""
        if spec["plus"]:
            low = self.random.getrandbits(3)
            self._clobber_guard(low | (self.rex & 1) << 3)
            opcode = opcode[:-1] + bytes([opcode[-1] | low])
            self.opcode_register = low | (self.rex & 1) << 3
        if spec["modrm"]:
            body += self._modrm(spec)
        if self.form.mnemonic.startswith("j") or self.form.mnemonic in ("call", "loop", "loope", "loopne"):
            body += self._branch(len(self.prefixes) + bool(self.rex) + len(opcode) + len(body))
        else:
            for operand in self.form.operands:
                body += self._immediate(operand)
        head = self.prefixes + (bytes([self.rex]) if self.rex else b"") + opcode
        code = head + body
        if len(code) > 15:
            raise CannotEncode
        if self.memory_is_rip_relative:
            code = self._fix_rip_relative(code, len(head))
        self._implicit()
        return code

    def _opcode(self, tokens: list[str]) -> tuple[bytes, dict[str, object]]:
        opcode = bytearray()
        spec: dict[str, object] = {"plus": False, "modrm": False, "digit": None, "whole": None, "mod": None}
        if tokens[0] == "0F":
            opcode.append(0x0F)
            tokens = tokens[1:]
            if tokens[0] in ("38", "3A") and len(tokens) > 1 and re.fullmatch(r"[0-9A-F]{2}(\+r)?", tokens[1]):
                opcode.append(int(tokens[0], 16))
                tokens = tokens[1:]
        first = tokens[0]
        if first.endswith("+r"):
            spec["plus"] = True
            first = first[:-2]
        opcode.append(int(first, 16))
        for token in tokens[1:]:
            if token == "/r":
                spec["modrm"] = True
            elif re.fullmatch(r"/[0-7]", token):
                spec["modrm"] = True
                spec["digit"] = int(token[1])
            elif token in ("mem", "reg"):
                spec["modrm"] = True
                spec["mod"] = token
            elif match := re.fullmatch(r"([0-9A-F]{2})(\+i)?", token):
                spec["modrm"] = True
                value = int(match[1], 16)
                spec["whole"] = value | self.random.getrandbits(3) if match[2] else value
        operands = self.form.operands
        if any(o[0] in "EGMRPQVWUNCDS" and len(o) > 1 and o not in FIXED_OPERANDS for o in operands):
            spec["modrm"] = True
        if spec["mod"] is None and spec["modrm"] and spec["whole"] is None:
            if any(o[0] in "UNR" and o not in FIXED_OPERANDS for o in operands):
                spec["mod"] = "reg"
            elif any(o[0] == "M" and o not in FIXED_OPERANDS for o in operands):
                spec["mod"] = "mem"
        return bytes(opcode), spec

    def _operand_size(self, override: bool) -> int:
        if self.mode == 64:
            if self.rex & 8 or "f64" in self.form.attributes:
                return 64
            if "d64" in self.form.attributes:
                return 16 if override else 64
            return 16 if override else 32
        return 48 - self.mode if override else self.mode

    # -- ModRM

    memory_is_rip_relative = False
    opcode_register: int | None = None
    register: int | None = None
    rm_register: int | None = None

    def _clobber_guard(self, register: int) -> None:
        """RSP must stay in the window if the instruction uses the stack; other writes to it are fine."""

    def _modrm(self, spec: dict[str, object]) -> bytes:
        r = self.random
        if spec["whole"] is not None:
            self.modrm = int(str(spec["whole"]))
            return bytes([self.modrm])
        reg = spec["digit"] if spec["digit"] is not None else r.getrandbits(3)
        assert isinstance(reg, int)
        if spec["digit"] is None:
            self.register = reg | (self.rex & 4) << 1
        if spec["mod"] == "reg" or (spec["mod"] is None and self.chance(0.45)):
            rm = r.getrandbits(3)
            self.rm_register = rm | (self.rex & 1) << 3
            self.modrm = 0xC0 | reg << 3 | rm
            return bytes([self.modrm])
        return self._memory_operand(reg)

    def _target(self) -> int:
        """Linear address of a memory operand."""
        r = self.random
        kind = r.random()
        if kind < 0.02:
            return DATA + DATA_SIZE - r.randint(1, 24)  # may run into the unmapped page
        target = WINDOW + r.randint(64, WINDOW_SIZE - 160)
        if kind < 0.75:
            return target & ~15
        if kind < 0.80:
            return DATA + 0x1000 - r.randint(1, 16)  # across the two pages
        return target

    def _memory_operand(self, reg: int) -> bytes:
        r = self.random
        target = self._target()
        if self.form.mnemonic == "lea" and self.chance(0.6):
            target = self.generator.value()
        self.memory = target
        if self.address_size == 16:
            return self._memory_16(reg, target)
        wrap = (1 << self.address_size) - 1
        if self.mode == 16:
            target = target - DATA  # the segment's base
        mod = r.choice((0, 1, 2))
        disp = 0
        if mod == 1:
            disp = r.randint(-128, 127)
        elif mod == 2:
            disp = r.choice((r.randint(-(1 << 31), (1 << 31) - 1), r.randint(-1000, 1000)))
        size = {0: 0, 1: 1, 2: 4}[mod]
        packed = disp.to_bytes(size, "little", signed=True)
        if self.chance(0.15) and (self.mode != 64 or target < 1 << 31):
            # Displacement only, or relative to RIP.
            if self.mode == 64 and self.chance(0.5):
                if self.address_size == 32 and self.chance(0.5):
                    raise CannotEncode
                self.memory_is_rip_relative = True
                self.modrm = reg << 3 | 5
                return bytes([self.modrm]) + (target & 0xFFFF_FFFF).to_bytes(4, "little")
            if self.mode == 64:
                self.rex &= ~2
                self.modrm = reg << 3 | 4
                return bytes([self.modrm, 0x25 | r.getrandbits(2) << 6]) + (target & 0x7FFF_FFFF).to_bytes(4, "little")
            self.modrm = reg << 3 | 5
            return bytes([self.modrm]) + (target & 0xFFFF_FFFF).to_bytes(4, "little")
        if self.chance(0.6):
            low = r.choice((0, 1, 2, 3, 6, 7, 5))
            if low == 5 and mod == 0:
                raise CannotEncode
            base = low | (self.rex & 1) << 3
            if not self.setup.want(base, (target - disp) & wrap | self._noise()):
                self._settle(base, (target - disp) & wrap)
            self.modrm = mod << 6 | reg << 3 | low
            return bytes([self.modrm]) + packed
        # SIB
        low = r.getrandbits(3)
        index_low = r.getrandbits(3)
        scale = r.getrandbits(2)
        base = low | (self.rex & 1) << 3
        index = index_low | (self.rex & 2) << 2
        if low == 5 and mod == 0:
            raise CannotEncode
        self.modrm = mod << 6 | reg << 3 | 4
        sib = scale << 6 | index_low << 3 | low
        if base == RSP:
            if self.form.mnemonic == "lea":
                return bytes([self.modrm, sib]) + packed
            if index == RSP or index in self.setup.fixed:
                raise CannotEncode
            scale = 0
            sib &= 0x3F
            self.setup.want(index, (target - disp - self.setup.gpr[RSP]) & wrap)
            return bytes([self.modrm, sib]) + packed
        if index == 4:
            if not self.setup.want(base, (target - disp) & wrap):
                self._settle(base, (target - disp) & wrap)
            return bytes([self.modrm, sib]) + packed
        if base == index or base in self.setup.fixed or index in self.setup.fixed:
            raise CannotEncode
        index_value = r.choice((0, 1, 2, 8, 0x40, r.getrandbits(16), self.generator.value()))
        self.setup.want(index, index_value)
        self.setup.want(base, (target - disp - (index_value << scale)) & wrap)
        return bytes([self.modrm, sib]) + packed

    def _noise(self) -> int:
        """With a 32-bit address size in 64-bit mode the upper half of the base does not count."""
        if self.mode == 64 and self.address_size == 32 and self.chance(0.5):
            return self.random.getrandbits(32) << 32
        return 0

    def _settle(self, base: int, value: int) -> None:
        """The base has a value already: good if it is the wanted one, else choose again."""
        if self.setup.gpr[base] != value:
            raise CannotEncode

    def _memory_16(self, reg: int, target: int) -> bytes:
        r = self.random
        if self.mode != 16:
            # The data lie beyond 64 KiB: only good for LEA and for faults.
            if self.form.mnemonic != "lea" and not self.chance(0.03):
                raise CannotEncode
            self.modrm = r.choice((0, 1, 2)) << 6 | reg << 3 | r.getrandbits(3)
            rm, mod = self.modrm & 7, self.modrm >> 6
            size = 2 if mod == 2 or (mod == 0 and rm == 6) else mod
            return bytes([self.modrm]) + r.randbytes(size)
        target -= DATA
        mod = r.choice((0, 1, 2))
        rm = r.getrandbits(3)
        if mod == 0 and rm == 6:
            self.modrm = reg << 3 | 6
            return bytes([self.modrm]) + (target & 0xFFFF).to_bytes(2, "little")
        disp = 0 if mod == 0 else r.randint(-128, 127) if mod == 1 else r.randint(-32768, 32767)
        registers = [(RBX, RSI), (RBX, RDI), (RBP, RSI), (RBP, RDI), (RSI,), (RDI,), (RBP,), (RBX,)][rm]
        left = target - disp
        for register in registers[1:]:
            value = self.generator.value()
            if not self.setup.want(register, value):
                value = self.setup.gpr[register]
            left -= value
        if not self.setup.want(registers[0], left & 0xFFFF | r.getrandbits(16) << 16):
            raise CannotEncode
        self.modrm = mod << 6 | reg << 3 | rm
        return bytes([self.modrm]) + disp.to_bytes(mod, "little", signed=True)

    def _fix_rip_relative(self, code: bytes, head: int) -> bytes:
        at = head + 1
        target = int.from_bytes(code[at : at + 4], "little")
        relative = target - (CODE + self.offset + len(code))
        return code[:at] + (relative & 0xFFFF_FFFF).to_bytes(4, "little") + code[at + 4 :]

    # -- immediates, branches

    def _immediate(self, operand: str) -> bytes:
        r = self.random
        if operand in IMMEDIATE_BYTES:
            size = IMMEDIATE_BYTES[operand]
        elif operand == "Iz":
            size = 2 if self.operand_size == 16 else 4
        elif operand == "Iv":
            size = self.operand_size // 8
        elif operand in ("Ob", "Ov"):
            target = self._target()
            self.memory = target
            if self.mode == 16:
                target -= DATA
            elif self.address_size == 16:
                raise CannotEncode
            return (target & (1 << self.address_size) - 1).to_bytes(self.address_size // 8, "little")
        elif operand == "Ap":
            size = 4 if self.operand_size == 16 else 6
        else:
            return b""
        value = r.choice((self.generator.value(), r.getrandbits(64))) & (1 << 8 * size) - 1
        if self.form.mnemonic == "enter":
            value = (
                r.randint(0, 64)
                if operand == "Iw"
                else r.choice((0, 0, 1, 2, 3, 32, 33, 255))
                if self.chance(0.4)
                else 0
            )
        if self.form.mnemonic == "ret":
            value = r.randint(0, 64)
        self.immediates.append(value)
        return value.to_bytes(size, "little")

    def _branch(self, done: int) -> bytes:
        """A displacement to somewhere after the instruction, inside the case's code."""
        r = self.random
        operand = self.form.operands[0]
        if operand not in ("Jb", "Jz"):
            # Indirect: through a register or memory.
            target = self._code_target()
            if self.rm_register is not None:
                if self.rm_register == RSP or not self.setup.want(self.rm_register, target):
                    raise CannotEncode
            elif self.memory is not None:
                self._store(self.memory, target.to_bytes(8, "little"))
            return b""
        size = 1 if operand == "Jb" else 2 if self.operand_size == 16 else 4
        after = self.offset % CODE_BYTES + done + size
        room = CODE_BYTES - 2 - after
        if room < 0:
            raise CannotEncode
        return r.randint(0, room if self.is_last else 0).to_bytes(size, "little")

    def _code_target(self) -> int:
        if not self.is_last or self.offset % CODE_BYTES:
            raise CannotEncode  # only alone: what comes before may change where it goes
        start = self.offset - self.offset % CODE_BYTES
        target = start + self.random.randint(self.offset % CODE_BYTES + 16, CODE_BYTES - 2)
        return target if self.mode == 16 else CODE + target

    def _store(self, address: int, data: bytes) -> None:
        at = address - WINDOW
        if 0 <= at <= WINDOW_SIZE - len(data):
            self.setup.window[at : at + len(data)] = data

    # -- what is not in the encoding

    def _implicit(self) -> None:
        r = self.random
        name = self.form.mnemonic
        setup = self.setup
        base = 0 if self.mode == 16 else DATA
        width = self.mode // 8
        if self.form.operands and self.form.operands[0][0] in "XY":
            for register in (RSI, RDI):
                where = WINDOW - DATA + base + r.randint(128, WINDOW_SIZE - 256)
                if self.address_size == 16 and self.mode != 16:
                    raise CannotEncode
                setup.want(register, where)
            if self.repeated:
                count = r.randint(0, 12)
                if self.mode == 64 and self.address_size == 32:
                    count |= r.getrandbits(32) << 32
                elif self.address_size == 16:
                    count |= r.getrandbits(16) << 16
                setup.want(RCX, count)
            if name in ("cmps", "scas") and self.chance(0.6):
                # Long equal stretches make the repeat prefixes interesting.
                start = r.randint(0, 512)
                setup.window[start : start + 384] = bytes([r.choice((0, 0x55))]) * 384
                setup.want(RAX, 0x5555555555555555 if self.chance(0.5) else 0)
        elif name == "xlat":
            setup.want(RBX, WINDOW - DATA + base + r.randint(0, 512))
        elif name == "ret":
            at = setup.gpr[RSP] - base + DATA
            self._store(at, self._code_target().to_bytes(8, "little"))
        elif name == "leave":
            setup.want(RBP, WINDOW - DATA + base + r.randint(256, 768))
        elif name == "enter":
            setup.want(RBP, WINDOW - DATA + base + r.randint(600, 768))
        elif name in ("maskmovq", "maskmovdqu"):
            setup.want(RDI, WINDOW - DATA + base + r.randint(64, 512))
        elif name in ("div", "idiv") and self.chance(0.7):
            setup.want(RDX, r.choice((0, 0, 1, r.getrandbits(7), (1 << 64) - 1)))
        elif name in ("bt", "bts", "btr", "btc") and self.memory is not None and self.register is not None:
            if self.register != RSP and not setup.want(self.register, r.randint(-1000, 1000)):
                value = setup.gpr[self.register]
                if min(value, (1 << 64) - value) > 4000:
                    raise CannotEncode
            elif self.register == RSP:
                raise CannotEncode
        elif name in ("cmpxchg", "cmpxchg8b", "cmpxchg16b") and self.chance(0.5) and self.memory is not None:
            at = self.memory - WINDOW
            if 0 <= at < WINDOW_SIZE - 16:
                low = int.from_bytes(setup.window[at : at + 8], "little")
                if name == "cmpxchg":
                    setup.want(RAX, low)
                elif self.rex & 8:
                    setup.want(RAX, low)
                    setup.want(RDX, int.from_bytes(setup.window[at + 8 : at + 16], "little"))
                else:
                    setup.want(RAX, low & 0xFFFF_FFFF)
                    setup.want(RDX, low >> 32)
        elif name in ("bound",) and self.memory is not None:
            size = self.operand_size // 8
            low = r.getrandbits(8 * size - 1) >> r.randint(0, 8 * size - 2)
            self._store(self.memory, low.to_bytes(size, "little") + (low + 5).to_bytes(size + 1, "little")[:size])
            if self.register is not None and self.register != RSP and self.chance(0.8):
                setup.want(self.register, max(0, low + r.randint(-2, 7)))
        elif name == "jcxz" and self.chance(0.5):
            setup.want(RCX, r.choice((0, 1 << 16, 1 << 32)))
        _ = width

    # -- VEX

    def _encode_vex(self, tokens: list[str]) -> bytes:
        r = self.random
        _, length, prefix, opcode_map, wide = tokens[0].split(".")
        opcode = int(tokens[1], 16)
        _, spec = self._opcode(tokens[1:])
        spec["modrm"] = True
        w = {"W0": 0, "W1": 1, "WIG": r.getrandbits(1)}[wide]
        self.address_size = self.mode
        if self.mode == 64:
            self.rex = 0x40 | w << 3 | r.getrandbits(3)
        self.operand_size = 64 if w and self.mode == 64 else 32
        modrm = self._modrm(spec)
        vvvv = r.getrandbits(4 if self.mode == 64 else 3)
        self.vvvv = vvvv
        if not any(operand[0] in "BHL" for operand in self.form.operands):
            vvvv = 0 if self.chance(0.98) else vvvv
        if any(operand[0] == "B" for operand in self.form.operands[1:]) and vvvv in (RSP,):
            pass
        pp = {"NP": 0, "66": 1, "F3": 2, "F2": 3}[prefix]
        bit_l = 1 if length == "256" else 0
        map_number = {"0F": 1, "0F38": 2, "0F3A": 3}[opcode_map]
        last = (~vvvv & 15) << 3 | bit_l << 2 | pp
        if map_number == 1 and not w and not self.rex & 3 and self.chance(0.5):
            head = bytes([0xC5, (0 if self.rex & 4 else 0x80) | last])
        else:
            inverted = (~self.rex & 7) << 5
            head = bytes([0xC4, inverted | map_number, w << 7 | last])
        body = modrm
        for operand in self.form.operands:
            body += self._immediate(operand)
        code = head + bytes([opcode]) + body
        if self.memory_is_rip_relative:
            code = self._fix_rip_relative(code, len(head) + 1)
        return code

    vvvv: int | None = None


FIXED_OPERANDS: Final = frozenset(
    [
        "AL",
        "CL",
        "DX",
        "AX",
        "AH",
        "EAX",
        "RAX",
        "eAX",
        "rAX",
        "ES",
        "CS",
        "SS",
        "DS",
        "FS",
        "GS",
        "ST0",
        "STi",
        "XMM0",
        "1",
    ]
)
