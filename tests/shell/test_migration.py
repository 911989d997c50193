"""A guest moved through a file goes on where it was."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flat_guests import ECHO, SPIN

from vmcore import VirtualMachine
from vmcore.machine.config import MachineConfig
from vmcore.model.errors import ImageError, MigrationError, UsageError
from vmcore.model.events import Event
from vmcore.model.run_state import RunState


def state(vm: VirtualMachine) -> RunState:
    """The run state, read anew: a property that changes behind the type checker's back."""
    return vm.state


async def stored(path: Path) -> str:
    """A paused guest in a file; its digest."""
    async with VirtualMachine(flat=ECHO, memory="1M") as vm:
        await vm.serial[0].send_all(b"a")
        await vm.serial[0].expect(b"b")
        await vm.migrate(f"file:{path}")
        assert state(vm) is RunState.POSTMIGRATE
        return vm.digest()


async def test_a_paused_guest_comes_paused_and_equal_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "guest"
    digest = await stored(path)
    async with VirtualMachine(flat=ECHO, memory="1M", incoming=f"file:{path}") as vm:
        assert state(vm) is RunState.PAUSED
        assert vm.digest() == digest
        await vm.serial[0].send_all(b"x")
        await vm.serial[0].expect(b"y")
    assert [file.name for file in tmp_path.iterdir()] == ["guest"]


async def test_a_running_guest_stops_here_and_runs_on_there(tmp_path: Path) -> None:
    uri = f"file:{tmp_path / 'guest'}"
    said: list[str] = []

    def note(event: Event) -> None:
        said.append(type(event).__name__)

    async with VirtualMachine(flat=ECHO, memory="1M") as vm:
        vm.events.listen(note)
        await vm.start()
        await vm.migrate(uri)
        assert said == ["Resume", "Stop"]
        assert state(vm) is RunState.POSTMIGRATE
        assert not vm.free_running
        await vm.stop()
        assert state(vm) is RunState.POSTMIGRATE
        with pytest.raises(UsageError, match="paused due to previous migration"):
            await vm.migrate(uri)
        async with VirtualMachine(flat=ECHO, memory="1M", incoming="defer") as other:
            other.events.listen(note)
            await other.migrate_incoming(uri)
            assert state(other) is RunState.RUNNING
            assert said == ["Resume", "Stop", "Resume"]
            await other.serial[0].send_all(b"1")
            await other.serial[0].expect(b"2")
        await vm.cont()
        assert state(vm) is RunState.RUNNING
        await vm.serial[0].send_all(b"3")
        await vm.serial[0].expect(b"4")


async def test_who_waits_for_a_guest_can_be_told_to_hold_it(tmp_path: Path) -> None:
    uri = f"file:{tmp_path / 'guest'}"
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        await vm.start()
        await vm.migrate(uri)
    async with VirtualMachine(flat=SPIN, memory="1M", incoming="defer") as vm:
        for act in (vm.cont, vm.reset, vm.stop):
            await act()
            assert state(vm) is RunState.INMIGRATE
        with pytest.raises(UsageError, match="not come yet"):
            await vm.run(instructions=1)
        with pytest.raises(UsageError, match="waiting for an incoming"):
            await vm.migrate(uri)
        assert vm.instructions == 0
        await vm.migrate_incoming(uri)
        assert state(vm) is RunState.PAUSED
        with pytest.raises(UsageError, match="already been started"):
            await vm.migrate_incoming(uri)


async def test_a_bad_file_is_an_error_and_the_machine_waits_on(tmp_path: Path) -> None:
    path = tmp_path / "guest"
    await stored(path)
    good = path.read_bytes()
    async with VirtualMachine(flat=ECHO, memory="1M", incoming="defer") as vm:
        short = (b"", good[:-1], good[:-21], good[:100])
        for bad in (*short, good + b"\0", b"x" + good[1:], good[:500] + b"x" + good[501:]):
            path.write_bytes(bad)
            with pytest.raises(ImageError):
                await vm.migrate_incoming(f"file:{path}")
            assert state(vm) is RunState.INMIGRATE
        path.write_bytes(good)
        await vm.migrate_incoming(f"file:{path}")
        assert state(vm) is RunState.PAUSED


async def test_a_machine_that_cannot_take_the_guest_is_not_entered(tmp_path: Path) -> None:
    path = tmp_path / "guest"
    await stored(path)
    with pytest.raises(ImageError, match=r"config\.memory"):
        async with VirtualMachine(flat=ECHO, memory="2M", incoming=f"file:{path}"):
            pytest.fail("entered")
    with pytest.raises(MigrationError, match="No such file"):
        async with VirtualMachine(flat=ECHO, memory="1M", incoming=f"file:{path}.not"):
            pytest.fail("entered")


async def test_a_guest_that_cannot_be_written_runs_on(tmp_path: Path) -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        await vm.start()
        with pytest.raises(MigrationError, match="Could not open"):
            await vm.migrate(f"file:{tmp_path / 'no' / 'guest'}")
        assert state(vm) is RunState.RUNNING
        assert vm.free_running


@pytest.mark.parametrize("uri", ["", "file:", "pigeon:1", "guest", "file:a\0b"])
async def test_other_places_are_misuse(uri: str) -> None:
    with pytest.raises(UsageError, match="file:PATH"):
        VirtualMachine(flat=SPIN, incoming=uri)
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        with pytest.raises(UsageError, match="valid migration protocol"):
            await vm.migrate(uri)
        assert state(vm) is RunState.PRELAUNCH


async def test_linux_goes_on_in_its_shell_where_it_was(
    cloud_kernel: Path, initramfs: Callable[[str], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "guest"
    config = MachineConfig(
        kernel=cloud_kernel,
        initrd=initramfs("exec /bin/busybox sh"),
        append="console=ttyS0 quiet",
        memory="128M",
    )
    async with VirtualMachine(config) as vm:
        await vm.serial[0].expect(b"# ")
        await vm.serial[0].send_all(b"x=before; echo $x-$((20 + 1))\n")
        await vm.serial[0].expect(b"before-21")
        await vm.start()
        await vm.migrate(f"file:{path}")
        digest = vm.digest()
    async with VirtualMachine(config, incoming="defer") as vm:
        await vm.stop()
        await vm.migrate_incoming(f"file:{path}")
        assert vm.digest() == digest
        await vm.start()
        await vm.serial[0].send_all(b"echo $x-$((40 + 2))\n")
        await vm.serial[0].expect(b"before-42")
