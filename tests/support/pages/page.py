"""A page: its sections, code, tables, links and headings, as CommonMark has them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from markdown_it import MarkdownIt
from markdown_it.token import Token

from targets.cli.options import PROJECT

_PARSER = MarkdownIt("commonmark").enable("table")
_NOT_IN_ANCHORS = re.compile(r"[^\w\- ]")


@dataclass(frozen=True)
class Fence:
    """A code block."""

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class Section:
    """What stands below a heading of the second level, up to the next one."""

    heading: str
    fences: tuple[Fence, ...]
    spans: tuple[str, ...]
    """Inline code."""


@dataclass(frozen=True)
class Page:
    """One Markdown file of the project."""

    path: PurePosixPath
    text: str

    @cached_property
    def _tokens(self) -> Sequence[Token]:
        return _PARSER.parse(self.text)

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """Return the page in parts; the first is what stands before any heading."""
        parts: list[list[Token]] = [[]]
        for token in self._tokens:
            if token.type == "heading_open" and token.tag == "h2":
                parts.append([])
            parts[-1].append(token)
        return tuple(_section(part) for part in parts)

    @property
    def fences(self) -> tuple[Fence, ...]:
        """Return all code blocks."""
        return tuple(fence for section in self.sections for fence in section.fences)

    @property
    def spans(self) -> tuple[str, ...]:
        """Return all inline code."""
        return tuple(span for section in self.sections for span in section.spans)

    @cached_property
    def links(self) -> tuple[str, ...]:
        """Return where all links and images lead to."""
        destinations = (
            child.attrGet("href") if child.type == "link_open" else child.attrGet("src")
            for child in _inline(self._tokens)
            if child.type in ("link_open", "image")
        )
        return tuple(str(target) for target in destinations if target is not None)

    @cached_property
    def anchors(self) -> frozenset[str]:
        """Return what a link to a heading of this page may name, as GitHub makes it."""
        anchors_so_far: list[str] = []
        for opening, inline in zip(self._tokens, self._tokens[1:], strict=False):
            if opening.type == "heading_open":
                text = "".join(child.content for child in inline.children or ())
                name = _NOT_IN_ANCHORS.sub("", text.lower()).replace(" ", "-")
                anchors_so_far.append(
                    f"{name}-{anchors_so_far.count(name)}" if name in anchors_so_far else name
                )
        return frozenset(anchors_so_far)

    @cached_property
    def tables(self) -> tuple[tuple[tuple[str, ...], ...], ...]:
        """Return every table as rows of cells, the head first, in Markdown."""
        tables: list[list[tuple[str, ...]]] = []
        row: list[str] = []
        for token in self._tokens:
            if token.type == "table_open":
                tables.append([])
            elif token.type == "tr_open":
                row = []
            elif token.type == "inline" and tables and token.level >= 4:
                row.append(token.content)
            elif token.type == "tr_close":
                tables[-1].append(tuple(row))
        return tuple(tuple(rows) for rows in tables)

    def table(self, head: str) -> dict[str, tuple[str, ...]]:
        """Return the rows of all tables whose first column is headed ``head``, by their code."""
        rows = [row for table in self.tables if table[0][0] == head for row in table[1:]]
        return {name: row for row in rows for name in re.findall(r"`([^`]+)`", row[0])}

    @cached_property
    def prose(self) -> str:
        """Return the text without code blocks; white space is one space, comments stay."""
        inline = [token.content for token in self._tokens if token.type == "inline"]
        return "\n".join(" ".join(text.split()) for text in inline)


def read_pages() -> tuple[Page, ...]:
    """Return the pages of the project's folder, the README first, and all pages of ``docs``."""
    files = dict.fromkeys((PROJECT / "README.md", *sorted(PROJECT.glob("*.md"))))
    files |= dict.fromkeys(sorted((PROJECT / "docs").rglob("*.md")))
    return tuple(
        Page(PurePosixPath(file.relative_to(PROJECT).as_posix()), file.read_text("utf-8"))
        for file in files
    )


def _section(tokens: Sequence[Token]) -> Section:
    heading = tokens[1].content if tokens and tokens[0].type == "heading_open" else ""
    fences = tuple(
        Fence(token.info, token.content, token.map[0] + 1 if token.map else 0)
        for token in tokens
        if token.type == "fence"
    )
    spans = tuple(child.content for child in _inline(tokens) if child.type == "code_inline")
    return Section(heading, fences, spans)


def _inline(tokens: Sequence[Token]) -> Iterator[Token]:
    for token in tokens:
        if token.type == "inline":
            yield from token.children or ()
