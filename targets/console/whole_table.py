"""A table of which no width loses a character: where it has no room, rows are shown as lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from targets.console.ascii_symbols import in_ascii

_READABLE = 24
"""Narrowest column in which words may be cut, in cells: those of a longer word."""
_WHOLE = 10**9
"""The same, where no word may be cut."""


class WholeTable(Table):
    """A table of text cells, in Rich's markup.

    Columns that should not ``wrap`` keep their width, and the others are folded. Where that leaves
    no room for the others, each row becomes a list of its cells, with their titles: so too where a
    word would be cut and ``whole_words`` are asked for.
    """

    def __init__(
        self,
        title: str = "",
        show_header: bool = True,
        whole_words: bool = False,
        **options: Any,
    ) -> None:
        self._uncut = _WHOLE if whole_words else _READABLE
        super().__init__(
            title=Text(title) if title else None,
            title_justify="left",
            show_header=show_header,
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            **options,
        )

    def column(
        self,
        title: str,
        justify: Literal["left", "right"] = "left",
        wrap: bool = True,
        widest: int | None = None,
    ) -> None:
        """Add a column."""
        self.add_column(
            Text(title),
            justify=justify,
            no_wrap=not wrap,
            overflow="fold",
            max_width=widest,
        )

    def row(self, *cells: str, style: str = "") -> None:
        """Add a row. Cells are markup; nothing in them stands for an emoji."""
        whole = (*cells, *[""] * (len(self.columns) - len(cells)))
        self.add_row(*(Text.from_markup(cell, emoji=False) for cell in whole), style=style)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table, or its rows as lists."""
        if options.ascii_only:
            self._become_ascii()
        if self.fits(options.max_width):
            self._fit(options.max_width)
            yield from super().__rich_console__(console, options)
        else:
            yield from self._lists()

    def _become_ascii(self) -> None:
        """Put ASCII in place of Quern's symbols, before widths are measured: it is longer."""
        for column in self.columns:
            column.header, *cells = map(_in_ascii, _texts(column))
            column._cells = [*cells]

    def fits(self, width: int) -> bool:
        """Return whether it can be shown as a table of that width."""
        return self._narrowest <= width

    def _fit(self, width: int) -> None:
        """Give each column its width: what it would take, less where that is too much for all. Rich
        would narrow the widest ones until their words no longer fit."""
        least = [self._least(column) for column in self.columns]
        widths = [
            max(_widest(column), size) for column, size in zip(self.columns, least, strict=True)
        ]
        room = width - self._spaces
        while sum(widths) > room:
            widest = max(
                (at for at, size in enumerate(widths) if size > least[at]), key=widths.__getitem__
            )
            widths[widest] -= 1
        for column, size in zip(self.columns, widths, strict=True):
            column.width = size

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return the widths between which the table can be shown."""
        if self.fits(options.max_width):
            return super().__rich_measure__(console, options)
        return Measurement(1, options.max_width)

    @property
    def _narrowest(self) -> int:
        """The width below which cells would lose characters or be hard to read."""
        return self._spaces + sum(map(self._least, self.columns))

    def _least(self, column: Column) -> int:
        """Return how narrow a column can be."""
        lines = [line for text in _texts(column) for line in text.split() if line.plain]
        longest = max((line.cell_len for line in lines), default=1)
        if column.no_wrap:
            return longest
        words = (Text(word).cell_len for line in lines for word in line.plain.split())
        return min(max(words, default=1), self._uncut)

    @property
    def _spaces(self) -> int:
        """The width of what is around and between the columns: their padding and the box."""
        return (1 + sum(self.padding[at] for at in (1, 3))) * len(self.columns)

    def _lists(self) -> Iterator[Text]:
        if isinstance(self.title, Text):
            yield Text(self.title.plain, style="table.title")
        titles, *rows = zip(*map(_texts, self.columns), strict=True)
        for cells in rows:
            for title, cell in zip(titles, cells, strict=True):
                if cell.plain.strip():
                    yield Text(f"{title.plain}: " if title.plain else "").append_text(cell)
            yield Text()
        if isinstance(self.caption, Text):
            yield self.caption


def _texts(column: Column) -> list[Text]:
    """Return the title and the cells of a column, which :class:`WholeTable` made."""
    return [text for text in (column.header, *column.cells) if isinstance(text, Text)]


def _in_ascii(text: Text) -> Text:
    shown = Text(in_ascii(text.plain), text.style)
    for span in text.spans:
        before, after = (len(in_ascii(text.plain[:end])) for end in (span.start, span.end))
        shown.stylize(span.style, before, after)
    return shown


def _widest(column: Column) -> int:
    """Return how wide a column is whose cells are not wrapped."""
    lines = [line for text in _texts(column) for line in text.split() if line.plain]
    longest = max((line.cell_len for line in lines), default=1)
    return longest if column.max_width is None else min(longest, column.max_width)
