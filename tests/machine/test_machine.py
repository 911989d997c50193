"""The machine with real guests: exits, events, inputs, stops, errors."""

from __future__ import annotations

import threading

import pytest
from guests import DEBUG_EXIT, ECHO, HALT, SPIN, WORK, config, machine

from vmcore.machine.config import FlatMode, MachineConfig
from vmcore.machine.inputs import HostReset, InputRecord, PowerButton, SerialInput
from vmcore.machine.machine import Machine
from vmcore.model.errors import ConfigError, DeviceModelError, UsageError
from vmcore.model.events import Event, GuestFault, Powerdown, Reset, Shutdown
from vmcore.model.exits import (
    BudgetSpent,
    DebugExit,
    GuestFaulted,
    Idle,
    ResetRequested,
    ShutdownRequested,
    StopRequested,
)
from vmcore.model.run_state import ShutdownCause
from vmcore.model.units import SECOND

POWER_OFF = "mov dx, 0x604; mov ax, 0x2000; out dx, ax; spin: jmp spin"


def test_a_new_machine_has_run_nothing() -> None:
    made = Machine(MachineConfig(memory="64M"))
    assert (made.instructions, made.now_ns, made.inputs, made.take_events()) == (0, 0, (), [])
    assert made.cpus[0].rip == 0xFFF0
    assert made.cpus[0].cs.base == 0xFFFF0000


@pytest.mark.parametrize("board", ["pc", "none"])
def test_a_budget_of_instructions_is_exact(board: str) -> None:
    made = machine(SPIN, board=board)
    for count in (1, 10, 12_345):
        before = made.instructions
        assert made.run(count) == BudgetSpent()
        assert made.instructions == before + count
    assert made.now_ns == made.instructions


def test_a_limit_of_guest_time_is_reached() -> None:
    made = machine(SPIN, instruction_ns=7)
    assert made.run(until_ns=1_000_000) == BudgetSpent()
    assert 1_000_000 <= made.now_ns < 1_000_007


@pytest.mark.parametrize(("mode", "bits"), [(FlatMode.REAL, 16), (FlatMode.PROTECTED, 32), (FlatMode.LONG, 64)])
def test_a_flat_image_starts_in_its_mode(mode: FlatMode, bits: int) -> None:
    made = machine(f"mov eax, 0x1234; {HALT}", mode)
    assert made.run() == Idle(None)
    assert made.cpus[0].eax == 0x1234
    assert made.instructions == 3


def test_a_halted_machine_without_timers_is_idle_for_ever() -> None:
    made = machine(HALT, board="none")
    assert made.run() == Idle(None)
    assert made.run(until_ns=5 * SECOND) == BudgetSpent()
    assert made.now_ns == 5 * SECOND


def test_debug_exit_ends_the_machine_with_its_value() -> None:
    made = machine("mov eax, 0x10; out 0xf4, eax; spin: jmp spin")
    assert made.run() == DebugExit(0x10)
    assert made.instructions == 2
    assert made.take_events() == []
    with pytest.raises(UsageError, match="the machine is off"):
        made.run()


def test_acpi_power_off_shuts_the_machine_down() -> None:
    made = machine(POWER_OFF)
    assert made.run() == ShutdownRequested(ShutdownCause.GUEST_SHUTDOWN, guest=True, status=0)
    assert made.take_events() == [Shutdown(guest=True, reason=ShutdownCause.GUEST_SHUTDOWN)]
    assert made.instructions == 3


RESETS = {
    "reset register": "mov dx, 0xcf9; mov al, 6; out dx, al; spin: jmp spin",
    "keyboard controller": "mov al, 0xfe; out 0x64, al; spin: jmp spin",
    "port 92": "mov al, 1; out 0x92, al; spin: jmp spin",
    "triple fault": "ud2",
}


@pytest.mark.parametrize("text", RESETS.values(), ids=RESETS)
def test_every_way_of_resetting_is_a_guest_reset(text: str) -> None:
    made = machine(text)
    assert made.run(stop_on_reset=True) == ResetRequested(ShutdownCause.GUEST_RESET)
    events = [event for event in made.take_events() if not isinstance(event, GuestFault)]
    assert events == [Reset(guest=True, reason=ShutdownCause.GUEST_RESET)]
    assert made.cpus[0].rip == 0x100000


