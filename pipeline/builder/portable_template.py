"""Writes a chat template such that the runtime renders it as transformers does.

The template engine of ONNX Runtime GenAI (a C++ port of Jinja's language) differs in what it does:

- It knows a part of the language only: see :mod:`pipeline.builder.plain_template`.
- Tools are given to most templates in another form, without their parameters' schema. A template
  that holds the words ``tool.function`` gets them as they are. With 0.13 none does.
- ``tojson(indent=4)`` writes an empty object or array over three lines, and there is no
  ``ensure_ascii``, which is false by default in transformers as well.
- Nothing replaces a part of a text: SmolLM3's template takes ``/think`` out of a system turn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.builder.plain_template import plain_template

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
_ASCII = re.compile(r"tojson\s*\(\s*ensure_ascii\s*=\s*[Ff]alse\s*(?:,\s*([^()]*))?\)")
_OLD_AND_NEW = 2
_KEYWORDS = ("if", "elif", "else", "in", "and", "or", "not", "is", "set", "for")
_BRACKETS = {")": "(", "]": "[", "}": "{"}


def portable(template: str) -> str:
    """Return a template that the runtime renders as transformers renders ``template``, and that
    transformers renders as before.

    Raises ``StepError`` for a template that is none.
    """
    plain = _ASCII.sub(_without_ascii, _with_splits(plain_template(template)))
    indented = _with_json_macro(plain)
    head = _AS_GIVEN if _TOOLS.search(plain) else ""
    return head + (indented if indented == plain else _JSON + indented)


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


def _without_ascii(found: re.Match[str]) -> str:
    return f"tojson({found[1]})" if found[1] else "tojson"


def _with_splits(template: str) -> str:
    """Return ``template`` with ``x.split(a) | join(b)`` for each ``x.replace(a, b)`` or
    ``x | replace(a, b)``."""
    tokens = _tokens(template)
    for at in range(len(tokens) - 2):
        texts = [token.text for token in tokens[at : at + 3]]
        if texts not in ([".", "replace", "("], ["|", "replace", "("]):
            continue
        value, (parts, end) = _operand(tokens, at), _arguments(tokens, at + 2)
        if value is None or len(parts) != _OLD_AND_NEW:
            continue
        old, new = (template[part[0].begin : part[-1].end] for part in parts)
        text = template[value.begin : tokens[at - 1].end]
        made = f"(({text}).split({old})|join({new}))"
        return _with_splits(f"{template[: value.begin]}{made}{template[tokens[end].end :]}")
    return template


def _arguments(tokens: Sequence[_Token], opening: int) -> tuple[list[list[_Token]], int]:
    """Return the arguments of the call whose bracket is at ``opening``, and where it is closed."""
    arguments: list[list[_Token]] = [[]]
    depth = 0
    for at in range(opening + 1, len(tokens)):
        text = tokens[at].text
        if text in _BRACKETS and not depth:
            return [argument for argument in arguments if argument], at
        depth += (text in _BRACKETS.values()) - (text in _BRACKETS)
        if text == "," and not depth:
            arguments.append([])
        else:
            arguments[-1].append(tokens[at])
    return [], opening


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
            if at > 0 and (_is_named(tokens[at - 1]) or tokens[at - 1].text in _BRACKETS):
                at -= 1  # a call, or an item
                continue
        elif tokens[at].kind not in ("name", "string", "integer", "float"):
            return None
        if at > 1 and tokens[at - 1].text in (".", "|"):
            at -= 2
        else:
            return tokens[at] if at >= 0 else None
    return None


def _is_named(token: _Token) -> bool:
    return token.kind == "name" and token.text not in _KEYWORDS


def _opening(tokens: Sequence[_Token], at: int) -> int:
    """Return the place of the bracket that the one at ``at`` closes; -1 if there is none."""
    depth = 0
    while at >= 0:
        depth += (tokens[at].text in _BRACKETS) - (tokens[at].text in _BRACKETS.values())
        if not depth:
            break
        at -= 1
    return at
