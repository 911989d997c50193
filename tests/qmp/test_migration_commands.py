"""Guests that move, driven by clients over the wire, with another machine at the other end."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from exchange import connected, execute, refusal

from vmcore import FlatImage, VirtualMachine
from vmcore.model.errors import MigrationError
from vmcore.model.events import Event
from vmcore.model.migration import Migration, MigrationPass, MigrationStatus
from vmcore.model.run_state import RunState

ECHO = FlatImage(
    # L: mov dx, 3fdh; in al, dx; test al, 1; jz L; mov dx, 3f8h; in al, dx; inc al; out dx, al; jmp L
    bytes.fromhex("ba fd 03 ec a8 01 74 f8 ba f8 03 ec fe c0 ee eb ef")
)
SCRIBBLE = FlatImage(
    # Counts in a page of each of the segments 1000h to 8000h, round and round: every pass finds them dirty.
    # L: mov ax, 1000h; M: mov ds, ax; inc word [0]; add ax, 100h; cmp ax, 8000h; jb M; jmp L
    bytes.fromhex("b8 00 10 8e d8 ff 06 00 00 05 00 01 3d 00 80 72 f2 eb ed")
)


def machine(guest: FlatImage = ECHO, **more: Any) -> VirtualMachine:
    return VirtualMachine(flat=guest, memory="2M", **more)


async def status(vm: VirtualMachine) -> tuple[str, str | None]:
    """Run state, and status of the migration."""
    return (await execute(vm, "query-status"))["status"], (await execute(vm, "query-migrate")).get("status")


async def switch_on(vm: VirtualMachine, *names: str) -> None:
    await execute(vm, "migrate-set-capabilities", capabilities=[{"capability": n, "state": True} for n in names])


def told(events: Any) -> list[str]:
    """What a subscriber was told of migrations and of the guest's running."""
    out: list[str] = []
    while True:
        try:
            event = events.receive_nowait()
        except trio.WouldBlock:
            return out
        match event:
            case Migration():
                out.append(event.status.value)
            case MigrationPass():
                out.append(f"pass {event.pass_}")
            case _:
                out.append(event.wire_name)


@pytest.mark.conformance(
    *["migrate", "migrate-incoming", "query-migrate", "migrate-set-capabilities", "query-migrate-capabilities"],
    *["MIGRATION", "MIGRATION_PASS", "STOP", "RESUME", "query-status"],
    *["RunState.inmigrate", "RunState.postmigrate", "RunState.running", "MigrationCapability.events"],
    *["MigrationStatus.setup", "MigrationStatus.active", "MigrationStatus.completed", "SocketAddress.unix"],
)
async def test_a_running_guest_goes_from_one_machine_to_another(tmp_path: Path) -> None:
    uri = f"unix:{tmp_path / 'way'}"
    async with machine() as vm, machine(incoming="defer") as other:
        await switch_on(vm, "events")
        await switch_on(other, "events")
        assert await execute(vm, "query-migrate") == {}
        assert await status(other) == ("inmigrate", None)
        await execute(vm, "cont")
        with vm.events.subscribe(Event) as out, other.events.subscribe(Event) as into:
            await execute(other, "migrate-incoming", uri=uri)
            waits = {"socket-address": [{"type": "unix", "path": str(tmp_path / "way")}]}
            assert await execute(other, "query-migrate") == waits
            await execute(vm, "migrate", uri=uri, detach=True)
            await other.migration.wait()
            await vm.migration.wait()
            assert told(out) == ["setup", "pass 1", "active", "STOP", "pass 2", "completed"]
            assert told(into) == ["setup", "active", "RESUME", "completed"]
        assert await status(vm) == ("postmigrate", "completed")
        assert await status(other) == ("running", "completed")
        await other.serial[0].send_all(b"a")
        await other.serial[0].expect(b"b")
        numbers = await execute(vm, "query-migrate")
        ram = numbers["ram"]
        assert ram["total"] // 4096 == ram["normal"] + ram["duplicate"]
        assert ram["normal-bytes"] == ram["normal"] * 4096 > 0
        assert ram["transferred"] == ram["precopy-bytes"] + ram["downtime-bytes"] > ram["normal-bytes"]
        assert ram["dirty-sync-count"] == 2
        assert ram["remaining"] == 0
        assert 0 <= numbers["downtime"] <= numbers["total-time"]
        assert 0 <= numbers["setup-time"] <= numbers["total-time"]
        on = {"capability": "events", "state": True}
        assert on in await execute(vm, "query-migrate-capabilities")
        assert await refusal(vm, "migrate", uri=uri) == (
            "GenericError",
            "Can't migrate the vm that was paused due to previous migration",
        )
        with vm.events.subscribe(Event) as out:
            await execute(vm, "cont")
            assert told(out) == ["RESUME"]
        assert await status(vm) == ("running", "completed")