@pytest.mark.parametrize("text", RESETS.values(), ids=RESETS)
def test_a_reset_becomes_a_shutdown_where_reboots_are_not_wanted(text: str) -> None:
    made = machine(text, no_reboot=True)
    assert made.run() == ShutdownRequested(ShutdownCause.GUEST_RESET, guest=True)
    assert made.take_events()[-1] == Shutdown(guest=True, reason=ShutdownCause.GUEST_RESET)


def test_a_run_goes_on_through_resets() -> None:
    made = machine(RESETS["reset register"])
    assert made.run(30) == BudgetSpent()
    assert made.instructions == 30
    assert made.take_events() == [Reset(guest=True, reason=ShutdownCause.GUEST_RESET)] * 10


def test_a_triple_fault_is_the_end_where_no_board_resets() -> None:
    made = machine("ud2", board="none")
    assert made.run() == GuestFaulted(cpu=0, pc=0x100000)
    assert made.take_events() == [GuestFault(cpu=0, pc=0x100000, instructions=0)]
    made.reset()
    assert made.run() == GuestFaulted(cpu=0, pc=0x100000)


def test_a_reset_restores_what_was_loaded_and_lets_time_go_on() -> None:
    made = machine("mov byte ptr [rip + 2], 0x55; spin: jmp spin; nop")
    made.run(100)
    made.reset()
    assert made.take_events() == [Reset(guest=False, reason=ShutdownCause.HOST_QMP_SYSTEM_RESET)]
    assert made.instructions == made.now_ns == 100
    assert made.cpus[0].rip == 0x100000
    flat = made.config.flat
    assert flat is not None
    assert isinstance(flat.image, bytes)
    assert made.memory.read(0x100000, len(flat.image)) == flat.image


# --- serial port


