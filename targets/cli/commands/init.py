"""``init``: write a config for a model and a data file of one's own."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from pipeline.contract.data_spec import PARQUET
from pipeline.contract.schema import HUB_PREFIX
from targets.atomic import sibling_folder
from targets.cli import options
from targets.cli.echo import echo
from targets.cli.json_output import print_json_result
from targets.config.documents import OWN_CONFIG
from targets.config.hub import parse_hub_model, pinned
from targets.errors import ConfigError, Problem
from targets.init.guess import Columns, columns_of, data_table, likely_answer, likely_prompt
from targets.init.write_project import NewProject, files_of, write_files


@dataclass(frozen=True)
class _Given:
    """What the options say; ``None`` where they say nothing."""

    model: str | None
    data: Path | None
    prompt: str | None
    answer: str | None
    name: str | None


@click.command("init")
@click.option("--model", metavar="SOURCE", help="Base model: a folder, or hf:org/name@revision.")
@click.option(
    "--data",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Rows to learn: JSON Lines, JSON, CSV, TSV or Parquet.",
)
@click.option(
    "--prompt", metavar="COLUMN", help="Column of what the user says, or a text with {column}."
)
@click.option(
    "--answer", metavar="COLUMN", help="Column of what the model must answer, or such a text."
)
@click.option("--name", help="Name of the build (default: that of the data file).")
@options.build_target_option
@click.option("--workflow/--no-workflow", default=True, help="Write a workflow of GitHub Actions.")
@click.option("--force", is_flag=True, help="Replace files that are there already.")
@options.json_option
def command(
    model: str | None,
    data: Path | None,
    prompt: str | None,
    answer: str | None,
    name: str | None,
    targets: tuple[str, ...],
    workflow: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write quern.toml, its schema for editors, a line for .gitignore and a workflow.

    Looks at the rows of the data file to find prompt, answer and classes. On a terminal it asks for
    what no option says; elsewhere, what cannot be found in the rows is an error.
    """
    given = _Given(model, data, prompt, answer, name)
    asks = sys.stdin.isatty() and not as_json
    project = _project(given, targets or ("cpu",), workflow, asks)
    folder = Path.cwd()
    files = files_of(project, folder)
    existing = [
        Problem("is there already", options.as_typed(file), suggestion="use --force to replace it")
        for file in files
        if file.exists() and file.name != ".gitignore" and not force
    ]
    if existing:
        raise ConfigError(existing)
    _require_valid(files[folder / OWN_CONFIG], folder)
    write_files(files)
    written = [str(options.as_typed(file)) for file in files]
    if as_json:
        print_json_result({"written": written, "data": dict(project.table)})
        return
    for file in written:
        echo(f"wrote {file}")


def _project(given: _Given, targets: tuple[str, ...], workflow: bool, asks: bool) -> NewProject:
    """Return the project that the options, the rows and the answers of the user describe.

    Raises ``ConfigError`` with everything that is missing.
    """
    problems: list[Problem] = []
    model = given.model or (
        click.prompt("Base model (a folder, or hf:org/name@revision)") if asks else ""
    )
    if not model:
        problems.append(Problem("no base model is named", key="--model"))
    data = given.data or (
        click.prompt("Data file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
        if asks
        else None
    )
    if data is None:
        problems.append(Problem("no data file is named", key="--data"))
        raise ConfigError(problems)
    columns = _look(data)
    table, missing = _table(columns, given, data, asks)
    problems += missing
    if problems:
        raise ConfigError(problems)
    name = given.name or re.sub(r"[^a-z0-9-]+", "-", data.stem.lower()).strip("-") or "build"
    if "prompt" in table and _is_plain(Path(model)):
        table["chat"] = False
    if model.startswith(HUB_PREFIX):
        try:
            hub = pinned(parse_hub_model(model))
        except ValueError as error:
            raise ConfigError([Problem(str(error), key="--model")]) from None
        model = f"{HUB_PREFIX}{hub.repo}@{hub.revision}"
    return NewProject(name, model, options.as_typed(data.absolute()), table, targets, workflow)


def _is_plain(model: Path) -> bool:
    """Return whether ``model`` is a checkpoint folder whose tokenizer has no chat template."""
    from pipeline.data.prompt_form import has_chat_template

    return (model / "tokenizer_config.json").is_file() and not has_chat_template(model)


def _look(data: Path) -> Columns | None:
    """Return what the rows of ``data`` have; ``None`` for Parquet, which only a toolchain reads.

    Raises ``ConfigError`` with every row that cannot be read.
    """
    if data.suffix.lower() == PARQUET:
        return None
    from pipeline.data.load import read_file

    read = read_file(data)
    if read.problems:
        raise ConfigError(
            [
                Problem(problem.message, data, problem.line, suggestion=problem.suggestion)
                for problem in read.problems
            ]
        )
    if not read.rows:
        raise ConfigError([Problem("has no rows", data)])
    return columns_of(read.rows)


def _table(
    columns: Columns | None, given: _Given, data: Path, asks: bool
) -> tuple[dict[str, object], list[Problem]]:
    """Return the keys of the data set, or the problems for which there are none."""
    if columns is None:
        columns = Columns((), {}, (), 0)
    elif columns.conversations and not (given.prompt or given.answer):
        return {"messages": columns.conversations[0]}, []
    likely = given.answer or likely_answer(columns, given.prompt)
    prompt = given.prompt or likely_prompt(columns, likely)
    answer = given.answer or likely_answer(columns, prompt)
    if asks and not given.prompt:
        echo(f"columns of {data}: {', '.join(columns.names)}")
        prompt = click.prompt(
            "What the user says (a column, or a text with {column})", default=prompt
        )
    if asks and not given.answer:
        answer = click.prompt("What the model must answer", default=answer)
    named = (
        f"its columns are {', '.join(columns.names)}" if columns.names else "it is not read here"
    )
    problems = [
        Problem(f"which column of {data} it is cannot be seen", key=key, suggestion=named)
        for key, value in (("--prompt", prompt), ("--answer", answer))
        if not value
    ]
    if problems or prompt is None or answer is None:
        return {}, problems
    return data_table(columns, _column(prompt, columns), _column(answer, columns)), []


def _column(text: str, columns: Columns) -> str:
    """Return ``text`` as a template: a word that is no known column stands for one all the same
    where the columns are not known."""
    unknown = not columns.names and "{" not in text
    return f"{{{text}}}" if unknown else text


def _require_valid(text: str, folder: Path) -> None:
    """Raise ``ConfigError`` with all for which a build in ``folder`` would refuse this config."""
    from targets.config.documents import read_documents
    from targets.config.load import load_document

    file = folder / OWN_CONFIG
    with sibling_folder(folder / ".quern-init") as scratch:
        written = scratch / OWN_CONFIG
        written.write_text(text, encoding="utf-8")
        (document,) = read_documents(written)
        load_document(file, document)
