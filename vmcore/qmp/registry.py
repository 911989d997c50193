"""Which commands there are.

A command is a typed async function over a VirtualMachine.  Its keyword-only parameters, in order, are the arguments
on the wire, optional where they have a default; its return annotation is what is returned; its docstring is the
reference.

    @command("system_wakeup")
    async def system_wakeup(vm: VirtualMachine) -> None:
        \"\"\"Wake a suspended machine.  GenericError in any other state.\"\"\"
        await vm.wake()

A parameter named `monitor` is not on the wire: it is the connection that the command came over (its descriptors,
its capabilities).  `**parameters` takes whatever other arguments there are, as they came.  What an annotation cannot
say is said with `Annotated`, as in `vmcore.model.wire`.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, Final, Literal, TypeVar, get_type_hints

from attrs import field, frozen

from vmcore.model.wire import Member, member

__all__ = ["COMMANDS", "ELSEWHERE", "MISSING", "Argument", "Command", "command"]

MISSING: Final = inspect.Parameter.empty
"""Default of an argument that must be given."""

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


@frozen
class Argument(Member):
    """An argument.  attribute: name of the parameter; default: MISSING, or what it is when left out."""

    default: Any = MISSING


@frozen(eq=False)
class Command:
    """A command of the wire.

    boxed: the parameter that takes the whole argument object as one struct or union, or None; takes_others: the
    function has `**parameters`; returns: annotation of the result, None for commands that return an empty object;
    wants_monitor: the function takes the connection; allow_preconfig: it is allowed before the machine is built;
    allow_oob: it may overtake others; only_on: the platform that it needs, None for any.
    """

    name: str
    function: Callable[..., Awaitable[Any]]
    arguments: tuple[Argument, ...]
    returns: Any
    boxed: Argument | None = None
    takes_others: bool = False
    wants_monitor: bool = False
    allow_preconfig: bool = False
    allow_oob: bool = False
    features: tuple[str, ...] = ()
    only_on: Literal["posix", "nt"] | None = None
    since: str = ""
    doc: str = field(default="", repr=False)


COMMANDS: Final[dict[str, Command]] = {}
"""Every command by its name on the wire."""

ELSEWHERE: Final[dict[str, Command]] = {}
"""The commands that there would be on another platform."""


def command(
    name: str,
    *,
    boxed: str | None = None,
    allow_preconfig: bool = False,
    allow_oob: bool = False,
    features: tuple[str, ...] = (),
    argument_names: dict[str, str] | None = None,
    argument_features: dict[str, tuple[str, ...]] | None = None,
    only_on: Literal["posix", "nt"] | None = None,
    since: str = "",
) -> Callable[[F], F]:
    """Register a command.

    boxed: name of the one parameter that is the whole argument object; argument_names: parameter -> name on the
    wire, where it is not the parameter with `-` for `_`; only_on: value of `os.name` where the command exists.
    """

    def register(function: F) -> F:
        if name in COMMANDS or name in ELSEWHERE:
            raise ValueError(f"there is a command {name} already")
        # Annotations that are not on the wire may name what is only imported for type checkers.
        on_wire = {p: a for p, a in function.__annotations__.items() if p not in ("vm", "monitor")}
        hints = get_type_hints(
            SimpleNamespace(__annotations__=on_wire), globalns=function.__globals__, include_extras=True
        )
        parameters = inspect.signature(function).parameters.values()
        arguments = tuple(
            _argument(p, hints[p.name], (argument_names or {}).get(p.name), (argument_features or {}).get(p.name, ()))
            for p in parameters
            if p.kind is p.KEYWORD_ONLY and p.name != "monitor"
        )
        returns = hints.get("return")
        made = Command(
            name=name,
            function=function,
            arguments=() if boxed else arguments,
            returns=None if returns is type(None) else returns,
            boxed=next(a for a in arguments if a.attribute == boxed) if boxed else None,
            takes_others=any(p.kind is p.VAR_KEYWORD for p in parameters),
            wants_monitor=any(p.name == "monitor" for p in parameters),
            allow_preconfig=allow_preconfig,
            allow_oob=allow_oob,
            features=tuple(features),
            only_on=only_on,
            since=since,
            doc=inspect.cleandoc(function.__doc__ or ""),
        )
        (COMMANDS if only_on in (None, os.name) else ELSEWHERE)[name] = made
        return function

    return register


def _argument(parameter: inspect.Parameter, annotation: Any, name: str | None, features: tuple[str, ...]) -> Argument:
    plain = member(parameter.name, annotation)
    return Argument(
        name or plain.name,
        plain.attribute,
        plain.type,
        parameter.default is not MISSING,
        plain.features + tuple(features),
        parameter.default,
    )
