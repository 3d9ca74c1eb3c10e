"""``convert``: write an Olive file as the TOML config that builds the same."""

from __future__ import annotations

from pathlib import Path

import click

from targets.atomic import replace_file
from targets.cli import options
from targets.cli.echo import echo
from targets.cli.json_output import print_json_result
from targets.config.documents import Document, read_documents
from targets.config.write_toml import to_toml
from targets.console.print_explanation import explanation
from targets.errors import ConfigError, Problem
from targets.version import invocation


@click.command("convert")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The TOML file to write (default: beside FILE, with its name).",
)
@click.option("--force", is_flag=True, help="Replace a file that is there already.")
@options.system_option
@options.json_option
def command(
    file: Path, output: Path | None, force: bool, system: str | None, as_json: bool
) -> None:
    """Write the TOML config that FILE, a config of Microsoft Olive, stands for.

    Building from either gives the same steps with the same keys. A file with several flows of
    passes becomes several configs. Nothing is written where a key of FILE is refused.
    """
    shown = options.as_typed(file)
    documents = read_documents(shown, system)
    first = documents[0]
    if first.ledger is None:
        problem = Problem("is a Quern config already", shown, suggestion="give an Olive file")
        raise ConfigError([problem])
    if first.problems:
        raise ConfigError(first.problems)
    places = _places(file, output, documents)
    existing = [place for place in places if place.exists() and not force]
    if existing:
        raise ConfigError(
            [
                Problem(
                    "is there already",
                    options.as_typed(place),
                    suggestion="use --force, or --output",
                )
                for place in existing
            ]
        )
    for place, document in zip(places, documents, strict=True):
        comment = f"Made from {file.name} by `{invocation('convert')}`."
        text = to_toml(document.table, comment, file.parent, place.parent)
        replace_file(place, text)
    if as_json:
        written = [str(place) for place in places]
        print_json_result({"written": written, **explanation(first.ledger)})
        return
    for place in places:
        echo(f"wrote {options.as_typed(place)}")
    echo(f"`{invocation('plan', '--config FILE --explain')}` says what became of each key")


def _places(file: Path, output: Path | None, documents: tuple[Document, ...]) -> list[Path]:
    """Return where each document is written to."""
    place = output or file.with_suffix(".toml")
    if len(documents) == 1:
        return [place]
    return [
        place.with_name(f"{place.stem}-{number}.toml") for number in range(1, len(documents) + 1)
    ]
