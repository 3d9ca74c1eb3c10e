"""Latency, memory and size of real artifacts: measured, proven, and held against a baseline."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.contract.events import Event, StepFailed, Warned
from pipeline.contract.plan import PathRef, SourceInput, Step, StepInput
from pipeline.contract.result import Verdict
from pipeline.latency.rounds import LatencyRounds
from targets.target import load_target
from tests.support import plans
from tests.support.warm_process import warm_output

WORK: dict[str, Any] = {"pinned": True, "max_new_tokens": 16, "max_seconds": 120}
BURDEN_MS = 20
"""What each token is slowed down by: twice the limit of a small model's token."""
QUICK: dict[str, Any] = {**WORK, "lengths": [], "rounds": 6}
PROVING: dict[str, Any] = {**QUICK, "rounds": 12}
"""As many processes as a p90 needs."""


def artifact(name: str) -> SourceInput:
    return SourceInput(ref=PathRef(root="material", path=name), digest=name)


def cpu() -> int:
    """Return the CPU to which this process pins what it times: another one has others."""
    return min(os.sched_getaffinity(0))


def check(name: str, kind: str, ours: str, baseline: str | None = None, **params: Any) -> Step:
    inputs: dict[str, StepInput | SourceInput] = {"artifact": artifact(ours)}
    if baseline is not None:
        inputs["baseline"] = artifact(baseline)
        params["baseline"] = baseline
    if params.pop("pinned", False):
        params["cpus"] = [cpu()]
    return plans.step(name, "check", inputs, params, plans.TONES, type=kind)


@dataclass(frozen=True)
class Bench:
    """Artifacts in a folder, and the Python that runs checks on them."""

    python: Path
    work: Path
    material: Path

    def run(self, step: Step) -> tuple[int, list[Event]]:
        code, events, log = plans.run(self.python, self.work, self.material, [step])
        assert code in (0, 1), log[-2000:]
        return code, events

    def verdicts(self, step: Step) -> dict[str, Verdict]:
        """Run a check that must come to an end, and return its verdicts by name."""
        code, events = self.run(step)
        assert code == 0, [event for event in events if isinstance(event, StepFailed)]
        return {verdict.name: verdict for verdict in plans.result(self.work, step.name).verdicts}


@pytest.fixture(scope="module")
def bench(
    toolchain_python: Path, material: Path, tmp_path_factory: pytest.TempPathFactory
) -> Bench:
    """Build an artifact, and spoil copies of it: one slower, one larger, one that does not load."""
    work = tmp_path_factory.mktemp("latency") / "work"
    build = plans.step("model_builder", "pass", {"model": plans.CHECKPOINT})
    plans.must_run(toolchain_python, work, material, [build])
    made = work / "model_builder" / "output"
    # As what a build writes: the model in a folder of its own.
    for name in ("good/model", "slow", "burdened", "large", "broken"):
        shutil.copytree(made, material / name)
    slower = [str(toolchain_python), str(plans.HERE / "slower.py")]
    subprocess.run([*slower, str(material / "slow"), "10", str(cpu())], check=True)
    burden = (str(material / "burdened"), str(BURDEN_MS), str(cpu()))
    warm_output(toolchain_python, "tests.support.burden", *burden)
    (material / "large" / "padding").write_bytes(bytes(10**6))
    (material / "broken" / "model.onnx").write_bytes(b"not a graph")
    (material / "library").mkdir()
    settings = json.loads((made / "genai_config.json").read_text("utf-8"))
    settings["model"]["decoder"]["session_options"]["custom_ops_library"] = "ops.so"
    (material / "library" / "genai_config.json").write_text(json.dumps(settings), "utf-8")
    return Bench(toolchain_python, work, material)


def test_every_length_is_measured_in_fresh_pinned_processes(bench: Bench) -> None:
    step = check("all", "latency", "good/model", **WORK, first_token_ms=500, token_ms=100)
    found = bench.verdicts(step)
    assert {name: verdict.status for name, verdict in found.items()} == {
        "first_token_ms": "passed",
        "token_ms": "passed",
    }
    latency: Any = plans.result(bench.work, "all").evidence["latency"]
    measured = LatencyRounds.model_validate(latency["artifact"])
    assert measured.prompts == ("short", "128", "512", "1024", "2112")
    assert measured.cpus == (cpu(),)
    assert len(measured.rounds) >= 12
    assert all(each.load_ms > 0 for each in measured.rounds)
    assert len(measured.joined("short").first_token_ms) >= 96
    assert set(measured.joined("2112").prompt_tokens) == {2112}
    short, long = (latency["statistics"][name] for name in ("short", "2112"))
    assert short["first_token_ms"]["p90_bound"] >= short["first_token_ms"]["p90"]
    assert long["first_token_ms"]["p90_bound"] is None, "a sample of each process is too few"
    for figure in (short["first_token_ms"], long["token_ms"]):
        assert figure["low"] <= figure["p50"] <= figure["high"]
    assert long["first_token_ms"]["p50"] > 10 * short["first_token_ms"]["p50"]


