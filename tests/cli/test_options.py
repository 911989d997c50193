"""The declarations of the command line, what is parsed by them, and what is told about them."""

from __future__ import annotations

import runpy
import shlex
from pathlib import Path

import pytest

from vmcore import BootOptions, MachineConfig
from vmcore.cli.options import RunOptions, parse
from vmcore.model.command_line import OPTIONS
from vmcore.model.errors import ConfigError
from vmcore.model.keyed import pairs
from vmcore.model.run_state import PanicAction, WatchdogAction

DOCS = Path(__file__).parents[2] / "docs"


def options(line: str) -> RunOptions:
    found = parse(["run", *shlex.split(line)])
    assert isinstance(found, RunOptions)
    return found


def test_without_options_the_machine_is_that_of_the_library() -> None:
    found = options("")
    assert found.config == MachineConfig()
    assert not found.paused


def test_qemus_spellings_mean_the_same() -> None:
    ours = options(
        "--board pc --memory 512M --cpus 2 --cpu qemu64 --kernel k --initrd i --append 'a b' --paused --name n"
        " --display none"
    )
    assert ours == options("-M pc -m 512 -smp 2 -cpu qemu64 -kernel k -initrd i -append 'a b' -S -name n -display none")
    assert ours == options(
        "-machine pc,accel=kvm:tcg,kernel=k,initrd=i -append 'a b' -m size=0.5G -smp cpus=2 -cpu qemu64"
        " -S -name guest=n -accel tcg -no-user-config"
    )
    assert ours.config.memory == 512 << 20


def test_of_a_parameter_that_is_given_twice_the_last_counts() -> None:
    assert options("-m 1G -m 64M").config.memory == 64 << 20
    assert options("-machine none -machine type=pc").config.board == "pc"


def test_actions() -> None:
    config = options("-action reboot=shutdown,shutdown=pause -action panic=none,watchdog=pause").config
    assert (config.no_reboot, config.no_shutdown) == (True, True)
    assert (config.panic_action, config.watchdog_action) == (PanicAction.NONE, WatchdogAction.PAUSE)
    assert options("-no-reboot -no-shutdown").config == options("-action reboot=shutdown,shutdown=pause").config


def test_drives_and_what_is_booted(tmp_path: Path) -> None:
    found = options(
        "--disk f,bootindex=2 --disk if=floppy --cdrom c --fdb b --boot order=dc,once=n,menu=on,splash-time=9"
    ).config
    disk, empty, second, cd = found.drives
    assert (disk.boot_index, disk.write_through) == (2, True)
    assert (empty.interface, empty.path, empty.write_through) == ("floppy", None, False)
    assert (second.interface, second.index, second.write_through) == ("floppy", 1, True)
    assert cd.is_cdrom
    assert found.boot == BootOptions("dc", once="n", menu=True, menu_wait_ms=9)
    assert options("-fda a -boot d").config == options("--floppy a --boot order=d").config
    assert options("-boot reboot-timeout=5,strict=on").config.boot == BootOptions(reboot_timeout_ms=5, strict=True)


def test_nodefaults_leaves_out_the_serial_port() -> None:
    assert options("").config.serials == 1
    assert options("-nodefaults").config.serials == 0
    assert options("-nodefaults -serial null").config.serials == 1


def test_the_clock_may_begin_with_the_hosts() -> None:
    assert options("-rtc base=2000-01-01T12:00:00,clock=vm").config.rtc == 946728000
    assert options("-rtc base=utc").config.rtc > options("").config.rtc - 366 * 86400


