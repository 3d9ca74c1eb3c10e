"""A check of one's own: the artifact is asked, and its answers are searched."""

from __future__ import annotations

import json
from typing import ClassVar

from pydantic import Field, JsonValue
from rude import rude_words

from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.frozen import Frozen
from pipeline.contract.step import Inputs


class PoliteParams(Frozen):
    """What is asked, and what no answer may say."""

    prompts: tuple[str, ...] = Field(min_length=1)
    """What the user says."""
    words: tuple[str, ...] = Field(min_length=1)
    """Words that no answer may hold, in any case."""
    max_rude: float = Field(default=0, ge=0, le=1)
    """Most answers that may hold one of them all the same, as a share."""
    max_new_tokens: int = Field(default=32, ge=1)
    """Longest answer."""


class Polite(BaseCheck[PoliteParams]):
    """Prove that the artifact does not repeat the rude words that it is told."""

    Params = PoliteParams
    uses_device: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: PoliteParams) -> Outcome:
        """Ask every prompt, greedily, through the artifact's chat template."""
        from pipeline.onnx.session import Session
        from pipeline.verdicts.verdicts import limit_verdict

        session = Session(inputs["artifact"], inputs.threads, cpu=bool(inputs.absent_device))
        answers: list[JsonValue] = []
        found: list[list[str]] = []
        for done, prompt in enumerate(params.prompts, start=1):
            turns = json.dumps([{"role": "user", "content": prompt}])
            text = session.tokenizer.apply_chat_template(turns, add_generation_prompt=True)
            ids = [int(token) for token in session.tokenizer.encode(text)]
            answer = session.tokenizer.decode(list(session.stream(ids, params.max_new_tokens)))
            answers.append({"prompt": prompt, "answer": answer})
            found.append(rude_words(answer, params.words))
            inputs.report.progress(done, len(params.prompts), "prompts")
        share = sum(bool(words) for words in found) / len(found)
        said = ", ".join(sorted({word for words in found for word in words}))
        detail = said or f"{len(found)} answers"
        verdict = limit_verdict("rude_answers", share, "<=", params.max_rude, detail=detail)
        return Outcome((verdict,), {"polite": {"answers": answers}})
