"""Objects that users make: memory back ends, I/O threads, sources of random bytes, secrets."""

from __future__ import annotations

import base64
import ctypes
import os
import platform
import threading
from pathlib import Path
from typing import Any

import pytest
from exchange import execute, refusal

from vmcore import CommandError, FlatImage, UsageError, VirtualMachine
from vmcore.engine.models import find_model
from vmcore.shell.user_objects import MemoryObject, RandomSource, Secret

SPIN = FlatImage(bytes.fromhex("eb fe"))
needs_mbind = pytest.mark.skipif(
    platform.machine() != "x86_64" or not Path("/sys/devices/system/node/node0").exists(),
    reason="the host has no NUMA",
)


async def refused(vm: VirtualMachine, name: str, **given: Any) -> str:
    with pytest.raises(UsageError) as caught:
        await execute(vm, name, **given)
    return str(caught.value)


async def add(vm: VirtualMachine, kind: str, id: str, **given: Any) -> None:
    await execute(vm, "object-add", qom_type=kind, id=id, **given)


@pytest.mark.conformance("object-add", "object-del", "query-iothreads")
async def test_io_threads_are_threads_of_the_host() -> None:
    async with VirtualMachine(flat=SPIN, objects=["iothread,id=first,poll-grow=2"]) as vm:
        await add(vm, "iothread", "second", poll_max_ns=100)
        first, second = await execute(vm, "query-iothreads")
        threads = {int(name) for name in os.listdir("/proc/self/task")}
        assert {first["thread-id"], second["thread-id"]} <= threads
        assert (first["poll-grow"], first["poll-max-ns"], second["poll-max-ns"]) == (2, 32768, 100)
        await execute(vm, "object-del", id="second")
        assert second["thread-id"] not in {thread.native_id for thread in threading.enumerate()}
        assert [found["id"] for found in await execute(vm, "query-iothreads")] == ["first"]
        assert await refused(vm, "object-del", id="second") == "object 'second' not found"
    assert first["thread-id"] not in {thread.native_id for thread in threading.enumerate()}


def policy_of(address: int) -> tuple[int, int]:
    """Mode and nodes that the host has for an address (get_mempolicy(2), MPOL_F_ADDR)."""
    mode, nodes = ctypes.c_int(), (ctypes.c_uint64 * 16)()
    failed = ctypes.CDLL(None).syscall(
        239, ctypes.byref(mode), nodes, ctypes.c_ulong(1024), ctypes.c_void_p(address), ctypes.c_ulong(2)
    )
    assert failed == 0
    return mode.value, nodes[0]


@needs_mbind
@pytest.mark.conformance("query-memdev", "HostMemPolicy.preferred", "HostMemPolicy.bind", "HostMemPolicy.interleave")
@pytest.mark.parametrize(("policy", "mode"), [("preferred", 1), ("bind", 2), ("interleave", 3)])
async def test_the_host_places_memory_as_it_is_told(policy: str, mode: int) -> None:
    async with VirtualMachine(flat=SPIN, memory="16M") as vm:
        for each in ("preferred", "bind", "interleave"):
            await add(vm, "memory-backend-ram", each, size=1 << 20, policy=each, host_nodes=[0])
        found = {device["id"]: device for device in await execute(vm, "query-memdev")}
        assert (found[policy]["policy"], found[policy]["host-nodes"]) == (policy, [0])
        made = vm.objects[policy]
        assert isinstance(made, MemoryObject)
        assert made.memory is not None
        with made.memory.view() as view:
            address = ctypes.addressof(held := ctypes.c_char.from_buffer(view))
            assert policy_of(address) == (mode, 1)
            del held
        with pytest.raises(UsageError, match="cannot bind memory to host NUMA nodes"):
            await add(vm, "memory-backend-ram", "far", size=1 << 20, policy="bind", host_nodes=[100])


@pytest.mark.conformance("query-memory-devices")
async def test_there_are_no_memory_modules() -> None:
    async with VirtualMachine(flat=SPIN) as vm:
        assert await execute(vm, "query-memory-devices") == []


