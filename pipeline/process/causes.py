"""The chain of causes of an error, and what kind of error it is."""

from __future__ import annotations

from collections.abc import Iterator

_MEMORY_TEXTS = (
    "not enough memory",
    "out of memory",
    "cannot allocate memory",
    "can't allocate memory",
    "std::bad_alloc",
    "bad allocation",
    "failed to allocate memory",
)


def out_of_memory(error: BaseException) -> bool:
    """Return whether a lack of memory caused ``error``, whichever library reported it."""
    return any(
        isinstance(item, MemoryError) or any(part in str(item).casefold() for part in _MEMORY_TEXTS)
        for item in causes(error)
    )


def has_panicked(error: BaseException) -> bool:
    """Return whether a library in Rust gave up, as that of tokenizers does on a pattern that takes
    too long: to Python that is no ``Exception``."""
    return type(error).__name__ == "PanicException"


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error`` and the errors that caused it, each once."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
