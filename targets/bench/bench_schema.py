"""The schema of ``bench.json``: all raw values, and everything needed to interpret them later."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field, JsonValue

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.result import Status
from pipeline.latency.rounds import LatencyRounds
from targets.report.report_schema import CheckVerdict, InputsReport, ToolchainReport

SCHEMA_VERSION = 1

Json = dict[str, JsonValue]


class Range(Frozen):
    """A value and the ends of its 95 % interval; ``None`` for an end that is unbounded."""

    value: float
    low: float | None = None
    high: float | None = None


class BenchMachine(Frozen):
    """The machine that measured, and how busy it was."""

    cpu: str
    cores: int
    """Logical CPUs of the machine."""
    usable_cores: int
    """Logical CPUs that this process may use."""
    memory_bytes: int
    system: str
    load_before: float | None = None
    """Load average of one minute when measuring began."""
    load_after: float | None = None
    """The same when it ended, including the measurement itself."""
    busy_before: float | None = None
    """Share of all CPUs that other processes used just before, between 0 and 1."""


class Software(Frozen):
    """The host software that made the bench."""

    quern: str
    python: str
    versions: dict[str, str] = Field(default_factory=dict)


class Statistics(Frozen):
    """One figure of one kind of prompt, over all rounds. In the unit of the figure."""

    p50: Range
    """Geometric mean of the rounds' medians, with Student's t interval over the rounds. Its 95 %
    confidence is for all figures of the artifact together (Bonferroni)."""
    p90: float | None = None
    p90_bound: float | None = None
    """Upper bound of the p90 at 99 % confidence; ``None`` if there are too few samples or processes
    (:mod:`pipeline.statistics.percentiles`)."""
    samples: int
    rounds: int


class EarlierArtifactRecord(Frozen):
    """The other artifact that was measured in the same rounds."""

    where: str
    """Its folder."""
    files: tuple[FileDigest, ...] = ()


class Measurement(Frozen):
    """Latency and memory of one artifact on one machine."""

    here: bool
    """Whether this bench measured it, on :attr:`Bench.machine`."""
    system: str
    device: str
    runtime: str
    at: AwareDatetime | None = None
    artifact: LatencyRounds
    statistics: dict[str, dict[str, Statistics]] = Field(default_factory=dict)
    """Statistics by kind of prompt and figure."""
    left_out: dict[str, str] = Field(default_factory=dict)
    """Kinds of prompts that were not timed, and why."""
    baseline: LatencyRounds | None = None
    """Samples of another artifact, measured in the same rounds."""
    baseline_of: EarlierArtifactRecord | None = None
    peak_memory_bytes: int | None = None
    busy: float | None = None
    """Share of the CPUs that other work took while it was measured, between 0 and 1."""


class Unverified(Frozen):
    """Something that could not be measured, and why."""

    what: str
    why: str


class RecordedAnswer(Frozen):
    """One answer to a held-out prompt, so that a later bench can pair its own with it."""

    file: int
    line: int
    expected: str
    given: str
    right: bool


class BenchArtifact(Frozen):
    """The measured artifact: its key, folder and files."""

    kind: Kind = "onnx"
    step: str
    key: str
    """Key of the step that made it; its name in the cache."""
    folder: str
    """The folder of its files."""
    files: tuple[FileDigest, ...]

    @property
    def bytes(self) -> int:
        """Return the size of all its files."""
        return sum(file.bytes for file in self.files)

    @property
    def path(self) -> Path:
        """Return the folder as a path."""
        return Path(self.folder)


class TargetBench(Frozen):
    """Everything about the artifact of one target."""

    target: str
    status: Status
    artifact: BenchArtifact
    toolchain: ToolchainReport
    inputs: InputsReport
    checks: tuple[CheckVerdict, ...] = ()
    quality: Json = Field(default_factory=dict)
    """As in ``report.json``."""
    answers: tuple[RecordedAnswer, ...] = ()
    figures: Json = Field(default_factory=dict)
    """As in ``report.json``."""
    bytes: int
    memory_bytes: int | None = None
    """Peak memory of a process that answers."""
    measurements: tuple[Measurement, ...] = ()
    """All measurements, with that of this bench first."""
    unverified: tuple[Unverified, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def measured(self) -> Measurement | None:
        """Return the measurement to show: that of this bench, else the first other one."""
        return next(iter(self.measurements), None)

    @property
    def here(self) -> Measurement | None:
        """Return the measurement of this bench, if there is one."""
        return next((one for one in self.measurements if one.here), None)


class TrainingBench(Frozen):
    """The loss of one training pass, by optimizer step."""

    name: str
    key: str
    targets: tuple[str, ...]
    train: tuple[tuple[float, float], ...] = ()
    validation: tuple[tuple[float, float], ...] = ()


ChangeVerdict = Literal[
    "faster", "slower", "better", "worse", "smaller", "larger", "less", "more", "equal", "unsure"
]
REGRESSIONS: tuple[ChangeVerdict, ...] = ("slower", "worse", "larger", "more")


class FigureChange(Frozen):
    """One figure in both benches, and the verdict on its change."""

    target: str
    kind: Literal["latency", "quality", "size", "memory"]
    what: str
    """The figure, e.g. ``each token, short prompts``."""
    unit: str
    old: float
    new: float
    change: Range
    """``new / old`` with its 95 % interval; for quality ``new - old``."""
    basis: Literal["in turn", "recorded", "same items", "intervals", "exact"]
    """How the two were compared: measured in the same rounds of this run, from the samples that
    both benches recorded, by answers to the same prompts, by two independent intervals, or
    exactly."""
    p_value: float | None = None
    adjusted: float | None = None
    """The p value, adjusted by Holm's step-down method for all comparisons."""
    word: ChangeVerdict
    why: str


class TargetComparison(Frozen):
    """The changes of one target."""

    target: str
    word: ChangeVerdict
    """Verdict on its latency as a whole."""
    summary: str
    old_artifact: str
    """Where the old artifact was found, or why it was not."""
    same_bytes: bool


class Comparison(Frozen):
    """The comparison of this bench with an earlier one."""

    old: str
    old_at: AwareDatetime
    old_machine: BenchMachine | None
    smallest_ratio: float
    """Smallest change of a time that is of interest, as a share."""
    targets: tuple[TargetComparison, ...]
    movements: tuple[FigureChange, ...]
    notes: tuple[str, ...] = ()

    @property
    def regressed(self) -> tuple[FigureChange, ...]:
        """Return the figures that became worse."""
        return tuple(one for one in self.movements if one.word in REGRESSIONS)


class Bench(Frozen):
    """One benchmark of one build."""

    schema_version: Literal[1] = 1
    build: str
    at: AwareDatetime
    config: str
    """The config's file name."""
    machine: BenchMachine
    software: Software
    targets: tuple[TargetBench, ...] = Field(min_length=1)
    training: tuple[TrainingBench, ...] = ()
    comparison: Comparison | None = None

    def __getitem__(self, target: str) -> TargetBench:
        return next(one for one in self.targets if one.target == target)
