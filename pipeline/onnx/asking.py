"""Asks a loaded artifact what a person or a program wants to know, and streams the answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.contract.errors import ArtifactError, StepError
from pipeline.contract.guidance import GuidedStart
from pipeline.data.prompt_form import has_chat_template
from pipeline.data.question import Question, Turn
from pipeline.data.rendering import ANY_ANSWER, find_answer
from pipeline.evaluation.settings import GREEDY
from pipeline.onnx.artifact_codec import beginning_of, chat_text, runtime_ids
from pipeline.onnx.genai_config import GenAiConfig
from pipeline.onnx.guided import require_writable
from pipeline.onnx.session import Session


@dataclass(frozen=True)
class Piece:
    """What one token adds to an answer."""

    text: str
    """Empty for the end token, and for what the model says before the answer."""
    ends: bool


@dataclass(frozen=True)
class Asked:
    """A question that is ready to be answered."""

    artifact: LoadedArtifact
    prompt: Sequence[int]
    start: GuidedStart | None
    room: int
    """Tokens that the answer may have."""

    def answer(self, search: Mapping[str, bool | int | float] = GREEDY) -> Iterator[Piece]:
        """Yield the answer token by token. ``search`` are options of the runtime that replace those
        of the artifact."""
        session = self.artifact.session
        guidance = self.start.guidance if self.start else None
        before = self.start.before_answer if self.start else ""
        stream = session.tokenizer.create_stream()
        said = shown = ""
        for token in session.own_stream(self.prompt, self.room, guidance, search):
            if token in session.end_ids:
                yield Piece("", ends=True)
                return
            said += stream.decode(token)
            answer = "" if before.startswith(said) else said.removeprefix(before)
            yield Piece(answer[len(shown) :], ends=False)
            shown = answer


@dataclass(frozen=True)
class LoadedArtifact:
    """The artifact in ``folder``, which ``session`` has loaded."""

    folder: Path
    session: Session

    def ask(self, question: Question) -> Asked:
        """Return ``question`` in tokens. Raises :class:`StepError` of the cause ``bad_input``, or
        of another where the artifact cannot be asked."""
        start = self._guided_start(question)
        prompt = self._prompt_ids(question, start.after_prompt if start else "")
        room = self._context - len(prompt)
        if not prompt or room < 1:
            raise StepError(
                f"the question has {len(prompt)} tokens; between 1 and {self._context - 1} fit",
                cause="bad_input",
            )
        return Asked(self, prompt, start, min(question.max_new_tokens, room))

    @cached_property
    def _context(self) -> int:
        try:
            return GenAiConfig(self.folder).context
        except ValueError as error:
            raise StepError(str(error)) from error

    @cached_property
    def _tokenizer(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads((self.folder / "tokenizer.json").read_text("utf-8"))
        return read

    def _prompt_ids(self, question: Question, more: str) -> list[int]:
        """Return the ids of the text that the model continues, of which ``more`` is the end."""
        raw = self._raw_text(question)
        if raw is not None:
            return [*beginning_of(self.folder), *runtime_ids(self.session.tokenizer, raw)]
        turns = _turns(question)
        self._require_text(turns)
        text = _refusing(lambda: chat_text(self.session.tokenizer, _dumped(turns)))
        return runtime_ids(self.session.tokenizer, text + more)

    def _raw_text(self, question: Question) -> str | None:
        """Return the text that the model continues; ``None`` if it is asked in a chat."""
        bare = question.text is not None and not has_chat_template(self.folder)
        return question.text if bare else question.prompt

    def _guided_start(self, question: Question) -> GuidedStart | None:
        """Return how an answer begins that is held to the constraint, if there is one."""
        constraint = question.constraint
        if constraint is None:
            return None
        require_writable(self.session, constraint)
        if self._raw_text(question) is not None:
            return constraint.start("", (), chat=False)
        turns = _dumped(_turns(question))
        answered = [*turns, {"role": "assistant", "content": ANY_ANSWER}]
        tokenizer = self.session.tokenizer
        asked = _refusing(lambda: chat_text(tokenizer, turns))
        any_answer = _refusing(lambda: chat_text(tokenizer, answered, asks=False))
        block = find_answer(asked, any_answer, any_answer, "the question").before_answer
        added = (token["content"] for token in self._tokenizer.get("added_tokens", ()))
        return constraint.start(block, [text for text in added if text.strip()])

    def _require_text(self, turns: Sequence[Turn]) -> None:
        """Raise :class:`StepError` where the text of a turn holds a token that only the chat
        template may write: the runtime would end the turn there."""
        unknown = self._tokenizer["model"].get("unk_token")
        added = (token for token in self._tokenizer.get("added_tokens", ()) if token["special"])
        controls = [token["content"] for token in added if token["content"] != unknown]
        for turn in turns:
            held = next((token for token in controls if token in turn.content), None)
            if held is not None:
                raise StepError(
                    f"the {turn.role} turn holds {held!r}: for this model no text, but a token "
                    "that only the chat template may write",
                    "leave it out, or write it otherwise",
                    "bad_input",
                )


def _turns(question: Question) -> Sequence[Turn]:
    return question.messages or (Turn(role="user", content=question.text or ""),)


def _dumped(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    return [turn.model_dump() for turn in turns]


def _refusing(render: Callable[[], str]) -> str:
    try:
        return render()
    except ArtifactError as error:
        message = f"the chat template refuses the messages: {error}"
        raise StepError(message, cause="bad_input") from error