def test_the_guest_echoes_what_it_is_sent() -> None:
    made = machine(ECHO, instruction_ns=1000)
    made.serial[0].send(b"hello")
    made.run(until_ns=SECOND // 100)
    assert made.serial[0].take() == b"hello"
    assert made.serial[0].take() == b""
    assert made.serial[0].sent == 5


def test_a_long_input_reaches_the_guest_in_order_and_complete() -> None:
    made = machine(ECHO, instruction_ns=10_000)
    data = bytes(range(256)) * 20
    made.serial[0].send(data)
    assert made.serial[0].waiting > 0
    made.run(until_ns=SECOND)
    assert made.serial[0].take() == data
    assert made.serial[0].waiting == 0


def test_a_hook_can_stop_the_guest_at_the_very_byte() -> None:
    made = machine("mov dx, 0x3f8; mov al, 0; next: inc al; out dx, al; jmp next")
    seen = bytearray()

    def look(data: bytes) -> None:
        seen.extend(data)
        if data == b"\x07":
            made.stop("seven")

    made.serial[0].on_output = look
    assert made.run() == StopRequested("seven")
    assert seen == bytes(range(1, 8))
    assert made.cpus[0].al == 7
    assert made.instructions == 2 + 7 * 3 - 1


# --- stopping


def test_another_thread_can_stop_a_spinning_guest() -> None:
    made = machine(SPIN)
    threading.Timer(0.02, made.request_stop).start()
    assert made.run() == StopRequested()
    assert made.instructions > 0
    assert made.run(10) == BudgetSpent()


def test_a_stop_asked_for_between_runs_ends_the_next_one() -> None:
    made = machine(SPIN)
    made.request_stop()
    assert made.run() == StopRequested()


def test_a_timer_of_the_callers_own_can_stop_the_guest() -> None:
    made = machine(SPIN)
    made.clock.timer(lambda: made.stop("late"), "mine").arm(12_345)
    assert made.run() == StopRequested("late")
    assert made.now_ns == 12_345


# --- hooks and errors


def test_what_a_hook_raises_reaches_the_caller_as_it_is() -> None:
    made = machine(POWER_OFF)
    seen: list[Event] = []

    def refuse(event: Event) -> None:
        seen.append(event)
        raise KeyError("mine")

    made.on_event = refuse
    with pytest.raises(KeyError, match="mine"):
        made.run()
    assert len(seen) == 1


def test_what_a_serial_hook_raises_reaches_the_caller_and_the_guest_goes_on() -> None:
    made = machine("mov dx, 0x3f8; next: out dx, al; jmp next")

    def refuse(data: bytes) -> None:
        raise ZeroDivisionError

    made.serial[0].on_output = refuse
    with pytest.raises(ZeroDivisionError) as caught:
        made.run()
    assert any("instructions" in note for note in caught.value.__notes__)
    made.serial[0].on_output = None
    assert made.run(10) == BudgetSpent()


def test_a_device_model_that_raises_is_named_with_its_register() -> None:
    made = machine("mov al, 0x80; out 0x70, al; spin: jmp spin")

    class Broken(Exception):
        pass

    def fail(masked: bool) -> None:
        raise Broken

    rtc = made.board.devices["/machine/rtc"]
    rtc.on_nmi_mask = fail  # type: ignore[attr-defined]
    with pytest.raises(DeviceModelError) as caught:
        made.run(until_ns=1000)
    error = caught.value
    assert isinstance(error.__cause__, Broken)
    assert (error.device, error.register, error.instructions) == ("/machine/rtc", "INDEX", 2)
    assert made.instructions == 2
    assert made.cpus[0].al == 0x80
    with pytest.raises(UsageError, match="reset or restore"):
        made.run(1)
    rtc.on_nmi_mask = None  # type: ignore[attr-defined]
    made.reset()
    assert made.run(10) == BudgetSpent()


def test_a_closed_machine_refuses_everything() -> None:
    with machine(SPIN) as made:
        made.run(1)
    assert made.closed
    for misuse in (made.run, made.digest, made.save, made.power_button):
        with pytest.raises(UsageError, match="closed"):
            misuse()
    made.close()


@pytest.mark.parametrize("value", [-1, 1.5, "10", True])
def test_limits_must_be_numbers(value: object) -> None:
    made = machine(SPIN)
    with pytest.raises(UsageError, match="instructions"):
        made.run(value)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="until_ns"):
        made.run(until_ns=value)  # type: ignore[arg-type]


def test_a_run_within_a_run_is_refused() -> None:
    made = machine(POWER_OFF)

    def again(event: Event) -> None:
        made.run()

    made.on_event = again
    with pytest.raises(UsageError, match="within a run"):
        made.run()


def test_a_device_in_a_place_that_is_taken_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"devices\[1\].*isa-debug-exit at ports 0x00f4-0x00f7") as caught:
        Machine(MachineConfig(devices=[DEBUG_EXIT, "isa-debugcon,iobase=0xf5"]))
    assert caught.value.path == "devices[1]"


def test_a_file_that_is_not_there_is_a_configuration_error_that_names_it() -> None:
    with pytest.raises(ConfigError, match=r"kernel: '/nonexistent/vmlinuz': expected a file that can be read"):
        Machine(MachineConfig(kernel="/nonexistent/vmlinuz"))


# --- inputs


def test_inputs_are_stamped_with_the_instructions_and_the_time_of_their_effect() -> None:
    made = machine(SPIN, instruction_ns=2)
    made.run(100)
    made.serial[0].send(b"x")
    made.power_button()
    made.reset()
    assert made.inputs == (
        InputRecord(100, 200, SerialInput(0, b"x")),
        InputRecord(100, 200, PowerButton()),
        InputRecord(100, 200, HostReset(ShutdownCause.HOST_QMP_SYSTEM_RESET)),
    )
    assert made.take_events() == [Powerdown(), Reset(False, ShutdownCause.HOST_QMP_SYSTEM_RESET)]


def test_keys_that_find_no_keyboard_are_not_taken_and_not_logged() -> None:
    made = machine(SPIN, board="none")
    assert not made.keyboard.press("a")
    assert made.inputs == ()


