"""Generates a checkpoint's answers to the held-out prompts, and scores them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from pydantic import Field, JsonValue

from pipeline.contract.errors import StepError
from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass
from pipeline.training.loading import ModelLoading


class EvaluateParams(ModelLoading):
    """How many prompts are answered, and how."""

    max_samples: int | None = Field(default=None, ge=1)
    """Number of held-out rows, from the first one on; all by default."""
    max_new_tokens: int | None = Field(default=None, ge=1)
    """Longest answer in tokens; by default a little more than the longest expected one."""
    batch_size: int | None = Field(default=None, ge=1)
    """Most prompts that are asked at once. Without it, a batch is as many as make 4,096 tokens, and
    as have room for their keys and values in a gigabyte."""
    repetition_penalty: float | None = Field(default=None, gt=0)
    """As the artifact has it. Default: that of the model's ``generation_config.json``."""


class Pass(BasePass[EvaluateParams]):
    """Score a checkpoint on the held-out part, and see how well it reads plain English."""

    Params = EvaluateParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint"}
    produces: ClassVar[Kind] = "predictions"
    uses_data: ClassVar[bool] = True
    resumes: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: EvaluateParams, out_dir: Path) -> dict[str, JsonValue]:
        """Write the answers (:mod:`pipeline.evaluation.scores`) and the reading
        (:mod:`pipeline.evaluation.general`); return their scores."""
        from pipeline.data.parts import parts_of
        from pipeline.data.room import require_room
        from pipeline.data.tokenize import Codec
        from pipeline.data.tokenizer import load_tokenizer
        from pipeline.evaluation.general import read
        from pipeline.evaluation.scores import answer, score
        from pipeline.evaluation.settings import PENALTY, shipped
        from pipeline.onnx.checkpoint import Checkpoint
        from pipeline.training.answerer import answerer_of
        from pipeline.training.determinism import prepare

        prepare(inputs.seed, inputs.threads)
        examples = list(parts_of(inputs).eval[: params.max_samples])
        if not examples:
            raise StepError("nothing is held out", "raise split.eval above 0", "bad_input")
        tokenizer = load_tokenizer(inputs["model"], params.trust_remote_code)
        codec = Codec(tokenizer)
        checkpoint = Checkpoint(inputs["model"])
        require_room(examples, codec, checkpoint.context)
        settings = shipped(checkpoint.generation_config)
        answerer = replace(
            answerer_of(checkpoint, tokenizer, params, inputs.report),
            batch_size=params.batch_size,
            repetition_penalty=params.repetition_penalty or float(settings[PENALTY]),
        )
        answers = answer(
            answerer, codec, examples, inputs.report, params.max_new_tokens, inputs.unfinished
        )
        answers.save(out_dir)
        reading = read(answerer, codec.whole_text_ids, checkpoint.context, answerer.vocabulary)
        reading.save(out_dir)
        return {
            **score(answers).model_dump(mode="json"),
            "general_perplexity": reading.perplexity,
            "computed_in": answerer.dtype,
        }
