"""``schema``: write the config's JSON schema for editors, and the reference pages for people."""

from __future__ import annotations

import json
from pathlib import Path

import click

from targets.atomic import replace_file
from targets.cli import options
from targets.cli.echo import echo
from targets.cli.json_output import print_json_result
from targets.config.json_schema import build_schema
from targets.config.reference import ReferencePage
from targets.errors import ConfigError, Problem
from targets.report.checks_page import checks_page

EXAMPLES = Path(__file__).parents[2] / "config" / "examples.toml"
_REMEDY = "run `nox -s schema`"


@click.command("schema")
@click.option("--check", is_flag=True, help="Only see whether the files are up to date.")
@options.json_option
def command(check: bool, as_json: bool) -> None:
    """Write configs/schema.json and docs/config.md from the models that validate configs, and
    docs/checks.md from the words that reports have for each check."""
    texts = generate(options.PROJECT)
    stale = [file for file, text in texts.items() if _read(file) != text]
    shown = [str(file.relative_to(options.PROJECT)) for file in stale]
    if check and stale:
        raise ConfigError(
            [
                Problem("is not up to date", file.relative_to(options.PROJECT), None, "", _REMEDY)
                for file in stale
            ]
        )
    for file in stale:
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, texts[file])
    if as_json:
        print_json_result({"written": shown})
    else:
        echo(f"written: {', '.join(shown)}" if shown else "up to date")


def generate(project: Path) -> dict[Path, str]:
    """Return the text of each generated file."""
    schema = build_schema()
    configs = project / "configs"
    examples = [configs / "tone.toml", *sorted(configs.glob("*.toml")), EXAMPLES]
    return {
        configs / "schema.json": json.dumps(schema, indent=1, ensure_ascii=False) + "\n",
        project / "docs" / "config.md": ReferencePage(schema, examples).text(),
        project / "docs" / "checks.md": checks_page(),
    }


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""