def test_a_key_reaches_the_guest_as_a_scan_code() -> None:
    made = machine("wait: in al, 0x64; test al, 1; jz wait; in al, 0x60; cli; hlt")
    assert made.keyboard.tap("a")
    made.run(until_ns=SECOND)
    assert made.cpus[0].al == 0x1E


def test_a_debug_console_hands_out_its_bytes() -> None:
    text = "mov al, 0x41; out 0xe9, al; inc al; out 0xe9, al; in al, 0xe9; cli; hlt"
    made = machine(text, devices=["isa-debugcon"])
    made.run(until_ns=1000)
    assert made.take_debugcon() == b"AB"
    assert made.cpus[0].al == 0xE9


def test_statistics_tell_what_was_done() -> None:
    made = machine(WORK)
    made.run(1000)
    made.serial[0].send(b"x")
    told = made.statistics()
    assert (told.instructions, told.guest_ns, told.inputs, told.events) == (1000, 1000, 1, 0)
    assert told.exits == {"budget": 1}
    assert len(told.cpus) == 1


def test_a_timer_interrupt_wakes_a_halted_guest() -> None:
    made = machine(
        """
        xor ax, ax
        mov ds, ax
        mov word ptr [0x20], offset_of_tick
        mov word ptr [0x22], ax
        mov al, 0x11; out 0x20, al
        mov al, 0x08; out 0x21, al
        mov al, 0x04; out 0x21, al
        mov al, 0x01; out 0x21, al
        mov al, 0xfe; out 0x21, al
        mov al, 0x34; out 0x43, al
        mov al, 0xa9; out 0x40, al
        mov al, 0x04; out 0x40, al
        xor bx, bx
        sti
    again:
        hlt
        cmp bx, 100
        jne again
        mov eax, ebx
        out 0xf4, eax
        .byte 0x66
        nop
    """.replace("offset_of_tick", "0x7d00"),
        FlatMode.REAL,
    )
    made.memory.write(0x7D00, bytes.fromhex("43 b0 20 e6 20 cf"))  # inc bx; mov al, 0x20; out 0x20, al; iret
    assert made.run(until_ns=SECOND) == DebugExit(100)
    # The output rises when the mode is set, and then 1193182 / 1193 times a second.
    assert made.now_ns == pytest.approx(99 * 1193 * SECOND / 1193182, rel=0.001)
    assert made.instructions < 1000


def test_configurations_without_anything_to_boot_run_the_empty_rom() -> None:
    made = Machine(config(SPIN).__class__(memory="1M"))
    assert made.run(100) == BudgetSpent()


PERIODIC = "mov al, 0x34; out 0x43, al; mov al, 0; out 0x40, al; out 0x40, al;"


def test_a_guest_that_halts_with_interrupts_off_is_idle_for_ever_whatever_ticks_on() -> None:
    made = machine(PERIODIC + "cli; again: hlt; jmp again")
    assert made.run() == Idle(None)
    assert made.now_ns < SECOND
    assert made.run(until_ns=2 * SECOND) == BudgetSpent()
    assert made.now_ns == 2 * SECOND


def test_time_goes_on_for_a_deaf_guest_while_the_caller_waits_for_it() -> None:
    made = machine(PERIODIC + "cli; again: hlt; jmp again")
    made.clock.timer(lambda: made.stop("late"), "mine").arm(SECOND)
    assert made.run() == StopRequested("late")
    assert made.now_ns == SECOND


def test_a_guest_that_can_be_interrupted_by_nmi_is_not_deaf() -> None:
    # The timer's IOAPIC entry sends NMI to a guest that sleeps with interrupts off, and whose NMI handler is a
    # triple fault.
    entry = "mov ebx, 0xfec00000; mov dword ptr [rbx], 0x14; mov dword ptr [rbx + 0x10], 0x400;"
    made = machine(entry + PERIODIC + "cli; again: hlt; jmp again", no_reboot=True)
    assert made.run() == ShutdownRequested(ShutdownCause.GUEST_RESET)
