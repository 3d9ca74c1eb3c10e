"""The artifact's answers where the data set constrains them, beside those that it gives freely."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from pipeline.contract.result import Verdict
from pipeline.contract.step import Reporter
from pipeline.evaluation.fluency import repetition
from pipeline.evaluation.scores import Answer, Answers, label_of, score
from pipeline.verdicts.verdicts import limit_verdict

if TYPE_CHECKING:
    from pipeline.data.examples import Example
    from pipeline.onnx.guided import Guided


@dataclass(frozen=True)
class ConstrainedAnswers:
    """The answers that users get."""

    answers: Answers
    held: float
    """Share of those that ended within the token limit and have the form."""
    guidance: dict[str, JsonValue]
    """How a program asks for them: a :class:`pipeline.contract.guidance.GuidedStart`."""

    def verdict(self, least: float, free: Answers) -> Verdict:
        """Return whether enough of them have the form."""
        before = score(free)
        asked = "" if before.valid is None else f"{before.valid:.1%} of the free answers do; "
        alike = zip(self.answers.answers, free.answers, strict=True)
        others = sum(held.greedy.strip() != own.greedy.strip() for held, own in alike)
        detail = f"they end and have the form; {asked}{others} of {before.samples} are others"
        return limit_verdict("constrained_answers", self.held, ">=", least, detail=detail)

    def figures(self) -> dict[str, JsonValue]:
        """Return the figures for the report."""
        return {
            **score(self.answers).model_dump(mode="json", exclude={"perplexity"}),
            "held": self.held,
            "guidance": self.guidance,
        }


def constrained_answers(
    guided: Guided, examples: Sequence[Example], free: Answers, report: Reporter
) -> ConstrainedAnswers:
    """Return the answers that the constraint holds, with the token limit of the ``free`` ones."""
    rows = []
    for example, own in zip(examples, free.answers, strict=True):
        rows.append(_held(guided, example, own, free.max_new_tokens))
        report.progress(len(rows), len(examples), "prompts")
    having = sum(row.ended and guided.constraint.allows(row.greedy) for row in rows)
    return ConstrainedAnswers(
        answers=free.model_copy(update={"answers": tuple(rows)}),
        held=having / len(rows),
        guidance=guided.start(examples[0]).model_dump(mode="json"),
    )


def _held(guided: Guided, example: Example, own: Answer, limit: int) -> Answer:
    reply = guided.reply(example, limit)
    text = guided.text(reply.ids, example)
    label = label_of(text, example)
    return own.model_copy(
        update={
            "greedy": text,
            "choice": label,
            "valid": label is not None,
            "ended": reply.ended,
            "length": len(reply.ids),
            "repetition": repetition(reply.ids),
        }
    )
