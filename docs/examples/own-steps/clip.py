"""A pass of one's own: checkpoint in, checkpoint out."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field, JsonValue

from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass


class ClipParams(Frozen):
    """What counts as an outlier."""

    deviations: float = Field(default=6, gt=0)
    """Weights further than so many standard deviations from the mean of their matrix are clipped.
    """


class ClipOutliers(BasePass[ClipParams]):
    """Clip outlier weights, so that int4 does not spend its few steps on them."""

    Params = ClipParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint"}
    produces: ClassVar[Kind] = "checkpoint"

    def run(self, inputs: Inputs, params: ClipParams, out_dir: Path) -> dict[str, JsonValue]:
        """Copy the checkpoint and clip the matrices in its safetensors files."""
        from safetensors import safe_open
        from safetensors.torch import save_file

        clipped = total = 0
        for source in sorted(inputs["model"].iterdir()):
            if source.suffix != ".safetensors":
                shutil.copy(source, out_dir / source.name)
                continue
            tensors = {}
            with safe_open(source, "pt") as file:
                metadata = file.metadata()
                for name in file.keys():  # noqa: SIM118 - not a dict
                    tensor = file.get_tensor(name)
                    if tensor.ndim == 2:
                        mean, reach = tensor.mean(), params.deviations * tensor.std()
                        kept = tensor.clamp(mean - reach, mean + reach)
                        clipped += int((kept != tensor).sum())
                        total += tensor.numel()
                        tensor = kept
                    tensors[name] = tensor
            save_file(tensors, out_dir / source.name, metadata)
        return {"clipped": clipped, "weights": total}
