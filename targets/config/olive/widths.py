"""Translates SelectiveMixedPrecision: which matrices a pass after it keeps in 8 bits."""

from __future__ import annotations

from targets.config.olive.draft import Draft
from targets.config.olive.node import Fields, Node
from targets.config.source_map import KeyPath

SELECTIVE = "selectivemixedprecision"
"""Olive's name of the pass, in lower case."""

_NAME = "SelectiveMixedPrecision"
_RULES = ("k_quant_last", "k_quant_down", "k_quant_mixed")
_SCORES = ("snr", "snr_relative", "iqe", "iqe_relative", "kld_gradient")
_WIDTHS = {"bits": 4, "high_bits": 8}
_GROUP_SIZE = 128
"""Olive's default."""
_IDLE = {
    "sym": "what rounds afterwards says whether there are zero points",
    "high_sym": "what rounds afterwards says whether there are zero points",
    "kld_memory_mode": "one layer is in memory at a time",
}


def translate_widths(fields: Fields, place: KeyPath, draft: Draft) -> None:
    """Write a ``mixed_precision`` pass."""
    algorithm, ratio = fields.take("algorithm"), fields.take("ratio")
    size, wide_size = fields.take("group_size"), fields.take("high_group_size")
    for name, bits in _WIDTHS.items():
        _width(fields.take(name), bits)
    if algorithm is None:
        fields.owner.fail("algorithm is missing", f"write one of {', '.join((*_RULES, *_SCORES))}")
    elif algorithm.raw in _RULES:
        draft.set((*place, "choose"), algorithm.raw, algorithm)
        for node in (ratio, size, wide_size):
            if node is not None:
                node.no_effect(f"{algorithm.raw} measures nothing")
    elif algorithm.raw in _SCORES:
        draft.set(
            (*place, "choose"),
            "sensitivity",
            algorithm,
            "the divergence that rounding each matrix costs decides",
        )
        _share(ratio, fields, place, draft)
        block = _GROUP_SIZE if size is None else size.number()
        draft.set((*place, "block_size"), block, size)
        if wide_size is not None and wide_size.raw == block:
            wide_size.no_effect("all blocks have that size")
        elif wide_size is not None:
            wide_size.refuse("all matrices have blocks of one size", f"write {block}")
    elif not algorithm.refuse_placeholder():
        algorithm.refuse(
            f"{_NAME} has no such algorithm", f"write one of {', '.join((*_RULES, *_SCORES))}"
        )
    fields.ignore(_IDLE)
    fields.refuse_rest(_NAME)


def _width(node: Node | None, bits: int) -> None:
    if node is None:
        return
    if node.number() == bits:
        node.honoured()
    elif not node.refuse_placeholder():
        node.refuse("matrices of 4 and of 8 bits can be mixed", f"write {bits}")


def _share(ratio: Node | None, fields: Fields, place: KeyPath, draft: Draft) -> None:
    """Write what is left of the share that stays in few bits."""
    if ratio is None:
        fields.owner.fail("ratio is missing", "write the share of the weights that has 4 bits")
        return
    share = ratio.number()
    if share is None:
        return
    if not 0 < share < 1:
        ratio.refuse(f"{share} is no share between 0 and 1", "write 0.8, for example")
        return
    draft.set((*place, "int8_share"), round(1 - share, 6), ratio)
