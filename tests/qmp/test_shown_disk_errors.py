"""Disk requests that fail: what each policy makes of them, as QEMU's IDE disks do."""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import frozen
from exchange import execute
from exchange_kit import CODE, Player, firmware
from qmp_oracle import PROGRAM, needs_qemu

from vmcore import FlatImage, VirtualMachine
from vmcore.block.node import Fault
from vmcore.machine.disk_config import Disk
from vmcore.model.events import Event

EIO, ENOSPC = 5, 28
REASON = {EIO: "Input/output error", ENOSPC: "No space left on device"}
REQUESTS = ("read", "write", "flush")


@frozen
class Case:
    """A policy and a failure, and what comes of it.

    action: None where the policy is not one for this request; nospace: member of the event; status: io-status after.
    """

    request: str
    policy: str
    errno: int
    action: str
    nospace: bool | None
    status: str | None

    def __str__(self) -> str:
        return f"{self.request} {self.policy} {'ENOSPC' if self.errno == ENOSPC else 'EIO'}"


def _cases() -> list[Case]:
    cases = []
    for request in REQUESTS:
        for errno in (EIO, ENOSPC):
            full = errno == ENOSPC
            cases.append(Case(request, "report", errno, "report", None, None))
            cases.append(Case(request, "ignore", errno, "ignore", None, None))
            cases.append(Case(request, "stop", errno, "stop", full, "nospace" if full else "failed"))
            if request != "read":
                cases.append(
                    Case(request, "enospc", errno, "stop" if full else "report", full, "nospace" if full else "ok")
                )
    return cases


CASES = _cases()
every_case = pytest.mark.parametrize("case", CASES, ids=str)


def _policies(case: Case) -> tuple[str, str]:
    """For reads and for writes: the other one is `report`, so that nothing else has a status."""
    return (case.policy, "report") if case.request == "read" else ("report", case.policy)


def _expected(case: Case) -> list[dict[str, Any]]:
    details: dict[str, Any] = {"operation": "read" if case.request == "read" else "write", "action": case.action}
    details["reason"] = REASON[case.errno]
    if case.nospace is not None:
        details["nospace"] = case.nospace
    events: list[dict[str, Any]] = [{"RESUME": None}, {"BLOCK_IO_ERROR": details}]
    if case.action == "stop":
        events += [{"STOP": None}, {"state": "io-error", "io-status": case.status}, {"RESUME": None}]
    end = {"state": "running"} if case.status is None else {"state": "running", "io-status": "ok"}
    return [*events, end]


async def _ours(case: Case, path: Path) -> list[dict[str, Any]]:
    """What vmcore says on the wire."""
    read, write = _policies(case)
    fault = Fault(
        operation=case.request, offset=None if case.request == "flush" else 5 * 512, errno=case.errno, count=1
    )
    disk = Disk(bytes(1 << 20), read_error=read, write_error=write, faults=[fault])
    flat = FlatImage(CODE[f"disk-{case.request}"])
    async with VirtualMachine(memory="1M", flat=flat, disks=[disk]) as vm, trio.open_nursery() as nursery:
        await nursery.start(vm.serve_qmp, f"unix:{path}")
        seen = await trio.to_thread.run_sync(_play, str(path), case)
        nursery.cancel_scope.cancel()
    return seen


def _play(path: str, case: Case) -> list[dict[str, Any]]:
    """Let the guest go, and once more if it stops; all events and states."""
    player = Player(path)
    seen: list[dict[str, Any]] = []

    def note(message: Any) -> bool:
        """Keep an event; whether it was one."""
        if not isinstance(message, dict) or "event" not in message:
            return False
        data = dict(message.get("data", {}))
        data.pop("device", None)
        data.pop("node-name", None)
        seen.append({message["event"]: data or None})
        return True

    def ask(name: str) -> Any:
        player.send(json.dumps({"execute": name}).encode())
        while note(message := player.read(20)):
            pass
        return message["return"]

    def states() -> dict[str, Any]:
        (drive,) = ask("query-block")
        status = {"io-status": drive["io-status"]} if "io-status" in drive else {}
        return {"state": ask("query-status")["status"]} | status

    try:
        player.read(20)
        ask("qmp_capabilities")
        ask("cont")
        wanted = "STOP" if case.action == "stop" else "BLOCK_IO_ERROR"
        while not any(wanted in one for one in seen):
            assert note(player.read(20))
        if case.action == "stop":
            seen.append(states())
            ask("cont")
        seen.append(states())
    finally:
        player.close()
    return seen


