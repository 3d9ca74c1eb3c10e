"""Writes ``docs/checks.md``: what each check proves, what breaks it, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from pipeline.run.registry import load_check
from targets.report.check_words import ANY, QUESTIONS, REST, CheckWords, every_words

_INTRODUCTION = """\
# What the checks prove

<!-- Made by `nox -s schema` from targets/report/checks.toml. Do not edit. -->

Every build ends with checks. Each gives some verdicts: a measured figure, and the limit that it has
to keep. A verdict is `passed`, `failed`, or `unverified` where this machine cannot decide it, for
example without the target's device. A build with a failed verdict ends with exit code 3. Limits
that a config does not set have defaults, which [config.md](config.md#checks) lists. `report.html`
beside an artifact says of each of its verdicts what stands here, and `build -v` lists them all.

They answer these questions:

| question | checks |
| --- | --- |
"""

_ASKED = {
    "same": "Is it the model that was trained, and nothing else?",
    "valid": "Is the artifact whole, and does it run on its target?",
    "good": "Does it answer as well as the model that it was made from?",
    "fast": "Does it keep the limits of time and room?",
    "own": "What you check yourself: [checks of your own](own-steps.md).",
}


def checks_page() -> str:
    """Return the page as Markdown."""
    return "\n".join((_INTRODUCTION + "\n".join(_overview()) + "\n", *_sections()))


def _overview() -> Iterator[str]:
    for question, asked in _ASKED.items():
        of_question = (words.check for words in every_words() if words.question == question)
        checks = [check for check in dict.fromkeys(of_question) if check != ANY]
        listed = ", ".join(f"[`{check}`](#{check})" for check in checks)
        yield f"| **{QUESTIONS[question]}** {asked} | {listed} |"


def _sections() -> Iterator[str]:
    for check, found in groupby(every_words(), key=lambda words: words.check):
        if check == ANY:
            yield "## Of any check\n"
        else:
            # The first paragraph of a check's own words, as its reference has them.
            yield f"## {check}\n"
            yield f"{_first_paragraph(load_check(check).__doc__)}\n"
            yield f"Its keys: [config.md](config.md#checks{check}).\n"
        for words in found:
            yield from _entry(words)


def _entry(words: CheckWords) -> Iterator[str]:
    yield f"### {words.check} {words.name}\n" if words.name != REST else ""
    yield f"- **proves:** {words.proves}"
    yield f"- **what breaks it:** {words.breaks}"
    yield f"- **what to do:** {words.do}"
    if words.keys:
        yield f"- **limited by:** {', '.join(f'`{key}`' for key in words.keys)}"
    yield ""


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").strip().partition("\n\n")[0].split()).replace("``", "`")
