"""Whether this machine can make the bytes of a release, and what others would mean: said before."""

from __future__ import annotations

from collections.abc import Sequence

NOT_ITS_INPUTS = "a difference means that the release is not what its inputs give"


def before_training(doubts: Sequence[str]) -> str:
    """Return what to say before a release is made; empty if nothing is in doubt."""
    if not doubts:
        return ""
    return (
        f"other kinds of CPUs may make other bytes of what is trained: {_list(doubts)}. Whoever "
        "verifies the release there takes that from it, with --from-adapter"
    )


def outlook(made_on: str, here: str, trained: bool, given: bool, doubts: Sequence[str]) -> str:
    """Return what to say before a release is made again.

    ``made_on`` and ``here`` are names of CPUs; ``trained`` says whether it has a part that was
    trained, and ``given`` whether that part is taken from it.
    """
    if given or not trained:
        part = "what was trained is taken from the release" if given else "nothing is trained"
        return f"{part}; all else has the same bytes on any CPU with AVX2, so {NOT_ITS_INPUTS}"
    if made_on == here:
        return (
            f"trained on {made_on}, as this machine is: it can make the same bytes, and "
            f"{NOT_ITS_INPUTS}"
        )
    if doubts:
        return (
            f"trained on {made_on}, this is {here}, which may make other bytes: {_list(doubts)}. "
            "If only what was trained differs, that says nothing; --from-adapter rebuilds the rest"
        )
    return (
        f"trained on {made_on}, this is {here}: training multiplies by kernels that are chosen by "
        f"name, so this machine can make the same bytes, and {NOT_ITS_INPUTS}"
    )


def after_difference(made_on: str, here: str, doubts: Sequence[str]) -> str:
    """Return what a difference in what was trained means; empty if it is no other than in the
    rest."""
    if made_on == here or not doubts:
        return ""
    return (
        f"it was trained on {made_on}, this is {here}, which may compute differently: "
        f"{_list(doubts)}; --from-adapter rebuilds the rest"
    )


def _list(doubts: Sequence[str]) -> str:
    return "; ".join(doubts)
