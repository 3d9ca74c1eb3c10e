"""How close two models' logits for the same texts are. Pure arithmetic on arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from pipeline.onnx.reference import ReferenceRow


@dataclass(frozen=True)
class Closeness:
    """Figures of one model's logits (``found``) held against another's (``wanted``)."""

    error: float
    """``|found - wanted| / |wanted|`` over logits centred at every position, L2 norms. Centred,
    because a softmax does not see what is added to all logits."""
    max_error: float
    """The largest difference of centred logits, in root mean squares of ``wanted``'s."""
    agreement: float
    """Share of positions at which both have the same first choice."""
    mean_kl: float
    """Mean over positions of ``KL(wanted || found)`` of the next token, in nats."""
    p99_kl: float
    """Its 99th percentile."""
    positions: int

    def figures(self) -> dict[str, JsonValue]:
        """Return all of them by name."""
        return {
            "error": self.error,
            "max_error": self.max_error,
            "top1_agreement": self.agreement,
            "mean_kl": self.mean_kl,
            "p99_kl": self.p99_kl,
            "positions": self.positions,
        }


def closeness(pairs: Iterable[tuple[Any, Any]]) -> Closeness | None:
    """Return the figures of ``(found, wanted)`` arrays of shape (positions, vocabulary); ``None``
    without any. Logits that are not finite give NaN, which no limit lets pass."""
    import numpy as np

    difference = norm = largest = 0.0
    numbers = same = 0
    divergences = []
    for raw_found, raw_wanted in pairs:
        # The builder may leave out rows of the embedding that no token uses.
        width = min(raw_found.shape[1], raw_wanted.shape[1])
        found = np.asarray(raw_found[:, :width], np.float64)
        wanted = np.asarray(raw_wanted[:, :width], np.float64)
        same += int((found.argmax(-1) == wanted.argmax(-1)).sum())
        divergences.append(_divergence(wanted, found))
        wanted = wanted - wanted.mean(-1, keepdims=True)
        found = found - found.mean(-1, keepdims=True) - wanted
        difference += float((found**2).sum())
        norm += float((wanted**2).sum())
        largest = float(np.fmax(largest, np.abs(found).max()))
        numbers += wanted.size
    if not numbers:
        return None
    every = np.concatenate(divergences)
    return Closeness(
        error=(difference / norm) ** 0.5 if norm else float("nan"),
        max_error=largest / (norm / numbers) ** 0.5 if norm else float("nan"),
        agreement=same / len(every),
        mean_kl=float(every.mean()),
        p99_kl=float(np.quantile(every, 0.99)),
        positions=len(every),
    )


def by_length(
    found: Sequence[Any], wanted: Sequence[ReferenceRow]
) -> tuple[Closeness | None, Closeness | None]:
    """Return the figures of the usual texts and of the long ones: few positions of a long text
    would drown among the others."""
    pairs = list(zip(found, wanted, strict=True))
    return (
        closeness((ours, row.logits) for ours, row in pairs if not row.is_long),
        closeness((ours, row.logits) for ours, row in pairs if row.is_long),
    )


def _divergence(wanted: Any, found: Any) -> Any:
    """Return ``KL(wanted || found)`` per position, in nats."""
    import numpy as np
    from scipy.special import log_softmax

    p, q = log_softmax(wanted, axis=-1), log_softmax(found, axis=-1)
    return (np.exp(p) * (p - q)).sum(-1)
