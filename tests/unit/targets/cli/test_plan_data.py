"""`plan` shows the rows of a data set, and what a cached training step saw of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.plan import OUTPUT_DIR, Step
from pipeline.contract.result import RESULT_FILE, StepResult
from pipeline.data.findings import Lengths, Look
from pipeline.data.trained_view import METRIC, Piece, Sample, TrainedView
from targets.cache import Cache
from targets.cli.main import run
from tests.support.project import Project, make_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("QUERN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    monkeypatch.setenv("COLUMNS", "80")
    return make_project(tmp_path / "project")


def planned(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *asked: str,
) -> str:
    monkeypatch.setattr("sys.argv", ["quern", "plan", "--config", str(project.config), *asked])
    with pytest.raises(SystemExit) as ended:
        run()
    assert not ended.value.code
    return capsys.readouterr().out


def cache_training(folder: Path, key: str, view: TrainedView) -> None:
    """Put a finished training step into the cache, which showed ``view`` of its rows."""
    step = Step(name="lora", kind="pass", type="lora", target="cpu", toolchain="t", key=key, seed=0)
    result = StepResult(
        name="lora",
        type="lora",
        key=key,
        seconds=1,
        peak_rss_bytes=1,
        metrics={METRIC: view.model_dump(mode="json")},
        files=(FileDigest(path="a", bytes=1, sha256=hashlib.sha256(b"a").hexdigest()),),
    )
    cache = Cache(folder)
    with cache.work_folder() as work:
        begun = cache.begin(work, [step], {"runtime": "venv"})
        (begun / key / OUTPUT_DIR).mkdir(parents=True)
        (begun / key / OUTPUT_DIR / "a").write_text("a")
        (begun / key / RESULT_FILE).write_text(result.model_dump_json())
        cache.finish(begun)


def test_what_a_person_should_look_at(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with project.data.open("a") as file:
        file.write('{"phrase": "phrase number 1", "tone": "fear"}\n')
        file.write('{"phrase": "it is joy", "tone": "joy"}\n')
        file.write('{"phrase": "phrase number 2", "tone": "fear"}\n')
    text = planned(project, monkeypatch, capsys)
    assert all(len(line.rstrip()) <= 80 for line in text.partition("data set tone")[2].splitlines())
    shown = " ".join(text.replace("─", "").split())
    for expected in (
        "data set tone: rows label training validation held-out all",
        "2 rows have the text of another row with another label: tone.jsonl:2 (sadness), "
        "tone.jsonl:81 (fear)",
        "1 row repeats another: tone.jsonl:83",
        "1 of 83 rows has its label, and no other, in its own prompt: tone.jsonl:82 (joy)",
        "characters of a row part p50 p90 p99 longest",
        "are not known yet: the step pretrain has to run first.",
        "examples, before rendering",
        "learnt",
    ):
        assert expected in shown, expected
    (data,) = json.loads(planned(project, monkeypatch, capsys, "--json"))["data"]
    assert sum(data["rows"].values()) == 83
    assert {name: sum(parts.values()) for name, parts in data["labels"].items()} == {
        "fear": 22,
        "joy": 21,
        "sadness": 20,
        "surprise": 20,
    }
    assert (data["name"], data["lengths"], len(data["samples"])) == ("tone", None, 3)


def test_what_a_cached_training_step_saw_is_shown(
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    document: Any = json.loads(planned(project, monkeypatch, capsys, "--json"))
    steps = {step["name"]: step for step in document["plans"][0]["steps"]}
    look = Look.model_validate(document["data"][0], extra="ignore")
    view = TrainedView(
        look=look,
        lengths={"training": Lengths(rows=50, p50=17, p90=19, p99=22, longest=23)},
        max_length=1024,
        context=4096,
        samples=(Sample(place="line 5", pieces=(Piece(text="<|user|>\n", learnt=False),)),),
    )
    cache_training(tmp_path / "cache", steps["lora"]["key"], view)
    shown = " ".join(planned(project, monkeypatch, capsys).split())
    assert "tokens of a row (max_length 1024, context 4096)" in shown
    assert "training 17 19 22 23" in shown
    assert "examples, as rendered" in shown
    assert "line 5 given <|user|>\\n" in shown
    assert "characters of a row" not in shown


def test_made_rows_are_shown_once_they_are_made(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.folder / "rows.py").write_text("def load():\n    return []\n")
    project.edit('path = "tone.jsonl"', 'code = { script = "rows.py", load = "load" }')
    assert "data set tone: a step makes its rows" in planned(project, monkeypatch, capsys)
    (data,) = json.loads(planned(project, monkeypatch, capsys, "--json"))["data"]
    assert data["unseen"] == "a step makes its rows, which are shown once it has run"
