"""The form to which ``constrain`` holds answers: as a grammar for the runtime, and as a test that
does not need it."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping

from pydantic import JsonValue

from pipeline.contract.data_spec import DataSpec
from pipeline.contract.frozen import Frozen
from pipeline.contract.guidance import Guidance, GuidedStart
from pipeline.data.problems import DataProblem
from pipeline.data.template import Template, TemplateError

_SPECIAL = frozenset(r"\.+*?()|[]{}^$/")
"""What is escaped in a pattern, for Python and for Rust, whose expressions the runtime has."""
_UNKNOWN_TO_RUNTIME = re.compile(
    r"(?P<unknown>\\[bBAZ1-9]|\(\?(?:<?[=!]|P=|>|\()|[*+?}]\+)"
    r"|\[\^?\]?(?:\\.|[^\]\\])*\]|\\.|.",
    re.DOTALL,
)
"""Pieces of a pattern, and among them those that stand for more than a regular language:
https://docs.rs/regex/latest/regex/#syntax"""
_WRITTEN: Mapping[str, JsonValue] = {
    "whitespace_flexible": False,
    "key_separator": ": ",
    "item_separator": ", ",
}
"""JSON as Python's ``json.dumps`` writes it. With any white space allowed, a model may write that
alone for ever. https://github.com/guidance-ai/llguidance/blob/main/docs/json_schema.md"""
_OPTIONS = "x-guidance"


class Constraint(Frozen):
    """The form of answers: one of ``answers``, or what matches ``pattern`` or ``json_schema``."""

    answers: tuple[str, ...] = ()
    pattern: str = ""
    json_schema: dict[str, JsonValue] | None = None

    def start(self, block: str, added_tokens: Iterable[str], chat: bool = True) -> GuidedStart:
        """Return how an answer begins where the chat template writes ``block`` before it.

        ``added_tokens`` are those that no text can stand for. Without ``chat``, white space may
        stand between a text and what continues it.
        """
        ends = (block.rfind(token) + len(token) for token in added_tokens if token in block)
        cut = max(ends, default=0)
        guidance = self._guidance(block[cut:], chat)
        return GuidedStart(guidance=guidance, after_prompt=block[:cut], before_answer=block[cut:])

    def allows(self, answer: str) -> bool:
        """Return whether ``answer`` has the form, outer white space aside. Of a schema only that it
        is JSON: what has its form, the runtime alone knows."""
        text = answer.strip()
        if self.json_schema is not None:
            try:
                json.loads(text)
            except ValueError:
                return False
            return True
        if self.answers:
            return text in {one.strip() for one in self.answers}
        return re.fullmatch(self.pattern, text) is not None

    def _guidance(self, before: str, chat: bool) -> Guidance:
        blank = "" if chat else " ?"
        if self.json_schema is None:
            pattern = self.pattern or "|".join(map(escaped, self.answers))
            return Guidance(type="regex", data=f"{blank}{escaped(before)}(?:{pattern})")
        written = self.json_schema.get(_OPTIONS)
        options = {**_WRITTEN, **written} if isinstance(written, dict) else dict(_WRITTEN)
        schema = json.dumps({**self.json_schema, _OPTIONS: options}, ensure_ascii=False)
        begin = f"/{blank}/ " if blank else f"{json.dumps(before)} " if before else ""
        grammar = f"start: {begin}answer\nanswer: %json {schema}\n"
        return Guidance(type="lark_grammar", data=grammar)


def constraint_of(spec: DataSpec | None) -> Constraint | None:
    """Return the form to which ``spec``, which has no problems, holds answers."""
    if spec is None or spec.constrain is False:
        return None
    if isinstance(spec.constrain, str):
        return Constraint(pattern=spec.constrain)
    if isinstance(spec.constrain, dict):
        return Constraint(json_schema=spec.constrain)
    labels = spec.labels or ()
    if spec.completion is None:
        return Constraint(answers=labels)
    completion = Template(spec.completion)
    answers = (completion.render({spec.label or "": name}) for name in labels)
    return Constraint(answers=tuple(answers))


def constraint_problems(spec: DataSpec) -> Iterator[DataProblem]:
    """Yield why answers cannot be held to ``constrain``."""
    if isinstance(spec.constrain, str):
        yield from _pattern_problems(spec.constrain)
    elif spec.constrain is True:
        yield from _label_problems(spec)
    elif isinstance(spec.constrain, dict) and not spec.constrain:
        yield DataProblem("a schema that allows anything holds nothing", key="constrain")
    if spec.tokens and spec.constrain is not False:
        yield DataProblem("rows of token ids say nothing of texts", key="constrain")


def _pattern_problems(pattern: str) -> Iterator[DataProblem]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            re.compile(pattern)
    except FutureWarning as error:
        yield DataProblem(f"can be read in two ways: {error}", key="constrain")
    except re.error as error:
        yield DataProblem(f"this is not a regular expression: {error}", key="constrain")
        return
    if not pattern:
        yield DataProblem("allows nothing but an empty answer", key="constrain")
    unknown = (found["unknown"] for found in _UNKNOWN_TO_RUNTIME.finditer(pattern))
    for piece in sorted({piece for piece in unknown if piece}):
        advice = "it matches whole answers, and knows no look-around and no back-reference"
        yield DataProblem(
            f"the runtime does not know {piece!r}", key="constrain", suggestion=advice
        )


def _label_problems(spec: DataSpec) -> Iterator[DataProblem]:
    if spec.labels is None:
        yield DataProblem(
            "true means the answers for labels, which are not there",
            key="constrain",
            suggestion="list them: labels = [...]; or give a regular expression or a JSON schema",
        )
        return
    if spec.messages is None and spec.completion is None:
        yield DataProblem(
            "true needs a completion, or messages whose answer is the label", key="constrain"
        )
        return
    try:
        fields = Template(spec.completion or "").fields
    except TemplateError:
        return  # a problem of the completion itself
    if spec.completion is not None and fields != (spec.label,):
        yield DataProblem(
            f"true needs a completion of the label alone, not of {', '.join(fields) or 'nothing'}",
            key="constrain",
            suggestion="give a regular expression or a JSON schema",
        )


def escaped(text: str) -> str:
    """Return a regular expression that matches ``text`` alone, in Python and in Rust."""
    return "".join(f"\\{sign}" if sign in _SPECIAL else sign for sign in text)
