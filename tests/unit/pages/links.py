"""Whether every link between pages leads somewhere."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from targets.cli.options import PROJECT
from tests.unit.pages.page import Page


def mistakes(pages: Sequence[Page]) -> Iterator[str]:
    """Yield links to files and headings that do not exist."""
    by_path = {page.path: page for page in pages}
    for page in pages:
        for link in page.links:
            place, _, anchor = link.partition("#")
            if "://" in place or place.startswith("mailto:"):
                continue
            path = PurePosixPath(posixpath.normpath(page.path.parent / place))
            found = by_path.get(path if place else page.path)
            if found is None and (anchor or not (PROJECT / path).exists()):
                yield f"{page.path}: {link}: there is no such page"
            elif found is not None and anchor and anchor not in found.anchors:
                yield f"{page.path}: {link}: {found.path} has no such heading"
