"""Values of the form `first,name=value,flag,noflag`, as options of QEMU's command line have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from vmcore.model.command_line import Parameter
from vmcore.model.errors import ConfigError
from vmcore.model.misc import CommandLineParameterType
from vmcore.model.units import parse_size

__all__ = ["pairs", "typed"]


def pairs(text: str, implied: str | None = None) -> Iterator[tuple[str, str | None]]:
    """Names and values in order.  A comma in a value is written twice; a name alone has the value None.

    implied: the name that the first value has where it comes without one.
    """
    pieces: list[str] = []
    rest = text.split(",")
    at = 0
    while at < len(rest):
        piece = rest[at]
        # An empty piece between two commas is a comma that was written twice.
        while at + 2 < len(rest) and rest[at + 1] == "":
            piece += "," + rest[at + 2]
            at += 2
        pieces.append(piece)
        at += 1
    for index, piece in enumerate(pieces):
        name, equals, value = piece.partition("=")
        if equals:
            yield name, value
        elif index == 0 and implied is not None:
            yield implied, piece
        else:
            yield piece, None


def typed(
    option: str, texts: Iterable[str], parameters: Iterable[Parameter], implied: str | None = None
) -> dict[str, str | int | bool]:
    """The parameters of an option by name, as their types; of one that is given several times the last counts.

    Raises ConfigError for a parameter that there is not and for a value that is not of its type.
    """
    known = {parameter.name: parameter for parameter in parameters}
    out: dict[str, str | int | bool] = {}
    for text in texts:
        for name, value in pairs(text, implied):
            if value is None and name.startswith("no") and name not in known and _is_boolean(known.get(name[2:])):
                name, value = name[2:], "off"
            if name not in known:
                raise ConfigError(f"{option}.{name}", value, f"no such parameter: there are {', '.join(known)}")
            out[name] = _value(f"{option}.{name}", known, name, value)
    return out


def _is_boolean(parameter: Parameter | None) -> bool:
    return parameter is not None and parameter.type is CommandLineParameterType.BOOLEAN


def _value(path: str, known: Mapping[str, Parameter], name: str, value: str | None) -> str | int | bool:
    match known[name].type:
        case CommandLineParameterType.BOOLEAN:
            if value not in (None, "on", "off", "yes", "no", "true", "false", "y", "n"):
                raise ConfigError(path, value, "on or off")
            return value in (None, "on", "yes", "true", "y")
        case CommandLineParameterType.NUMBER:
            try:
                number = int(value or "", 0)
            except ValueError:
                raise ConfigError(path, value, "a number") from None
            if number < 0:
                raise ConfigError(path, value, "a number from 0 up")
            return number
        case CommandLineParameterType.SIZE:
            return parse_size(value or "", path) * (known[name].unit if value and value.isdecimal() else 1)
        case _:
            if value is None:
                raise ConfigError(path, None, f"{name}=VALUE")
            return value
