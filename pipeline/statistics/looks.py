"""Looking again and again at data that grow, without being wrong more often than with one look.

Someone who tests at 99 % after every few samples, and stops at the first test that succeeds, is
wrong far more often than once in a hundred times. So each look gets a part of the whole chance of
error, and all parts together are the whole: alpha spending (K. K. G. Lan and D. L. DeMets, Discrete
sequential boundaries for clinical trials, Biometrika 70, 1983, 659-663). By the union bound this
holds however looks depend on each other, and however many there are.

Looks are few, because each is at half as many processes again as the one before.
"""

from __future__ import annotations

_GROWTH = 1.5


def confidence_of_look(look: int, confidence: float) -> float:
    """Return the confidence at which the look with this number, from 1, is to be taken.

    With ``alpha = 1 - confidence`` for all looks together, it is ``1 - alpha / (look (look + 1))``;
    the sum of ``1 / (look (look + 1))`` over all looks is 1.
    """
    return 1 - (1 - confidence) / (look * (look + 1))


def next_look(processes: int) -> int:
    """Return the number of processes at which to look again after a look at ``processes``."""
    return max(processes + 1, round(_GROWTH * processes))
