"""The ``tune`` pass for real: killed, resumed, held to a limit, and pinned to the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any, get_args

import pytest

from pipeline.builder.session_options import SessionOption
from pipeline.contract.events import EVENT, StepFailed
from pipeline.contract.plan import Plan, SourceInput, Step, StepInput, unfinished_root
from pipeline.contract.result import PROVISIONAL
from pipeline.tuning.summary import METRIC, TuningSummary
from pipeline.tuning.trials import Trials
from tests.support import plans

MODEL = {"model": plans.CHECKPOINT}
REFERENCES = [
    plans.step("reference", "pass", MODEL, data=plans.TONES),
    plans.step(
        "float_reference",
        "pass",
        {**MODEL, "reference": plans.output_of("reference")},
        {"max_samples": 1},
        plans.TONES,
    ),
]
INPUTS: dict[str, StepInput | SourceInput] = {
    **MODEL,
    "reference": plans.output_of("reference"),
    "float_reference": plans.output_of("float_reference"),
}
QUICK = {"prompt_tokens": 24, "new_tokens": 8, "rounds": 1, "cut_above": 0, "layers": 1}
SPACE = {
    "block_size": [256, 16],
    "symmetric": [True, False],
    "algorithm": ["default"],
    "threads": [1, 2],
}


def tune(name: str, max_mean_kl: float, **params: Any) -> Step:
    held = {"quantization": {"type": "quantization", "params": {"max_mean_kl": max_mean_kl}}}
    given = {**QUICK, "held_to": held, **params}
    return plans.step(name, "pass", INPUTS, given, type="tune")


@dataclass(frozen=True)
class Bench:
    """The tiny model, and a work folder."""

    python: Path
    work: Path
    material: Path

    def start(self, step: Step) -> subprocess.Popen[str]:
        """Start a step that is given the folder that outlives it."""
        self.unfinished(step).mkdir(exist_ok=True)
        roots = {
            "work": str(self.work),
            "material": str(self.material),
            unfinished_root(step.key): str(self.unfinished(step)),
        }
        path = self.work.parent / f"{step.name}.json"
        plan = Plan(build="test", steps=(step,), roots=roots, threads=2)
        path.write_text(plan.model_dump_json())
        return subprocess.Popen(
            [str(self.python), "-m", "pipeline", str(path)],
            cwd=plans.ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )

    def unfinished(self, step: Step) -> Path:
        return self.work.parent / f"{step.name}-unfinished"

    def told(self, name: str) -> TuningSummary:
        return TuningSummary.model_validate(plans.result(self.work, name).metrics[METRIC])


@pytest.fixture(scope="module")
def bench(
    toolchain_python: Path, material: Path, tmp_path_factory: pytest.TempPathFactory
) -> Bench:
    work = tmp_path_factory.mktemp("tune") / "work"
    plans.must_run(toolchain_python, work, material, REFERENCES)
    return Bench(toolchain_python, work, material)


def coarse(bench: Bench) -> float:
    """Return a mean divergence that builds with blocks of 16 keep and with blocks of 256 do not."""
    steps: list[Step] = []
    found: dict[int, list[Any]] = {16: [], 256: []}
    builds = [(size, symmetric) for size in found for symmetric in (True, False)]
    for size, symmetric in builds:
        name = f"{size}-{symmetric}"
        params: dict[str, Any] = {"block_size": size, "symmetric": symmetric}
        params["algorithm"] = "default"
        judged = {**INPUTS, "artifact": plans.output_of(name)}
        steps += [
            plans.step(name, "pass", MODEL, params, type="model_builder"),
            plans.step(f"judged-{name}", "check", judged, type="quantization"),
        ]
    plans.must_run(bench.python, bench.work, bench.material, steps)
    for size, symmetric in builds:
        verdicts = plans.result(bench.work, f"judged-{size}-{symmetric}").verdicts
        found[size] += [verdict.value for verdict in verdicts if verdict.name == "mean_kl"]
    fine, rough = max(found[16]), min(found[256])
    assert fine < rough, found
    return sqrt(fine * rough)


def killed_after(bench: Bench, step: Step, trials: int) -> int:
    """Kill the step and all that it started once so many trials are done; return how many were."""
    process = bench.start(step)
    deadline = time.monotonic() + 120
    while len(list(Trials(bench.unfinished(step)))) < trials:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return len(list(Trials(bench.unfinished(step))))


def test_the_smallest_build_within_the_limits_can_be_asked_for(bench: Bench) -> None:
    # The widths are multiples of 64: a larger block has fewer scales, and none is filled up.
    space = {"block_size": [16, 64], "symmetric": [True], "algorithm": ["default"], "threads": [1]}
    process = bench.start(tune("smallest", 9.0, space=space, goal="size", finalists=1))
    assert process.wait(timeout=120) == 0
    told = bench.told("smallest")
    assert told.chosen is not None
    assert told.trials[told.chosen].built == {"block_size": 64}


@pytest.mark.slow
def test_a_killed_search_goes_on_keeps_the_limit_and_can_be_pinned(bench: Bench) -> None:
    step = tune("killed", coarse(bench), space=SPACE, search_by="tpe")
    done = killed_after(bench, step, 3)
    before = [one for one in Trials(bench.unfinished(step)) if one.status != "within"]
    out, _ = bench.start(step).communicate(timeout=300)
    events = [EVENT.validate_json(line) for line in out.splitlines()]
    told = bench.told("killed")
    assert told.resumed == done
    assert any(f"{done} trials of an earlier run" in getattr(e, "message", "") for e in events)
    assert list(told.trials[: len(before)]) == before, "what was tried is not tried again"
    choices = [(t.stage, str(t.built), str(t.session)) for t in told.trials]
    assert len(choices) == len(set(choices))

    first = [trial for trial in told.trials if trial.stage != "final"]
    assert {trial.layers for trial in first} == {1}, "the first round is on a model cut short"
    finals = [trial for trial in told.trials if trial.stage == "final"]
    assert {trial.layers for trial in finals} == {2}
    status = {int(str(t.built["block_size"])): t.status for t in finals}
    assert status == {256: "beyond", 16: "measured"}
    beyond = next(trial for trial in finals if trial.status == "beyond")
    assert "mean_kl" in {verdict.name for verdict in beyond.verdicts}
    assert beyond.speed is None
    assert told.chosen is not None
    assert told.trials[told.chosen].built["block_size"] == 16

    pinned = plans.step("pinned", "pass", MODEL, told.pinned, type="model_builder")
    plans.must_run(bench.python, bench.work, bench.material, [pinned])
    assert plans.result(bench.work, "pinned").files == plans.result(bench.work, "killed").files
    made = plans.result(bench.work, "pinned").metrics
    kept = plans.result(bench.work, "killed").metrics
    apart = dict.fromkeys((METRIC, PROVISIONAL, "bytes"))
    assert {**kept, **apart} == {**made, **apart}
    (measured,) = [trial for trial in finals if trial.status == "measured"][:1]
    assert len(measured.rounds) == QUICK["rounds"]


def test_the_locked_runtime_knows_every_option_of_a_session(toolchain_python: Path) -> None:
    # It would take one that it does not know without a word.
    site = toolchain_python.parent.parent / "lib/python3.11/site-packages"
    (runtime,) = (site / "onnxruntime/capi").glob("onnxruntime_pybind11_state*.so")
    genai = site / "onnxruntime_genai" / "libonnxruntime-genai.so"
    for option in get_args(SessionOption):
        library = runtime if "." in option else genai
        assert option.encode() in library.read_bytes(), option


def test_where_nothing_keeps_the_limits_all_that_was_tried_is_listed(bench: Bench) -> None:
    space = {"block_size": [256], "symmetric": [True], "algorithm": ["default"], "threads": [1]}
    step = tune("hopeless", 1e-9, space=space)
    code, events, _ = plans.run(bench.python, bench.work, bench.material, [step])
    assert code == 1
    (failed,) = [event for event in events if isinstance(event, StepFailed)]
    assert "no build that was tried keeps the limits" in failed.message
    assert "mean_kl" in failed.message
    assert "is not <= 1e-09" in failed.message
    assert "raise the limits" in failed.hint
    assert not list(bench.work.glob("hopeless*"))


def test_without_the_device_the_start_is_built_and_said_not_to_be_tuned(bench: Bench) -> None:
    step = tune("absent", 1e-9, space=SPACE).model_copy(update={"absent_device": "no GPU here"})
    plans.must_run(bench.python, bench.work, bench.material, [step])
    told = bench.told("absent")
    assert (told.chosen, told.trials, told.not_tuned) == (None, (), "no GPU here")
    assert plans.result(bench.work, "absent").metrics["block_size"] == 256