async def test_ram_can_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "ram"
    option = f"memory-backend-file,id=m0,size=16M,mem-path={path},share=on"
    async with VirtualMachine(flat=SPIN, memory="16M", memory_backends=[option], memory_backend="m0") as vm:
        vm.memory.write(0x200000, b"from the guest")
        with path.open("r+b") as file:
            file.seek(0x200000)
            assert file.read(14) == b"from the guest"
            file.seek(0x300000)
            file.write(b"from the host")
        assert vm.memory.read(0x300000, 13) == b"from the host"
        assert 0x300000 in vm.memory.used_pages()
        snapshot = await vm.snapshot()
        assert await execute(vm, "qom-get", path="/machine", property="memory-backend") == "/objects/m0"
        assert [device["id"] for device in await execute(vm, "query-memdev")] == ["m0"]
        # A fork has memory of its own.
        async with VirtualMachine.from_snapshot(snapshot) as fork:
            assert fork.memory.read(0x300000, 13) == b"from the host"
            assert fork.digest() == vm.digest()
            fork.memory.write(0x300000, b"another world")
            assert vm.memory.read(0x300000, 13) == b"from the host"
            assert [device["share"] for device in await execute(fork, "query-memdev")] == [False]
        vm.memory.write(0x300000, b"changed since")
        await vm.restore(snapshot)
        assert vm.memory.read(0x300000, 13) == b"from the host"
        await vm.run(instructions=1000)
    assert path.read_bytes()[0x300000:][:13] == b"from the host"
    # What the file holds is what the next guest finds.
    async with VirtualMachine(flat=SPIN, memory="16M", memory_backends=[option], memory_backend="m0") as vm:
        assert vm.memory.read(0x300000, 13) == b"from the host"


async def test_a_file_that_is_not_shared_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "ram"
    path.write_bytes(b"x" * (16 << 20))
    option = f"memory-backend-file,id=m0,size=16M,mem-path={path}"
    async with VirtualMachine(flat=SPIN, memory="16M", memory_backends=[option], memory_backend="m0") as vm:
        assert vm.memory.read(0x200000, 4) == b"xxxx"
        vm.memory.write(0x200000, b"yyyy")
        assert vm.memory.read(0x200000, 4) == b"yyyy"
    assert path.read_bytes()[0x200000:][:4] == b"xxxx"


async def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.write_bytes(bytes(5000))
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        text = await refused(
            vm, "object-add", qom_type="memory-backend-file", id="f", size=1 << 20, mem_path=str(small)
        )
        assert text == "backing store size 0x1388 does not match 'size' option 0x100000"
        await add(vm, "memory-backend-file", "d", size=5000, mem_path=str(tmp_path))
        assert os.listdir(tmp_path) == ["small"]
        await add(vm, "memory-backend-file", "r", size=4096, mem_path=str(small), readonly=True)
        with pytest.raises(TypeError):
            vm.objects["r"].memory.view()[0] = 1  # type: ignore[attr-defined]
    assert small.stat().st_size == 5000
    whole = tmp_path / "whole"
    whole.write_bytes(bytes(64 << 10))
    option = f"memory-backend-file,id=m,size=64K,mem-path={whole},readonly=on"
    with pytest.raises(UsageError, match="not written"):
        async with VirtualMachine(memory="64K", memory_backends=[option], memory_backend="m"):
            raise AssertionError("RAM that is not to be written")


async def test_memory_is_found_at_once_where_that_is_asked_for() -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        await add(vm, "memory-backend-ram", "now", size=8 << 20, prealloc=True)
        await add(vm, "memory-backend-memfd", "later", size=8 << 20)
        resident = {}
        for name in ("now", "later"):
            made = vm.objects[name]
            assert isinstance(made, MemoryObject)
            assert made.memory is not None
            with made.memory.view() as view:
                address = ctypes.addressof(held := ctypes.c_char.from_buffer(view))
                pages = (ctypes.c_ubyte * 2048)()
                assert ctypes.CDLL(None).mincore(ctypes.c_void_p(address), ctypes.c_size_t(8 << 20), pages) == 0
                resident[name] = sum(page & 1 for page in pages)
                del held
        assert resident == {"now": 2048, "later": 0}
        assert (await execute(vm, "qom-get", path="/objects/later", property="share")) is True
        await execute(vm, "qom-set", path="/objects/later", property="prealloc", value=True)


