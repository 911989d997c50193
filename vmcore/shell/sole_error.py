"""The one error that a group of them is about."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["sole_error"]


def sole_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that a group is about: the only one in it, or a KeyboardInterrupt, which wins; else the group."""
    leaves = list(_leaves(group))
    for leaf in leaves:
        if isinstance(leaf, KeyboardInterrupt):
            return leaf
    return leaves[0] if len(leaves) == 1 else group


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
