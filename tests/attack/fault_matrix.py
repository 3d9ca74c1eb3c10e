"""Plants every fault of the catalogue into copies of an artifact, and says what names each.

Run by a toolchain's Python: ``python -m tests.attack.fault_matrix WORK STEP CHECKPOINT`` writes a
JSON object: fault -> ``named`` with the failed verdicts, or ``inapplicable`` with the reason. The
entry ``""`` is of the artifact as it is.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from pipeline.builder import beside
from pipeline.builder.matrices import replaced
from pipeline.builder.options import OPTIONS
from pipeline.builder.params import ModelBuilderParams
from pipeline.checks import graph, rebuild
from pipeline.contract.result import StepResult
from pipeline.contract.step import Inputs, Reporter
from pipeline.onnx.graph import OnnxModel
from tests.attack.artifact_faults import FAULTS, InapplicableError

_ABSENT = "there is no such device in this test"


class _Silent:
    def progress(self, done: int, total: int, unit: str = "steps", **metrics: float) -> None:
        """Pass over it."""

    def warn(self, message: str) -> None:
        """Pass over it."""

    note = text = warn


@dataclass
class Once:
    """Builds the checkpoint beside the first artifact, as ``rebuild`` does, and holds all others
    against what was built then: a second build of the same gives the same bytes."""

    folder: Path
    tensors: dict[str, bytes] = field(default_factory=dict)
    built: beside.BesideArtifact | None = None

    def build_beside(
        self,
        checkpoint: Path,
        out_dir: Path,
        artifact: OnnxModel,
        recorded: Mapping[str, JsonValue],
        report: Reporter,
    ) -> beside.BesideArtifact:
        """Take the place of :func:`pipeline.builder.beside.build_beside`."""
        if self.built is None:
            kept = self.tensors

            class Keeping(beside.BesideArtifact):
                def __call__(self, model: Any, path: str, external_data: str, **more: Any) -> None:
                    for inner in model.graphs():
                        for name, value in inner.initializers.items():
                            kept[str(name)] = value.const_value.tobytes()
                    super().__call__(model, path, external_data, **more)

            with replaced(beside, "BesideArtifact", Keeping):
                self.built = _BUILD_BESIDE(checkpoint, self.folder, artifact, recorded, report)
        shutil.copytree(self.folder, out_dir, dirs_exist_ok=True)
        compared = beside.BesideArtifact(artifact, self.built.tensors)
        compared.file, compared.data = self.built.file, self.built.data
        found = (compared.difference(name, raw) for name, raw in self.tensors.items())
        compared.differences = [text for text in found if text]
        return compared


_BUILD_BESIDE = beside.build_beside


@contextmanager
def built_once() -> Iterator[None]:
    """Let ``rebuild`` build only the first time while the block runs."""
    with tempfile.TemporaryDirectory() as scratch:
        once = Once(Path(scratch))
        with replaced(beside, "build_beside", once.build_beside):
            yield


def failed(artifact: Path, checkpoint: Path | None, made: StepResult) -> dict[str, str]:
    """Return the failed verdicts of ``rebuild``, and where it has none those of ``graph``."""
    paths = (
        {"artifact": artifact}
        if checkpoint is None
        else {"artifact": artifact, "model": checkpoint}
    )
    provider = made.metrics.get("execution_provider", "cpu")
    inputs = Inputs(
        paths=paths,
        data=None,
        seed=0,
        threads=2,
        report=_Silent(),
        metrics={"artifact": made.metrics},
        absent_device="" if provider == "cpu" else _ABSENT,
    )
    elsewhere = None if OPTIONS in made.metrics else ModelBuilderParams.model_validate({})
    outcome = rebuild.Check().judge(inputs, rebuild.RebuildParams(built_with=elsewhere))
    found = {v.name: v.detail for v in outcome.verdicts if v.status == "failed"}
    if found:
        return found
    outcome = graph.Check().judge(inputs, graph.GraphParams())
    return {v.name: v.detail for v in outcome.verdicts if v.status == "failed"}


def main(work: Path, step: str, checkpoint: Path | None) -> dict[str, Any]:
    """Return what names each fault."""
    made = StepResult.model_validate_json((work / step / "result.json").read_text("utf-8"))
    artifact = work / step / "output"
    said: dict[str, Any] = {}
    with built_once(), tempfile.TemporaryDirectory() as scratch:
        said[""] = {"named": failed(artifact, checkpoint, made)}
        for name, fault in FAULTS.items():
            spoiled = Path(scratch) / name
            shutil.copytree(artifact, spoiled, copy_function=shutil.copyfile)
            try:
                fault(spoiled)
            except InapplicableError as error:
                said[name] = {"inapplicable": str(error)}
            else:
                said[name] = {"named": failed(spoiled, checkpoint, made)}
            shutil.rmtree(spoiled)
    return said


if __name__ == "__main__":
    folder = None if sys.argv[3] == "-" else Path(sys.argv[3])
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], folder)))  # noqa: T201
