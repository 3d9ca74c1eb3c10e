"""Benches as data: what a machine would have measured, without one."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.result import Status
from pipeline.latency.rounds import LatencyRounds, Round
from pipeline.latency.timing import Timings
from pipeline.statistics.paired import share_interval
from targets.bench.bench_schema import (
    Bench,
    BenchArtifact,
    BenchMachine,
    EarlierArtifactRecord,
    Measurement,
    RecordedAnswer,
    Software,
    TargetBench,
    TrainingBench,
    Unverified,
)
from targets.bench.summaries import summarize
from targets.report.report_schema import CheckVerdict, InputsReport, ToolchainReport

AT = datetime(2026, 11, 25, 2, tzinfo=timezone.utc)
LENGTHS = {"short": 29, "128": 128, "512": 512, "1024": 1024, "2112": 2112}
LABELS = ("joy", "sadness", "fear", "surprise")
FILES = (
    FileDigest(path="genai_config.json", bytes=1_492, sha256="a" * 64),
    FileDigest(path="model.onnx.data", bytes=4_686_802, sha256="b" * 64),
)
OTHER_FILES = (FILES[0].model_copy(update={"sha256": "c" * 64}), FILES[1])


def timings(
    dice: random.Random, tokens: int, first_ms: float, token_ms: float, answers: int = 8
) -> Timings:
    """Return the times of answers of 16 tokens, with a tail."""
    first = [first_ms * dice.lognormvariate(0, 0.02) for _ in range(answers)]
    rest = [token_ms * dice.lognormvariate(0, 0.03) for _ in range(answers * 15)]
    return Timings(
        prompt_tokens=(tokens,) * answers,
        first_token_ms=tuple(first),
        token_ms=tuple(rest),
        total_ms=tuple(one + sum(rest[15 * at : 15 * at + 15]) for at, one in enumerate(first)),
    )


def measured(
    seed: int = 0,
    rounds: int = 6,
    slower: float = 1.0,
    shared: Sequence[float] | None = None,
    own: float = 0.005,
    prompts: Sequence[str] = tuple(LENGTHS),
) -> LatencyRounds:
    """Return rounds whose times are ``slower`` times as long.

    ``shared`` is what the machine's load makes of each round, ``own`` how much processes differ.
    """
    dice = random.Random(seed)  # noqa: S311 - made-up times
    load = shared or [1.0] * rounds
    samples = []
    for at in range(rounds):
        factor = slower * load[at] * dice.lognormvariate(0, own)
        samples.append(
            Round(
                load_ms=9 * factor,
                timings={
                    name: timings(dice, LENGTHS[name], 0.05 * LENGTHS[name] * factor, 0.1 * factor)
                    for name in prompts
                },
            )
        )
    return LatencyRounds(rounds=tuple(samples), threads=1, cpus=(0,))


def measurement(
    artifact: LatencyRounds,
    baseline: LatencyRounds | None = None,
    here: bool = True,
    **changes: Any,
) -> Measurement:
    return Measurement(
        here=here,
        system="" if here else "Windows 11, AMD64",
        device="x86_64" if here else "DirectX 12 on Windows 10.0.26100",
        runtime="venv",
        at=AT,
        artifact=artifact,
        statistics={name: dict(statistics) for name, statistics in summarize(artifact).items()},
        baseline=baseline,
        baseline_of=None
        if baseline is None
        else EarlierArtifactRecord(where="dist/old", files=FILES),
        peak_memory_bytes=61_000_000,
    ).model_copy(update=changes)


def answers(right: Sequence[bool]) -> tuple[RecordedAnswer, ...]:
    return tuple(
        RecordedAnswer(
            file=0,
            line=line,
            expected=LABELS[line % 4],
            given=LABELS[line % 4] if ok else LABELS[(line + 1) % 4],
            right=ok,
        )
        for line, ok in enumerate(right)
    )


def quality(right: int = 505, count: int = 540) -> dict[str, Any]:
    share = right / count
    low, high = share_interval(right, count)
    confusion = {
        truth: {choice: 126 if truth == choice else 3 for choice in LABELS} for truth in LABELS
    }
    untold = {truth: {choice: 135 * (choice == "joy") for choice in LABELS} for truth in LABELS}
    detail = {"value": share, "low": low, "high": high, "macro_f1": share, "perplexity": 1.18}
    tuned = {**detail, "valid": 1.0, "exact": share, "confusion": confusion}
    return {
        "metric": "accuracy",
        "samples": count,
        "base": 0.25,
        "tuned": 0.9352,
        "artifact": share,
        "interval": [low, high],
        "against": "float export",
        "paired": {"won": 3, "lost": 4, "p_value": 1.0, "low": -0.012, "high": 0.008},
        "details": {
            "base": {"value": 0.25, "low": 0.22, "high": 0.29, "confusion": untold},
            "tuned": tuned,
            "artifact": tuned,
        },
    }


def target(
    name: str = "cpu",
    measurements: Sequence[Measurement] = (),
    status: Status = "passed",
    files: Sequence[FileDigest] = FILES,
    **changes: Any,
) -> TargetBench:
    verdicts = (
        CheckVerdict(
            name="accuracy", status="passed", value=0.935, limit=0.9, relation=">=", unit="share"
        ),
        CheckVerdict(
            name="token_ms", status="passed", value=0.11, limit=20, relation="<=", unit="ms"
        ),
    )
    return TargetBench(
        target=name,
        status=status,
        artifact=BenchArtifact(
            step="model_builder",
            key=f"{name}-key",
            folder=f"dist/tone/{name}/model",
            files=tuple(files),
        ),
        toolchain=ToolchainReport(
            digest="d" * 64, runtime="venv", python="3.11.7", versions={"onnxruntime": "1.32.0"}
        ),
        inputs=InputsReport(config="c" * 64, model="made from text", data={"tone": "e" * 64}),
        checks=verdicts,
        quality=quality(),
        answers=answers([at % 15 != 0 for at in range(540)]),
        figures={"size": {"bytes": sum(file.bytes for file in files)}},
        bytes=sum(file.bytes for file in files),
        memory_bytes=next((one.peak_memory_bytes for one in measurements), None),
        measurements=tuple(measurements),
    ).model_copy(update=changes)


def bench(*targets: TargetBench, **changes: Any) -> Bench:
    return Bench(
        build="tone",
        at=AT,
        config="tone.toml",
        machine=BenchMachine(
            cpu="AMD EPYC 7B13",
            cores=2,
            usable_cores=2,
            memory_bytes=25_000_000_000,
            system="Linux 6.1.0, x86_64",
            load_before=0.4,
            load_after=1.2,
            busy_before=0.03,
        ),
        software=Software(quern="0.1.0", python="3.11.7", versions={"scipy": "1.17.1"}),
        targets=targets or (target(measurements=[measurement(measured())]),),
        training=(training(),),
    ).model_copy(update=changes)


def training() -> TrainingBench:
    steps: Mapping[int, float] = {step: 3.0 / (1 + step / 40) for step in range(10, 290, 10)}
    return TrainingBench(
        name="lora",
        key="lora-key",
        targets=("cpu",),
        train=tuple((float(step), loss) for step, loss in steps.items()),
        validation=tuple(
            (float(step), loss + 0.1) for step, loss in steps.items() if step % 70 == 0
        ),
    )


def whole_bench() -> Bench:
    """Return a bench with all there can be: three targets, one elsewhere, one not at all."""
    load = [1.0, 1.3, 1.05, 1.0, 1.6, 1.1]
    ours = measurement(measured(1, shared=load))
    elsewhere = measurement(measured(2, slower=0.3), here=False)
    absent = "there is no NVIDIA GPU here, or its driver is not installed"
    return bench(
        target("cpu", [ours]),
        target(
            "cuda",
            status="unverified",
            bytes=3_020_000,
            unverified=(
                Unverified(what="latency, here", why=absent),
                Unverified(what="token_ms", why=absent),
            ),
        ),
        target(
            "directml",
            [elsewhere],
            bytes=3_010_000,
            quality=quality(503),
            unverified=(Unverified(what="latency, here", why="DirectML runs on Windows only"),),
        ),
    )
