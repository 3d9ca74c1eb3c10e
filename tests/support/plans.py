"""Small plans for ``python -m pipeline``, run by a toolchain's own Python."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.contract.data_spec import DataSpec
from pipeline.contract.events import EVENT, Event, StepFailed
from pipeline.contract.kinds import StepKind
from pipeline.contract.plan import DataInput, PathRef, Plan, SourceInput, Step, StepInput
from pipeline.contract.result import StepResult, Verdict
from pipeline.process.exit_codes import describe_exit
from tests.support.warm_process import THREADS, warm_process

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent

CHECKPOINT = SourceInput(ref=PathRef(root="material", path="checkpoint"), digest="material")
TONES = DataInput(
    name="tones",
    rows=(SourceInput(ref=PathRef(root="material", path="tones.jsonl"), digest="tones"),),
    spec=DataSpec(path="tones.jsonl", prompt="{phrase}", completion="{tone}", label="tone"),
)

_EMULATED_S = 3000
"""Seconds that a plan may take on an emulated CPU, where other work is done as well."""


def step(
    name: str,
    kind: StepKind,
    inputs: Mapping[str, StepInput | SourceInput],
    params: Mapping[str, Any] | None = None,
    data: DataInput | None = None,
    type: str | None = None,  # noqa: A002 - the plan's own word
) -> Step:
    """Return a step whose key is its name."""
    return Step(
        name=name,
        kind=kind,
        type=type or name,
        target="cpu",
        toolchain="test",
        key=name,
        seed=0,
        params=dict(params or {}),
        inputs=dict(inputs),
        data=data,
    )


def material_input(path: str) -> SourceInput:
    """Return a file or folder of the material as an input."""
    return SourceInput(ref=PathRef(root="material", path=path), digest=path)


def output_of(name: str) -> StepInput:
    """Return the output of the step ``name`` as an input."""
    return StepInput(step=name, key=name)


def run(
    python: Path,
    work: Path,
    material: Path,
    steps: Sequence[Step],
    *,
    threads: int = THREADS,
    through: Sequence[str] = (),
    umask: int = -1,
    environment: Mapping[str, str] | None = None,
) -> tuple[int, list[Event], str]:
    """Run a plan; return exit code, events and what went to standard error. No signal may end it.

    Its process has the libraries already, unless it is to be another one:
    ``through`` is a command that starts the interpreter; ``environment`` goes on top of this
    process's, whose ``umask`` -1 leaves.
    """
    work.mkdir(parents=True, exist_ok=True)
    roots = {"work": str(work), "material": str(material)}
    plan = Plan(build="test", steps=tuple(steps), roots=roots, threads=threads)
    path = work.parent / f"{work.name}-{steps[0].name}-plan.json"
    path.write_text(plan.model_dump_json(), "utf-8")
    if through or umask != -1 or environment or threads != THREADS:
        done = subprocess.run(
            [*through, str(python), "-m", "pipeline", str(path)],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=_EMULATED_S if through else 600,
            umask=umask,
            check=False,
        )
        code, output, log = done.returncode, done.stdout, done.stderr
    else:
        said, logged = path.with_suffix(".events"), path.with_suffix(".log")
        code = warm_process(python).run("pipeline", [str(path)], said, logged, os.environ)
        output, log = said.read_text("utf-8"), logged.read_text("utf-8")
    assert code >= 0, f"{describe_exit(code)}\n{log[-3000:]}"
    return code, [EVENT.validate_json(line) for line in output.splitlines()], log


def must_run(python: Path, work: Path, material: Path, steps: Sequence[Step], **how: Any) -> None:
    """Run a plan that must work, as :func:`run` does."""
    code, events, log = run(python, work, material, steps, **how)
    failed = [event for event in events if isinstance(event, StepFailed)]
    assert code == 0, (failed, log[-3000:])


def result(work: Path, name: str) -> StepResult:
    """Return the result of a finished step."""
    return StepResult.model_validate_json((work / name / "result.json").read_text("utf-8"))


def failed_verdicts(work: Path, name: str) -> dict[str, Verdict]:
    """Return the failed verdicts of a check by name."""
    return {v.name: v for v in result(work, name).verdicts if v.status == "failed"}
