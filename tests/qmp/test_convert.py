"""Between JSON and the types: both ways, and the texts about mistakes, which are those of QEMU 7.2."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated, Any

import pytest
from attrs import frozen
from qmp_oracle import needs_qemu, qemu

from vmcore.model import catalogue
from vmcore.model.char import ChardevBackend, ChardevCommon, ChardevCommonWrapper, DataFormat
from vmcore.model.control import QMPCapability, SchemaInfo, SchemaInfoObject, SchemaInfoObjectMember
from vmcore.model.errors import CommandError
from vmcore.model.events import (
    GuestPanicInformation,
    GuestPanicInformationHyperV,
    GuestPanicked,
    Reset,
    Stop,
)
from vmcore.model.machine import (
    CpuInfo,
    CpuInfoArch,
    CpuInfoFast,
    CpuInfoX86,
    CpuInstanceProperties,
    NumaCpuOptions,
    NumaDistOptions,
    NumaNodeOptions,
    NumaOptions,
    SysEmuTarget,
    UuidInfo,
)
from vmcore.model.migration import MigrateSetParameters
from vmcore.model.misc import FdsetFdInfo, FdsetInfo
from vmcore.model.qkeycode import QKeyCode
from vmcore.model.qom import ObjectOptions
from vmcore.model.run_state import GuestPanicAction, PanicAction, RunState, ShutdownCause, StatusInfo
from vmcore.model.ui import InputEvent, InputKeyEvent, InputKeyEventData, KeyValue, QKeyCodeWrapper
from vmcore.model.wire import NULL, Int, Int8, Named, UInt64
from vmcore.qmp.convert import arguments, event_data, from_wire, to_wire
from vmcore.qmp.registry import Argument, Command

assert catalogue


def command(function: Any, *, boxed: str | None = None) -> Command:
    """The command that a function would be, without registering it."""
    from vmcore.qmp import registry

    name = f"test-{function.__name__}"
    registry.command(name, boxed=boxed)(function)
    return registry.COMMANDS.pop(name)


async def numa(vm: Any, *, options: NumaOptions) -> None: ...
async def keys(vm: Any, *, keys: tuple[KeyValue, ...], hold_time: Int | None = None) -> None: ...
async def inputs(vm: Any, *, device: str | None = None, head: Int | None = None, events: list[InputEvent]) -> None: ...
async def chardev(vm: Any, *, id: str, backend: ChardevBackend) -> None: ...
async def monitor_command(vm: Any, *, command_line: str, cpu_index: Int | None = None) -> None: ...
async def object_add(vm: Any, *, options: ObjectOptions) -> None: ...
async def qom_set(vm: Any, *, path: str, property: str, value: Any) -> None: ...
async def ringbuf_read(vm: Any, *, device: str, size: Int, format: DataFormat | None = None) -> None: ...
async def capabilities(vm: Any, *, enable: tuple[QMPCapability, ...] | None = None) -> None: ...
async def set_action(vm: Any, *, panic: PanicAction | None = None) -> None: ...
async def remove_fd(vm: Any, *, fdset_id: Int, fd: Int | None = None) -> None: ...
async def migration(vm: Any, *, parameters: MigrateSetParameters) -> None: ...
async def list_types(vm: Any, *, implements: str | None = None, abstract: bool | None = None) -> None: ...
async def nothing(vm: Any) -> None: ...


COMMANDS = {
    "set-numa-node": command(numa, boxed="options"),
    "send-key": command(keys),
    "input-send-event": command(inputs),
    "chardev-add": command(chardev),
    "human-monitor-command": command(monitor_command),
    "object-add": command(object_add, boxed="options"),
    "qom-set": command(qom_set),
    "ringbuf-read": command(ringbuf_read),
    "qmp_capabilities": command(capabilities),
    "set-action": command(set_action),
    "remove-fd": command(remove_fd),
    "migrate-set-parameters": command(migration, boxed="parameters"),
    "qom-list-types": command(list_types),
    "query-name": command(nothing),
}

BIG = 1 << 64


def invalid(name: str, expected: str) -> str:
    return f"Invalid parameter type for '{name}', expected: {expected}"


def missing(name: str) -> str:
    return f"Parameter '{name}' is missing"


def unexpected(name: str) -> str:
    return f"Parameter '{name}' is unexpected"


def refused(name: str, value: str) -> str:
    return f"Parameter '{name}' does not accept value '{value}'"


def expects(name: str, what: str) -> str:
    return f"Parameter '{name}' expects {what}"


def dist(**changes: Any) -> dict[str, Any]:
    return {"type": "dist", "src": 0, "dst": 0, "val": 10} | changes


def event(kind: str, data: Any) -> dict[str, Any]:
    return {"events": [{"type": kind, "data": data}]}


def socket(address: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": "a", "backend": {"type": "socket", "data": {"addr": address}}}


KEY_A = {"type": "qcode", "data": "a"}

MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("set-numa-node", {}, missing("type")),
    ("set-numa-node", {"x": 1}, missing("type")),
    ("set-numa-node", {"type": 1}, invalid("type", "string")),
    ("set-numa-node", {"type": "foo", "x": 1}, refused("type", "foo")),
    ("set-numa-node", {"type": "{}"}, refused("type", "{}")),
    ("set-numa-node", {"type": "dist"}, missing("src")),
    ("set-numa-node", {"type": "dist", "val": "x"}, missing("src")),
    ("set-numa-node", dist(src=-1), expects("src", "uint16_t")),
    ("set-numa-node", dist(src=65536), expects("src", "uint16_t")),
    ("set-numa-node", dist(src=BIG - 1), expects("src", "uint16_t")),
    ("set-numa-node", dist(src=BIG), expects("src", "uint64")),
    ("set-numa-node", dist(src=-(1 << 63) - 1), expects("src", "uint64")),
    ("set-numa-node", dist(src=1.0), expects("src", "uint64")),
    ("set-numa-node", dist(src=None), expects("src", "uint64")),
    ("set-numa-node", dist(src=True), expects("src", "uint64")),
    ("set-numa-node", dist(val=256), expects("val", "uint8_t")),
    ("set-numa-node", dist(val=256, x=1), expects("val", "uint8_t")),
    ("set-numa-node", dist(x=1), unexpected("x")),
    ("set-numa-node", {"type": "node", "cpus": 3}, invalid("cpus", "array")),
    ("set-numa-node", {"type": "node", "cpus": ["a"]}, expects("cpus[0]", "uint64")),
    ("set-numa-node", {"type": "node", "cpus": [1, 65536]}, expects("null", "uint16_t")),
    ("set-numa-node", {"type": "node", "mem": 1.5}, expects("mem", "uint64")),
    ("set-numa-node", {"type": "node", "mem": "1G"}, expects("mem", "uint64")),
    ("set-numa-node", {"type": "node", "memdev": 3}, invalid("memdev", "string")),
    ("set-numa-node", {"type": "node", "memdev": None}, invalid("memdev", "string")),
    ("set-numa-node", {"type": "cpu", "node-id": "a"}, invalid("node-id", "integer")),
    ("set-numa-node", {"type": "cpu", "node-id": 1 << 63}, invalid("node-id", "integer")),
    ("set-numa-node", {"type": "cpu", "node-id": -(1 << 63) - 1}, invalid("node-id", "integer")),
    ("set-numa-node", {"type": "cpu", "nodeid": 1}, unexpected("nodeid")),
    ("send-key", {}, missing("keys")),
    ("send-key", {"hold-time": "x"}, missing("keys")),
    ("send-key", {"keys": 1}, invalid("keys", "array")),
    ("send-key", {"keys": None}, invalid("keys", "array")),
    ("send-key", {"keys": [1]}, invalid("keys[0]", "object")),
    ("send-key", {"keys": [{}]}, missing("keys[0].type")),
    ("send-key", {"keys": [{"type": None, "data": "a"}]}, invalid("keys[0].type", "string")),
    ("send-key", {"keys": [{"type": "x"}]}, refused("type", "x")),
    ("send-key", {"keys": [{"type": "number"}]}, missing("keys[0].data")),
    ("send-key", {"keys": [{"type": "number", "data": "a"}]}, invalid("keys[0].data", "integer")),
    ("send-key", {"keys": [{"type": "qcode", "data": "nosuch"}]}, refused("data", "nosuch")),
    ("send-key", {"keys": [{"type": "qcode", "data": 1}]}, invalid("keys[0].data", "string")),
    ("send-key", {"keys": [KEY_A | {"x": 1}]}, unexpected("keys[0].x")),
    ("send-key", {"keys": [KEY_A | {"x": 1}], "hold-time": "x"}, unexpected("keys[0].x")),
    ("send-key", {"keys": [KEY_A, {"type": "qcode", "data": "zz"}]}, refused("data", "zz")),
    ("send-key", {"keys": [KEY_A, 3]}, invalid("keys[1]", "object")),
    ("send-key", {"keys": [], "hold-time": "x"}, invalid("hold-time", "integer")),
    ("input-send-event", event("btn", {"down": 1}), missing("events[0].data.button")),
    ("input-send-event", event("btn", {"down": 1, "button": "left"}), invalid("events[0].data.down", "boolean")),
    ("input-send-event", event("btn", {"down": True, "button": "q"}), refused("button", "q")),
    ("input-send-event", event("key", {"down": True, "key": KEY_A | {"e": 1}}), unexpected("events[0].data.key.e")),
    ("input-send-event", event("key", {"down": True, "key": {"type": "qcode"}}), missing("events[0].data.key.data")),
    ("input-send-event", event("key", {"down": True, "key": 3}), invalid("events[0].data.key", "object")),
    ("input-send-event", event("key", 3), invalid("events[0].data", "object")),
    ("input-send-event", event("rel", {"axis": "x", "value": 1.5}), invalid("events[0].data.value", "integer")),
    ("input-send-event", {"device": 3, "events": []}, invalid("device", "string")),
    ("input-send-event", {"head": "a"}, invalid("head", "integer")),
    ("chardev-add", {"id": "a", "backend": {"type": "null"}}, missing("backend.data")),
    ("chardev-add", {"id": "a", "backend": {"type": "null", "data": {"x": 1}}}, unexpected("backend.data.x")),
    ("chardev-add", {"id": 1, "backend": {"type": "null", "data": {"x": 1}}}, invalid("id", "string")),
    ("chardev-add", {"backend": 1}, missing("id")),
    ("chardev-add", {"id": "a", "backend": "null"}, invalid("backend", "object")),
    ("chardev-add", socket({"type": "inet"}), missing("backend.data.addr.data")),
    ("chardev-add", socket({"type": "inet", "data": {"host": "a"}}), missing("backend.data.addr.data.port")),
    (
        "chardev-add",
        socket({"type": "inet", "data": {"host": "a", "port": 1}}),
        invalid("backend.data.addr.data.port", "string"),
    ),
    (
        "chardev-add",
        socket({"type": "inet", "data": {"host": "a", "port": "1", "to": 70000}}),
        expects("to", "uint16_t"),
    ),
    ("chardev-add", socket({"type": "zzz", "data": 1}), refused("type", "zzz")),
    ("human-monitor-command", {}, missing("command-line")),
    ("human-monitor-command", {"cpu-index": "a"}, missing("command-line")),
    ("human-monitor-command", {"command-line": 1, "cpu-index": "a"}, invalid("command-line", "string")),
    ("human-monitor-command", {"command-line": "info name", "cpu-index": BIG - 1}, invalid("cpu-index", "integer")),
    ("human-monitor-command", {"command-line": "info name", "cpu-index": 1e30}, invalid("cpu-index", "integer")),
    ("human-monitor-command", {"command-line": "info name", "foo": "a"}, unexpected("foo")),
    ("object-add", {}, missing("qom-type")),
    ("object-add", {"id": "a"}, missing("qom-type")),
    ("object-add", {"qom-type": "nosuch", "id": "a"}, refused("qom-type", "nosuch")),
    ("object-add", {"qom-type": "memory-backend-ram"}, missing("id")),
    ("object-add", {"qom-type": "memory-backend-ram", "id": "a"}, missing("size")),
    ("object-add", {"qom-type": "memory-backend-ram", "id": "a", "size": "1M"}, expects("size", "uint64")),
    (
        "object-add",
        {"qom-type": "memory-backend-ram", "id": "a", "size": 4096, "host-nodes": [70000]},
        expects("null", "uint16_t"),
    ),
    (
        "object-add",
        {"qom-type": "memory-backend-ram", "id": "a", "size": 4096, "policy": "nosuch"},
        refused("policy", "nosuch"),
    ),
    ("object-add", {"qom-type": "memory-backend-ram", "id": "a", "size": 4096, "foo": 1}, unexpected("foo")),
    ("qom-set", {"path": "/machine"}, missing("property")),
    ("qom-set", {"path": "/machine", "property": "x"}, missing("value")),
    ("ringbuf-read", {"device": "x", "size": 1, "format": "zz"}, refused("format", "zz")),
    ("set-action", {"panic": "x"}, refused("panic", "x")),
    ("set-action", {"panic": None}, invalid("panic", "string")),
    ("remove-fd", {"fd": 1}, missing("fdset-id")),
    ("remove-fd", {"fdset-id": True}, invalid("fdset-id", "integer")),
    ("migrate-set-parameters", {"tls-creds": 3}, invalid("tls-creds", "StrOrNull")),
    ("migrate-set-parameters", {"compress-level": -1}, expects("compress-level", "uint8_t")),
    ("migrate-set-parameters", {"compress-level": 300.5}, expects("compress-level", "uint64")),
    ("migrate-set-parameters", {"x-checkpoint-delay": 1 << 32}, expects("x-checkpoint-delay", "uint32_t")),
    (
        "migrate-set-parameters",
        {
            "block-bitmap-mapping": [
                {"node-name": "a", "alias": "b", "bitmaps": [{"name": "x", "alias": "y", "transform": {"foo": 1}}]}
            ]
        },
        unexpected("block-bitmap-mapping[0].bitmaps[0].transform.foo"),
    ),
    ("qom-list-types", {"abstract": "x"}, invalid("abstract", "boolean")),
    ("qom-list-types", {"abstract": 1}, invalid("abstract", "boolean")),
    ("query-name", {"name": 1}, unexpected("name")),
]


def mistake(name: str, given: dict[str, Any]) -> str:
    with pytest.raises(CommandError) as caught:
        arguments(COMMANDS[name], given)
    assert caught.value.qmp_class == "GenericError"
    return caught.value.desc


@pytest.mark.parametrize(("name", "given", "text"), MISTAKES)
def test_mistakes_have_the_recorded_text(name: str, given: dict[str, Any], text: str) -> None:
    assert mistake(name, given) == text


def test_an_unknown_capability_is_the_value_of_no_parameter() -> None:
    assert mistake("qmp_capabilities", {"enable": ["nosuch"]}) == refused("null", "nosuch")
    assert mistake("qmp_capabilities", {"enable": "oob"}) == invalid("enable", "array")
    assert mistake("qmp_capabilities", {"enable": [1]}) == invalid("enable[0]", "string")


@needs_qemu
def test_mistakes_have_the_text_of_an_installed_qemu() -> None:
    different = []
    with qemu("--preconfig") as early, qemu() as oracle:
        for name, given, text in MISTAKES:
            reply = (early if name == "set-numa-node" else oracle).ask(name, given)
            if reply.get("error") != {"class": "GenericError", "desc": text}:
                different.append((name, given, reply))
    assert different == []


def test_arguments_become_keywords() -> None:
    event_a = InputKeyEvent(data=InputKeyEventData(key=QKeyCodeWrapper(data=QKeyCode.A), down=True))
    given = {"head": 1, "events": [{"type": "key", "data": {"down": True, "key": KEY_A}}]}
    assert arguments(COMMANDS["input-send-event"], given) == {"head": 1, "events": (event_a,)}
    assert arguments(COMMANDS["send-key"], {"keys": []}) == {"keys": ()}
    assert arguments(COMMANDS["query-name"], {}) == {}


def test_a_boxed_argument_is_the_whole_object() -> None:
    given = {"type": "dist", "src": 0, "dst": 1, "val": 20}
    assert arguments(COMMANDS["set-numa-node"], given) == {"options": NumaDistOptions(src=0, dst=1, val=20)}
    assert arguments(COMMANDS["set-numa-node"], {"type": "cpu"}) == {"options": NumaCpuOptions()}
    node = NumaNodeOptions(nodeid=1, cpus=(0, 2), mem=1 << 20)
    assert arguments(COMMANDS["set-numa-node"], {"mem": 1 << 20, "cpus": [0, 2], "nodeid": 1, "type": "node"}) == {
        "options": node
    }


def test_other_arguments_are_passed_on_as_they_came() -> None:
    async def device_add(vm: Any, *, driver: str, id: str | None = None, **properties: Any) -> None: ...

    made = command(device_add)
    assert arguments(made, {"driver": 1, "x-y": None}) == {"driver": 1, "x-y": None}
    with pytest.raises(CommandError, match="Parameter 'driver' is missing"):
        arguments(made, {"id": "a"})


def test_a_parameter_named_monitor_is_not_on_the_wire() -> None:
    async def getfd(vm: Any, *, fdname: str, monitor: Any) -> None: ...

    made = command(getfd)
    assert made.wants_monitor
    assert made.arguments == (Argument("fdname", "fdname", str, False, (), inspect.Parameter.empty),)


def test_any_value_is_taken_null_included() -> None:
    given = {"path": "/", "property": "p", "value": None}
    assert arguments(COMMANDS["qom-set"], given) == given
    assert from_wire(Any, {"a": [1, None]}) == {"a": [1, None]}


def test_null_for_a_string_or_null_is_the_empty_string() -> None:
    assert from_wire(MigrateSetParameters, {"tls-creds": None}).tls_creds == ""
    assert from_wire(MigrateSetParameters, {"tls-creds": "x"}).tls_creds == "x"


def test_unsigned_integers_take_negative_ones_as_twos_complement() -> None:
    assert from_wire(UInt64, -1) == BIG - 1
    assert from_wire(NumaOptions, {"type": "node", "mem": -5}).mem == BIG - 5


@pytest.mark.parametrize("value", [-129, 128])
def test_signed_integers_are_held_to_their_range(value: int) -> None:
    assert from_wire(Int8, -128, "x") == -128
    assert from_wire(Int8, 127, "x") == 127
    with pytest.raises(CommandError, match="Parameter 'x' expects int8_t"):
        from_wire(Int8, value, "x")


def test_numbers_take_integers_and_fractions_but_no_booleans() -> None:
    assert from_wire(float, 1, "x") == 1.0
    assert from_wire(float, 1.5, "x") == 1.5
    with pytest.raises(CommandError, match="Invalid parameter type for 'x', expected: number"):
        from_wire(float, True, "x")


@frozen(kw_only=True)
class Unregistered:
    number: Int
    other: Annotated[str | None, Named("oTHER_name")] = None


@pytest.mark.parametrize(
    ("value", "type_", "json"),
    [
        (StatusInfo(True, RunState.RUNNING), StatusInfo, {"running": True, "status": "running"}),
        (UuidInfo(uuid="0-0"), UuidInfo, {"UUID": "0-0"}),
        ((), tuple[StatusInfo, ...], []),
        (
            (FdsetInfo(fdset_id=1, fds=(FdsetFdInfo(fd=3), FdsetFdInfo(fd=4, opaque="x"))),),
            tuple[FdsetInfo, ...],
            [{"fdset-id": 1, "fds": [{"fd": 3}, {"fd": 4, "opaque": "x"}]}],
        ),
        (
            CpuInfoX86(cpu=0, current=True, halted=False, qom_path="/c", thread_id=7, pc=0xFFF0),
            CpuInfo,
            {
                "CPU": 0,
                "current": True,
                "halted": False,
                "qom_path": "/c",
                "thread_id": 7,
                "arch": "x86",
                "pc": 0xFFF0,
            },
        ),
        (
            CpuInfoFast(
                cpu_index=0,
                qom_path="/c",
                thread_id=7,
                props=CpuInstanceProperties(core_id=1),
                arch=CpuInfoArch.X86,
                target=SysEmuTarget.X86_64,
            ),
            CpuInfoFast,
            {
                "cpu-index": 0,
                "qom-path": "/c",
                "thread-id": 7,
                "props": {"core-id": 1},
                "arch": "x86",
                "target": "x86_64",
            },
        ),
        (
            ChardevCommonWrapper(type=catalogue.char.ChardevBackendKind.PTY, data=ChardevCommon(logfile="l")),
            ChardevBackend,
            {"type": "pty", "data": {"logfile": "l"}},
        ),
        (
            GuestPanicInformationHyperV(arg1=1, arg2=2, arg3=3, arg4=4, arg5=BIG - 1),
            GuestPanicInformation,
            {"type": "hyper-v", "arg1": 1, "arg2": 2, "arg3": 3, "arg4": 4, "arg5": BIG - 1},
        ),
        (
            SchemaInfoObject(name="o", members=(SchemaInfoObjectMember(name="m", type="int", default=NULL),)),
            SchemaInfo,
            {"name": "o", "meta-type": "object", "members": [{"name": "m", "type": "int", "default": None}]},
        ),
        (Unregistered(number=1, other="x"), Unregistered, {"number": 1, "oTHER_name": "x"}),
        ("text", str, "text"),
    ],
)
def test_values_go_to_the_wire_and_come_back(value: Any, type_: Any, json: Any) -> None:
    assert to_wire(value, type_) == json
    assert from_wire(type_, json) == value


def test_values_of_any_type_are_written_by_what_they_are() -> None:
    value = {"status": StatusInfo(False, RunState.PAUSED), "list": (1, RunState.DEBUG, None), "null": NULL}
    assert to_wire(value, Any) == {
        "status": {"running": False, "status": "paused"},
        "list": [1, "debug", None],
        "null": None,
    }


def test_a_command_without_result_returns_an_empty_object() -> None:
    assert to_wire(None, None) == {}


def test_events_have_data_only_if_they_have_members() -> None:
    assert event_data(Stop()) is None
    assert event_data(Reset(True, ShutdownCause.GUEST_RESET)) == {"guest": True, "reason": "guest-reset"}
    assert event_data(GuestPanicked(GuestPanicAction.PAUSE)) == {"action": "pause"}
    information = GuestPanicInformationHyperV(arg1=1, arg2=2, arg3=3, arg4=4, arg5=5)
    assert event_data(GuestPanicked(GuestPanicAction.RUN, information)) == {
        "action": "run",
        "info": {"type": "hyper-v", "arg1": 1, "arg2": 2, "arg3": 3, "arg4": 4, "arg5": 5},
    }


def test_a_type_without_meaning_on_the_wire_is_refused() -> None:
    with pytest.raises(TypeError, match="has no meaning on the wire"):
        from_wire(bytes, b"")
    with pytest.raises(TypeError, match="has no meaning on the wire"):
        to_wire(b"", bytes)
    with pytest.raises(TypeError, match="has no meaning on the wire"):
        from_wire(int | str, 1)
