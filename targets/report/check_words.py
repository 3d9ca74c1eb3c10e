"""What each check proves, what breaks it and what to do, in the plain words of ``checks.toml``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tomli

_FILE = Path(__file__).with_name("checks.toml")
ANY = "any"
"""The section of verdicts that several checks give."""
_AS_FOR = re.compile(r"As for `(\w+)`(?: and `(\w+)`)?")
REST = "*"
"""The entry for all other names of a check."""

QUESTIONS: Mapping[str, str] = {
    "same": "same model?",
    "valid": "valid?",
    "good": "as good?",
    "fast": "fast enough?",
    "own": "your own checks?",
}
"""The questions that checks answer, in the order in which they are shown."""


@dataclass(frozen=True)
class CheckWords:
    """One verdict in words."""

    check: str
    """Type of the check."""
    name: str
    """Name of the verdict, or what its name begins with."""
    question: str
    """One of :data:`QUESTIONS`."""
    proves: str
    breaks: str
    do: str
    keys: tuple[str, ...] = ()
    """Keys of the check that limit it."""

    @property
    def anchor(self) -> str:
        """Return its heading's anchor, in a report and in docs/checks.md."""
        return "-".join(part for part in (self.check, self.name) if part != REST)


@cache
def every_words() -> tuple[CheckWords, ...]:
    """Return the words of all verdicts, check by check."""
    return tuple(_read(tomli.loads(_FILE.read_text("utf-8"))))


def check_types_with_words() -> frozenset[str]:
    """Return the types of the checks that Quern brings."""
    return frozenset(words.check for words in every_words()) - {ANY}


def find_words(name: str, check: str | None) -> CheckWords | None:
    """Return the words of the verdict ``name`` of a check of the type ``check``: those of its name,
    else those of the longest name that it begins with; ``None`` if there are none. Where the check
    is not known, those of any check's verdict of that name."""
    if check is None:
        return next((words for words in every_words() if words.name == name), None)
    return max(
        (words for words in every_words() if _is_of(words, check, name)),
        key=lambda words: len(words.name),
        default=None,
    )


def _is_of(words: CheckWords, check: str, name: str) -> bool:
    if words.check == ANY:
        return words.name == name
    return words.check == check and (words.name == REST or f"{name}_".startswith(f"{words.name}_"))


def _read(document: Mapping[str, Mapping[str, object]]) -> Iterator[CheckWords]:
    entries = {
        (check, name): entry
        for check, section in document.items()
        for name, entry in section.items()
        if isinstance(entry, dict)
    }
    by_name = {name: entry for (_, name), entry in entries.items()}
    for (check, name), entry in entries.items():
        question = str(document[check]["question"])
        texts = {part: _whole(entry, part, by_name) for part in ("proves", "breaks", "do")}
        yield CheckWords(check, name, question, **texts, keys=tuple(entry.get("keys", ())))


def _whole(entry: Mapping[str, str], part: str, by_name: Mapping[str, Mapping[str, str]]) -> str:
    """Return a text with those of other entries in place of ``As for `NAME` and `NAME```."""

    def said(found: re.Match[str]) -> str:
        names = filter(None, found.groups())
        return " ".join(_whole(by_name[name], part, by_name) for name in names).removesuffix(".")

    return _AS_FOR.sub(said, entry[part])
