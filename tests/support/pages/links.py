"""Whether every link between pages, and every path that they name, leads somewhere."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from targets.cli.options import PROJECT
from tests.support.pages.page import Page

_PATH = re.compile(r"^(targets|pipeline|tests|images|configs|docs)/[\w./-]*[\w/]$")
_PLACEHOLDER = re.compile(r"[A-Z]{4}")
_MODULE = re.compile(r"^[a-z_]+\.py$")


def mistakes(pages: Sequence[Page]) -> Iterator[str]:
    """Yield links to files and headings that do not exist, and paths in code that do not."""
    modules = {file.name for file in (PROJECT / "targets").rglob("*.py")}
    modules |= {file.name for file in (PROJECT / "pipeline").rglob("*.py")} | {"noxfile.py"}
    by_path = {page.path: page for page in pages}
    for page in pages:
        for link in page.links:
            place, _, anchor = link.partition("#")
            if "://" in place or place.startswith("mailto:"):
                continue
            path = PurePosixPath(posixpath.normpath(page.path.parent / place))
            target = by_path.get(path if place else page.path)
            if target is None and (anchor or not (PROJECT / path).exists()):
                yield f"{page.path}: {link}: there is no such page"
            elif target is not None and anchor and anchor not in target.anchors:
                yield f"{page.path}: {link}: {target.path} has no such heading"
        for span in page.spans:
            absent = (
                _PATH.match(span)
                and not (PROJECT / span).exists()
                and not _PLACEHOLDER.search(span)
            )
            if absent or (page.path.name == "design.md" and _unknown_module(span, modules)):
                yield f"{page.path}: `{span}`: there is no such file"


def _unknown_module(span: str, modules: set[str]) -> bool:
    return _MODULE.match(span) is not None and span not in modules