@pytest.mark.conformance("BLOCK_IO_ERROR")
@every_case
async def test_a_failed_request(case: Case, tmp_path: Path) -> None:
    assert await _ours(case, tmp_path / "qmp") == _expected(case)


@needs_qemu
@every_case
def test_qemu_does_the_same(case: Case, tmp_path: Path) -> None:
    assert PROGRAM is not None
    rom, path = tmp_path / "rom", tmp_path / "qmp"
    rom.write_bytes(firmware(f"disk-{case.request}"))
    read, write = _policies(case)
    fault = f"inject-error.0.event=none,inject-error.0.iotype={case.request},inject-error.0.errno={case.errno}"
    if case.request != "flush":  # QEMU itself reads the first sector.
        fault += ",inject-error.0.sector=5"
    null = {"driver": "null-co", "node-name": "null", "size": 1 << 20, "read-zeroes": True}
    device = f"ide-hd,bus=ide.0,drive=disk,rerror={read},werror={write}"
    options = [
        "-display", "none", "-nodefaults", "-S", "-M", "pc", "-m", "16", "-bios", str(rom),
        "-qmp", f"unix:{path},server=on,wait=off", "-blockdev", json.dumps(null), "-device", device,
        "-drive", f"if=none,id=disk,driver=blkdebug,image=null,{fault},inject-error.0.once=on",
    ]  # fmt: skip
    with subprocess.Popen([PROGRAM, *options], stderr=subprocess.DEVNULL) as process:
        try:
            assert _play(str(path), case) == _expected(case)
        finally:
            process.kill()


@pytest.mark.conformance("RunState.io-error", "BlockErrorAction.stop", "IoOperationType.write", "STOP")
async def test_a_machine_that_stopped_is_reset() -> None:
    disk = Disk(bytes(1 << 20), write_error="stop", faults=[Fault(operation="write")])
    async with VirtualMachine(memory="1M", flat=FlatImage(CODE["disk-write"]), disks=[disk]) as vm:
        with vm.events.subscribe(Event) as events:
            await execute(vm, "cont")
            with trio.fail_after(20):
                while (await events.receive()).wire_name != "STOP":
                    pass
            assert (await execute(vm, "query-status"))["status"] == "io-error"
            await execute(vm, "system_reset")
            assert (await execute(vm, "query-status"))["status"] == "prelaunch"


@pytest.mark.conformance("IoOperationType.read")
@pytest.mark.parametrize(
    "policy",
    [
        pytest.param("report", marks=pytest.mark.conformance("BlockErrorAction.report")),
        pytest.param("ignore", marks=pytest.mark.conformance("BlockErrorAction.ignore")),
    ],
)
async def test_a_guest_that_is_told_or_not(policy: str) -> None:
    """What the guest reads of the status register: with an error, or as if nothing had been."""
    disk = Disk(bytes(1 << 20), read_error=policy, faults=[Fault(operation="read")])
    async with VirtualMachine(memory="1M", flat=FlatImage(CODE["disk-read"]), disks=[disk]) as vm:
        with vm.events.subscribe(Event) as events:
            await execute(vm, "cont")
            with trio.fail_after(20), contextlib.suppress(trio.EndOfChannel):
                while (await events.receive()).wire_name != "BLOCK_IO_ERROR":
                    pass
            await execute(vm, "stop")
        await vm.run(seconds=0.001)
        assert vm.cpu.rax & 0xFF == (0x51 if policy == "report" else 0x58)
