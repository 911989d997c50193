"""Which commands there are.

A command is a typed async function over a VirtualMachine.  Its keyword-only parameters, in order, are the arguments
on the wire; its return annotation is what is returned; its docstring is the reference.

    @command("system_wakeup")
    async def system_wakeup(vm: VirtualMachine) -> None:
        \"\"\"Wake a suspended machine.  GenericError in any other state.\"\"\"
        await vm.wake()

A parameter named `monitor` is not on the wire: it is the connection that the command came over (its descriptors,
its capabilities).
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, get_type_hints

from attrs import field, frozen

__all__ = ["COMMANDS", "MISSING", "Argument", "Command", "command"]

MISSING: Final = inspect.Parameter.empty
"""Default of an argument that must be given."""

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


@frozen
class Argument:
    """One argument.  name: on the wire; parameter: of the function; type: its annotation; default: MISSING, or what
    it is when left out.
    """

    name: str
    parameter: str
    type: Any
    default: Any = MISSING
    features: tuple[str, ...] = ()

    @property
    def optional(self) -> bool:
        return self.default is not MISSING


@frozen(eq=False)
class Command:
    """A command of the wire.

    boxed: the parameter that takes the whole argument object as one struct or union, or None; returns: annotation
    of the result, None for
    commands that return an empty object; wants_monitor: whether the function takes the connection.
    """

    name: str
    function: Callable[..., Awaitable[Any]]
    arguments: tuple[Argument, ...]
    returns: Any
    boxed: Argument | None = None
    wants_monitor: bool = False
    allow_preconfig: bool = False
    allow_oob: bool = False
    features: tuple[str, ...] = ()
    since: str = ""
    doc: str = field(default="", repr=False)


COMMANDS: Final[dict[str, Command]] = {}
"""Every command by its name on the wire."""


def command(
    name: str,
    *,
    boxed: str | None = None,
    allow_preconfig: bool = False,
    allow_oob: bool = False,
    features: tuple[str, ...] = (),
    argument_names: dict[str, str] | None = None,
    argument_features: dict[str, tuple[str, ...]] | None = None,
    since: str = "",
) -> Callable[[F], F]:
    """Register a command.

    boxed: name of the one parameter that is the whole argument object; argument_names: parameter -> name on the
    wire, where it is not
    the parameter with `-` for `_`.
    """

    def register(function: F) -> F:
        if name in COMMANDS:
            raise ValueError(f"there is a command {name} already: {COMMANDS[name].function}")
        hints = get_type_hints(function, include_extras=True)
        parameters = inspect.signature(function).parameters.values()
        arguments = tuple(
            Argument(
                (argument_names or {}).get(p.name, p.name.replace("_", "-")),
                p.name,
                hints[p.name],
                p.default,
                (argument_features or {}).get(p.name, ()),
            )
            for p in parameters
            if p.kind is p.KEYWORD_ONLY and p.name != "monitor"
        )
        returns = hints.get("return")
        COMMANDS[name] = Command(
            name=name,
            function=function,
            arguments=() if boxed else arguments,
            returns=None if returns is type(None) else returns,
            boxed=next(a for a in arguments if a.parameter == boxed) if boxed else None,
            wants_monitor=any(p.name == "monitor" for p in parameters),
            allow_preconfig=allow_preconfig,
            allow_oob=allow_oob,
            features=features,
            since=since,
            doc=inspect.cleandoc(function.__doc__ or ""),
        )
        return function

    return register
