"""Guest memory into files."""

from __future__ import annotations

from pathlib import Path

import pytest
from exchange import connected, execute, qemu, refusal

from vmcore import FlatImage, VirtualMachine
from vmcore.machine.config import FlatMode

CODE = bytes.fromhex("eb fe") + bytes(range(62))
SPIN = FlatImage(CODE)
LONG = FlatImage(CODE, address=0x100000, mode=FlatMode.LONG)


@pytest.mark.conformance("memsave", "pmemsave")
async def test_memory_is_written_as_the_guest_has_it(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    async with VirtualMachine(flat=SPIN) as vm, connected(vm, tmp_path / "qmp") as client:
        assert await client.execute("pmemsave", val=0x7C00, size=64, filename=str(path)) == {"return": {}}
        assert path.read_bytes() == CODE
        await vm.start()
        assert await execute(vm, "memsave", val=0x7BFF, size=3, filename=str(path)) == {}
        assert path.read_bytes() == b"\0" + CODE[:2]
        assert vm.free_running
        assert await execute(vm, "pmemsave", val=0, size=9 << 20, filename=str(path)) == {}
        assert path.read_bytes()[0x7C00:0x7C40] == CODE
        assert path.stat().st_size == 9 << 20
        await vm.stop()


async def test_refusals_have_qemus_texts(tmp_path: Path) -> None:
    file = str(tmp_path / "memory")
    cases: list[tuple[str, dict[str, object]]] = [
        ("memsave", {"val": 0, "size": 16, "filename": "/nonexist/x"}),
        ("pmemsave", {"val": 0, "size": 16, "filename": "/nonexist/x"}),
        ("pmemsave", {"val": 0, "size": 16, "filename": str(tmp_path)}),
        ("memsave", {"val": 0, "size": 16, "filename": file, "cpu-index": 7}),
        ("memsave", {"val": 0, "size": 16, "filename": file, "cpu-index": -1}),
        ("memsave", {"val": 0, "size": 16}),
        ("memsave", {"val": 0x7FFFFFFFFFFF0000, "size": 16, "filename": file}),
        ("memsave", {"val": -1, "size": 16, "filename": file}),
    ]
    async with VirtualMachine(flat=LONG) as vm:
        found = [await refusal(vm, name, **given) for name, given in cases]
        assert found[6] == ("GenericError", "Invalid addr 0x7fffffffffff0000/size 16 specified")
        negative = await refusal(vm, "memsave", val=0, size=-1, filename=file)
        assert negative == ("GenericError", "Invalid addr 0x0000000000000000/size -1 specified")
    with qemu() as theirs:
        for (name, given), (qmp_class, text) in zip(cases, found, strict=True):
            assert theirs.execute(name, **given)["error"] == {"class": qmp_class, "desc": text}
