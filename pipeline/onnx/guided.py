"""Asks an artifact for answers that the runtime holds to a constraint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.contract.errors import StepError
from pipeline.contract.guidance import GuidedStart
from pipeline.data.constraint import Constraint
from pipeline.data.examples import Example
from pipeline.evaluation.scores import Reply
from pipeline.onnx.answerer import GenAiAnswerer
from pipeline.onnx.artifact_codec import ArtifactCodec
from pipeline.onnx.session import Session


@dataclass(frozen=True)
class Guided:
    """An artifact whose answers ``constraint`` holds."""

    session: Session
    codec: ArtifactCodec
    constraint: Constraint
    _starts: dict[str, GuidedStart] = field(default_factory=dict)
    """By the block that the chat template writes before an answer."""

    def __post_init__(self) -> None:
        require_writable(self.session, self.constraint)

    def start(self, example: Example) -> GuidedStart:
        """Return how an answer to ``example`` begins."""
        block = self.codec.block_before(example)
        if block not in self._starts:
            self._starts[block] = self.constraint.start(block, self.codec.added, example.chat)
        return self._starts[block]

    def reply(self, example: Example, max_new_tokens: int) -> Reply:
        """Return the greedy answer to ``example``."""
        start = self.start(example)
        prompt = self.codec.prompt_ids(example, start.after_prompt)
        return GenAiAnswerer(self.session).guided(prompt, max_new_tokens, start.guidance)

    def text(self, ids: Sequence[int], example: Example) -> str:
        """Return the answer of a reply with ``ids``."""
        return self.codec.decode(ids).removeprefix(self.start(example).before_answer)


def require_writable(session: Session, constraint: Constraint) -> None:
    """Raise :class:`StepError` if the tokenizer has no tokens for an answer of ``constraint``: held
    to them, the runtime fails in the middle of one, or crashes."""
    tokenizer = session.tokenizer
    for answer in constraint.answers:
        if tokenizer.decode(tokenizer.encode(answer)).strip() != answer.strip():
            raise StepError(
                f"constrain: this model's tokenizer cannot write {answer!r}",
                "name the label otherwise",
                "bad_input",
            )
