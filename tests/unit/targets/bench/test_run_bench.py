"""A bench from built artifacts to ``bench.json``, with a runtime that measures nothing itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.plan import OUTPUT_DIR, PathRef, SourceInput, Step
from pipeline.contract.result import RESULT_FILE, StepResult, Verdict
from pipeline.latency.rounds import LatencyRounds
from targets.bench.baseline import earlier_artifact, named_baselines
from targets.bench.bench_schema import Bench
from targets.bench.collect import collect_target, collect_training
from targets.bench.measure import BenchWorkload, Timed
from targets.bench.run_bench import BenchRequest, Earlier, run_bench
from targets.build import BuildOutcome
from targets.cache import Cache
from targets.cli.main import main
from targets.device_checks.checked_result import FILE, CheckedResult
from targets.device_checks.parcel import Parcel
from targets.device_checks.run_checks import artifact_files
from targets.devices.device import Device
from targets.disk import Need
from targets.errors import ConfigError, EnvironmentUnable
from targets.place import Place
from targets.planner.build_plan import BuildPlan, PlannedStep
from targets.report.report_schema import (
    CheckedReport,
    CheckVerdict,
    InputsReport,
    PassReport,
    Report,
    ToolchainReport,
)
from targets.runtimes.runtime import OnEvent, RunRequest, RuntimeName
from targets.target import load_target
from targets.toolchain.toolchain import Toolchain, ToolchainRecord
from tests.support.bench_data import measured

ANSWERS = [
    {"file": 0, "line": line, "label": "joy", "choice": "joy" if line else "fear"}
    for line in range(4)
]


class Silent:
    """A view that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def planned(self, plan: BuildPlan) -> None:
        self.lines.append(f"{plan.build} {plan.target}")

    def say(self, message: str) -> None:
        self.lines.append(message)

    def event(self, event: object) -> None:
        """Show nothing."""


class Stand:
    """A runtime that answers every check with rounds that were made up beforehand."""

    name: RuntimeName = "venv"

    def __init__(self, evidence: Callable[[RunRequest], dict[str, Any]]) -> None:
        self._evidence = evidence
        self.requests: list[RunRequest] = []

    def prepare(self, toolchain: Toolchain, say: Callable[[str], None]) -> ToolchainRecord:
        say(f"ready: {toolchain.target}")
        return ToolchainRecord(runtime=self.name, digest=toolchain.digest, python="3.11")

    def run(
        self,
        toolchain: Toolchain,  # noqa: ARG002 - the runtime's interface
        request: RunRequest,
        on_event: OnEvent,  # noqa: ARG002
    ) -> None:
        self.requests.append(request)
        work = next(mount.source for mount in request.mounts if mount.root == "work")
        for step in request.plan.steps:
            found = self._evidence(request)
            result = StepResult(
                name=step.name,
                type=step.type,
                key=step.key,
                seconds=1,
                peak_rss_bytes=1,
                evidence=found,
                verdicts=(Verdict(name="usable", status="failed", detail="it does not load"),),
            )
            (work / step.key / OUTPUT_DIR).mkdir(parents=True)
            (work / step.key / RESULT_FILE).write_text(result.model_dump_json())

    def limits_note(self) -> str:
        return ""

    def needs(self, toolchain: Toolchain) -> tuple[Need, ...]:  # noqa: ARG002
        return ()


def in_turn(request: RunRequest) -> dict[str, Any]:
    """Return rounds of the artifact, and 10 % faster ones of a baseline where there is one."""
    latency: dict[str, Any] = {
        "artifact": measured(1, slower=1.1).model_dump(mode="json"),
        "peak_memory_bytes": 70_000_000,
    }
    if any(mount.root == "baseline" for mount in request.mounts):
        latency["baseline"] = measured(2).model_dump(mode="json")
    return {"latency": latency}


def of_older_shape(_request: RunRequest) -> dict[str, Any]:
    return {"latency": {"raw": {"token_ms": [0.1]}}}


