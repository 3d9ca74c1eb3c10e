"""Threads that share work. They sleep until there is some, so that other work has their CPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """``count`` threads, of which the one that calls is the first."""

    def __init__(self, count: int) -> None:
        self.count = count

    def share(self, run: Callable[[T], None], work: Sequence[T]) -> None:
        """Call ``run`` for each part of ``work``: neighbours in one thread, the first in this
        one."""
        share = -(-len(work) // self.count)

        def compute(parts: Sequence[T]) -> None:
            for part in parts:
                run(part)

        others = [
            self._others.submit(compute, work[at : at + share])
            for at in range(share, len(work), share)
        ]
        compute(work[:share])
        for other in others:
            other.result()

    @cached_property
    def _others(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.count - 1, "shared")


def parts(length: int, size: int) -> list[range]:
    """Return the parts of ``range(length)`` of ``size`` each, the last one of what is left."""
    return [range(at, min(at + size, length)) for at in range(0, length, size)]