def test_commas_in_values_are_written_twice() -> None:
    assert list(pairs("a,,b,c=d,,,,e,f,g=", "first")) == [("first", "a,b"), ("c", "d,,e"), ("f", None), ("g", "")]
    assert options("-name one,,two").config.name == "one,two"


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("-machine flux", "board"),
        ("-machine pc,wings=2", "board.wings"),
        ("-machine pc,accel=kvm", "board.accel"),
        ("-accel kvm", "accel"),
        ("-m lots", "memory.size"),
        ("-m 1G,depth=2", "memory.depth"),
        ("-smp few", "cpus.cpus"),
        ("-smp -1", "cpus.cpus"),
        ("-action reboot=maybe", "action.reboot"),
        ("-action shutdown=maybe", "action.shutdown"),
        ("-action panic=maybe", "panic_action"),
        ("-action watchdog=maybe", "watchdog_action"),
        ("-rtc base=utc,clock=host", "rtc.clock"),
        ("-display gtk", "display"),
        ("-flat address=1", "flat"),
        ("-flat f,address=x", "flat.address"),
        ("-flat f,mode=x", "flat.mode"),
        ("-seed x", "seed"),
        ("-max-instructions -1", "max-instructions"),
    ],
)
def test_what_cannot_be_names_the_place(line: str, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        options(line)
    assert caught.value.path == path


def test_no_spelling_has_two_meanings() -> None:
    spellings = [spelling for option in OPTIONS for spelling in option.spellings]
    assert len(set(spellings)) == len(spellings)
    for option in OPTIONS:
        assert option.implied in (None, *(p.name for p in option.parameters))


def test_every_default_is_one() -> None:
    """Giving the defaults that are told makes no difference."""
    line = []
    for option in OPTIONS:
        value = ",".join(f"{p.name}={p.default}" for p in option.parameters if p.default is not None) or option.default
        if value is not None and option.name not in ("flat", "disk", "mon"):
            line += [f"--{option.name}", value]
    assert parse(["run", *line]) == options("")


def test_the_documentation_is_made_from_the_declarations() -> None:
    text = runpy.run_path(str(DOCS / "make_command_line.py"))["text"]()
    assert (DOCS / "command-line.md").read_text(encoding="utf-8") == text, "run python docs/make_command_line.py"


def test_character_devices_and_what_is_plugged_into_them() -> None:
    found = options(
        "-chardev socket,id=a,path=/s,server=on,wait=off -serial chardev:a -serial mon:pty -serial none"
        " -device isa-debugcon,iobase=0x402,chardev=a -device isa-serial,chardev=a -monitor null -mon a,mode=control"
        " -qmp unix:/q,server=on,wait=off -qmp unix:/r,server=off -qmp tcp::0"
    )
    assert found.config.serials == 4
    assert found.attach == {"serial0": "a", "serial1": "serial1", "debugcon0": "a", "serial3": "a"}
    assert [wanted.label for wanted in found.chardevs] == ["a", "serial1", "compat_monitor1", "compat_monitor3"]
    assert found.monitors == ("serial1", "compat_monitor1")
    assert found.qmp == ("unix:/q", "tcp::0")
    assert found.qmp_on == ("compat_monitor3", "a")


def test_who_has_the_standard_streams() -> None:
    assert options("").attach == {"serial0": "serial0"}
    shared = options("-nographic")
    assert (shared.monitors, shared.chardevs[0].mux) == (("serial0",), True)
    for line in ("-monitor stdio", "-qmp stdio", "-chardev stdio,id=x"):
        found = options(line)
        assert [w.backend.type.value for w in found.chardevs].count("stdio") == 1, line
        assert found.config.serials == 1


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("-serial pigeon", "serial"),
        ("-monitor pigeon", "monitor"),
        ("-mon mode=control", "mon.chardev"),
        ("-mon a,mode=loud", "mon.mode"),
        ("-chardev null", "chardev.id"),
        ("-device isa-serial,index=3", "device[0]"),
        ("-monitor null -max-instructions 1", "max-instructions"),
        ("-incoming pigeon:1", "incoming"),
    ],
)
def test_what_cannot_be_plugged_names_the_place(line: str, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        options(line)
    assert caught.value.path == path
