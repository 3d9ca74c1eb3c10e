"""Whether fine-tuning left a model's other abilities: how it reads plain English."""

from __future__ import annotations

from pipeline.contract.result import Verdict
from pipeline.evaluation.general import Reading
from pipeline.verdicts.verdicts import limit_verdict

MAX_INCREASE = 9.0
"""By which share the perplexity may grow by default: to ten times what it was. A fine-tune of
SmolLM2-135M by its example adds a thirtieth; a learning rate a thousand times too high made it nine
to seventeen times as large in the small models that were tried."""


def general_verdicts(
    base: Reading | None, tuned: Reading | None, limit: float
) -> tuple[Verdict, ...]:
    """Return the verdict on what fine-tuning did to everything else, if the base could read."""
    if base is None or tuned is None or not base.knows:
        return ()
    growth = tuned.perplexity / base.perplexity - 1
    detail = (
        f"{base.perplexity:.4g} of the base model, {tuned.perplexity:.4g} of the tuned one, over "
        f"{base.tokens} tokens of plain English"
    )
    if growth > limit:
        detail += "; learning_rate and steps decide it, and a smaller r keeps more"
    return (limit_verdict("general_perplexity", growth, "<=", limit, detail=detail),)
