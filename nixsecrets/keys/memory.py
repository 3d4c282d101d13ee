"""Remembering what was worked out for files that share their readers.

Knows nothing of keys or files.  A memory lives as long as one run.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

T = TypeVar("T")


@lru_cache(maxsize=1024)
def one_for_all(value: T) -> T:
    """Return the first value that was equal to `value`: thousands share it then."""
    return value


class Memory:
    """Remembers what a pure function made of the same objects.

    A thousand files of one rule share their readers: what was worked out for the first
    holds for all.  Objects are told apart by identity, and kept alive.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        """Remember nothing yet."""
        self._known: dict[tuple[object, ...], tuple[object, Any]] = {}

    def ask(self, function: Callable[..., T], *arguments: object) -> T:
        """Return `function(*arguments)`, worked out once."""
        key = (function, *map(id, arguments))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = (arguments, function(*arguments))
        answer: T = known[1]
        return answer
