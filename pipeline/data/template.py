"""Text with ``{column}`` fields."""

from __future__ import annotations

import string
from collections.abc import Mapping
from functools import cached_property


class TemplateError(ValueError):
    """The text is not a valid template."""


class Template:
    """Text with ``{column}`` fields; ``{{`` and ``}}`` stand for the braces themselves.

    Only plain column names are fields: no attributes, indices, conversions or formats, so that a
    template can access nothing but its row. Raises :class:`TemplateError` for anything else.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts: list[tuple[str, str | None]] = []
        try:
            parsed = list(string.Formatter().parse(text))
        except ValueError as error:
            raise TemplateError(f"{error} in {text!r}; write {{{{ or }}}} for a brace") from None
        for literal, name, form, conversion in parsed:
            if name is not None and (conversion or form or not _is_plain(name)):
                raise TemplateError(
                    f"{{{name}}} in {text!r} is not a column name; write {{{{ or }}}} for a brace"
                )
            self._parts.append((literal, name))
        # As most texts are, of which every row is rendered.
        (literal, name), *more = self._parts or [("", None)]
        self._column = None if literal or more else name

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The column names used, each once, in order."""
        return tuple(dict.fromkeys(name for _, name in self._parts if name is not None))

    @property
    def parts(self) -> tuple[tuple[str, str | None], ...]:
        """The pieces of text, each with the column that follows it; ``None`` if none does."""
        return tuple(self._parts)

    def render(self, values: Mapping[str, str]) -> str:
        """Return the text with its fields filled in. Raises ``KeyError`` for a missing column."""
        if self._column is not None:
            return values[self._column]
        return "".join(
            [literal if name is None else literal + values[name] for literal, name in self._parts]
        )


def _is_plain(name: str) -> bool:
    return bool(name) and name == name.strip() and not any(sign in name for sign in ".[]{}")
