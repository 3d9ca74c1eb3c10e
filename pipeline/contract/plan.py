"""The plan: which steps run, on what inputs, in which order. Plain data, free of any ML library.

The host writes a plan as JSON, ``python -m pipeline PLAN`` reads it. Paths in a plan are
:class:`PathRef` values: a named root plus a relative path. A runtime fills :attr:`Plan.roots` with
where each root lies for the process it starts, so one plan runs in a container, in a virtual
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
from pipeline.contract.sha256 import sha256_of_bytes

OUTPUT_DIR = "output"
"""The folder, beside :data:`~pipeline.contract.result.RESULT_FILE`, with what the step made."""


class PathRef(Frozen):
    """A path below a named root. An empty ``path`` is the root itself."""

    root: str
    path: str = ""


class StepInput(Frozen):
    """The output of another step, found by its key in the work folder or in the cache."""

    step: str
    key: str


class SourceInput(Frozen):
    """A file or folder of the user's (a model, a text corpus), with the digest of its bytes."""

    ref: PathRef
    digest: str
    metrics: dict[str, JsonValue] = Field(default_factory=dict)
    """What the step that made it measured, where a step did."""


class DataInput(Frozen):
    """A data set: where its rows lie, the digest of those bytes, and how to read them."""

    name: str
    rows: tuple[StepInput | SourceInput, ...]
    """Files that are read one after the other, or the one step that makes the rows."""
    spec: DataSpec
    held_out: DataInput | None = None
    """The data set that is the held-out part, in place of a split."""
    validation: DataInput | None = None
    """The data set that gives the validation loss, in place of a split."""

    @property
    def digest(self) -> str:
        """Return what the rows are, in one digest; the key of the step where one makes them."""
        digests = [row.key if isinstance(row, StepInput) else row.digest for row in self.rows]
        if len(digests) == 1:
            return digests[0]
        return sha256_of_bytes(json.dumps(digests).encode())

    def all(self) -> Iterator[DataInput]:
        """Yield this data set and those that are parts of it."""
        yield self
        for part in (self.held_out, self.validation):
            if part is not None:
                yield from part.all()

    def sources(self) -> Iterator[SourceInput]:
        """Yield every file of the user's that is read."""
        for data in self.all():
            yield from (row for row in data.rows if isinstance(row, SourceInput))


class Step(Frozen):
    """One pass or check with everything that decides its result."""

    name: str
    kind: Literal["pass", "check"]
    type: str
    """Module name below ``pipeline.passes`` or ``pipeline.checks``; ``FILE.py:CLASS`` in the folder
    :attr:`code` for one of the user's own."""
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
    """The folder with the code of a pass or check of the user's own; its digest also covers what
    that code uses of ``pipeline``."""
    network: bool = False
    hub: bool = False
    """Whether its process is given the token and the address of the hub."""
    resumes: bool = False
    """Whether it is given a folder that outlives a run that fails: :func:`unfinished_root`."""
    absent_device: str = ""
    """Why the target's device cannot run this step, which then uses the CPU; empty where it can."""


class Plan(Frozen):
    """Ordered steps for one process, and where the named roots lie for it."""

    schema_version: Literal[1] = 1
    build: str
    steps: tuple[Step, ...]
    roots: dict[str, str] = Field(default_factory=dict)
    threads: int = Field(default=1, ge=1)
    """CPU threads the libraries may use."""
    origin: dict[str, str] = Field(default_factory=dict)
    """What the host says about runtime and image; copied into every result for the report."""

    def resolve(self, ref: PathRef) -> Path:
        """Return the path of ``ref`` for this process. Raises ``KeyError`` for an unknown root."""
        return Path(self.roots[ref.root]) / ref.path


def object_path(key: str) -> str:
    """Return where the step result ``key`` lies below the ``objects`` root."""
    return f"{key[:2]}/{key}"


def unfinished_root(key: str) -> str:
    """Return the root of the folder in which the step ``key`` keeps what outlives a kill."""
    return f"unfinished-{key[:12]}"
