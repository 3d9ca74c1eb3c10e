"""Computes logits and answers of an unquantized export of the merged model.

With them, checks separate the errors of conversion from those of quantization.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, JsonValue

from pipeline.builder.params import ModelBuilderParams
from pipeline.contract.kinds import Kind
from pipeline.contract.space import FORMATS, SpaceEstimate
from pipeline.contract.step import Inputs
from pipeline.onnx.float_export import REASON
from pipeline.passes.base import BasePass

if TYPE_CHECKING:
    from pipeline.onnx.session import Session


_COPIES = 2.5
"""Memory that a float export needs to be run, as a multiple of its weights: ONNX Runtime maps them,
and packs copies for the CPU."""


class FloatReferenceParams(ModelBuilderParams):
    """How the export is built, and how many prompts it answers."""

    precision: Literal["fp32", "fp16"] = "fp32"
    """Set by the target."""
    max_export: int = Field(default=4 << 30, ge=0)
    """Size of the fp32 weights in bytes above which nothing is exported, because that would take
    five times as much memory and, on a CPU, too much time."""
    max_samples: int | None = Field(default=None, ge=1)
    """Number of held-out prompts, from the first one on, as of the ``evaluate`` pass."""
    max_new_tokens: int | None = Field(default=None, ge=1)
    """Longest answer in tokens, as of the ``evaluate`` pass."""

    def writes(self, inputs: Mapping[str, SpaceEstimate]) -> SpaceEstimate | None:
        """Return the size of the export, which is not kept, and of the logits, which are."""
        built, reference = super().writes(inputs), inputs.get("reference")
        weights = inputs["model"].weights if "model" in inputs else None
        if built is None or reference is None or weights is None:
            return None
        small = FORMATS["fp32"] * weights.count <= self.max_export
        return SpaceEstimate(reference.kept, temporary=built.kept if small else 0)


class Pass(BasePass[FloatReferenceParams]):
    """Build the model without quantization, run it through the CPU provider, and keep its logits
    and answers, but not the export itself. An ``adapter`` that the artifact keeps separate is so
    there too."""

    Params = FloatReferenceParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint", "reference": "predictions"}
    produces: ClassVar[Kind] = "predictions"
    uses_data: ClassVar[bool] = True
    runs_on: ClassVar[Literal["host", "target"]] = "target"

    def run(
        self, inputs: Inputs, params: FloatReferenceParams, out_dir: Path
    ) -> dict[str, JsonValue]:
        """Write the logits for the rows of the ``reference`` pass and, if there is held-out data,
        the answers. If the model is too large, also for the memory that is free, or the CPU
        provider cannot run its graph, write nothing; the metrics then say why."""
        import shutil

        from pipeline.builder.build import build
        from pipeline.contract.errors import BeyondCpuError
        from pipeline.onnx.checkpoint import Checkpoint
        from pipeline.onnx.session import Session
        from pipeline.process.memory import available_memory
        from pipeline.training.separate_adapter import attach

        size = FORMATS["fp32"] * Checkpoint(inputs["model"]).weights
        facts: dict[str, JsonValue] = {"precision": params.precision, "fp32_bytes": size}
        if size > params.max_export:
            return {
                **facts,
                REASON: f"a float export has {size / 1e9:.1f} GB of fp32 weights, more than "
                f"max_export of {params.max_export / 1e9:.1f} GB",
            }
        room = available_memory()
        if room is not None and _COPIES * size > room:
            return {
                **facts,
                REASON: f"a float export has {size / 1e9:.1f} GB of fp32 weights, and "
                f"{room / 1e9:.1f} GB of memory are free",
            }
        export = out_dir / "export"
        export.mkdir()
        try:
            build(inputs["model"], export, params, inputs.report)
            if "adapter" in inputs.paths:
                attach(export, inputs["model"], inputs["adapter"], "adapter")
            try:
                session = Session(export, inputs.threads, cpu=True)
            except BeyondCpuError as error:
                return {**facts, REASON: str(error)}
            rows = _logits(inputs, session, out_dir)
            answered = _answers(inputs, params, export, session, out_dir)
            del session
        finally:
            shutil.rmtree(export, ignore_errors=True)
        return {**facts, "rows": rows, "answers": answered}


def _logits(inputs: Inputs, session: Session, out_dir: Path) -> int:
    from pipeline.onnx.reference import Reference, ReferenceRow

    reference_rows = Reference.load(inputs["reference"]).rows
    rows = []
    for done, row in enumerate(reference_rows, start=1):
        rows.append(ReferenceRow(row.ids, session.logits(row.ids, len(row.logits))))
        inputs.report.progress(done, len(reference_rows), "rows")
    Reference(tuple(rows)).save(out_dir)
    return len(rows)


def _answers(
    inputs: Inputs, params: FloatReferenceParams, export: Path, session: Session, out_dir: Path
) -> int:
    from pipeline.data.parts import parts_of
    from pipeline.data.tokenizer import load_artifact_tokenizer
    from pipeline.evaluation.scores import answer
    from pipeline.onnx.answerer import GenAiAnswerer
    from pipeline.onnx.artifact_codec import ArtifactCodec

    examples = list(parts_of(inputs).eval[: params.max_samples]) if inputs.data is not None else []
    if not examples:
        return 0
    codec = ArtifactCodec(load_artifact_tokenizer(export), session)
    answerer = GenAiAnswerer(session)
    answers = answer(answerer, codec, examples, inputs.report, params.max_new_tokens)
    answers.save(out_dir)
    return len(answers.answers)
