"""Writes the files of a new project: config, schema for editors, what git ignores, workflow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from targets.atomic import replace_file
from targets.config.documents import OWN_CONFIG
from targets.config.json_schema import build_schema
from targets.version import quern_version

SCHEMA = "quern.schema.json"
WORKFLOW = Path(".github") / "workflows" / "quern.yml"
_IGNORED = ("/dist/",)


@dataclass(frozen=True)
class NewProject:
    """What a new project builds."""

    name: str
    model: str
    data: Path
    """The data file, relative to the project's folder where it is below it."""
    table: Mapping[str, Any]
    """The keys of the data set besides its path."""
    targets: tuple[str, ...]
    workflow: bool = True


def files_of(project: NewProject, folder: Path) -> dict[Path, str]:
    """Return the text of each file of the project, by its path.

    ``.gitignore`` keeps what it has.
    """
    files = {
        folder / OWN_CONFIG: config_text(project),
        folder / SCHEMA: json.dumps(build_schema(), indent=1, ensure_ascii=False) + "\n",
    }
    ignore = folder / ".gitignore"
    before = ignore.read_text("utf-8") if ignore.exists() else ""
    missing = [line for line in _IGNORED if line not in before.splitlines()]
    if missing:
        files[ignore] = "".join(_lines(before)) + "".join(f"{line}\n" for line in missing)
    if project.workflow:
        templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent),
            undefined=StrictUndefined,
            keep_trailing_newline=True,
            autoescape=False,  # noqa: S701 - YAML, and nothing in it comes from outside
            variable_start_string="<<",
            variable_end_string=">>",
        )
        workflow = templates.get_template("workflow.yml.j2")
        files[folder / WORKFLOW] = workflow.render(
            version=quern_version(), config=OWN_CONFIG, targets=project.targets
        )
    return files


def _lines(text: str) -> Iterator[str]:
    yield text
    if text and not text.endswith("\n"):
        yield "\n"


def config_text(project: NewProject) -> str:
    """Return the config of ``project`` as TOML."""
    head = tomli_w.dumps({"name": project.name, "default_targets": list(project.targets)})
    parts = [
        f"#:schema ./{SCHEMA}\n# Made by `quern init`. docs/config.md of Quern has every key.",
        head.rstrip(),
        tomli_w.dumps({"model": {"source": project.model}}).rstrip(),
        tomli_w.dumps(
            {"data": {project.name: {"path": project.data.as_posix(), **project.table}}},
            multiline_strings=True,
        ).rstrip(),
        "# Of the distinct texts, this share is never trained on: it measures the artifact.\n"
        + tomli_w.dumps({"data": {project.name: {"split": {"eval": 0.3}}}}).rstrip(),
        "[passes.lora]\nepochs = 3",
        "[passes.merge]",
        '[passes.model_builder]\nprecision = "int4"',
    ]
    return "\n\n".join(parts) + "\n"


def write_files(files: Mapping[Path, str]) -> None:
    """Write each file, completely or not at all."""
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, text)
