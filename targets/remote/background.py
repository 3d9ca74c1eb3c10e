"""Work in threads that nobody has to wait for: a signal ends the wait at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def in_background(
    work: Callable[[Item], Made], items: Iterable[Item], side_by_side: int
) -> list[Made]:
    """Return what ``work`` makes of each item, in order; its first error is raised."""
    waiting = iter(list(enumerate(items)))
    made: dict[int, Made] = {}
    errors: list[BaseException] = []
    lock = threading.Lock()

    def next_items() -> Iterator[tuple[int, Item]]:
        while not errors:
            with lock:
                numbered = next(waiting, None)
            if numbered is None:
                return
            yield numbered

    def take() -> None:
        try:
            for number, item in next_items():
                made[number] = work(item)
        except BaseException as error:
            errors.append(error)

    # Daemons: a process that ends does not wait for a request that nobody answers.
    threads = [threading.Thread(target=take, daemon=True) for _ in range(side_by_side)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)
    except BaseException as stopped:
        errors.append(stopped)
        raise
    if errors:
        raise errors[0]
    return [made[number] for number in sorted(made)]
