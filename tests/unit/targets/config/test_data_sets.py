"""Several data sets in a config: what is wrong is placed, what changes is in the keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.contract.plan import DataInput, SourceInput, StepInput
from pipeline.contract.result import StepResult
from targets.cache import Cache
from targets.config.load import Overrides, load_config
from targets.device_checks.parcel import pack, unpack
from targets.errors import ConfigError, Problem
from targets.target import load_target
from tests.support.planning import build, make_planner, replan, to_run
from tests.support.project import Project, make_project

SCRIPT = """\
from olive.data.registry import Registry

@Registry.register_dataset()
def tones():
    return [{"phrase": "a", "tone": "joy"}]

def shout(row):
    return row["phrase"].upper()
"""
MADE = '[data.tone.code]\nscript = "user.py"\nload = "tones"\n'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = make_project(tmp_path / "project")
    (made.folder / "user.py").write_text(SCRIPT)
    return made


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def problems(project: Project) -> list[Problem]:
    with pytest.raises(ConfigError) as error:
        load_config(project.config, [load_target("cpu")])
    return list(error.value.problems)


def add(project: Project, text: str) -> None:
    project.edit("[passes.lora]", f"{text}\n[passes.lora]")


def from_code(project: Project) -> None:
    project.edit('path = "tone.jsonl"\n', "")
    add(project, MADE)


def other(name: str = "test") -> str:
    return f'[data.{name}]\npath = "tone.jsonl"\nprompt = "{{phrase}}"\ncompletion = "{{tone}}"\n'


def line_of(project: Project, text: str) -> int:
    return project.config.read_text().splitlines().index(text) + 1


def test_rows_come_from_one_place(project: Project) -> None:
    project.edit('path = "tone.jsonl"', 'source = "hf:org/name"\npath = "tone.jsonl"')
    (problem,) = problems(project)
    assert "exactly one of path, source, code.load (found path and source)" in problem.message
    project.edit('source = "hf:org/name"\npath = "tone.jsonl"', "")
    (problem,) = problems(project)
    assert "found none of them" in problem.message


def test_two_main_data_sets(project: Project) -> None:
    add(project, other())
    (problem,) = problems(project)
    assert "2 data sets could be the one that is trained on: tone, test" in problem.message
    assert problem.line == line_of(project, "[data.test]")


def test_an_unknown_part_has_a_suggestion(project: Project) -> None:
    add(project, other())
    project.edit('label = "tone"', 'held_out = "tets"\nlabel = "tone"')
    found = problems(project)
    assert found[0].message == "there is no data set 'tets'"
    assert found[0].suggestion == "did you mean 'test'?"
    assert (found[0].key, found[0].line) == (
        "data.tone.held_out",
        line_of(project, 'held_out = "tets"'),
    )


def test_parts_of_parts_and_of_itself(project: Project) -> None:
    project.edit('label = "tone"', 'held_out = "tone"\nlabel = "tone"')
    found = [problem.message for problem in problems(project)]
    assert found == [
        "every data set is a part of another",
        "a data set cannot be a part of itself",
    ]


def test_a_part_is_checked_without_a_split(project: Project) -> None:
    few = project.folder / "few.jsonl"
    few.write_text('{"phrase": "only one", "tone": "joy"}\n')
    add(project, other().replace("tone.jsonl", "few.jsonl"))
    project.edit('label = "tone"', 'held_out = "test"\nlabel = "tone"')
    loaded = load_config(project.config, [load_target("cpu")])
    assert loaded.main_data == "tone"
    few.write_text('{"phrase": "", "tone": "joy"}\n')
    (problem,) = problems(project)
    assert (problem.file, problem.line) == (few, 1)


def test_each_file_has_its_own_lines(project: Project) -> None:
    project.edit('path = "tone.jsonl"', 'path = ["tone.jsonl", "more.csv"]')
    more = project.folder / "more.csv"
    more.write_text("phrase,tone\na,joy\nb,anger\n")
    (problem,) = problems(project)
    assert (problem.file, problem.line) == (more, 3)
    more.write_text("phrase,tone\na\n")
    (problem,) = problems(project)
    assert (problem.file, problem.line) == (more, 2)
    more.unlink()
    (problem,) = problems(project)
    assert "more.csv" in problem.message


def test_scripts_and_hub_names_are_looked_at(project: Project) -> None:
    from_code(project)
    project.edit('script = "user.py"', 'script = "usr.py"')
    (problem,) = problems(project)
    assert (problem.message, problem.key) == ("there is no 'usr.py'", "data.tone.code.script")
    project.edit(MADE.replace("user.py", "usr.py"), "")
    project.edit('label = "tone"', 'source = "hf:org/name@<commit>"\nlabel = "tone"')
    (problem,) = problems(project)
    assert problem.key == "data.tone.source"


def test_nothing_held_out(project: Project, cache: Cache) -> None:
    add(project, "[data.tone.split]\neval = 0\n")
    plan = make_planner(project, cache).plan()
    names = {planned.step.name for planned in plan.steps}
    assert not names & {"evaluate-base", "evaluate-tuned", "quality", "generation"}
    assert {"reference", "latency", "conversion", "quantization"} <= names
    assert "nothing is held out: quality and generation are not checked" in plan.notes
    add(project, "[checks.quality]\nmin_accuracy = 0.5\n")
    (problem,) = problems(project)
    assert problem.key == "checks.quality"


def test_everything_held_out(project: Project) -> None:
    add(project, "[data.tone.split]\neval = 1\n")
    (problem,) = problems(project)
    assert problem.key == "passes.lora"
    assert "nothing to train on" in problem.message


def test_sequences_longer_than_the_pass_allows(project: Project) -> None:
    add(project, "[data.tone.sequences]\nlength = 2048\n")
    (problem,) = problems(project)
    assert "max_length 1024 is less than sequences.length 2048" in problem.message
    project.edit("r = 8", "r = 8\nmax_length = 2048")
    load_config(project.config, [load_target("cpu")])


def test_made_rows_are_a_step_of_their_own(project: Project, cache: Cache) -> None:
    from_code(project)
    plan = make_planner(project, cache).plan()
    names = [planned.step.name for planned in plan.steps]
    assert names[:4] == ["rows-tone", "pretrain", "tokens-lora", "lora"]
    rows = plan["rows-tone"].step
    assert (rows.target, rows.network) == ("cpu", False)
    data = plan["lora"].step.data
    assert data is not None
    assert data.rows == (StepInput(step="rows-tone", key=rows.key),)
    assert [mount.root for mount in plan.mounts if mount.root.startswith("rows")] == [
        "rows-tone.script"
    ]


def test_the_script_is_in_the_key_and_its_place_is_not(project: Project, cache: Cache) -> None:
    from_code(project)
    add(project, "")
    project.edit('load = "tones"', 'load = "tones"\nscript_dir = "lib"')
    library = project.folder / "lib"
    library.mkdir()
    (library / "helper.py").write_text("x = 1\n")
    build(project, cache)
    (project.folder / "user.py").rename(project.folder / "moved.py")
    project.edit('script = "user.py"', 'script = "moved.py"')
    (library / "__pycache__").mkdir()
    (library / "__pycache__" / "helper.pyc").write_bytes(b"x")
    assert replan(project, cache) == {}
    (project.folder / "moved.py").write_text(SCRIPT.replace("joy", "fear"))
    reasons = replan(project, cache)
    assert reasons["rows-tone"] == "script changed"
    assert reasons["tokens-lora"] == "the data changed"
    assert reasons["lora"].startswith("the data changed")
    assert "pretrain" not in reasons
    (project.folder / "moved.py").write_text(SCRIPT)
    (library / "helper.py").write_text("x = 2\n")
    assert replan(project, cache)["rows-tone"] == "script_dir changed"


def test_how_made_rows_are_read_does_not_make_them_again(project: Project, cache: Cache) -> None:
    from_code(project)
    build(project, cache)
    project.edit('prompt = "{phrase}"', 'prompt = "Tone? {phrase}"')
    reasons = replan(project, cache)
    assert "rows-tone" not in reasons
    assert "lora" in reasons


def test_network_and_the_model_only_where_they_are_needed(project: Project, cache: Cache) -> None:
    from_code(project)
    project.edit(
        'prompt = "{phrase}"\ncompletion = "{tone}"\nlabel = "tone"\n'
        'labels = ["joy", "sadness", "fear", "surprise"]\n',
        "tokens = true\n",
    )
    project.edit('load = "tones"', 'load = "tones"\npre_process = "shout"\nnetwork = true')
    plan = make_planner(project, cache).plan()
    assert [planned.step.name for planned in plan.steps][:2] == ["pretrain", "rows-tone"]
    rows = plan["rows-tone"].step
    assert rows.network
    assert rows.inputs["model"] == StepInput(step="pretrain", key=plan["pretrain"].step.key)


def test_a_hub_data_set_and_a_file_in_its_place(project: Project, cache: Cache) -> None:
    commit = "a" * 40
    project.edit('path = "tone.jsonl"', f'source = "hf:org/tones@{commit}"\npart = "train[:9]"')
    plan = make_planner(project, cache).plan()
    assert [planned.step.name for planned in plan.steps][:2] == ["fetch-tone", "rows-tone"]
    fetched, rows = plan["fetch-tone"].step, plan["rows-tone"].step
    assert (fetched.network, fetched.hub, rows.network, rows.hub) == (True, True, False, False)
    wanted = {"repo": "org/tones", "revision": commit, "part": "train[:9]"}
    assert wanted.items() <= fetched.params.items()
    assert rows.inputs["fetched"] == StepInput(step="fetch-tone", key=fetched.key)
    overrides = Overrides(data={"tone": project.data})
    plan = make_planner(project, cache, overrides).plan()
    assert not {"fetch-tone", "rows-tone"} & {planned.step.name for planned in plan.steps}


def test_functions_get_network_and_hub_only_where_the_config_grants_them(
    project: Project, cache: Cache
) -> None:
    commit = "a" * 40
    code = '[data.tone.code]\nscript = "user.py"\ncolumns = { tone = "shout" }\n'
    (project.folder / "user.py").write_text(SCRIPT)
    project.edit('path = "tone.jsonl"', f'source = "hf:org/tones@{commit}"')
    add(project, code)
    for granted, expected in (
        ("", (False, False)),
        ("network = true\n", (True, False)),
        ("network = true\nhub = true\n", (True, True)),
    ):
        project.edit(code, code + granted)
        plan = make_planner(project, cache).plan()
        rows = plan["rows-tone"].step
        assert (rows.network, rows.hub) == expected
        assert plan["fetch-tone"].step.hub
        project.edit(code + granted, code)
    project.edit(code, code + "hub = true\n")
    (problem,) = problems(project)
    assert "hub needs network = true" in problem.message


def test_a_file_in_place_of_code_that_loads_keeps_its_columns(
    project: Project, cache: Cache
) -> None:
    from_code(project)
    project.edit('load = "tones"', 'load = "tones"\ncolumns = { phrase = "shout" }')
    overrides = Overrides(data={"tone": project.data})
    step = make_planner(project, cache, overrides).plan()["rows-tone"].step
    assert (step.params["load"], step.params["columns"]) == (None, {"phrase": "shout"})
    assert isinstance(step.inputs["file-0"], SourceInput)


def test_parquet_goes_through_a_step(project: Project, cache: Cache) -> None:
    (project.folder / "tone.parquet").write_bytes(b"PAR1\0\1\0\0\0PAR1")
    project.edit('"tone.jsonl"', '["tone.jsonl", "tone.parquet"]')
    step = make_planner(project, cache).plan()["rows-tone"].step
    assert [role for role in step.inputs if role.startswith("file")] == ["file-0", "file-1"]


def test_a_changed_part_rebuilds_what_reads_it(project: Project, cache: Cache) -> None:
    test = project.folder / "test.jsonl"
    test.write_text('{"phrase": "held out", "tone": "joy"}\n')
    add(project, other().replace("tone.jsonl", "test.jsonl"))
    project.edit('label = "tone"', 'held_out = "test"\nlabel = "tone"')
    plan = build(project, cache)
    data = plan["lora"].step.data
    assert data is not None
    assert [item.name for item in data.all()] == ["tone", "test"]
    project.edit("[data.test]", "[data.renamed]")
    project.edit('held_out = "test"', 'held_out = "renamed"')
    assert replan(project, cache) == {}
    test.write_text('{"phrase": "another", "tone": "joy"}\n')
    reasons = to_run(make_planner(project, cache).plan())
    assert reasons["lora"] == "the held-out data changed"
    assert reasons["quality"].startswith("the held-out data changed")


def test_the_order_of_files_is_in_the_key(project: Project, cache: Cache) -> None:
    (project.folder / "more.csv").write_text("phrase,tone\na,joy\n")
    project.edit('"tone.jsonl"', '["tone.jsonl", "more.csv"]')
    before = make_planner(project, cache).plan()["lora"].step.key
    project.edit('["tone.jsonl", "more.csv"]', '["more.csv", "tone.jsonl"]')
    assert make_planner(project, cache).plan()["lora"].step.key != before


def test_all_data_travels_with_the_checks(project: Project, cache: Cache, tmp_path: Path) -> None:
    from_code(project)
    add(project, other().replace('"tone.jsonl"', '["tone.jsonl", "sub/tone.jsonl"]'))
    (project.folder / "sub").mkdir()
    (project.folder / "sub" / "tone.jsonl").write_text('{"phrase": "x", "tone": "joy"}\n')
    project.edit('label = "tone"', 'held_out = "test"\nlabel = "tone"')
    plan = make_planner(project, cache).plan()
    made = tmp_path / "made"
    made.mkdir()
    (made / "rows.jsonl").write_text("{}\n")
    results = {
        planned.step.name: StepResult(
            name=planned.step.name,
            type=planned.step.type,
            key=planned.step.key,
            seconds=1,
            peak_rss_bytes=1,
        )
        for planned in plan.steps
    }
    (tmp_path / "dist").mkdir()
    pack(tmp_path / "dist", plan, results, lambda _: made)
    there = tmp_path / "dist" / "checks" / "data"
    assert sorted(path.relative_to(there).as_posix() for path in there.rglob("*.jsonl")) == [
        "test/1-tone.jsonl",
        "test/2-tone.jsonl",
        "tone/rows.jsonl",
    ]
    quality = next(step for step in unpack(tmp_path / "dist").steps if step.name == "quality")
    assert isinstance(quality.data, DataInput)
    for source in quality.data.sources():
        assert (tmp_path / "dist" / "checks" / source.ref.path).is_file()
    assert len(list(quality.data.sources())) == 3
