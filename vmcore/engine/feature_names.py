"""Features of processors under the names by which management and the command line know them.

Names are those of QEMU 7.2's CPU properties: the CPUID bit's usual name in small letters.  Some have a second one.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from vmcore.engine.models import feature_bits

__all__ = ["feature_aliases", "feature_of", "named_features"]

_SPECIAL: Final = {
    "SSE3": "pni",
    "SSE4_1": "sse4.1",
    "SSE4_2": "sse4.2",
    "SHA": "sha-ni",
    "HTT": "ht",
    "PSN": "pn",
    "FFXSR": "fxsr-opt",
    "CR8_LEGACY": "cr8legacy",
    "INVARIANT_TSC": "invtsc",
}

_ALIASES: Final = {
    "sse3": "pni",
    "sse4-1": "sse4.1",
    "sse4-2": "sse4.2",
    "pclmuldq": "pclmulqdq",
    "ffxsr": "fxsr-opt",
    "xd": "nx",
    "i64": "lm",
}


@cache
def named_features() -> dict[str, str]:
    """Every feature that has a bit in CPUID: its name -> the engine's name for it."""
    return {
        _SPECIAL.get(feature, feature.lower().replace("_", "-")): feature
        for feature, place in feature_bits().items()
        if place is not None
    }


@cache
def feature_aliases() -> dict[str, str]:
    """Second names -> the engine's names.  Every `-` may be a `_`, too."""
    names = named_features()
    found = {alias: names[name] for alias, name in _ALIASES.items()}
    for name, feature in [*names.items(), *found.items()]:
        if "-" in name:
            found[name.replace("-", "_")] = feature
    return found


def feature_of(name: str) -> str | None:
    """The engine's name of a feature; None where there is none of that name."""
    return named_features().get(name) or feature_aliases().get(name)
