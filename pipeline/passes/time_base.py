"""Measures the speed and size of the base model, with which those of artifacts are compared."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar

from pydantic import Field, JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.latency.timing import Timings, Workload, measure, prompt_ids, summary
from pipeline.passes.base import BasePass
from pipeline.process.load import LoadWatch, busy_note, provisional
from pipeline.training.loading import ModelLoading

_WEIGHTS = (("*.safetensors",), ("*.bin", "*.pt", "*.pth"))
"""Patterns of weight files; of several kinds, the first one is loaded."""


class TimeBaseParams(Workload, ModelLoading):
    """The prompts, and how many of them are timed."""

    samples: int = Field(default=20, ge=0)
    """Number of prompts timed. Fewer than for the artifact, because an unquantized model is slow on
    a CPU. With 0, only its size is measured."""
    max_seconds: float = Field(default=300, gt=0)
    """Time after which measuring stops with the samples taken so far."""


class Pass(BasePass[TimeBaseParams]):
    """Time a checkpoint in PyTorch as the ``latency`` check times the artifact, and measure its
    size."""

    Params = TimeBaseParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint"}
    produces: ClassVar[Kind] = "predictions"
    uses_data: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: TimeBaseParams, out_dir: Path) -> dict[str, JsonValue]:
        """Write :class:`~pipeline.latency.timing.Timings`; return their statistics and
        ``weights_bytes``."""
        metrics: dict[str, JsonValue] = {"weights_bytes": weights_bytes(inputs["model"])}
        if not params.samples:
            Timings().save(out_dir)
            return metrics

        from pipeline.data.tokenizer import load_tokenizer
        from pipeline.training.answerer import stream
        from pipeline.training.determinism import prepare
        from pipeline.training.loading import load_model

        prepare(inputs.seed, inputs.threads)
        tokenizer = load_tokenizer(inputs["model"], params.trust_remote_code)
        prompts = prompt_ids(inputs, params, tokenizer, params.samples)
        model = load_model(inputs["model"], params).eval()
        watch = LoadWatch()
        timings = measure(
            partial(stream, model),
            prompts,
            params,
            params.samples,
            params.max_seconds,
            inputs.report,
        )
        busy = busy_note(watch.share_of_others())
        timings.save(out_dir)
        return {
            **metrics,
            "device": model.device.type,
            "dtype": str(model.dtype).removeprefix("torch."),
            "prompts": len(timings.total_ms),
            **summary(timings),
            **provisional(busy, inputs.report),
        }


def weights_bytes(folder: Path) -> int:
    """Return the size of the weights in a checkpoint folder, in bytes.

    If there are several kinds of weight files, only the one that is loaded counts.
    """
    for patterns in _WEIGHTS:
        files = {file for pattern in patterns for file in folder.glob(pattern)}
        if files:
            return sum(file.stat().st_size for file in files)
    return 0