@pytest.mark.conformance("qom-list", "qom-list-types", "qom-list-properties")
async def test_objects_are_in_the_object_tree() -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        await add(vm, "memory-backend-ram", "m", size=1 << 20)
        found = await execute(vm, "qom-list", path="/objects")
        assert {"name": "m", "type": "child<memory-backend-ram>"} in found
        assert {"name": "pc.ram", "type": "child<memory-backend-ram>"} in found
        own = {each["name"] for each in await execute(vm, "qom-list", path="/objects/m")}
        declared = {each["name"] for each in await execute(vm, "qom-list-properties", typename="memory-backend-ram")}
        assert own == declared
        for name in own:
            await execute(vm, "qom-get", path="/objects/m", property=name)
        creatable = {each["name"] for each in await execute(vm, "qom-list-types", implements="user-creatable")}
        assert creatable == {
            *("memory-backend-ram", "memory-backend-file", "memory-backend-memfd"),
            *("iothread", "rng-builtin", "rng-random", "secret"),
        }
        await execute(vm, "object-del", id="m")
        assert (await refusal(vm, "qom-list", path="/objects/m"))[0] == "DeviceNotFound"
        with pytest.raises(CommandError, match="cannot change property size"):
            await execute(vm, "qom-set", path="/objects/pc.ram", property="size", value=5)


@pytest.mark.conformance(
    "qom-get", "X86CPURegister32.EAX", "X86CPURegister32.EBX", "X86CPURegister32.ECX", "X86CPURegister32.EDX"
)
async def test_vcpus_tell_the_words_of_their_features() -> None:
    model = find_model("max")
    async with VirtualMachine(flat=SPIN, memory="1M", cpu="max") as vm:
        words = await execute(vm, "qom-get", path="/machine/cpus/cpu0", property="feature-words")
        assert len(words) == 24
        for word in words:
            row = model.leaf(word["cpuid-input-eax"], word.get("cpuid-input-ecx", 0)) or (0, 0, 0, 0)
            assert word["features"] == row[("EAX", "EBX", "ECX", "EDX").index(word["cpuid-register"])]
        assert sum(word["features"] != 0 for word in words) >= 5
        filtered = await execute(vm, "qom-get", path="/machine/cpus/cpu0", property="filtered-features")
        assert {word["features"] for word in filtered} == {0}


async def test_random_bytes_follow_the_seed_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"0123456789")
    drawn = []
    for seed in (1, 1, 2):
        async with VirtualMachine(flat=SPIN, memory="1M", seed=seed, objects=["rng-builtin,id=r"]) as vm:
            source = vm.objects["r"]
            assert isinstance(source, RandomSource)
            drawn.append(source.read(16))
            await vm.objects.add(f"rng-random,id=f,filename={tmp_path}/bytes")
            file = vm.objects["f"]
            assert isinstance(file, RandomSource)
            assert file.read(4) + file.read(100) == b"0123456789"
    assert drawn[0] == drawn[1] != drawn[2]


async def test_files_that_never_end_do_no_harm(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        assert "more than" in await refused(vm, "object-add", qom_type="secret", id="s", file="/dev/zero")
        await add(vm, "secret", "empty", file=str(fifo))
        await add(vm, "rng-random", "r", filename=str(fifo))
        source = vm.objects["r"]
        assert isinstance(source, RandomSource)
        assert source.read(4) == b""
        text = await refused(
            vm, "object-add", qom_type="memory-backend-file", id="m", size=4096, mem_path=str(fifo), readonly=True
        )
        assert text.startswith("unable to map backing store")


async def test_secrets_are_read_decoded_and_decrypted(tmp_path: Path) -> None:
    ciphers = pytest.importorskip("cryptography.hazmat.primitives.ciphers")
    key, iv = bytes(range(32)), bytes(range(16))
    encryptor = ciphers.Cipher(ciphers.algorithms.AES(key), ciphers.modes.CBC(iv)).encryptor()
    sealed = encryptor.update(b"hidden" + bytes([10]) * 10) + encryptor.finalize()
    (tmp_path / "plain").write_bytes(b"from a file")
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        await add(vm, "secret", "key", data=base64.b64encode(key).decode(), format="base64")
        await add(
            vm,
            "secret",
            "sealed",
            data=base64.b64encode(sealed).decode(),
            format="base64",
            keyid="key",
            iv=base64.b64encode(iv).decode(),
        )
        await add(vm, "secret", "file", file=str(tmp_path / "plain"))
        values = [found.value for found in vm.objects if isinstance(found, Secret)]
        assert values == [key, b"hidden", b"from a file"]
