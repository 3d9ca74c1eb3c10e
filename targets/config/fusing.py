"""Fuses merging and building into one step if nothing else needs the merged checkpoint."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from pipeline.contract.kinds import CHOICES
from pipeline.contract.roles import ROLES
from pipeline.run.registry import load_pass
from targets.config.chain import Chain, CheckCall, PassCall

MERGED_BUILDER = "merged_builder"
_PAIR = ("merge", "model_builder")

_WITHOUT_IT = {
    role for role, source in ROLES.items() if source.of in ("artifact", "base", *CHOICES)
}
"""Roles that a check can read although there is no merged checkpoint."""
_SHAPES_ONLY = {"graph"}
"""Checks that read only shapes, settings and tokenizer of the checkpoint, which are the base's."""


def fused(chain: Chain) -> Chain:
    """Return ``chain`` with ``merge`` and the following ``model_builder`` fused into one pass, if
    nothing else reads the merged checkpoint."""
    at = next(
        (
            number
            for number, pair in enumerate(pairwise(chain.passes))
            if tuple(call.type_name for call in pair) == _PAIR
            and not any(call.script for call in pair)
        ),
        None,
    )
    if at is None or any(_reads_merged(check, chain) for check in chain.checks):
        return chain
    merge, builder = chain.passes[at : at + 2]
    following = chain.passes[at + 2 :]
    if any("checkpoint" in call.implementation.consumes.values() for call in following):
        return chain
    together = load_pass(MERGED_BUILDER)
    one = PassCall(
        name=builder.name,
        type_name=MERGED_BUILDER,
        implementation=together,
        params=together.Params(**{**dict(builder.params), "merge": merge.params}),
    )
    return replace(chain, passes=(*chain.passes[:at], one, *following))


def _reads_merged(check: CheckCall, chain: Chain) -> bool:
    needs = set(check.needs(chain.artifact_kind)) - _WITHOUT_IT
    if check.script is None and check.type_name in _SHAPES_ONLY:
        needs -= {"model"}
    return chain.artifact_kind in check.implementation.accepts and bool(needs)