def place(target: str = "cpu", absence: str = "") -> Place:
    toolchain = load_target(target).toolchain("linux/amd64")
    return Place(toolchain, Device(target, absence=absence, description="the device"))


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the machine's load only for a moment."""
    monkeypatch.setattr("targets.bench.bench_machine._WATCHED_SECONDS", 0.01)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def built(folder: Path, cache: Cache, target: str = "cpu", text: str = "{}") -> BuildOutcome:
    """Return a finished build whose artifact is in ``folder``, with its checks beside it."""
    model = folder / "model"
    model.mkdir(parents=True, exist_ok=True)
    (model / "genai_config.json").write_text(text)
    files = artifact_files(folder, cache)
    latency = Step(
        name="latency",
        kind="check",
        type="latency",
        target=target,
        toolchain="t",
        key="0" * 64,
        seed=0,
        params={"token_ms": 20, "warmup": 5},
        inputs={"artifact": SourceInput(ref=PathRef(root="artifact"), digest="d")},
    )
    parcel = Parcel(build="tone", target=target, files=files, steps=(latency,))
    (folder / "checks").mkdir(exist_ok=True)
    (folder / "checks" / "checks.json").write_text(parcel.model_dump_json())
    made = latency.model_copy(
        update={"name": "model_builder", "kind": "pass", "key": f"made-{files[0].sha256[:8]}"}
    )
    return BuildOutcome(
        report=report(files, target),
        folder=folder,
        plan=BuildPlan("tone", target, (PlannedStep(made, None, ""),), (), "model_builder"),
        results={"quality": quality_result()},
    )


def quality_result() -> StepResult:
    return StepResult(
        name="quality",
        type="quality",
        key="q",
        seconds=0,
        peak_rss_bytes=0,
        evidence={"answers": ANSWERS},  # type: ignore[dict-item]
    )


def report(files: tuple[FileDigest, ...], target: str) -> Report:
    lora = PassReport(
        name="lora",
        type="lora",
        key="lora-key",
        cached=True,
        reason="",
        seconds=1,
        peak_rss_bytes=1,
        metrics={"train_loss_curve": [[1, 3.0], [2, 2.0]], "validation_loss_curve": [[2, 2.5]]},
    )
    return Report(
        build="tone",
        target=target,
        status="passed",
        quern="0",
        inputs=InputsReport(config="", model="", data={"tone": "d"}),
        toolchain=ToolchainReport(digest="", runtime="venv"),
        passes=(lora,),
        checks=(CheckVerdict(name="token_ms", status="unverified", detail="no GPU"),),
        quality={"metric": "accuracy", "artifact": 0.75, "interval": [0.3, 0.95]},
        figures={"memory": {"bytes": 50_000_000}},
        files=files,
    )


def run(
    outcome: BuildOutcome,
    cache: Cache,
    asked: BenchRequest | None = None,
    where: Place | None = None,
    evidence: Callable[[RunRequest], dict[str, Any]] = in_turn,
) -> tuple[Bench, Stand, Silent]:
    stand, view = Stand(evidence), Silent()
    pairs = [(where or place(), outcome)]
    found = run_bench(
        "tone.toml", pairs, asked or BenchRequest(), lambda _toolchains: stand, cache, view
    )
    return found, stand, view


def test_a_bench_takes_more_rounds_than_a_build(tmp_path: Path, cache: Cache) -> None:
    _, stand, _ = run(built(tmp_path / "dist" / "tone" / "cpu", cache), cache)
    (step,) = stand.requests[0].plan.steps
    asked = [step.params[name] for name in ("rounds", "samples", "long_samples")]
    assert asked == [16, 256, 64]