TURNS = """
import sys, time
from pipeline.latency.measured_process import MeasuredProcess
from pipeline.latency.protocol import WorkerSettings

with MeasuredProcess(WorkerSettings(folder=sys.argv[1]), takes_turns=True) as process:
    assert len(process.ask([5, 6, 7], 4).spans_ms) == 4
    print(process.pid, flush=True)
    time.sleep(600)
"""


def test_who_waits_for_a_turn_is_suspended_and_dies_with_the_build(bench: Bench) -> None:
    """Its idle threads would spin and slow the other one; stopped, it would never see its end."""
    command = [str(bench.python), "-c", TURNS, str(bench.material / "good" / "model")]
    with subprocess.Popen(command, cwd=plans.ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        try:
            waiting = psutil.Process(int(parent.stdout.readline()))
            # A thread that runs stops when the kernel next looks at it.
            until = time.monotonic() + 20
            while waiting.status() != psutil.STATUS_STOPPED and time.monotonic() < until:
                time.sleep(0.01)
            assert waiting.status() == psutil.STATUS_STOPPED
        finally:
            parent.kill()
        waiting.wait(timeout=20)


THREADS = """
import json, os, sys
from pathlib import Path
from pipeline.onnx.session import Session

own = len(os.listdir("/proc/self/task"))
threads = json.loads(sys.argv[2])
session = Session(Path(sys.argv[1]), threads=threads)
print(len(os.listdir("/proc/self/task")) - own, flush=True)
os._exit(0)
"""


def test_the_runtime_takes_the_threads_that_pages_say(bench: Bench) -> None:
    """Half of the cores, at least one and at most 16, where the artifact does not say."""
    usual = min(16, max(1, (os.cpu_count() or 1) // 2))
    started = {}
    for threads in (None, usual, usual + 3):
        folder = str(bench.material / "good" / "model")
        command = [str(bench.python), "-c", THREADS, folder, json.dumps(threads)]
        done = subprocess.run(command, cwd=plans.ROOT, check=True, capture_output=True, text=True)
        started[threads] = int(done.stdout)
    assert started[None] == started[usual]
    assert started[usual + 3] == started[usual] + 3


@pytest.mark.slow
def test_the_limits_of_the_target_hold_where_a_config_gives_none(bench: Bench) -> None:
    usual = load_target("cpu").limits.model_dump(mode="json")
    found = bench.verdicts(check("usual", "latency", "good/model", **PROVING, usual_limits=usual))
    assert {name: verdict.status for name, verdict in found.items()} == {
        "first_token_ms": "passed",
        "token_ms": "passed",
    }
    assert found["token_ms"].limit_source.startswith("default for ")
    assert found["first_token_ms"].limit_source.endswith(" tokens")

    own = check("own", "latency", "good/model", **PROVING, usual_limits=usual, token_ms=55.5)
    verdict = bench.verdicts(own)["token_ms"]
    assert (verdict.limit, verdict.limit_source) == (55.5, "")


def test_limits_are_for_the_weights_that_a_token_reads(bench: Bench) -> None:
    rule = {"at_least": 1000, "per_gb": 1e9}  # a millisecond for each byte
    usual = {"first_token_ms": rule, "token_ms": rule}
    few = {**QUICK, "samples": 64, "max_new_tokens": 2}
    found = bench.verdicts(check("read", "latency", "good/model", **few, usual_limits=usual))
    read = (found["token_ms"].limit or 0) - 1000
    model = bench.material / "good" / "model"
    config = json.loads((bench.material / "checkpoint" / "config.json").read_text())
    embedding = config["vocab_size"] * config["hidden_size"]  # a byte for each, and their scales
    data = (model / "model.onnx.data").stat().st_size
    assert 0 < read <= data + (model / "model.onnx").stat().st_size - embedding


@pytest.mark.slow
def test_the_limits_of_the_target_catch_a_fault(bench: Bench) -> None:
    usual = load_target("cpu").limits.model_dump(mode="json")
    assert usual["token_ms"]["at_least"] * 2 == BURDEN_MS
    few = {**QUICK, "samples": 64, "max_new_tokens": 2}
    # The first token is slower by as much, which is near its limit: left to that, it takes minutes.
    limits: dict[str, Any] = {"usual_limits": usual, "first_token_ms": 10_000}
    found = bench.verdicts(check("burdened", "latency", "burdened", **few, **limits))
    assert found["token_ms"].limit_source.startswith("default for ")
    assert found["token_ms"].status == "failed"
    assert not found["token_ms"].detail.startswith("undecided"), found["token_ms"].detail


@pytest.mark.alone
def test_an_artifact_is_not_slower_than_itself(bench: Bench) -> None:
    step = check("same", "latency", "good/model", "good", **QUICK, max_regression_percent=20)
    found = bench.verdicts(step)
    assert found.keys() == {"first_token_ms_p50_vs_baseline", "token_ms_p50_vs_baseline"}
    assert {verdict.status for verdict in found.values()} == {"passed"}, found


@pytest.mark.alone
def test_ten_percent_more_per_token_is_slower(bench: Bench) -> None:
    goal = {
        "metric": "token_ms",
        "statistic": "p50",
        "against": "baseline",
        "max_degradation_percent": 3,
    }
    patient = {**QUICK, "max_seconds": 300}  # it ends as soon as it is sure
    step = check("slower", "latency", "slow", "good", **patient, goals=[goal])
    (verdict,) = bench.verdicts(step).values()
    assert verdict.status == "failed"
    assert not verdict.detail.startswith("undecided"), verdict.detail


@pytest.mark.alone
@pytest.mark.slow
def test_a_limit_at_the_figure_itself_stays_undecided_and_fails(bench: Bench) -> None:
    first: Any = bench.verdicts(check("level", "latency", "good/model", **PROVING, token_ms=50))
    latency: Any = plans.result(bench.work, "level").evidence["latency"]
    goal = {"metric": "token_ms", "statistic": "avg"}
    middle = latency["statistics"]["short"]["token_ms"]["avg"]
    limited = {**QUICK, "max_seconds": 8, "goals": [{**goal, "at_most": middle}]}
    step = check("open", "latency", "good/model", **limited)
    assert first["token_ms"].status == "passed"
    code, events = bench.run(step)
    assert code == 0
    (verdict,) = plans.result(bench.work, "open").verdicts
    if verdict.detail.startswith("undecided"):
        assert verdict.status == "failed"
        assert "; measure on a quieter machine, or raise max_seconds" in verdict.detail
        assert any(isinstance(event, Warned) and "undecided" in event.message for event in events)
    else:
        # The machine was another one by then: the average itself moved.
        assert verdict.value is not None
        assert abs(verdict.value / middle - 1) > 0.001


def test_memory_and_size_have_limits_and_baselines(bench: Bench) -> None:
    assert bench.verdicts(check("free", "memory", "good/model")) == {}
    figures: Any = plans.result(bench.work, "free").evidence["figures"]
    assert figures["bytes"] > figures["bytes_before_loading"] > 10**7
    held = bench.verdicts(check("held", "memory", "good/model", "good", max_bytes=10**6))
    assert {name: verdict.status for name, verdict in held.items()} == {
        "bytes": "failed",
        "bytes_vs_baseline": "passed",
    }
    grown = bench.verdicts(check("grown", "size", "large", "good", max_bytes="1g"))
    assert {name: verdict.status for name, verdict in grown.items()} == {
        "bytes": "passed",
        "bytes_vs_baseline": "failed",
    }


def test_an_artifact_that_does_not_load_fails_the_check(bench: Bench) -> None:
    for kind in ("latency", "memory"):
        found = bench.verdicts(check(f"broken-{kind}", kind, "broken"))
        assert found["usable"].status == "failed"
        assert "cannot load the model" in found["usable"].detail


DIES = """
import os, signal, sys
from pipeline.latency.measured_process import MeasuredProcess
from pipeline.latency.protocol import WorkerSettings
from pipeline.contract.errors import StepError

with MeasuredProcess(WorkerSettings(folder=sys.argv[1])) as process:
    os.kill(process.pid, signal.SIGILL)
    try:
        process.ask([5, 6, 7], 4)
    except StepError as error:
        print(type(error).__name__, error)
"""


def test_a_timed_process_that_a_signal_ends_breaks_the_step(bench: Bench) -> None:
    """And is not held against the artifact."""
    command = [str(bench.python), "-c", DIES, str(bench.material / "good" / "model")]
    done = subprocess.run(command, cwd=plans.ROOT, check=True, capture_output=True, text=True)
    assert "StepError the process that answers with it died: ended by SIGILL (" in done.stdout


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (check("x1", "latency", "good/model", cpus=[4095]), "there is no CPU 4095"),
        (check("x2", "latency", "good/model", lengths=[5000]), "the model's context 4096"),
        (check("x3", "latency", "good/model", "tones.jsonl"), "the baseline is not an ONNX"),
        (check("x5", "latency", "good/model", "library"), "native library 'ops.so' would be"),
        (check("x6", "memory", "good/model", "library"), "native library 'ops.so' would be"),
        (
            check(
                "x4",
                "latency",
                "good/model",
                goals=[{"metric": "token_ms", "prompt": 4090, "at_most": 1}],
            ),
            "the model's context 4096",
        ),
    ],
    ids=[
        *("no such CPU", "too long", "no baseline"),
        *("baseline with code", "memory of a baseline with code", "goal beyond the context"),
    ],
)
def test_what_cannot_be_measured_stops_the_build(bench: Bench, step: Step, said: str) -> None:
    code, events = bench.run(step)
    assert code == 1
    (event,) = (event for event in events if isinstance(event, StepFailed))
    assert (event.cause, said in event.message) == ("bad_input", True), event.message
