"""Writes a chat template in the part of Jinja's language that the runtime's engine knows.

ONNX Runtime GenAI has a template engine of its own (onnxruntime-extensions, from google/minja):

- Its blocks keep the white space around them, which transformers removes (Jinja's ``trim_blocks``
  and ``lstrip_blocks``).
- ``'a' in text`` is false whatever the text is: Qwen 3's template looks for ``</think>`` so.
- ``is undefined`` is unknown until 0.13.
- ``selectattr`` and ``rejectattr`` do not know whether an attribute is defined: Mistral Nemo's
  template loops over the turns without ``tool_calls`` so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipeline.contract.errors import StepError

_BEGINNINGS, _ENDS = ("variable_begin", "block_begin"), ("variable_end", "block_end")
_LEFT_OUT = ("comment_begin", "comment", "comment_end", "raw_begin", "raw_end")
"""Kinds of the tokens of Jinja's lexer."""
_UNSAFE = re.compile(r"^[\s{}%#]|[\s{}%#]$|\{[{%#]")
_ESCAPES = str.maketrans({"\\": r"\\", "'": r"\'", "\n": r"\n", "\r": r"\r", "\t": r"\t"})
_SELECTING = ("selectattr", "rejectattr")
_DEFINED = re.compile("['\"](un)?defined['\"]")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_OPENING, _CLOSING = ("(", "["), (")", "]")


class _Token(NamedTuple):
    kind: str
    text: str


def plain_template(template: str) -> str:
    """Return a template that renders in the runtime as ``template`` does in transformers.

    It renders so in transformers too, whatever that does with white space around blocks. Comments
    are left out. Raises ``StepError`` for a template that is none.
    """
    written: list[str] = []
    expression: list[_Token] = []
    for kind, text in _tokens(template):
        if kind == "data":
            written.append(_literal(text))
        elif kind in _BEGINNINGS:
            written.append(text[:2])
            expression.clear()
        elif kind in _ENDS:
            inner = "".join(_rewritten(_with_condition(expression)))
            # "{{-1" would take white space with it.
            written.append(inner if inner[:1].isspace() else f" {inner}")
            written.append(text.strip("+-\n\t ")[-2:])
        elif kind not in _LEFT_OUT:
            expression.append(_Token(kind, text))
    return "".join(written)


def _tokens(template: str) -> list[_Token]:
    """Return the tokens of Jinja's lexer, which knows what text is left between blocks."""
    from jinja2 import Environment, TemplateSyntaxError

    lexer = Environment(trim_blocks=True, lstrip_blocks=True, autoescape=True).lexer
    try:
        return [_Token(kind, text) for _, kind, text in lexer.tokeniter(template, None)]
    except TemplateSyntaxError as error:
        why = f"line {error.lineno} of the chat template: {error.message}"
        raise StepError(why, "mend the model's chat_template", "bad_input") from None


def _literal(text: str) -> str:
    """Return what renders as ``text`` wherever it stands."""
    if not _UNSAFE.search(text):
        return text
    escaped = text.translate(_ESCAPES)
    return f"{{{{ '{escaped}' }}}}"


def _rewritten(expression: Sequence[_Token]) -> Iterator[str]:
    """Yield the text of ``expression`` in words that the runtime's engine knows."""
    at = 0
    while at < len(expression):
        found = _contained(expression, at) or _undefined(expression, at)
        if found is None:
            yield expression[at].text
            at += 1
        else:
            yield found[0]
            at = found[1]


def _contained(expression: Sequence[_Token], at: int) -> tuple[str, int] | None:
    """Return what ``'a' in x`` becomes, and where it ends; ``None`` if that is not at ``at``."""
    if expression[at].kind != "string":
        return None
    following = _next(expression, at)
    negated = _is(expression, following, "not")
    place = _next(expression, following) if negated else following
    if not _is(expression, place, "in"):
        return None
    begin = _next(expression, place)
    end = _end_of_value(expression, begin)
    if end == begin:
        return None
    part, whole = expression[at].text, "".join(token.text for token in expression[begin:end])
    inside = f"({whole}.split({part})|length > 1 if {whole} is string else {part} in {whole})"
    return (f"(not {inside})" if negated else inside), end


def _undefined(expression: Sequence[_Token], at: int) -> tuple[str, int] | None:
    """Return what ``is undefined`` becomes, and where it ends; ``None`` if it is not at ``at``."""
    if not _is(expression, at, "is"):
        return None
    following = _next(expression, at)
    negated = _is(expression, following, "not")
    place = _next(expression, following) if negated else following
    if not _is(expression, place, "undefined"):
        return None
    return "is defined" if negated else "is not defined", place + 1


def _with_condition(expression: list[_Token]) -> list[_Token]:
    """Return ``expression`` with an ``if`` in place of a test whether an attribute is defined, if
    it is a loop over what such a test selects."""
    words = [token for token in expression if token.kind != "whitespace"]
    *before, pipe, method, opening, attribute, comma, test, closing = [_Token("", "")] * 7 + words
    call = (before[7:8], pipe.text, opening.text, comma.text, closing.text)
    if call != ([("name", "for")], "|", "(", ",", ")") or method.text not in _SELECTING:
        return expression
    if not _DEFINED.fullmatch(test.text) or not _IDENTIFIER.fullmatch(attribute.text[1:-1]):
        return expression
    defined = (test.text[1:-1] == "defined") == (method.text == "selectattr")
    asked = f"{before[8].text}.{attribute.text[1:-1]} is {'' if defined else 'not '}defined"
    kept = expression[: expression.index(method)]
    while kept[-1].text != "|":
        kept.pop()
    return [*kept[:-1], _Token("data", f" if {asked} ")]


def _next(expression: Sequence[_Token], at: int) -> int:
    """Return the place of the next token that is not white space."""
    at += 1
    while at < len(expression) and expression[at].kind == "whitespace":
        at += 1
    return at


def _is(expression: Sequence[_Token], at: int, word: str) -> bool:
    return at < len(expression) and expression[at] == ("name", word)


def _end_of_value(expression: Sequence[_Token], begin: int) -> int:
    """Return where the value ends that begins with a name: its attributes, items and calls."""
    if begin >= len(expression) or expression[begin].kind != "name":
        return begin
    at, depth = begin + 1, 0
    while at < len(expression):
        text = expression[at].text
        if text in _OPENING:
            depth += 1
        elif text in _CLOSING and depth:
            depth -= 1
        elif not depth and text != "." and expression[at - 1].text != ".":
            break
        at += 1
    return at
