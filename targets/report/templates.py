"""The Jinja environments that reports are written with: how figures and text appear in them."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from targets import figures


def markdown_environment(folder: Path) -> Environment:
    """Return the environment of the Markdown templates in ``folder``.

    Markdown has no escape that fits everywhere; text from outside goes through the filter ``cell``.
    """
    environment = _environment(folder, autoescape=False)
    environment.filters["cell"] = _cell
    return environment


def html_environment(folder: Path) -> Environment:
    """Return the environment of the HTML templates in ``folder``; all values are escaped."""
    return _environment(folder, autoescape=True)


def _environment(folder: Path, autoescape: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=autoescape,  # noqa: S701 - the caller says what the templates are
    )
    environment.filters.update(
        bytes=figures.size,
        duration=figures.duration,
        figure=figures.verdict_value,
        limit=figures.verdict_limit,
        words=figures.verdict_words,
        percent=figures.percent,
        prompts=figures.prompt_words,
        rate=figures.rate,
        time=figures.milliseconds,
        middle=lambda found: figures.middle(found["p50"], found["low"], found["high"]),
    )
    return environment


def _cell(text: object) -> str:
    """Return ``text`` so that it stays in its cell and is no markup of its own."""
    plain = " ".join(str(text).split())
    for sign in ("\\", "|", "<", "[", "`", "*"):
        plain = plain.replace(sign, f"\\{sign}")
    return plain