def test_the_builds_own_check_is_run_without_its_limits(tmp_path: Path, cache: Cache) -> None:
    asked = BenchRequest(
        workload=BenchWorkload(rounds=4, samples=99, max_seconds=5.0, lengths=(128,))
    )
    found, stand, _ = run(built(tmp_path / "dist" / "tone" / "cpu", cache), cache, asked)
    (step,) = stand.requests[0].plan.steps
    assert step.params == {
        "token_ms": None,
        "first_token_ms": None,
        "target_limits": False,
        "goals": [],
        "max_regression_percent": None,
        "baseline": None,
        "warmup": 5,
        "rounds": 4,
        "long_samples": 16,
        "samples": 99,
        "max_seconds": 5.0,
        "lengths": [128],
    }
    assert (step.kind, step.type, "baseline" in step.inputs) == ("check", "latency", False)
    here = found["cpu"].here
    assert here is not None
    assert here.artifact == LatencyRounds.model_validate(measured(1, slower=1.1))
    assert found["cpu"].memory_bytes == 70_000_000
    assert found.comparison is None
    assert found.machine.cores >= 1
    assert found.software.versions.keys() == {"matplotlib", "scipy"}
    assert Bench.model_validate_json(found.model_dump_json()) == found


def test_nothing_is_timed_without_the_device(tmp_path: Path, cache: Cache) -> None:
    outcome = built(tmp_path / "cuda", cache, "cuda")
    found, stand, view = run(outcome, cache, where=place("cuda", "there is no GPU"))
    assert stand.requests == []
    assert found["cuda"].measurements == ()
    whys = [(item.what, item.why) for item in found["cuda"].unverified]
    assert whys == [("latency, here", "there is no GPU"), ("token_ms", "no GPU")]
    assert "cuda: latency, here: there is no GPU" in view.lines
    assert found["cuda"].memory_bytes == 50_000_000


def test_an_older_shape_counts_as_no_latency_and_is_said(tmp_path: Path, cache: Cache) -> None:
    found, _, _ = run(built(tmp_path / "cpu", cache), cache, evidence=of_older_shape)
    assert found["cpu"].measurements == ()
    assert "without its rounds" in found["cpu"].unverified[0].why


def test_an_artifact_that_cannot_be_used_says_why(tmp_path: Path, cache: Cache) -> None:
    found, _, _ = run(built(tmp_path / "cpu", cache), cache, evidence=lambda _: {})
    assert found["cpu"].unverified[0].why == "it does not load"


def test_a_baseline_is_timed_in_turn(tmp_path: Path, cache: Cache) -> None:
    other = built(tmp_path / "other" / "cpu", cache, text='{"a": 1}')
    asked = BenchRequest(baseline=other.folder)
    found, stand, _ = run(built(tmp_path / "tone" / "cpu", cache), cache, asked)
    mounts = {mount.root: mount.source for mount in stand.requests[0].mounts}
    assert mounts["baseline"] == other.folder / "model"
    assert "baseline" in stand.requests[0].plan.steps[0].inputs
    assert found.comparison is not None
    assert found.comparison.targets[0].word == "slower"
    assert found.comparison.old == str(other.folder)


def test_an_earlier_artifact_is_found_by_its_bytes(tmp_path: Path, cache: Cache) -> None:
    old_build = built(tmp_path / "old" / "cpu", cache, text='{"a": 1}')
    old, _, _ = run(old_build, cache)
    new = built(tmp_path / "new" / "cpu", cache)
    asked = BenchRequest(earlier=Earlier("old.json", old))
    found, stand, view = run(new, cache, asked)
    assert any(mount.source == old_build.folder / "model" for mount in stand.requests[0].mounts)
    assert found.comparison is not None
    assert found.comparison.targets[0].word == "slower"
    assert str(old_build.folder) in found.comparison.targets[0].old_artifact
    assert any("the earlier artifact is in" in line for line in view.lines)