@pytest.mark.conformance("migrate", "migrate-incoming", "getfd", "query-migrate")
async def test_a_guest_goes_through_a_descriptor_that_has_a_name(tmp_path: Path) -> None:
    here, there = socket.socketpair()
    async with machine() as vm, machine(incoming="defer") as other:
        await vm.start()
        async with connected(vm, tmp_path / "a") as client, connected(other, tmp_path / "b") as second:
            for one, end in ((client, here), (second, there)):
                await give(one, end, "way")
            assert await second.execute("migrate-incoming", uri="fd:way") == {"return": {}}
            assert await client.execute("migrate", uri="fd:way") == {"return": {}}
            await vm.migration.wait()
            await other.migration.wait()
            assert (await client.execute("query-migrate"))["return"]["status"] == "completed"
            # The name is used up.
            assert "error" in await client.execute("closefd", fdname="way")
        assert other.free_running
    here.close()
    there.close()


async def give(client: Any, end: socket.socket, name: str) -> None:
    """Hand a descriptor over, under a name."""
    text = b'{"execute": "getfd", "arguments": {"fdname": "%s"}}' % name.encode()
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [end.fileno()]))
    await client._stream.socket.sendmsg([text], [rights])
    assert await client.message() == {"return": {}}


async def test_a_guest_goes_through_a_pipe() -> None:
    out, into = os.pipe()
    async with machine() as vm, machine(incoming="defer") as other:
        await vm.start()
        await execute(vm, "migrate", uri=f"fd:{into}")
        os.close(into)
        await execute(other, "migrate-incoming", uri=f"fd:{out}")
        os.close(out)
        await other.migration.wait()
        await vm.migration.wait()
        assert await status(other) == ("running", "completed")


async def test_a_guest_goes_over_tcp_and_comes_paused_if_it_shall() -> None:
    async with machine() as vm, machine(incoming="tcp:127.0.0.1:0") as other:
        (where,) = (await execute(other, "query-migrate"))["socket-address"]
        assert (where["type"], where["host"]) == ("inet", "127.0.0.1")
        await execute(other, "stop")
        await vm.start()
        await execute(vm, "migrate", uri=f"tcp:127.0.0.1:{where['port']}")
        await other.migration.wait()
        await vm.migration.wait()
        assert await status(other) == ("paused", "completed")
        assert other.digest() == vm.digest()


@asynccontextmanager
async def slowly(vm: VirtualMachine, other: VirtualMachine, uri: str) -> AsyncIterator[None]:
    """A migration that takes for ever; it is over when the block is left."""
    await switch_on(vm, "events")
    await execute(vm, "migrate-set-parameters", max_bandwidth=1)
    await execute(other, "migrate-incoming", uri=uri)
    async with vm.events.expect(MigrationPass):
        await execute(vm, "migrate", uri=uri)
    while vm.migration.status is not MigrationStatus.ACTIVE:
        await trio.lowlevel.checkpoint()
    yield


