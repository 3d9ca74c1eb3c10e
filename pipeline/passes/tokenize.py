"""Makes the tokens of a training's rows; trainings on the same rows and tokenizer share them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.passes.base import BasePass


class TokenizeParams(Frozen):
    """How long a row may be, as the training says it."""

    max_length: int = Field(ge=8)
    too_long: Literal["drop", "cut", "error"]
    trust_remote_code: bool = False
    """Run Python code that comes with the model's tokenizer."""


class Pass(BasePass[TokenizeParams]):
    """Tokenize the training and validation parts, and write them as Arrow files."""

    Params = TokenizeParams
    consumes: ClassVar[Mapping[str, Kind]] = {"model": "checkpoint"}
    produces: ClassVar[Kind] = "tokens"
    uses_data: ClassVar[bool] = True
    added_by_planner: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: TokenizeParams, out_dir: Path) -> dict[str, JsonValue]:
        """Write the rows; return how many there are, and what is shown of them."""
        from pipeline.data.tokenize import Codec
        from pipeline.data.tokenizer import load_tokenizer
        from pipeline.training.prepared_rows import keep_rows

        tokenizer = load_tokenizer(inputs["model"], params.trust_remote_code)
        return keep_rows(inputs, Codec(tokenizer), params, out_dir)
