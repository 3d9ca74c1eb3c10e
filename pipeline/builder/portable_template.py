"""Writes a chat template such that the runtime renders it as transformers does.

The template engine of ONNX Runtime GenAI (a C++ port of Jinja's language) differs in what it does:

- Blocks keep the white space around them, which transformers removes (Jinja's ``trim_blocks`` and
  ``lstrip_blocks``).
- Tools are given to most templates in another form, without their parameters' schema. A template
  that holds the words ``tool.function`` gets them as they are. With 0.13 none does.
- ``tojson(indent=4)`` writes an empty object or array over three lines.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_INDENT = re.compile(r"^[ \t]+(?=\{[%#](?!\+))", re.MULTILINE)
_BREAK = re.compile(r"(?<![+-])([%#]\})\n(\n?)")

GIVES_TOOLS = "0.18"
"""Version of GenAI with which a template can ask for tools as they are; with 0.13 it cannot."""
_TOOLS = re.compile(r"\btools\b")
_AS_GIVEN = "{# tool.function #}"
_MACRO = "quern_json"
_DEEPEST = 32
"""Levels of empty objects and arrays that are found."""
_EMPTIES = "".join(
    f"{{%- set ns.text = ns.text.split('{begin}' ~ inner ~ outer ~ '{end}') "
    f"| join('{begin}{end}') -%}}"
    for begin, end in ("{}", "[]")
)
# No line of JSON is blank but those within what is empty: line breaks in texts are escaped.
_JSON = (
    f"{{%- macro {_MACRO}(value, indent) -%}}"
    "{%- set ns = namespace(text=value | tojson(indent=indent)) -%}"
    f"{{%- for depth in range({_DEEPEST}) -%}}"
    "{%- set outer = '\\n' ~ ' ' * (indent * depth) -%}"
    "{%- set inner = '\\n' ~ ' ' * (indent * (depth + 1)) -%}"
    f"{_EMPTIES}"
    "{%- endfor -%}{{- ns.text -}}{%- endmacro -%}"
)
_FILTER = ("|", "tojson", "(", "indent", "=", None, ")")
"""The tokens of the filter, with a number."""
_BRACKETS = {")": "(", "]": "[", "}": "{"}
_KEEPS_NEXT_BREAK = "{{ '' }}"
"""After a block, a line break would be removed that the template begins with."""


def portable(template: str) -> str:
    """Return a template that the runtime renders as transformers renders ``template``, and that
    transformers renders as before."""
    trimmed = with_trimmed_blocks(template)
    indented = _with_json_macro(trimmed)
    head = _AS_GIVEN if _TOOLS.search(trimmed) else ""
    if indented != trimmed:
        head += _JSON
    return f"{head}{_KEEPS_NEXT_BREAK}{indented}" if head else trimmed


def with_trimmed_blocks(template: str) -> str:
    """Return a template that renders the same with ``trim_blocks`` and ``lstrip_blocks`` as without
    them, namely as ``template`` does with them."""
    return _BREAK.sub(
        lambda found: found[1] + ("{{ '\\n' }}" if found[2] else ""), _INDENT.sub("", template)
    )


class _Token(NamedTuple):
    kind: str
    text: str
    begin: int

    @property
    def end(self) -> int:
        """Return where it ends in the template."""
        return self.begin + len(self.text)


def _with_json_macro(template: str) -> str:
    """Return ``template`` with calls of the macro for each filter ``tojson(indent=NUMBER)``."""
    tokens = _tokens(template)
    for at in range(len(tokens)):
        value = _operand(tokens, at)
        indent = _indent(tokens[at : at + len(_FILTER)])
        if value is not None and indent:
            head, tail = template[: value.begin], template[tokens[at + len(_FILTER) - 1].end :]
            call = f"{_MACRO}({template[value.begin : tokens[at - 1].end]}, {indent})"
            return _with_json_macro(f"{head}{call}{tail}")
    return template


def _tokens(template: str) -> list[_Token]:
    """Return the tokens of ``template`` that are not blank; none where their places are not known.

    Jinja's lexer leaves out white space that is not rendered.
    """
    from jinja2 import Environment, TemplateSyntaxError

    environment = Environment(autoescape=True)  # of no matter: nothing is rendered
    tokens: list[_Token] = []
    at = 0
    try:
        for _, kind, text in environment.lex(template):
            begin = template.index(text, at)
            if template[at:begin].strip():
                return []
            at = begin + len(text)
            if kind != "whitespace":
                tokens.append(_Token(kind, text, begin))
    except (TemplateSyntaxError, ValueError):  # such as a string that does not end
        return []
    return tokens


def _indent(tokens: Sequence[_Token]) -> str:
    """Return the number of the filter ``| tojson(indent=NUMBER)``; empty if it is another."""
    texts = [token.text for token in tokens]
    same = len(texts) == len(_FILTER) and all(
        word in (None, text) for word, text in zip(_FILTER, texts, strict=True)
    )
    return texts[_FILTER.index(None)] if same and tokens[-2].kind == "integer" else ""


def _operand(tokens: Sequence[_Token], end: int) -> _Token | None:
    """Return the first token of the operand that ends before the token ``end``: a name with its
    attributes, items, calls and filters, or what stands in brackets."""
    at = end - 1
    while at >= 0:
        if tokens[at].text in _BRACKETS:
            at = _opening(tokens, at)
            if at > 0 and (tokens[at - 1].kind == "name" or tokens[at - 1].text in _BRACKETS):
                at -= 1  # a call, or an item
                continue
        elif tokens[at].kind not in ("name", "string", "integer", "float"):
            return None
        if at > 1 and tokens[at - 1].text in (".", "|"):
            at -= 2
        else:
            return tokens[at] if at >= 0 else None
    return None


def _opening(tokens: Sequence[_Token], at: int) -> int:
    """Return the place of the bracket that the one at ``at`` closes; -1 if there is none."""
    depth = 0
    while at >= 0:
        depth += (tokens[at].text in _BRACKETS) - (tokens[at].text in _BRACKETS.values())
        if not depth:
            break
        at -= 1
    return at
