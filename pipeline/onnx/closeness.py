"""How close the logits of two models for the same texts are. Pure arithmetic on arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from pipeline.onnx.reference import ReferenceRow

_MOST = 0.95


@dataclass(frozen=True)
class Closeness:
    """Differences between logits ``x`` of a model and ``y`` of a reference model.

    ``c(z)`` are logits that are centred at every position (their mean over the vocabulary is
    subtracted), because a softmax does not depend on that mean.
    """

    error: float
    """``|c(x) - c(y)| / |c(y)|``, L2 norms over all positions and tokens."""
    max_error: float
    """``max |c(x) - c(y)| / rms(c(y))``: the largest single difference, relative to the root mean
    square of the reference."""
    agreement: float
    """Share of positions with ``argmax x = argmax y``."""
    mean_kl: float
    """Mean over positions of ``KL(softmax y || softmax x)``, in nats."""
    median_kl: float
    """The median of the same divergence."""
    most_kl: float
    """Its mean over all but the twentieth of the positions where it is largest."""
    p99_kl: float
    """Its 99th percentile, interpolated linearly."""
    positions: int

    def figures(self) -> dict[str, JsonValue]:
        """Return all figures by their names in the report."""
        return {
            "error": self.error,
            "max_error": self.max_error,
            "top1_agreement": self.agreement,
            "mean_kl": self.mean_kl,
            "median_kl": self.median_kl,
            "most_kl": self.most_kl,
            "p99_kl": self.p99_kl,
            "positions": self.positions,
        }


def closeness(pairs: Iterable[tuple[Any, Any]]) -> Closeness | None:
    """Return the differences over all pairs of arrays: logits of the model, and of the reference.

    All have the shape (positions, vocabulary); if the vocabularies differ, the longer one is cut.
    Computed in fp64. Returns ``None`` if there are no logits. Logits that are not finite give NaN,
    which fails every limit.
    """
    import numpy as np

    difference = norm = largest = 0.0
    count = same = 0
    divergences = []
    for raw_logits, raw_reference in pairs:
        # The builder may leave out rows of the embedding that no token uses.
        width = min(raw_logits.shape[1], raw_reference.shape[1])
        logits = np.asarray(raw_logits[:, :width], np.float64)
        reference = np.asarray(raw_reference[:, :width], np.float64)
        same += int((logits.argmax(-1) == reference.argmax(-1)).sum())
        divergences.append(_divergence(reference, logits))
        reference = reference - reference.mean(-1, keepdims=True)
        logits = logits - logits.mean(-1, keepdims=True) - reference
        difference += float((logits**2).sum())
        norm += float((reference**2).sum())
        largest = float(np.fmax(largest, np.abs(logits).max()))
        count += reference.size
    if not count:
        return None
    every = np.concatenate(divergences)
    return Closeness(
        error=(difference / norm) ** 0.5 if norm else float("nan"),
        max_error=largest / (norm / count) ** 0.5 if norm else float("nan"),
        agreement=same / len(every),
        mean_kl=float(every.mean()),
        median_kl=float(np.median(every)),
        most_kl=float(np.sort(every)[: max(1, math.floor(len(every) * _MOST))].mean()),
        p99_kl=float(np.quantile(every, 0.99)),
        positions=len(every),
    )


def by_length(
    logits: Sequence[Any], reference: Sequence[ReferenceRow]
) -> tuple[Closeness | None, Closeness | None]:
    """Return the differences for usual texts and, separately, for long ones.

    Separately, because the few positions of a long text would hardly change a common mean.
    """
    pairs = list(zip(logits, reference, strict=True))
    return (
        closeness((ours, row.logits) for ours, row in pairs if not row.is_long),
        closeness((ours, row.logits) for ours, row in pairs if row.is_long),
    )


def predicted_share(rows: Iterable[ReferenceRow]) -> float:
    """Return the mean probability that the reference gives to the token which comes next in a row,
    over all positions that have one; 0 if none has."""
    import numpy as np
    from scipy.special import log_softmax

    shares = [np.zeros(0)]
    for row in rows:
        following = np.asarray(row.ids[len(row.ids) - len(row.logits) + 1 :], np.int64)
        told = log_softmax(np.asarray(row.logits[: len(following)], np.float64), axis=-1)
        shares.append(np.exp(told[np.arange(len(following)), following]))
    every = np.concatenate(shares)
    return float(every.mean()) if every.size else 0.0


def _divergence(reference: Any, logits: Any) -> Any:
    """Return ``KL(p || q) = sum p (log p - log q)`` per position, in nats, for the softmax ``p`` of
    the reference's logits and ``q`` of the model's."""
    import numpy as np
    from scipy.special import log_softmax

    p, q = log_softmax(reference, axis=-1), log_softmax(logits, axis=-1)
    return (np.exp(p) * (p - q)).sum(-1)
