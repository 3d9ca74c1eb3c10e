"""The Jinja environments of reports: filters for figures, and escaping of text.

There is one of each kind for a folder, which keeps the templates that it has compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.contract.adapter_name import SUFFIX
from pipeline.contract.file_digest import FileDigest
from targets import figures
from targets.foreign_text import visible

TEMPLATES = Path(__file__).parent
"""The templates of reports, and the style of all pages."""


@cache
def markdown_environment(folder: Path) -> Environment:
    """Return the environment of the Markdown templates in ``folder``.

    Markdown has no general escaping; text from outside must use the filter ``cell``.
    """
    environment = _environment(folder, autoescape=False)
    environment.filters["cell"] = _cell
    return environment


@cache
def html_environment(folder: Path) -> Environment:
    """Return the environment of the HTML templates in ``folder``; all values are escaped."""
    environment = _environment(folder, autoescape=True)
    environment.filters["code"] = _code
    return environment


@cache
def source_environment(folder: Path, literal: Callable[[str], str]) -> Environment:
    """Return the environment of templates of programs in ``folder``.

    Text from outside must pass the filter ``literal``, which writes it in the program's language.
    """
    environment = _environment(folder, autoescape=False)
    environment.filters["literal"] = literal
    return environment


def _environment(folder: Path, autoescape: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_finalize,
        autoescape=autoescape,  # noqa: S701 - the caller says what the templates are
    )
    environment.filters.update(
        adapters=_adapters,
        bytes=figures.size,
        duration=figures.duration,
        figure=figures.verdict_value,
        limit=figures.verdict_limit,
        words=figures.verdict_words,
        percent=figures.percent,
        prompts=figures.prompt_words,
        rate=figures.rate,
        time=figures.milliseconds,
        middle=lambda figure: figures.middle(figure["p50"], figure["low"], figure["high"]),
    )
    return environment


def _adapters(files: Iterable[FileDigest]) -> list[FileDigest]:
    """Return those of an artifact's ``files`` that are adapters beside the model."""
    return [file for file in files if file.path.endswith(SUFFIX)]


def _finalize(value: object) -> object:
    """Return a value as a page shows it; markup is drawn by Quern itself."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _code(text: str) -> Markup:
    """Return Quern's own ``text`` with what stands between backticks as code."""
    plain, code = Markup("{}"), Markup("<code>{}</code>")
    parts = ((code if at % 2 else plain).format(part) for at, part in enumerate(text.split("`")))
    return Markup("").join(parts)


def _cell(text: object) -> str:
    """Escape ``text`` for a table cell, so that it neither ends the cell nor acts as markup."""
    plain = " ".join(str(text).split())
    for sign in ("\\", "|", "<", "[", "`", "*"):
        plain = plain.replace(sign, f"\\{sign}")
    return plain
