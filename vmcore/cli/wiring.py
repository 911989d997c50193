"""Which character devices a command line asks for, and what is plugged into them."""

from __future__ import annotations

from typing import final

from vmcore.chardev.text import Wanted, parse, parse_where
from vmcore.machine.config import DeviceOption
from vmcore.model.command_line import OPTIONS
from vmcore.model.errors import ConfigError
from vmcore.model.keyed import pairs, typed

__all__ = ["Wiring"]


@final
class Wiring:
    """Collects, in the order in which things are made."""

    def __init__(self) -> None:
        self.chardevs: list[Wanted] = []
        self.attach: dict[str, str] = {}
        self.monitors: list[str] = []
        self.qmp: list[str] = []
        self.qmp_on: list[str] = []
        self.serials = 0

    def chardev(self, text: str) -> None:
        """--chardev"""
        self.chardevs.append(parse(text))

    def _where(self, text: str, label: str, option: str) -> str | None:
        """The label of the device that a short form means; None for none."""
        wanted = parse_where(text, label, option, listens=True)
        if not isinstance(wanted, Wanted):
            return wanted
        self.chardevs.append(wanted)
        if wanted.mux:
            self.monitors.append(label)
        return label

    def serial(self, text: str) -> None:
        """--serial"""
        port = f"serial{self.serials}"
        self.serials += 1
        label = self._where(text, port, "serial")
        if label is not None:
            self.attach[port] = label

    def device(self, text: str, path: str, consoles: int) -> DeviceOption | None:
        """--device: the device, its `chardev` noted; None for a serial port.  consoles: debug consoles before it."""
        model = text.partition(",")[0]
        if model not in ("isa-serial", "isa-debugcon"):
            return DeviceOption.parse(text, path)
        given = dict(pairs(text, "model"))
        label = given.pop("chardev", None)
        if model == "isa-serial":
            index = given.pop("index", str(self.serials))
            if set(given) - {"model", "id"} or index != str(self.serials):
                raise ConfigError(
                    path, text, f"isa-serial,chardev=LABEL,index={self.serials}: ports come in their order"
                )
            if label is not None:
                self.attach[f"serial{self.serials}"] = label
            self.serials += 1
            return None
        if label is not None:
            self.attach[f"debugcon{consoles}"] = label
        rest = [model, *(f"{name}={value}" for name, value in given.items() if name != "model")]
        return DeviceOption.parse(",".join(rest), path)

    def debugcon(self, text: str, console: int) -> None:
        """--debugcon"""
        label = self._where(text, "debugcon", "debugcon")
        if label is not None:
            self.attach[f"debugcon{console}"] = label

    def monitor(self, text: str) -> None:
        """--monitor"""
        label = self._where(text, f"compat_monitor{self._monitors}", "monitor")
        if label is not None:
            self.monitors.append(label)

    def qmp_at(self, text: str) -> None:
        """--qmp: an endpoint where it is one that takes client after client at once, else a character device."""
        where, _, more = text.partition(",")
        given = dict(pairs(more)) if more else {}
        waits = given.get("wait", "on") != "off" and "nowait" not in given
        server = given.get("server", "on") in (None, "on") and "server" in given
        known = set(given) <= {"server", "wait", "nowait"}
        if where.partition(":")[0] in ("unix", "tcp", "fd") and known and (not more or (server and not waits)):
            self.qmp.append(where)
            return
        label = self._where(text, f"compat_monitor{self._monitors}", "qmp")
        if label is not None:
            self.qmp_on.append(label)

    def mon(self, text: str) -> None:
        """--mon"""
        option = next(option for option in OPTIONS if option.name == "mon")
        given = typed("mon", [text], option.parameters, option.implied)
        label, mode = given.get("chardev"), given.get("mode", "readline")
        if not isinstance(label, str):
            raise ConfigError("mon.chardev", label, "the label of a character device")
        if mode not in ("readline", "control"):
            raise ConfigError("mon.mode", mode, "readline or control")
        (self.monitors if mode == "readline" else self.qmp_on).append(label)

    @property
    def _monitors(self) -> int:
        return len(self.monitors) + len(self.qmp_on) + len(self.qmp)