def test_edited_bytes_are_not_the_earlier_artifact(tmp_path: Path, cache: Cache) -> None:
    old_build = built(tmp_path / "old" / "cpu", cache, text='{"a": 1}')
    old, _, _ = run(old_build, cache)
    (old_build.folder / "model" / "genai_config.json").write_text('{"a": 2}')
    new = built(tmp_path / "new" / "cpu", cache)
    found, stand, _ = run(new, cache, BenchRequest(earlier=Earlier("old.json", old)))
    assert not any(mount.root == "baseline" for mount in stand.requests[0].mounts)
    assert found.comparison is not None
    assert "neither in the cache nor where they lay" in found.comparison.targets[0].old_artifact
    bases = {one.basis for one in found.comparison.movements if one.kind == "latency"}
    assert bases == {"recorded"}


def test_the_same_artifact_serves_as_the_earlier_one(tmp_path: Path, cache: Cache) -> None:
    outcome = built(tmp_path / "cpu", cache)
    old, _, _ = run(outcome, cache)
    found, stand, _ = run(outcome, cache, BenchRequest(earlier=Earlier("old.json", old)))
    assert any(mount.root == "baseline" for mount in stand.requests[0].mounts)
    assert found.comparison is not None
    assert found.comparison.targets[0].same_bytes


def test_a_baseline_that_is_not_the_earlier_artifact_is_refused(
    tmp_path: Path, cache: Cache
) -> None:
    old, _, _ = run(built(tmp_path / "old" / "cpu", cache, text='{"a": 1}'), cache)
    other = built(tmp_path / "other" / "cpu", cache, text='{"a": 3}')
    asked = BenchRequest(earlier=Earlier("old.json", old), baseline=other.folder)
    with pytest.raises(ConfigError, match="is not the cpu artifact of the earlier bench"):
        run(built(tmp_path / "new" / "cpu", cache), cache, asked)


def test_baselines_are_found_in_all_their_folders(tmp_path: Path, cache: Cache) -> None:
    one = built(tmp_path / "tone" / "cpu", cache)
    for path in (one.folder, one.folder / "model", one.folder.parent):
        (found,) = named_baselines(path, ["cpu"], cache).values()
        assert found.folder == one.folder / "model"
    with pytest.raises(ConfigError, match="2 targets are measured"):
        named_baselines(one.folder, ["cpu", "directml"], cache)
    with pytest.raises(ConfigError, match="holds no artifact"):
        named_baselines(tmp_path, ["cpu"], cache)


def test_a_damaged_cache_entry_is_no_earlier_artifact(tmp_path: Path, cache: Cache) -> None:
    outcome = built(tmp_path / "old" / "cpu", cache)
    old = collect_target(outcome, Timed())
    moved = old.artifact.model_copy(update={"folder": str(tmp_path / "gone")})
    gone = old.model_copy(update={"artifact": moved})
    assert earlier_artifact(gone, tmp_path / "elsewhere", None, cache).baseline is None


def checked(outcome: BuildOutcome, latency: dict[str, Any]) -> BuildOutcome:
    """Return a build into which the result of another machine was taken."""
    where = CheckedReport(
        device="a GPU",
        system="Windows 11, AMD64",
        runtime="venv",
        toolchain="t",
        at="2026-11-25T02:00:00+00:00",
    )
    result = CheckedResult(
        build="tone",
        target=outcome.report.target,
        files=outcome.report.files,
        where=where,
        checks=(),
        latency=latency,
        figures={"memory": {"bytes": 80_000_000}},
    )
    (outcome.folder / FILE).write_text(result.model_dump_json())
    taken = outcome.report.model_copy(update={"checked": where})
    return BuildOutcome(taken, outcome.folder, outcome.plan, outcome.results)


def test_what_was_measured_elsewhere_joins(tmp_path: Path, cache: Cache) -> None:
    latency = {"artifact": measured(3).model_dump(mode="json")}
    outcome = checked(built(tmp_path / "cuda", cache, "cuda"), latency)
    found, _, _ = run(outcome, cache, where=place("cuda", "there is no GPU"))
    (elsewhere,) = found["cuda"].measurements
    assert (elsewhere.here, elsewhere.device) == (False, "a GPU")
    assert elsewhere.statistics["short"]["token_ms"].rounds == 6
    assert found["cuda"].memory_bytes == 80_000_000


