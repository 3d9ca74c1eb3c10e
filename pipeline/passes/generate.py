"""Generates one answer with an artifact and streams its text; the pass behind ``try``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.data.question import Question
from pipeline.passes.base import BasePass


class GenerateParams(Question):
    """The question, and how the artifact is loaded."""

    threads: int | None = Field(default=None, ge=1)
    """Threads of the session. Default: those in the artifact's settings."""


class Pass(BasePass[GenerateParams]):
    """Answer one question."""

    Params = GenerateParams
    consumes: ClassVar[dict[str, Kind]] = {"artifact": "onnx"}
    produces: ClassVar[Kind] = "predictions"
    runs_on: ClassVar[Literal["host", "target"]] = "target"

    def run(self, inputs: Inputs, params: GenerateParams, out_dir: Path) -> dict[str, JsonValue]:
        """Stream the answer as text events and write it to ``answer.txt``."""
        from pipeline.onnx.asking import LoadedArtifact
        from pipeline.onnx.session import Session

        folder = inputs["artifact"]
        session = Session(folder, params.threads, cpu=bool(inputs.absent_device))
        asked = LoadedArtifact(folder, session).ask(params)
        pieces: list[str] = []
        times = [time.perf_counter()]
        for piece in asked.answer():
            times.append(time.perf_counter())
            if piece.ends:
                break
            pieces.append(piece.text)
            if piece.text:
                inputs.report.text(piece.text)
        answer = "".join(pieces)
        (out_dir / "answer.txt").write_text(answer, "utf-8")
        decoding = times[-1] - times[1]
        return {
            "text": answer,
            "prompt_tokens": len(asked.prompt),
            "new_tokens": len(pieces),
            "load_seconds": session.load_seconds,
            "first_token_ms": 1000 * (times[1] - times[0]),
            "tokens_per_second": (len(times) - 2) / decoding if decoding > 0 else None,
        }
