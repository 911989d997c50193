"""What every device owes, asked of every device."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
from random import Random
from typing import Any

import attrs
import pytest
from factories import FACTORIES, Surroundings

import vmcore.buses
import vmcore.devices
from vmcore.buses.pci import PciFunction
from vmcore.hardware import KEEP, READ, RO, UNTIL, WO, WRITE, Device, Register
from vmcore.machine.canonical import encode

DEVICES = sorted(FACTORIES, key=lambda kind: kind.__name__)
SEEDS = range(3)

Kind = type[Device[Any]]

every_device = pytest.mark.parametrize("kind", DEVICES, ids=lambda kind: kind.__name__)
some_seeds = pytest.mark.parametrize("seed", SEEDS)


def build(kind: Kind, now: int = 0) -> tuple[Device[Any], Surroundings]:
    around = Surroundings()
    around.time.now = now
    return FACTORIES[kind].build(around), around


def accesses(
    kind: Kind, device: Device[Any], around: Surroundings, random: Random, count: int = 300, outside: bool = True
) -> list[int]:
    """Random accesses, with some time and now and then something from outside between them; the values read."""
    factory = FACTORIES[kind]
    places = [register.offset for register in kind.registers()] or [0]
    seen = []
    for _ in range(count):
        if isinstance(device, PciFunction) and random.random() < 0.5:
            seen.append(configuration(device, random))
            continue
        size = random.choice(factory.sizes)
        offset = random.choice(places) if places and random.random() < 0.8 else random.randrange(factory.length + 8)
        value = random.choice((0, 1, (1 << 8 * size) - 1, random.getrandbits(8), random.getrandbits(8 * size)))
        value &= (1 << 8 * size) - 1
        mmio = 8 in factory.sizes
        if random.random() < 0.5:
            read = (device.mmio_read if mmio else device.port_read)(offset, size)
            assert isinstance(read, int)
            assert 0 <= read < 1 << 8 * size, f"{size} bytes at {offset:#x} gave {read:#x}"
            seen.append(read)
        elif mmio:
            device.mmio_write(offset, value, size)
        else:
            device.port_write(offset, value, size)
        if random.random() < 0.2:
            around.time.advance(random.randrange(factory.pause))
        if outside and factory.outside is not None and random.random() < 0.1:
            factory.outside(device, random)
    return seen


def configuration(function: PciFunction[Any], random: Random) -> int:
    """A random access to configuration space."""
    size = random.choice((1, 2, 4))
    offset = random.choice((0x04, 0x10, 0x14, 0x18, 0x20, random.randrange(0x40) & ~3, random.randrange(256) & ~3))
    offset += random.randrange(4 // size) * size
    if random.random() < 0.5:
        value = random.choice((0, 0xFFFF_FFFF, random.getrandbits(32), 7)) & (1 << 8 * size) - 1
        function.config_write(offset, value, size)
    value = function.config_read(offset, size)
    assert 0 <= value < 1 << 8 * size
    return value


def encoded(state: object) -> bytes:
    data = bytearray()
    encode(state, data.extend)
    return bytes(data)


def test_every_device_is_in_the_table() -> None:
    found = set()
    rooms = [(vmcore.devices.__path__, "vmcore.devices."), (vmcore.buses.__path__, "vmcore.buses.")]
    for module in (module for path, prefix in rooms for module in pkgutil.iter_modules(path, prefix)):
        for _, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(kind, Device) and kind.__module__ == module.name and not inspect.isabstract(kind):
                found.add(kind)
    assert found == set(FACTORIES)


@every_device
def test_a_new_device_is_one_that_was_reset(kind: Kind) -> None:
    device, _ = build(kind)
    fresh = device.save()
    device.reset()
    assert device.save() == fresh


@every_device
@some_seeds
def test_reset_undoes_whatever_the_guest_did(kind: Kind, seed: int) -> None:
    device, around = build(kind)
    accesses(kind, device, around, Random(seed), outside=False)
    device.reset()
    fresh, _ = build(kind, around.time.now)
    fresh.reset()
    kept = {name: getattr(device.save(), name) for name in FACTORIES[kind].kept}
    assert device.save() == attrs.evolve(fresh.save(), **kept)


@every_device
def test_plain_registers_read_their_reset_values(kind: Kind) -> None:
    device, _ = build(kind)
    for register in kind.registers():
        if register.access is not WO and register.read_handler is None:
            assert device.register_values[register.name] == register.reset, register


@every_device
@pytest.mark.parametrize("without", [RO, WO], ids=["writes", "reads"])
def test_registers_lie_apart(kind: Kind, without: object) -> None:
    owner: dict[int, Register] = {}
    for register in kind.registers():
        if register.access is not without:
            for place in range(register.offset, register.offset + register.size):
                assert place not in owner, f"{register} and {owner[place]}"
                owner[place] = register
    assert max(owner, default=0) < FACTORIES[kind].length


@every_device
def test_declarations_fit_their_registers(kind: Kind) -> None:
    for register in kind.registers():
        assert register.doc, register
        assert (register.reset | register.writable | register.clears) <= register.mask, register
        assert not register.writable & register.clears, register
        used = 0
        for name, bits in register.bits.items():
            low, high = bits if isinstance(bits, tuple) else (bits, bits)
            field = (1 << high + 1) - (1 << low)
            assert low <= high, (register, name)
            assert field <= register.mask, (register, name)
            assert not used & field, (register, name)
            used |= field


@every_device
@some_seeds
def test_nothing_that_a_guest_does_raises(kind: Kind, seed: int) -> None:
    device, around = build(kind)
    accesses(kind, device, around, Random(seed), count=2000)


@every_device
@some_seeds
def test_save_mutate_restore_is_the_identity(kind: Kind, seed: int) -> None:
    device, around = build(kind)
    random = Random(seed)
    accesses(kind, device, around, random)
    saved, then = device.save(), around.time.now
    before = pickle.dumps(saved)
    mutated = False
    for _ in range(20):
        accesses(kind, device, around, random, count=50)
        mutated = mutated or device.save() != saved
    assert pickle.dumps(saved) == before, "what was saved has changed with the device"
    assert mutated or not attrs.fields(type(saved)), "nothing that was done shows in the state"
    said = len(around.log)
    around.time.now = then  # Guest time is restored along with the devices.
    device.restore(saved)
    assert len(around.log) == said, "restoring told somebody"
    assert device.save() == saved


@every_device
@some_seeds
def test_a_saved_state_restores_into_a_new_device_that_behaves_alike(kind: Kind, seed: int) -> None:
    device, around = build(kind)
    accesses(kind, device, around, Random(seed))
    saved = device.save()
    assert device.save() == saved, "saving changed the state"
    twin, elsewhere = build(kind, around.time.now)
    elsewhere.log.clear()
    twin.restore(saved)
    assert elsewhere.log == []
    assert twin.save() == saved
    around.log.clear()
    read = [accesses(kind, one, there, Random(seed + 1000)) for one, there in ((device, around), (twin, elsewhere))]
    assert read[0] == read[1]
    assert around.log == elsewhere.log
    assert twin.save() == device.save()


@every_device
def test_states_are_plain_frozen_values(kind: Kind) -> None:
    device, around = build(kind)
    accesses(kind, device, around, Random(0))
    state = device.save()
    hash(state)
    assert pickle.loads(pickle.dumps(state)) == state
    assert encoded(pickle.loads(pickle.dumps(state))) == encoded(state)
    for field in attrs.fields(type(state)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(state, field.name, None)


# What the engine does without asking the device (`Device.cells`) or by asking a handler directly (`readers`, `writers`)


def twin_of(kind: Kind, device: Device[Any], around: Surroundings) -> tuple[Device[Any], Surroundings]:
    twin, elsewhere = build(kind, around.time.now)
    twin.restore(device.save())
    elsewhere.log.clear()
    around.log.clear()
    return twin, elsewhere


def places(kind: Kind, device: Device[Any], rule: int) -> list[tuple[int, int]]:
    """(offset, size) of all accesses that the engine serves by this rule."""
    rules = device.cells.rules
    return [
        (offset, size)
        for size in FACTORIES[kind].sizes
        for offset in range(len(rules) - size + 1)
        if all(rules[offset + lane] & rule for lane in range(size))
    ]


def read(kind: Kind, device: Device[Any], offset: int, size: int) -> int:
    return device.mmio_read(offset, size) if 8 in FACTORIES[kind].sizes else device.port_read(offset, size)


def write(kind: Kind, device: Device[Any], offset: int, value: int, size: int) -> None:
    if 8 in FACTORIES[kind].sizes:
        device.mmio_write(offset, value, size)
    else:
        device.port_write(offset, value, size)


@every_device
@some_seeds
def test_what_the_engine_reads_by_itself_is_what_the_device_would_answer(kind: Kind, seed: int) -> None:
    device, around = build(kind)
    random = Random(seed)
    for _ in range(30):
        accesses(kind, device, around, random, count=10)
        state, said = device.save(), len(around.log)
        for offset, size in places(kind, device, READ | UNTIL if device.cells.until > around.time.now else READ):
            value = int.from_bytes(device.cells.values[offset : offset + size], "little")
            assert read(kind, device, offset, size) == value, f"{size} bytes at {offset:#x}"
        assert device.save() == state, "a read that the engine makes would have had an effect"
        assert len(around.log) == said
        twin, _ = twin_of(kind, device, around)
        assert twin.cells.rules == device.cells.rules, "a restored device allows other things"
        for at, rules in enumerate(device.cells.rules):
            if rules == UNTIL and twin.cells.until <= around.time.now:
                continue  # It will be asked first.
            assert not rules or twin.cells.values[at] == device.cells.values[at], f"restored byte {at:#x}"


@every_device
@some_seeds
def test_a_write_that_the_engine_drops_would_have_had_no_effect(kind: Kind, seed: int) -> None:
    device, around = build(kind)
    random = Random(seed)
    for _ in range(30):
        accesses(kind, device, around, random, count=10)
        state, said = device.save(), len(around.log)
        for offset, size in places(kind, device, KEEP):
            value = int.from_bytes(device.cells.values[offset : offset + size], "little")
            write(kind, device, offset, value, size)
            assert device.save() == state, f"{value:#x} to {size} bytes at {offset:#x}"
        assert len(around.log) == said


@every_device
@some_seeds
def test_a_write_that_the_engine_stores_does_what_the_device_would_do(kind: Kind, seed: int) -> None:
    device, around = build(kind)
    random = Random(seed)
    for _ in range(10):
        accesses(kind, device, around, random, count=10)
        for offset, size in places(kind, device, WRITE):
            twin, elsewhere = twin_of(kind, device, around)
            data = random.randbytes(size)
            write(kind, device, offset, int.from_bytes(data, "little"), size)
            cells = twin.cells
            for at, byte in enumerate(data, offset):
                mask, clears = cells.writable[at], cells.clears[at]
                cells.values[at] = cells.values[at] & ~mask & ~(byte & clears) | byte & mask
            assert twin.save() == device.save(), f"{data.hex()} at {offset:#x}"
            assert around.log == elsewhere.log == []


@every_device
@some_seeds
def test_a_handler_that_the_engine_calls_does_what_the_device_would_do(kind: Kind, seed: int) -> None:
    device, around = build(kind)
    random = Random(seed)
    for _ in range(10):
        accesses(kind, device, around, random, count=10)
        for offset, size in device.readers():
            twin, elsewhere = twin_of(kind, device, around)
            assert twin.readers()[offset, size]() == read(kind, device, offset, size), hex(offset)
            assert (twin.save(), elsewhere.log) == (device.save(), around.log), hex(offset)
        for offset, size in device.writers():
            twin, elsewhere = twin_of(kind, device, around)
            value = random.getrandbits(8 * size)
            twin.writers()[offset, size](value)
            write(kind, device, offset, value, size)
            assert (twin.save(), elsewhere.log) == (device.save(), around.log), hex(offset)
