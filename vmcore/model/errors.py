"""The errors of vmcore, split by culprit.

Who did it decides the class: the caller (`UsageError`, `ConfigError`), a file that the caller named (`ImageError`), a
management client (`CommandError`), the guest (`GuestError`), or we ourselves (`DeviceModelError`).  What a guest
does is normally no error at all but an exit or an event; `GuestError` is for the places where the caller asked for
something that the guest made impossible.

Messages carry the values, in hex where they are addresses; the cause, if there is one, is chained and not repeated.
"""

from __future__ import annotations

__all__ = [
    "CommandError",
    "ConfigError",
    "DeviceModelError",
    "GuestError",
    "ImageError",
    "MigrationError",
    "UsageError",
    "VmcoreError",
]


class VmcoreError(Exception):
    """Base of every error that vmcore raises on purpose.  Not raised itself."""

    def __new__(cls, *_args: object, **_kwargs: object) -> VmcoreError:
        if cls is VmcoreError:
            raise TypeError("VmcoreError is the base class: raise one of its subclasses")
        return super().__new__(cls)


class UsageError(VmcoreError):
    """The caller used the interface wrongly: a closed machine, a call from inside a run, an unknown name."""


class ConfigError(VmcoreError, ValueError):
    """A configuration value that cannot be.

    path: where in the configuration, as the caller wrote it ("memory", "devices[1].iobase");
    value: what stood there; expected: what could have stood there, as the end of "expected ...".
    """

    def __init__(self, path: str, value: object, expected: str) -> None:
        super().__init__(path, value, expected)
        self.path = path
        self.value = value
        self.expected = expected

    def __str__(self) -> str:
        return f"{self.path}: {self.value!r}: expected {self.expected}"


class ImageError(VmcoreError):
    """A file (kernel, initial RAM disk, boot sector, disk) whose content or size is bad.

    file: the name under which it was given; field: the part of the file, as its specification names it; value: what
    was found
    there; expected: what could have stood there.
    """

    def __init__(self, file: str, field: str, value: object, expected: str) -> None:
        super().__init__(file, field, value, expected)
        self.file = file
        self.field = field
        self.value = value
        self.expected = expected

    def __str__(self) -> str:
        number = isinstance(self.value, int) and not isinstance(self.value, bool)
        value = f"{self.value:#x}" if number else repr(self.value)
        return f"{self.file}: {self.field}: {value}: expected {self.expected}"


class MigrationError(VmcoreError):
    """A migration did not come to its end: no connection, the other side went away or refused, it was cancelled."""


class GuestError(VmcoreError):
    """The guest made it impossible: an access to guest memory that its page tables refuse, a fault where none was
    expected.

    pc: guest instruction pointer; address: guest address of the access; access: "read", "write" or "execute";
    disassembly: the instruction at pc.  Each is None where it does not apply.
    """

    def __init__(
        self,
        message: str,
        *,
        pc: int | None = None,
        address: int | None = None,
        access: str | None = None,
        disassembly: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.pc = pc
        self.address = address
        self.access = access
        self.disassembly = disassembly

    def __str__(self) -> str:
        details = []
        if self.access is not None and self.address is not None:
            details.append(f"{self.access} at {self.address:#x}")
        elif self.address is not None:
            details.append(f"address {self.address:#x}")
        if self.pc is not None:
            details.append(f"pc {self.pc:#x}")
        if self.disassembly is not None:
            details.append(self.disassembly)
        return f"{self.message} ({', '.join(details)})" if details else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_guest_error, (self.message, self.pc, self.address, self.access, self.disassembly)


def _rebuild_guest_error(
    message: str, pc: int | None, address: int | None, access: str | None, disassembly: str | None
) -> GuestError:
    return GuestError(message, pc=pc, address=address, access=access, disassembly=disassembly)


class DeviceModelError(VmcoreError):
    """A device model raised: a bug of ours (or of a device that the caller wrote), never the guest's fault.

    Raised `from` the original exception; the machine stays inspectable.  device: path in the object tree; register:
    the register
    or port that was touched, None outside an access (in a timer); pc: instruction pointer of the vCPU that touched
    it, None if none
    did; instructions: how many the machine had retired.
    """

    def __init__(self, device: str, register: str | None, pc: int | None, instructions: int) -> None:
        super().__init__(device, register, pc, instructions)
        self.device = device
        self.register = register
        self.pc = pc
        self.instructions = instructions

    def __str__(self) -> str:
        where = f"{self.device}, {self.register}" if self.register is not None else self.device
        pc = f" at pc {self.pc:#x}" if self.pc is not None else ""
        return f"device model failed: {where}{pc} after {self.instructions} instructions"


class CommandError(VmcoreError):
    """A management command failed.  qmp_class: the error class on the wire ("GenericError", ...); desc: its text."""

    def __init__(self, qmp_class: str, desc: str) -> None:
        super().__init__(qmp_class, desc)
        self.qmp_class = qmp_class
        self.desc = desc

    def __str__(self) -> str:
        return self.desc