@pytest.mark.conformance(
    *["migrate_cancel", "migrate-set-parameters", "MigrationStatus.cancelling", "MigrationStatus.cancelled"],
    *["MigrationStatus.failed", "RunState.running", "RunState.inmigrate"],
)
async def test_a_migration_is_cancelled_and_tried_again(tmp_path: Path) -> None:
    uri = f"unix:{tmp_path / 'way'}"
    async with machine() as vm, machine(incoming="defer") as other:
        await vm.start()
        with vm.events.subscribe(Event) as out:
            async with slowly(vm, other, uri):
                busy = "There's a migration process in progress"
                assert await status(vm) == ("running", "active")
                assert await refusal(vm, "migrate", uri=uri) == ("GenericError", busy)
                capability = [{"capability": "compress", "state": True}]
                answer = await refusal(vm, "migrate-set-capabilities", capabilities=capability)
                assert answer == ("GenericError", busy)
                told(out)
                await execute(vm, "migrate_cancel")
                assert vm.migration.status is MigrationStatus.CANCELLING
                with pytest.raises(Exception, match="cancelled"):
                    await vm.migration.wait()
                assert told(out) == ["cancelling", "cancelled"]
        assert await execute(vm, "query-migrate") == {"status": "cancelled"}
        assert vm.free_running
        await execute(vm, "migrate_cancel")
        assert await status(vm) == ("running", "cancelled")
        with pytest.raises(Exception, match=r"more: the sender has not let go|a whole stream"):
            await other.migration.wait()
        assert await status(other) == ("inmigrate", "failed")
        await execute(vm, "migrate-set-parameters", max_bandwidth=0)
        await execute(other, "migrate-incoming", uri=uri)
        await execute(vm, "migrate", uri=uri)
        await other.migration.wait()
        assert await status(other) == ("running", "completed")


@pytest.mark.conformance(
    *["migrate-continue", "query-status", "RunState.finish-migrate", "RunState.postmigrate"],
    *["MigrationStatus.pre-switchover", "MigrationStatus.device", "MigrationCapability.pause-before-switchover"],
)
async def test_the_switch_waits_for_who_asked_it_to(tmp_path: Path) -> None:
    uri = f"unix:{tmp_path / 'way'}"
    async with machine() as vm, machine(incoming=uri) as other:
        await switch_on(vm, "events", "pause-before-switchover")
        await vm.start()
        with vm.events.subscribe(Event) as out:
            await execute(vm, "migrate", uri=uri)
            async for event in out:
                if event == Migration(status=MigrationStatus.PRE_SWITCHOVER):
                    break
            assert await status(vm) == ("finish-migrate", "pre-switchover")
            assert await refusal(vm, "cont") == ("GenericError", "Migration is not finalized yet")
            assert await execute(vm, "stop") == {}
            wrong = await refusal(vm, "migrate-continue", state="device")
            assert wrong == ("GenericError", "Migration not in expected state: pre-switchover")
            await execute(vm, "migrate-continue", state="pre-switchover")
            await vm.migration.wait()
            assert told(out) == ["device", "pass 2", "completed"]
        assert await status(vm) == ("postmigrate", "completed")
        await other.migration.wait()
        assert await status(other) == ("running", "completed")


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_guest_that_stood_still_already_goes_on_where_it_is(tmp_path: Path, stopped: bool) -> None:
    uri = f"unix:{tmp_path / 'way'}"
    async with machine() as vm, machine(incoming=uri):
        await switch_on(vm, "events", "pause-before-switchover")
        await vm.start()
        with vm.events.subscribe(Event) as out:
            await execute(vm, "migrate", uri=uri)
            async for event in out:
                if event == Migration(status=MigrationStatus.PRE_SWITCHOVER):
                    break
            if stopped:
                await execute(vm, "stop")
            await execute(vm, "migrate_cancel")
            with pytest.raises(Exception, match="cancelled"):
                await vm.migration.wait()
            expected = ["cancelling", "cancelled"] if stopped else ["cancelling", "RESUME", "cancelled"]
            assert told(out) == expected
        assert await status(vm) == ("paused" if stopped else "running", "cancelled")


async def test_a_destination_that_goes_away_leaves_the_guest_where_it_is(tmp_path: Path) -> None:
    path = str(tmp_path / "way")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        async with machine(SCRIBBLE) as vm:
            await vm.start()
            await execute(vm, "migrate-set-parameters", max_bandwidth=100_000)
            await execute(vm, "migrate", uri=f"unix:{path}")
            connection, _ = await trio.to_thread.run_sync(listener.accept)
            connection.close()
            with pytest.raises(Exception, match=r"closed the connection|Broken pipe|reset"):
                await vm.migration.wait()
            answer = await execute(vm, "query-migrate")
            assert answer["status"] == "failed"
            assert answer["error-desc"]
            assert await status(vm) == ("running", "failed")


