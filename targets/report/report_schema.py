"""The schema of ``report.json``."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from pydantic import Field, JsonValue

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind, StepKind
from pipeline.contract.result import Status, Verdict
from targets.runtimes.runtime import PLACES


class ToolchainReport(Frozen):
    """The toolchain that was used."""

    digest: str
    runtime: str
    """``docker`` or ``venv``: where the artifact was made, in this build or an earlier one."""
    base_image: str = ""
    """The base image by digest, or how it was bootstrapped; empty for a virtual environment."""
    image: str = ""
    python: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of the libraries in the process that ran the steps."""


class PassReport(Frozen):
    """One step of the chain. ``seconds`` and memory are those of the run that made the result."""

    name: str
    kind: StepKind = "pass"
    type: str
    key: str
    cached: bool
    reason: str
    seconds: float
    peak_rss_bytes: int
    bytes: int = 0
    """Size of what it wrote."""
    runtime: str = ""
    """``docker`` or ``venv``: where it was made; empty if it came from elsewhere."""
    system: str = ""
    """The system on which it was made; empty if on the machine of the build."""
    unconfined: str = ""
    """What that system did not enforce, in words."""
    params: dict[str, JsonValue] = Field(default_factory=dict)
    given: tuple[str, ...] = ()
    """Those of a check that the config sets, and no default."""
    metrics: dict[str, JsonValue] = Field(default_factory=dict)


class InputsReport(Frozen):
    """The inputs of the build."""

    config: str
    """SHA-256 of the config file."""
    model: str
    data: dict[str, str] = Field(default_factory=dict)
    """SHA-256 per data set."""
    seed: int = 0
    trust_remote_code: bool = False
    weights: str = "safetensors"
    arithmetic: str = "portable"
    """``native`` if the bytes are those of one kind of CPU."""


class CheckedReport(Frozen):
    """The machine that checked the artifact after the build."""

    device: str
    """The target's device; empty if there was none."""
    system: str
    runtime: str
    toolchain: str
    """Digest of the toolchain that ran the checks."""
    at: str
    """Time in UTC, ISO 8601."""


class CheckVerdict(Verdict):
    """A verdict, and whose it is: several checks give one with the same name."""

    check: str = ""
    """Name of the check that gave it; empty if none did, and in reports of earlier versions."""

    @property
    def name_in_check(self) -> str:
        """Return the name that its check gave it."""
        return self.name.removeprefix(f"{self.check}.")


class Report(Frozen):
    """The report of one build of one target."""

    schema_version: Literal[1] = 1
    build: str
    target: str
    artifact: Kind = "onnx"
    """Content of ``model/``: an ONNX Runtime GenAI model folder, a Hugging Face checkpoint or a
    PEFT adapter."""
    status: Status
    quern: str
    """Version of Quern."""
    inputs: InputsReport
    toolchain: ToolchainReport
    passes: tuple[PassReport, ...]
    checks: tuple[CheckVerdict, ...]
    latency: dict[str, JsonValue] = Field(default_factory=dict)
    """Raw samples and figures of the ``latency`` check; times in milliseconds."""
    quality: dict[str, JsonValue] = Field(default_factory=dict)
    """``metric``, ``samples`` and its value for ``base``, ``tuned`` and ``artifact``; ``details``
    of each; and ``wrong`` answers with their places in the data, the first hundred."""
    figures: dict[str, JsonValue] = Field(default_factory=dict)
    """Figures of other checks, by check: sizes, differences of logits and matrices, and results of
    scripts."""
    files: tuple[FileDigest, ...]
    """The files of ``model/``."""
    notes: tuple[str, ...] = ()
    checked: CheckedReport | None = None
    """Where the checks were run after the build, if they were."""
    checks_as_built: tuple[CheckVerdict, ...] = ()
    """If so, the verdicts of the build itself."""

    @property
    def size_bytes(self) -> int:
        """Return the size of the artifact."""
        return sum(file.bytes for file in self.files)

    @property
    def distinct_names(self) -> tuple[str, ...]:
        """Return a name for each verdict that no other check's has."""
        often = Counter(verdict.name for verdict in self.checks)
        return tuple(
            f"{one.check}.{one.name_in_check}" if one.check and often[one.name] > 1 else one.name
            for one in self.checks
        )

    @property
    def unconfined(self) -> str:
        """Return what was made in a virtual environment, or where a system does not enforce all, in
        words; empty if nothing was."""
        names = [step.name for step in self.passes if step.runtime == "venv"]
        listed = "" if len(names) == len(self.passes) else f": {', '.join(names)}"
        made = [f"made in {PLACES['venv']}{listed}"] if names else []
        lacks = {step.system: step.unconfined for step in self.passes if step.unconfined}
        for system, lack in lacks.items():
            made.append(f"{system or 'the engine'} does not enforce {lack}")
        return "; ".join(made)

    @property
    def made_elsewhere(self) -> str:
        """Return what was made on which system, in words; empty if nothing was."""
        systems: dict[str, list[str]] = {}
        for step in self.passes:
            if step.system:
                systems.setdefault(step.system, []).append(step.name)
        parts = [
            system if len(names) == len(self.passes) else f"{system}: {', '.join(names)}"
            for system, names in systems.items()
        ]
        return f"made on {'; on '.join(parts)}" if parts else ""
