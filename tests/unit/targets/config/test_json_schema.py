from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tomli
from click.testing import CliRunner

from pipeline.latency.goals import LatencyGoal
from pipeline.run.registry import check_types, load_check, load_pass
from pipeline.training.params import TrainingLoopParams
from targets.cli.commands.schema import EXAMPLES, command, generate
from targets.cli.options import PROJECT
from targets.config.json_schema import build_schema, chain_passes
from targets.config.load import load_config
from targets.config.step_reader import DECIDED_ELSEWHERE
from targets.errors import ConfigError
from targets.target import load_target
from tests.support.project import make_project

if TYPE_CHECKING:
    from jsonschema import Draft7Validator

CONFIGS = sorted((PROJECT / "configs").glob("*.toml"))


@pytest.fixture(scope="module")
def schema() -> Draft7Validator:
    from jsonschema import Draft7Validator

    made = build_schema()
    Draft7Validator.check_schema(made)
    return Draft7Validator(made)


def mistakes(schema: Draft7Validator, document: dict[str, Any]) -> list[str]:
    return [error.message for error in schema.iter_errors(document)]


def test_committed_files_are_up_to_date() -> None:
    ran = CliRunner().invoke(command, ["--check"], standalone_mode=False)
    assert ran.exception is None, str(ran.exception)


def test_stale_file_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    texts = generate(PROJECT)
    file = tmp_path / "schema.json"
    file.write_text("{}")
    monkeypatch.setattr("targets.cli.options.PROJECT", tmp_path)
    monkeypatch.setattr(
        "targets.cli.commands.schema.generate", lambda _: {file: next(iter(texts.values()))}
    )
    ran = CliRunner().invoke(command, ["--check"], standalone_mode=False)
    assert isinstance(ran.exception, ConfigError)
    assert ran.exception.exit_code == 2
    assert file.read_text() == "{}"


@pytest.mark.parametrize("config", [*CONFIGS, EXAMPLES], ids=lambda path: path.name)
def test_shipped_configs_and_examples_fit(schema: Draft7Validator, config: Path) -> None:
    assert mistakes(schema, tomli.loads(config.read_text())) == []


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("r = 8", "rr = 8", "rr"),
        ("r = 8", 'r = "eight"', "eight"),
        ("r = 8", "r = 0", "minimum"),
        ("r = 8", 'weights = "any"', "weights"),
        ('name = "small"', "", "name"),
        ('path = "tone.jsonl"', "path = 3", "path"),
        ("[passes.merge]", "[passes.merge2]", "merge2"),
        ("[passes.merge]", "[resources]\nmemori = '6g'\n[passes.merge]", "memori"),
        ("[passes.merge]", "[checks.qualiti]\n[passes.merge]", "qualiti"),
        ("[passes.merge]", "[targets.cpu.passes.lora]\nrr = 1\n[passes.merge]", "rr"),
        ("[passes.merge]", "[targets.cpuu]\n[passes.merge]", "cpuu"),
    ],
)
def test_editor_and_build_refuse_the_same(
    schema: Draft7Validator, tmp_path: Path, old: str, new: str, named: str
) -> None:
    project = make_project(tmp_path)
    assert mistakes(schema, tomli.loads(project.config.read_text())) == []
    load_config(project.config, [load_target("cpu")])
    project.edit(old, new)
    assert mistakes(schema, tomli.loads(project.config.read_text()))
    with pytest.raises(ConfigError) as caught:
        load_config(project.config, [load_target("cpu")])
    assert named in str(caught.value) or named == "minimum"


def test_free_names_with_a_type_fit_both(schema: Draft7Validator, tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.edit("[passes.lora]", '[passes.first]\ntype = "lora"')
    assert mistakes(schema, tomli.loads(project.config.read_text())) == []
    load_config(project.config, [load_target("cpu")])


@pytest.fixture(scope="module")
def tables() -> dict[str, str]:
    """Return the sections of the reference page by what their headings name."""
    page = generate(PROJECT)[PROJECT / "docs" / "config.md"]
    sections = [part.partition("\n") for part in re.split(r"^##+ ", page, flags=re.MULTILINE)]
    return {heading.strip("`[]"): text for heading, _, text in sections}


def documented(tables: dict[str, str], heading: str) -> set[str]:
    """Return the keys that a section documents: its rows, and those of the one it refers to."""
    keys = set(re.findall(r"^\| `(\w+)` \|", tables[heading], re.MULTILINE))
    said = re.search(r"^All keys of \[`(\w+)`\]\S*?(?: except (.*))?, and:$", tables[heading], re.M)
    if said is not None:
        whole = documented(tables, f"{heading.partition('.')[0]}.{said[1]}")
        keys |= whole - set(re.findall(r"`(\w+)`", said[2] or ""))
    return keys


def test_tables_have_the_keys_of_their_models_and_no_others(tables: dict[str, str]) -> None:
    models = {
        **{f"passes.{name}": (load_pass(name).Params, {"type"}) for name in chain_passes()},
        **{f"checks.{name}": (load_check(name).Params, {"type"}) for name in check_types()},
        "model.pretrain": (load_pass("pretrain").Params, set()),
        "evaluation": (load_pass("evaluate").Params, set()),
    }
    for heading, (params, beside) in models.items():
        known = {*params.model_fields, *beside} - DECIDED_ELSEWHERE.keys()
        assert documented(tables, heading) == known, heading


def test_every_key_of_a_goal_is_documented(tables: dict[str, str]) -> None:
    assert documented(tables, "Goals of a check") == set(LatencyGoal.model_fields)


def test_keys_that_fine_tuning_passes_share_are_described_once(tables: dict[str, str]) -> None:
    finetuning = [
        name for name in chain_passes() if issubclass(load_pass(name).Params, TrainingLoopParams)
    ]
    rows = "".join(tables[f"passes.{name}"] for name in finetuning)
    assert len(finetuning) > 4
    for key in TrainingLoopParams.model_fields:
        # One with a default of its own describes the key again.
        own = [
            name
            for name in finetuning
            if key in vars(load_pass(name).Params).get("__annotations__", ())
        ]
        assert rows.count(f"| `{key}` |") == 1 + len(own), key