async def test_a_destination_of_another_kind_refuses_and_says_why(tmp_path: Path) -> None:
    uri = f"unix:{tmp_path / 'way'}"
    async with machine() as vm, VirtualMachine(flat=ECHO, memory="3M", incoming=uri) as other:
        await vm.start()
        await execute(vm, "migrate", uri=uri)
        with pytest.raises(Exception, match=r"refuses: .*config\.memory"):
            await vm.migration.wait()
        assert await status(vm) == ("running", "failed")
        assert "config.memory" in (await execute(vm, "query-migrate"))["error-desc"]
        with pytest.raises(Exception, match=r"config\.memory"):
            await other.migration.wait()
        assert await status(other) == ("inmigrate", "failed")


@pytest.mark.parametrize("data", [b"", b"garbage" * 100, b"vmcore\x1aM\1\0\0\0" + b"\xff" * 100])
async def test_bytes_that_are_no_guest_are_refused(tmp_path: Path, data: bytes) -> None:
    path = str(tmp_path / "way")
    async with machine(incoming=f"unix:{path}") as vm:
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(data)
            await stream.send_eof()
            answer = await stream.receive_some()
        assert answer[:4] == b"FAIL"
        with pytest.raises(Exception, match=f"unix:{path}: "):
            await vm.migration.wait()
        assert await status(vm) == ("inmigrate", "failed")


async def test_a_guest_that_writes_all_the_time_is_sent_whole(tmp_path: Path) -> None:
    uri = f"unix:{tmp_path / 'way'}"
    async with machine(SCRIBBLE) as vm, machine(SCRIBBLE, incoming=uri) as other:
        await other.stop()
        await vm.start()
        await execute(vm, "migrate", uri=uri)
        await vm.migration.wait()
        await other.migration.wait()
        assert other.digest() == vm.digest()


@pytest.mark.conformance("migrate", "query-migrate", "MigrationCapability.compress")
async def test_memory_is_compressed_where_that_is_wanted(tmp_path: Path) -> None:
    uri = f"unix:{tmp_path / 'way'}"
    async with machine(SCRIBBLE) as vm, machine(SCRIBBLE, incoming=uri) as other:
        await switch_on(vm, "compress")
        await other.stop()
        await vm.start()
        await execute(vm, "migrate", uri=uri)
        await vm.migration.wait()
        await other.migration.wait()
        assert other.digest() == vm.digest()
        numbers = await execute(vm, "query-migrate")
        assert numbers["compression"]["pages"] == numbers["ram"]["normal"]
        assert numbers["compression"]["compressed-size"] < numbers["ram"]["normal-bytes"]
        assert numbers["compression"]["compression-rate"] > 1


@pytest.mark.conformance("migrate-set-parameters", "query-migrate-parameters")
async def test_the_bandwidth_is_kept_to_and_can_be_changed_on_the_way(tmp_path: Path) -> None:
    uri = f"unix:{tmp_path / 'way'}"
    async with machine(SCRIBBLE) as vm, machine(SCRIBBLE, incoming=uri):
        await execute(vm, "migrate-set-parameters", max_bandwidth=20_000, downtime_limit=100)
        shown = await execute(vm, "query-migrate-parameters")
        assert (shown["max-bandwidth"], shown["downtime-limit"]) == (20_000, 100)
        await vm.start()
        begun = trio.current_time()
        await execute(vm, "migrate", uri=uri)
        await trio.sleep(0.5)
        sent = (await execute(vm, "query-migrate"))["ram"]["transferred"]
        assert 0 < sent < 20_000 * (trio.current_time() - begun) + 10_000
        assert vm.free_running
        assert (await execute(vm, "query-migrate"))["expected-downtime"] >= 0
        await execute(vm, "migrate-set-parameters", max_bandwidth=0)
        await vm.migration.wait()
        assert await status(vm) == ("postmigrate", "completed")


