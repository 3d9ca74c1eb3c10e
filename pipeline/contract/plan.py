"""The plan: which steps run, on what inputs, in which order. Plain data, free of any ML library.

The host writes a plan as JSON, ``python -m pipeline PLAN`` reads it. Paths in a plan are
:class:`PathRef` values: a named root plus a relative path. A runtime fills :attr:`Plan.roots` with
the path of each root in the process it starts, so one plan runs in a container, in a virtual
environment or on another machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue

from pipeline.contract.data_spec import DataSpec
from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import StepKind
from pipeline.contract.sha256 import sha256_of_bytes

OUTPUT_DIR = "output"
"""The folder, beside :data:`~pipeline.contract.result.RESULT_FILE`, with what the step made."""


_SCRIPTS = frozenset({"script", "script_dir", "task_folder"})
"""Inputs that are Python files of the user's, or may have some."""


class PathRef(Frozen):
    """A path below a named root. An empty ``path`` is the root itself."""

    root: str
    path: str = ""


class StepInput(Frozen):
    """The output of another step, which lies under its key in the work folder or in the cache."""

    step: str
    key: str


class SourceInput(Frozen):
    """The user's file or folder (a model, a text corpus), with the digest of its bytes."""

    ref: PathRef
    digest: str
    metrics: dict[str, JsonValue] = Field(default_factory=dict)
    """Metrics of the step that made it; empty if none did."""


class DataInput(Frozen):
    """A data set: its files with their digests, and how they are read."""

    name: str
    rows: tuple[StepInput | SourceInput, ...]
    """Files that are read one after the other, or the one step that makes the rows."""
    spec: DataSpec
    held_out: DataInput | None = None
    """The data set that serves as held-out part, in place of a split."""
    validation: DataInput | None = None
    """The data set that serves as validation part, in place of a split."""

    @property
    def digest(self) -> str:
        """Return one digest of all rows; the key of the step if a step makes them."""
        digests = [row.key if isinstance(row, StepInput) else row.digest for row in self.rows]
        if len(digests) == 1:
            return digests[0]
        return sha256_of_bytes(json.dumps(digests).encode())

    def all(self) -> Iterator[DataInput]:
        """Yield this data set and those that serve as its parts."""
        yield self
        for part in (self.held_out, self.validation):
            if part is not None:
                yield from part.all()

    def unconstrained(self) -> DataInput:
        """Return this data set for a step that no constraint of answers concerns, so that a change
        of it does not run that step again."""
        parts = {"held_out": self.held_out, "validation": self.validation}
        changed = {name: part and part.unconstrained() for name, part in parts.items()}
        spec = self.spec.model_copy(update={"constrain": False})
        return self.model_copy(update={"spec": spec, **changed})

    def sources(self) -> Iterator[SourceInput]:
        """Yield every file of the user that is read."""
        for data in self.all():
            yield from (row for row in data.rows if isinstance(row, SourceInput))


class Step(Frozen):
    """One pass or check, with everything that its result depends on."""

    name: str
    kind: StepKind
    type: str
    """Module name below ``pipeline.passes`` or ``pipeline.checks``; for the user's own, a
    ``FILE.py:CLASS`` in the folder :attr:`code`."""
    target: str
    """The target whose toolchain runs this step."""
    toolchain: str
    """Digest of that toolchain."""
    key: str
    """Hash of type, code, params, input digests, toolchain and seed; the name in the cache."""
    seed: int
    params: dict[str, JsonValue] = Field(default_factory=dict)
    inputs: dict[str, StepInput | SourceInput] = Field(default_factory=dict)
    data: DataInput | None = None
    code: SourceInput | None = None
    """The folder with the code of the user's own pass or check. Its digest also covers the modules
    of ``pipeline`` that this code imports."""
    network: bool = False
    hub: bool = False
    """Whether its process gets the token and the address of the hub."""
    resumes: bool = False
    """Whether it gets a folder that is kept after a failed run: :func:`unfinished_root`."""
    absent_device: str = ""
    """Why the target's device cannot run this step, which then uses the CPU; empty if it can."""
    emulation: str = ""
    """What runs the target's provider on the CPU in place of the device; empty for nothing."""

    @property
    def runs_code_of_the_user(self) -> bool:
        """Return whether it calls functions of the user's: a pass, a check, rows, a metric."""
        return self.code is not None or not _SCRIPTS.isdisjoint(self.inputs)

    def read_keys(self) -> Iterator[str]:
        """Yield the key of every step whose output it reads."""
        sources = [*self.inputs.values()]
        for data in self.data.all() if self.data is not None else ():
            sources += data.rows
        yield from (source.key for source in sources if isinstance(source, StepInput))


class Plan(Frozen):
    """Ordered steps for one process, and the paths of the named roots in it."""

    schema_version: Literal[1] = 1
    build: str
    steps: tuple[Step, ...]
    roots: dict[str, str] = Field(default_factory=dict)
    threads: int = Field(default=1, ge=1)
    """CPU threads the libraries may use."""
    origin: dict[str, str] = Field(default_factory=dict)
    """Runtime and image, as the host knows them; copied into every result for the report."""

    def resolve(self, ref: PathRef) -> Path:
        """Return the path of ``ref`` in this process. Raises ``KeyError`` for an unknown root."""
        return Path(self.roots[ref.root]) / ref.path


def object_path(key: str) -> str:
    """Return the path of the step result ``key`` below the ``objects`` root."""
    return f"{key[:2]}/{key}"


def unfinished_root(key: str) -> str:
    """Return the name of the root for files of the step ``key`` that survive a failed run."""
    return f"unfinished-{key[:12]}"