def test_what_an_older_quern_measured_elsewhere_is_said(tmp_path: Path, cache: Cache) -> None:
    outcome = checked(built(tmp_path / "cuda", cache, "cuda"), {"raw": {}})
    found, _, _ = run(outcome, cache, where=place("cuda", "there is no GPU"))
    assert found["cuda"].measurements == ()
    assert [item.what for item in found["cuda"].unverified][:2] == [
        "latency, here",
        "latency, Windows 11, AMD64",
    ]


def test_answers_are_kept_as_the_metric_sees_them(tmp_path: Path, cache: Cache) -> None:
    found = collect_target(built(tmp_path / "cpu", cache), Timed())
    assert [row.right for row in found.answers] == [False, True, True, True]
    outcome = built(tmp_path / "cpu", cache)
    other = outcome.report.model_copy(update={"quality": {"metric": "accuracy", "artifact": 0.5}})
    shown = BuildOutcome(other, outcome.folder, outcome.plan, outcome.results)
    assert collect_target(shown, Timed()).answers == ()


def test_one_training_serves_all_targets(tmp_path: Path, cache: Cache) -> None:
    reports = [built(tmp_path / name, cache, name).report for name in ("cpu", "cuda")]
    (training,) = collect_training(reports)
    assert training.targets == ("cpu", "cuda")
    assert training.train == ((1.0, 3.0), (2.0, 2.0))
    assert training.validation == ((2.0, 2.5),)


def test_an_artifact_of_another_kind_is_not_timed(tmp_path: Path, cache: Cache) -> None:
    outcome = built(tmp_path / "cpu", cache)
    adapter = outcome.report.model_copy(update={"artifact": "adapter"})
    shown = BuildOutcome(adapter, outcome.folder, outcome.plan, outcome.results)
    found, stand, _ = run(shown, cache)
    assert stand.requests == []
    assert "the artifact is an adapter" in found["cpu"].unverified[0].why


def test_lacking_libraries_are_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("targets.cli.commands.bench.LIBRARIES", ("scipy", "no_such_library"))
    with pytest.raises(EnvironmentUnable, match="bench needs no_such_library") as caught:
        main(["bench", "--dist", str(tmp_path)], standalone_mode=False)
    assert caught.value.exit_code == 4
    assert "requirements-bench.lock" in caught.value.hint


def test_a_bad_earlier_bench_is_refused_before_any_work(tmp_path: Path) -> None:
    file = tmp_path / "old.json"
    file.write_text(json.dumps({"schema_version": 99}))
    arguments = ["bench", "--dist", str(tmp_path), "--compare", str(file)]
    with pytest.raises(ConfigError, match="newer Quern"):
        main(arguments, standalone_mode=False)
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--samples", "3"], "--samples"),
        (["--rounds", "1"], "--rounds"),
        (["--max-seconds", "0"], "--max-seconds"),
    ],
)
def test_a_workload_that_the_check_refuses_is_refused_before_any_work(
    arguments: list[str], named: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=named):
        main(["bench", "--dist", str(tmp_path / "dist"), *arguments], standalone_mode=False)
    assert list(tmp_path.iterdir()) == []


def test_lengths_that_were_not_timed_are_said(tmp_path: Path, cache: Cache) -> None:
    def evidence(request: RunRequest) -> dict[str, Any]:
        found = in_turn(request)
        found["latency"]["left_out"] = {"2112": "one answer takes 30 s"}
        return found

    found, _, _ = run(built(tmp_path / "cpu", cache), cache, evidence=evidence)
    assert ("latency, 2112 tokens", "one answer takes 30 s") in [
        (item.what, item.why) for item in found["cpu"].unverified
    ]
