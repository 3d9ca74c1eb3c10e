"""What ``bench.json`` holds: every raw value, and all that is needed to read them later."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field, JsonValue

from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.result import FileDigest, Status, Verdict
from pipeline.latency.measured import Measured
from targets.report.model import InputsReport, ToolchainReport

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
    """Those this process may use."""
    memory_bytes: int
    system: str
    load_before: float | None = None
    """Load average of one minute when measuring began: processes that wanted a CPU."""
    load_after: float | None = None
    """The same when it ended; the measuring itself is in it."""
    busy_before: float | None = None
    """Share of all CPUs that others kept busy just before, between 0 and 1."""


class Software(Frozen):
    """What made the bench, on the host's side."""

    quern: str
    python: str
    versions: dict[str, str] = Field(default_factory=dict)


class Statistics(Frozen):
    """One figure of one kind of prompt, over all rounds. In the unit of the figure."""

    p50: Range
    """Geometric mean of the rounds' medians, with Student's t interval over the rounds: wide enough
    to hold for all figures of the artifact together, at 95 % confidence (Bonferroni)."""
    p90: float | None = None
    p90_bound: float | None = None
    """What the p90 does not exceed, at 99 % confidence by MLPerf's rule; ``None``, as the p90
    itself, where there are too few samples for one."""
    samples: int
    rounds: int


class Old(Frozen):
    """The artifact that was measured in turn with ours."""

    where: str
    """Its folder."""
    files: tuple[FileDigest, ...] = ()


class Measurement(Frozen):
    """Latency and memory of one artifact on one machine."""

    here: bool
    """Whether it is this bench that measured, on :attr:`Bench.machine`."""
    system: str
    device: str
    runtime: str
    at: AwareDatetime | None = None
    artifact: Measured
    statistics: dict[str, dict[str, Statistics]] = Field(default_factory=dict)
    """Per kind of prompt and figure."""
    left_out: dict[str, str] = Field(default_factory=dict)
    """Kinds of prompts that were not timed, and why."""
    baseline: Measured | None = None
    """Of another artifact, measured in the same rounds, in turn."""
    baseline_of: Old | None = None
    peak_memory_bytes: int | None = None


class Unverified(Frozen):
    """Something that could not be shown, and why."""

    what: str
    why: str


class Answered(Frozen):
    """One answer to a held-out prompt, so that a later bench can pair its own with it."""

    file: int
    line: int
    expected: str
    given: str
    right: bool


class BenchArtifact(Frozen):
    """What was measured, and where it can be found again."""

    kind: Kind = "onnx"
    step: str
    key: str
    """Key of the step that made it; its name in the cache."""
    folder: str
    """Where its files lay."""
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
    checks: tuple[Verdict, ...] = ()
    quality: Json = Field(default_factory=dict)
    """As in ``report.json``."""
    answers: tuple[Answered, ...] = ()
    figures: Json = Field(default_factory=dict)
    """As in ``report.json``."""
    bytes: int
    memory_bytes: int | None = None
    """Peak memory of a process that answers."""
    measurements: tuple[Measurement, ...] = ()
    """The one taken here first."""
    unverified: tuple[Unverified, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def measured(self) -> Measurement | None:
        """Return the measurement that stands for the target: ours, else the first of another."""
        return next(iter(self.measurements), None)

    @property
    def here(self) -> Measurement | None:
        """Return what this bench measured."""
        return next((one for one in self.measurements if one.here), None)


class TrainingBench(Frozen):
    """The loss of one pass that trains, by optimizer step."""

    name: str
    key: str
    targets: tuple[str, ...]
    train: tuple[tuple[float, float], ...] = ()
    validation: tuple[tuple[float, float], ...] = ()


Word = Literal[
    "faster", "slower", "better", "worse", "smaller", "larger", "less", "more", "equal", "unsure"
]
REGRESSIONS: tuple[Word, ...] = ("slower", "worse", "larger", "more")


class Movement(Frozen):
    """One figure, then and now."""

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
    """How the two were compared: measured in turn in this run, from what both benches recorded, by
    the answers to the same prompts, by two independent intervals, or counted."""
    p_value: float | None = None
    adjusted: float | None = None
    """The p value by Holm's step-down method, over everything compared."""
    word: Word
    why: str


class TargetComparison(Frozen):
    """What became of one target."""

    target: str
    word: Word
    """Of its latency as a whole."""
    summary: str
    old_artifact: str
    """Where the old bytes were found, or why they were not."""
    same_bytes: bool


class Comparison(Frozen):
    """This bench against an earlier one."""

    old: str
    old_at: AwareDatetime
    old_machine: BenchMachine | None
    smallest_ratio: float
    """Changes of times below this share are of no interest."""
    targets: tuple[TargetComparison, ...]
    movements: tuple[Movement, ...]
    notes: tuple[str, ...] = ()

    @property
    def regressed(self) -> tuple[Movement, ...]:
        """Return what became worse."""
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
