"""Bad input: everything that is wrong with a config and its data, at once, with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from targets.config.load import LoadedConfig, Overrides, load_config
from targets.errors import ConfigError, Problem
from targets.target import load_target
from tests.support.project import Project, make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path)


def load(project: Project, overrides: Overrides | None = None) -> LoadedConfig:
    return load_config(project.config, [load_target("cpu")], overrides)


def problems(project: Project, overrides: Overrides | None = None) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load(project, overrides)
    return list(caught.value.problems)


def only(found: list[Problem]) -> Problem:
    assert len(found) == 1, [str(problem) for problem in found]
    return found[0]


def test_right_config_loads(project: Project) -> None:
    chain = load(project).chains["cpu"]
    assert [call.name for call in chain.passes] == ["lora", "merge", "model_builder"]
    assert chain.passes[0].values["r"] == 8
    assert chain.passes[2].values["execution_provider"] == "cpu"
    assert {call.name for call in chain.checks} == {
        *("graph", "provider", "generation", "quality", "latency", "memory", "size"),
        *("conversion", "merging", "quantization", "rebuild"),
    }


def test_everything_wrong_is_reported_at_once(project: Project) -> None:
    project.edit('name = "small"', 'name = "small"\nsede = 3')
    project.edit("r = 8", 'r = "eight"\nlora_alpah = 3')
    project.edit('path = "tone.jsonl"', 'path = "tones.jsonl"')
    project.edit('text = "story.txt"', 'text = "tale.txt"')
    found = {(problem.line, problem.key) for problem in problems(project)}
    assert found >= {
        (2, "sede"),
        (5, "model.pretrain.text"),
        (8, "data.tone.path"),
        (15, "passes.lora.r"),
        (16, "passes.lora.lora_alpah"),
    }


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "said"),
    [
        ('name = "small"', 'name = "small"\nsede = 3', 2, "sede", "did you mean 'seed'?"),
        ("r = 8", "alhpa = 8", 14, "passes.lora.alhpa", "did you mean 'alpha'?"),
        ("r = 8", "rank = 8", 14, "passes.lora.rank", "did you mean 'r'?"),
        ("r = 8", "lora_alpha = 8", 14, "passes.lora.lora_alpha", "did you mean 'alpha'?"),
        ("r = 8", "num_train_epochs = 8", 14, "passes.lora.num_train_epochs", "'epochs'?"),
        ("r = 8", "r = -1", 14, "passes.lora.r", "greater than"),
        ("r = 8", "max_steps = 3\nepochs = 2", 13, "passes.lora", "max_steps"),
        ("[passes.merge]", "[passes.merg]", 16, "passes.merg", "did you mean 'merge'?"),
        (
            'prompt = "{phrase}"',
            'prompt = "{phrse}"',
            8,
            "data.tone.prompt",
            "did you mean 'phrase'?",
        ),
        ('label = "tone"', 'label = "tne"', 10, "data.tone.label", "did you mean 'tone'?"),
        ('completion = "{tone}"', "", 6, "data.tone", "prompt needs a completion"),
        (
            "[passes.model_builder]",
            '[passes.model_builder]\nprecision = "fp16"',
            19,
            "passes.model_builder.precision",
            "int4",
        ),
        (
            "[passes.model_builder]",
            '[passes.model_builder]\nexecution_provider = "cuda"',
            19,
            "passes.model_builder.execution_provider",
            "the target decides it",
        ),
        (
            "[passes.merge]",
            "",
            13,
            "passes.lora",
            "the adapter made by 'lora' is not used by any later pass add merge before model_b",
        ),
        (
            "[passes.merge]",
            "[passes.early]\ntype = 'model_builder'\n[passes.merge]",
            16,
            "passes.early",
            "the artifact is what the last pass makes: put 'early' there",
        ),
        (
            "[passes.lora]",
            "[targets.cqu.passes.lora]\nr = 4\n[passes.lora]",
            13,
            "targets.cqu",
            "did you mean 'cpu'?",
        ),
        (
            "[passes.merge]",
            "[checks.quality]\nmin_accuracy = 1.5\n[passes.merge]",
            17,
            "checks.quality.min_accuracy",
            "less than or equal to 1",
        ),
        (
            "[passes.merge]",
            "[data.tone.split]\neval = 1.5\n[passes.merge]",
            17,
            "data.tone.split.eval",
            "less than or equal to 1",
        ),
        (
            "[passes.merge]",
            '[checks.script]\nscript = "metrics.py"\nmetric = "x"\n[passes.merge]',
            17,
            "checks.script.script",
            "there is no 'metrics.py'",
        ),
        (
            "[passes.merge]",
            '[checks.quality]\ngoals = [{ metric = "macrof1", at_least = 1 }]\n[passes.merge]',
            17,
            "checks.quality.goals",
            "did you mean 'macro_f1'?",
        ),
        (
            "[passes.merge]",
            "[checks.numerics]\nmax_logits_error = 0.3\n[passes.merge]",
            16,
            "checks.numerics",
            "conversion and quantization took its place",
        ),
        (
            "[passes.merge]",
            '[checks.quality]\nanswer_pattern = "("\n[passes.merge]',
            17,
            "checks.quality.answer_pattern",
            "this is not a regular expression",
        ),
        ('text = "story.txt"', 'text = "tale.txt"', 4, "model.pretrain.text", "there is no"),
    ],
)
def test_mistake_is_placed_and_explained(
    project: Project, old: str, new: str, line: int, key: str, said: str
) -> None:
    project.edit(old, new)
    problem = only(problems(project))
    assert (problem.line, problem.key) == (line, key)
    assert problem.file == project.config
    assert said in f"{problem.message} {problem.suggestion}"


def test_broken_toml_names_the_line(project: Project) -> None:
    project.edit("r = 8", "r = = 8")
    assert only(problems(project)).line == 14


def test_every_broken_row_is_named(project: Project) -> None:
    lines = project.data.read_text().splitlines()
    lines[2] = '{"phrase": "cut off'
    lines[6] = "[1, 2]"
    project.data.write_text("\n".join(lines))
    found = problems(project)
    assert [(problem.file, problem.line) for problem in found] == [
        (project.data, 3),
        (project.data, 7),
    ]


def test_unknown_label_is_named_with_the_nearest(project: Project) -> None:
    with project.data.open("a") as stream:
        stream.write(json.dumps({"phrase": "a last one", "tone": "saddness"}) + "\n")
    problem = only(problems(project))
    assert (problem.file, problem.line) == (project.data, 81)
    assert "did you mean 'sadness'?" in problem.suggestion


def test_empty_data_set(project: Project) -> None:
    project.data.write_text("")
    assert "is empty" in str(only(problems(project)))


def test_model_folder_without_a_model(project: Project, tmp_path: Path) -> None:
    (tmp_path / "not-a-model").mkdir()
    project.edit('[model.pretrain]\ntext = "story.txt"', 'model = "not-a-model"')
    said = [problem.message for problem in problems(project)]
    assert any("config.json" in message for message in said)
    assert any("no weights" in message for message in said)
    assert any("no tokenizer" in message for message in said)


def test_pickled_weights_are_refused_unless_allowed(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "old-model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "phi3"}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"")
    project.edit('[model.pretrain]\ntext = "story.txt"', '[model]\nsource = "old-model"')
    assert "pickled" in only(problems(project)).message
    project.edit('source = "old-model"', 'source = "old-model"\nweights = "any"')
    assert load(project).model_folder == folder


def test_data_override(project: Project, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "mine.jsonl"
    other.parent.mkdir()
    project.data.rename(other)
    loaded = load(project, Overrides(data={"tone": other}))
    assert loaded.data_files["tone"] == (other,)
    found = problems(project, Overrides(data={"tones": other}))
    assert any("did you mean 'tone'?" in problem.suggestion for problem in found)


def test_config_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such config file"):
        load_config(tmp_path / "none.toml", [load_target("cpu")])


@pytest.mark.parametrize("split", ["{ eval = 0 }", None])
def test_a_metric_of_answers_needs_rows_to_ask(project: Project, split: str | None) -> None:
    (project.folder / "measure.py").write_text("def score(answers, expected): return 1\n")
    if split is None:
        text = project.config.read_text()
        begin, end = text.index("[data.tone]"), text.index("[passes.lora]")
        project.config.write_text(text[:begin] + text[end:])
    else:
        project.edit("[data.tone]", f"[data.tone]\nsplit = {split}")
    check = '[checks.own]\ntype = "script"\nscript = "measure.py"\nmetric = "score"\n'
    project.edit("[passes.lora]", check + "\n[passes.lora]")
    with pytest.raises(ConfigError) as caught:
        load_config(project.config, [load_target("cpu")])
    assert "checks.own" in {problem.key for problem in caught.value.problems}
    project.edit('metric = "score"', 'evaluate = "score"')
    if split is not None:
        load_config(project.config, [load_target("cpu")])  # evaluate finds its own questions


@pytest.mark.parametrize("name", ["reference", "evaluate-tuned", "merge-for-checks"])
def test_a_check_does_not_take_the_name_of_a_built_in_step(project: Project, name: str) -> None:
    project.edit("[passes.lora]", f'[checks.{name}]\ntype = "size"\n\n[passes.lora]')
    with pytest.raises(ConfigError, match="this name is used by a built-in step"):
        load_config(project.config, [load_target("cpu")])


def test_a_tilde_is_the_home_wherever_a_path_stands(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = project.folder.parent / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("story.txt", "tone.jsonl"):
        (project.folder / name).rename(home / name)
        project.edit(f'"{name}"', f'"~/{name}"')
    loaded = load_config(project.config, [load_target("cpu")])
    assert loaded.data_files == {"tone": (home / "tone.jsonl",)}
    assert loaded.path("~/story.txt") == home / "story.txt"
