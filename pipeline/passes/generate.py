"""Generates one answer with an artifact and streams its text; the pass behind ``try``."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue, model_validator
from typing_extensions import Self

from pipeline.contract.errors import ArtifactError, StepError
from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.step import Inputs
from pipeline.data.prompt_form import has_chat_template
from pipeline.passes.base import BasePass


class Turn(Frozen):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


class GenerateParams(Frozen):
    """The prompt: exactly one of ``text``, ``messages`` and ``prompt``."""

    text: str | None = None
    """One message of a user, put into the chat template if the tokenizer has one."""
    messages: tuple[Turn, ...] | None = Field(default=None, min_length=1)
    """A whole conversation for the chat template."""
    prompt: str | None = None
    """Raw text, without a chat template."""
    max_new_tokens: int = Field(default=256, ge=1)
    threads: int | None = Field(default=None, ge=1)
    """Threads of the session. Default: those in the artifact's settings."""

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        set_keys = [
            name for name in ("text", "messages", "prompt") if getattr(self, name) is not None
        ]
        if len(set_keys) != 1:
            listed = " and ".join(set_keys) or "none of them"
            raise ValueError(f"give exactly one of text, messages, prompt (found {listed})")
        return self


class Pass(BasePass[GenerateParams]):
    """Answer one question."""

    Params = GenerateParams
    consumes: ClassVar[dict[str, Kind]] = {"artifact": "onnx"}
    produces: ClassVar[Kind] = "predictions"
    runs_on: ClassVar[Literal["host", "target"]] = "target"

    def run(self, inputs: Inputs, params: GenerateParams, out_dir: Path) -> dict[str, JsonValue]:
        """Stream the answer as text events and write it to ``answer.txt``."""
        from pipeline.onnx.genai_config import GenAiConfig
        from pipeline.onnx.session import Session

        folder = inputs["artifact"]
        session = Session(folder, params.threads, cpu=bool(inputs.absent_device))
        try:
            context = GenAiConfig(folder).context
        except ValueError as error:
            raise StepError(str(error)) from error
        prompt = _prompt_ids(folder, session, params)
        room = context - len(prompt)
        if not prompt or room < 1:
            raise StepError(
                f"the question has {len(prompt)} tokens; between 1 and {context - 1} fit",
                cause="bad_input",
            )
        stream = session.tokenizer.create_stream()
        pieces: list[str] = []
        times = [time.perf_counter()]
        for token in session.stream(prompt, min(params.max_new_tokens, room)):
            times.append(time.perf_counter())
            if token in session.end_ids:
                break
            pieces.append(stream.decode(token))
            inputs.report.text(pieces[-1])
        answer = "".join(pieces)
        (out_dir / "answer.txt").write_text(answer, "utf-8")
        decoding = times[-1] - times[1]
        return {
            "text": answer,
            "prompt_tokens": len(prompt),
            "new_tokens": len(pieces),
            "load_seconds": session.load_seconds,
            "first_token_ms": 1000 * (times[1] - times[0]),
            "tokens_per_second": (len(times) - 2) / decoding if decoding > 0 else None,
        }


def _prompt_ids(folder: Path, session: Any, params: GenerateParams) -> list[int]:
    """Return the ids of the text that the model continues."""
    from pipeline.onnx.artifact_codec import beginning_of, chat_text, runtime_ids

    raw = params.prompt
    if params.text is not None and not has_chat_template(folder):
        raw = params.text
    if raw is not None:
        return [*beginning_of(folder), *runtime_ids(session.tokenizer, raw)]
    turns = params.messages or (Turn(role="user", content=params.text or ""),)
    _require_text(folder, turns)
    try:
        text = chat_text(session.tokenizer, [turn.model_dump() for turn in turns])
    except ArtifactError as error:
        raise StepError(f"the chat template refuses the messages: {error}") from error
    return runtime_ids(session.tokenizer, text)


def _require_text(folder: Path, turns: Sequence[Turn]) -> None:
    """Raise :class:`StepError` where the text of a turn holds a token that only the chat template
    may write: the runtime would end the turn there."""
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    unknown = tokenizer["model"].get("unk_token")
    added = (token for token in tokenizer.get("added_tokens", ()) if token["special"])
    controls = [token["content"] for token in added if token["content"] != unknown]
    for turn in turns:
        held = next((token for token in controls if token in turn.content), None)
        if held is not None:
            raise StepError(
                f"the {turn.role} turn holds {held!r}: for this model no text, but a token that "
                "only the chat template may write",
                "leave it out, or write it otherwise",
                "bad_input",
            )
