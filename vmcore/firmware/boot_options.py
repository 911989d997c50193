"""What firmware is told about booting: in which order to try, whether to ask, what to do when nothing boots."""

from __future__ import annotations

from typing import Any, Final

from attrs import field, frozen

from vmcore.model.errors import ConfigError

__all__ = ["BootOptions", "read_boot"]

LETTERS: Final = {"a": 1, "b": 1, "c": 2, "d": 3, "n": 4}
"""What CMOS memory calls them: floppies, hard disks, CD-ROM drives, network."""
PLACES: Final = 3
LONGEST_WAIT: Final = 0xFFFF
LONGEST_TIMEOUT: Final = 0xFFFF


def _order(path: str, value: object) -> str:
    if not isinstance(value, str) or not set(value) <= LETTERS.keys() or len(set(value)) < len(value):
        raise ConfigError(path, value, "letters, each once: a, b (floppies), c (hard disk), d (CD-ROM), n (network)")
    if len(value) > PLACES:
        raise ConfigError(path, value, f"at most {PLACES} letters")
    return value


def _milliseconds(path: str, value: object, longest: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= longest:
        raise ConfigError(path, value, f"milliseconds from 0 to {longest}, or None")
    return value


@frozen
class BootOptions:
    """How firmware boots.

    order: what is tried, one after the other, as letters: a and b floppies, c the first hard disk, d the CD-ROM drive,
    n the network; once: the same, but only until the machine is reset; menu: firmware offers its menu; menu_wait_ms:
    for how long; reboot_timeout_ms: after so long without anything that boots the machine is reset, None: never;
    strict: nothing is tried but what has a boot_index (see Disk).
    """

    order: str = "cad"
    once: str | None = field(default=None, kw_only=True)
    menu: bool = field(default=False, kw_only=True)
    menu_wait_ms: int | None = field(default=None, kw_only=True)
    reboot_timeout_ms: int | None = field(default=None, kw_only=True)
    strict: bool = field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        _order("boot.order", self.order)
        if self.once is not None:
            _order("boot.once", self.once)
        for name in ("menu", "strict"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"boot.{name}", getattr(self, name), "True or False")
        _milliseconds("boot.menu_wait_ms", self.menu_wait_ms, LONGEST_WAIT)
        _milliseconds("boot.reboot_timeout_ms", self.reboot_timeout_ms, LONGEST_TIMEOUT)

    def codes(self, *, first: bool = False) -> tuple[int, int]:
        """The order as it stands in CMOS memory at 3Dh and 38h, first: for the time before the first reset."""
        order = self.once if first and self.once is not None else self.order
        one, two, three = [*(LETTERS[letter] for letter in order), 0, 0, 0][:PLACES]
        return two << 4 | one, three << 4

    @property
    def files(self) -> dict[str, bytes]:
        """What the firmware configuration device says of it, by the names that SeaBIOS looks for."""
        if self.menu_wait_ms is None:
            return {}
        return {"etc/boot-menu-wait": self.menu_wait_ms.to_bytes(2, "little")}


def read_boot(value: Any) -> BootOptions:
    """The field `boot` of a configuration: BootOptions, or just an order."""
    if isinstance(value, BootOptions):
        return value
    if isinstance(value, str):
        return BootOptions(value)
    raise ConfigError("boot", value, "BootOptions, or letters such as 'dc'")