@pytest.mark.conformance("query-migrate", "MigrationCapability.auto-converge")
async def test_a_guest_that_writes_faster_than_is_sent_is_held_back(tmp_path: Path) -> None:
    uri = f"unix:{tmp_path / 'way'}"
    async with machine(SCRIBBLE) as vm, machine(SCRIBBLE, incoming=uri):
        await switch_on(vm, "auto-converge", "events")
        await execute(vm, "migrate-set-parameters", max_bandwidth=4 << 20, downtime_limit=0)
        await vm.start()
        with vm.events.subscribe(MigrationPass) as passes:
            await execute(vm, "migrate", uri=uri)
            async for _ in passes:
                if (await execute(vm, "query-migrate")).get("cpu-throttle-percentage", 0) >= 30:
                    break
        await execute(vm, "stop")
        await vm.migration.wait()
        assert await status(vm) == ("postmigrate", "completed")


async def test_the_block_can_be_left_while_a_guest_moves(tmp_path: Path) -> None:
    uri = f"unix:{tmp_path / 'way'}"
    async with machine(SCRIBBLE) as vm, machine(SCRIBBLE, incoming="defer") as other:
        await vm.start()
        async with slowly(vm, other, uri):
            pass
    assert not (tmp_path / "way").exists()
    async with machine(SCRIBBLE) as vm:
        await vm.start()
        await execute(vm, "migrate-set-parameters", max_bandwidth=1)
        await execute(vm, "migrate", uri=f"file:{tmp_path / 'guest'}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("state", ["prelaunch", "paused"])
async def test_a_guest_at_rest_comes_in_the_state_that_it_had(tmp_path: Path, state: str) -> None:
    uri = f"file:{tmp_path / 'guest'}"
    async with machine() as vm:
        if state == "paused":
            await vm.start()
            await vm.stop()
        await execute(vm, "migrate", uri=uri)
        await vm.migration.wait()
    async with machine(incoming="defer") as other:
        await execute(other, "migrate-incoming", uri=uri)
        await other.migration.wait()
        assert await status(other) == (state, "completed")
        assert other.state is RunState(state)


async def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    async with machine() as vm:
        for name in ("postcopy-ram", "xbzrle", "multifd", "x-colo", "background-snapshot", "block", "zero-copy-send"):
            answer = await refusal(vm, "migrate-set-capabilities", capabilities=[{"capability": name, "state": True}])
            assert answer[0] == "GenericError"
        assert not any(item["state"] for item in await execute(vm, "query-migrate-capabilities"))
        uri = f"file:{tmp_path / 'guest'}"
        for more in ({"blk": True}, {"inc": True}):
            assert "block migration" in (await refusal(vm, "migrate", uri=uri, **more))[1]
        await execute(vm, "migrate-set-parameters", tls_creds="secret")
        assert await refusal(vm, "migrate", uri=uri) == ("GenericError", "No TLS credentials with id 'secret'")
        await execute(vm, "migrate-set-parameters", tls_creds=None)
        await switch_on(vm, "return-path")
        await execute(vm, "migrate", uri=uri)
        with pytest.raises(Exception, match="return-path"):
            await vm.migration.wait()
        assert list(tmp_path.iterdir()) == []
        folder = await refusal(vm, "migrate", uri=f"file:{tmp_path}")
        assert folder == ("GenericError", f"Could not open '{tmp_path}': Is a directory")


@pytest.mark.parametrize("compressed", [False, True])
async def test_whenever_it_is_cancelled_the_guest_is_in_one_place(tmp_path: Path, compressed: bool) -> None:
    uri = f"unix:{tmp_path / 'way'}"
    gone = kept = 0
    async with machine(SCRIBBLE) as vm:
        await execute(vm, "migrate-set-parameters", max_bandwidth=0)
        if compressed:
            await switch_on(vm, "compress")
        await vm.start()
        for moment in range(0, 2400, 80):
            async with machine(SCRIBBLE, incoming=uri) as other:
                await execute(vm, "migrate", uri=uri)
                for _ in range(moment):
                    await trio.lowlevel.checkpoint()
                await execute(vm, "migrate_cancel")
                with suppress(MigrationError):
                    await vm.migration.wait()
                if vm.migration.status is MigrationStatus.COMPLETED:
                    await other.migration.wait()
                    assert await status(vm) == ("postmigrate", "completed")
                    assert await status(other) == ("running", "completed")
                    gone += 1
                    await vm.cont()
                else:
                    assert await status(vm) == ("running", "cancelled")
                    assert not other.free_running
                    kept += 1
                assert vm.free_running
    assert kept
    assert gone + kept == 30
