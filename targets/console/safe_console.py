"""The console on which commands show everything but JSON and errors."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from targets.console.ascii_symbols import in_ascii
from targets.foreign_text import harmless


class SafeConsole(Console):
    """A console that shows text and never obeys it.

    Only its own styles and cursor movements reach the terminal. What takes no more than ASCII gets
    Quern's symbols in ASCII.
    """

    @property
    def encoding(self) -> str:
        """Return the encoding of the output; that of a terminal that only shows lines is ASCII."""
        return "ascii" if self.is_dumb_terminal else super().encoding

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments of ``renderable``, each with harmless text."""
        plain = (options or self.options).ascii_only
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else harmless(segment.text)
            if plain and not segment.control:
                text = in_ascii(text)
            yield segment if text == segment.text else Segment(text, segment.style)
