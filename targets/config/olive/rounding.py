"""Translates Gptq, GptqModel and GptqQuantizer: rounding with data, before ModelBuilder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from targets.config.olive.draft import Draft
from targets.config.olive.node import Fields
from targets.config.olive.training import TrainingData
from targets.config.source_map import KeyPath, dotted


@dataclass(frozen=True)
class _Defaults:
    group_size: int
    symmetric: bool
    damping: float


KINDS: Mapping[str, _Defaults] = {
    "gptq": _Defaults(128, False, 0.01),
    "gptqmodel": _Defaults(-1, True, 0.05),
    "gptqquantizer": _Defaults(128, False, 0.01),
}
"""Olive's passes by their lower-case names, with their defaults."""

_IDLE = {
    "desc_act": "inputs are rounded in the order of their size, and blocks stay as they lie",
    "static_groups": "scales are chosen before anything is rounded",
    "true_sequential": "a layer is rounded for what the rounded layers before it give",
    "mse": "scales are those with the smallest error, by the sizes of the inputs",
    "damp_auto_increment": "the damping is enough for any inputs",
    "device": "it runs where the build runs",
    "lm_head": "ModelBuilder quantizes the output layer",
    "layers_block_name": "the model's own class says what its layers are",
    "inside_layer_modules": "every matrix of a layer is rounded",
    "outside_layer_modules": "what is outside the layers is left to ModelBuilder",
}
_OTHER_WIDTHS = "some matrices would have another width or block size"
_REFUSED = {
    "overrides": (_OTHER_WIDTHS, "give all the same"),
    "dynamic": (_OTHER_WIDTHS, "give all the same"),
    "rotation": ("the weights would be rotated before", "remove it"),
}


def translate_gptq(kind: str, fields: Fields, place: KeyPath, draft: Draft) -> TrainingData | None:
    """Write a ``gptq`` pass; return which data set it names, if it names one."""
    defaults = KINDS[kind]
    bits, size = fields.take("bits"), fields.take("group_size")
    wide = None if bits is None else bits.number()
    if bits is not None and wide not in (4, 8):
        bits.refuse("weights of 4 or 8 bits can be stored", "write 4 or 8")
    elif bits is not None:
        draft.set((*place, "precision"), f"int{wide}", bits)
    block = defaults.group_size if size is None else size.number()
    if block == -1:
        (size or fields.owner).refuse(
            "one scale for a whole row: the runtime has blocks of 16 to 256 weights",
            "write a group_size of 32 or 128",
        )
    else:
        draft.set((*place, "block_size"), block, size)
    symmetric = fields.take("sym")
    value = defaults.symmetric if symmetric is None else symmetric.flag()
    draft.set((*place, "symmetric"), value, symmetric)
    damping = fields.take("damp_percent")
    part = defaults.damping if damping is None else damping.number()
    draft.set((*place, "damping"), part, damping)
    for name, (reason, instead) in _REFUSED.items():
        node = fields.take(name)
        if node is not None and node.raw:
            node.refuse(reason, instead)
        elif node is not None:
            node.no_effect("it is empty")
    fields.ignore(_IDLE)
    data = fields.take("data_config")
    return None if data is None else TrainingData(data, None, None, None, measures=False)


def settle_builder(place: KeyPath, draft: Draft) -> None:
    """Give the builder at ``place`` the blocks of the pass that rounds before it: Olive's takes
    them from the checkpoint."""
    for name, table in draft.document.get("passes", {}).items():
        if table.get("type", name) == "gptq" and draft.get((*place, "block_size")) is None:
            draft.derive((*place, "block_size"), table.get("block_size"))


def without_data(place: KeyPath, draft: Draft) -> None:
    """Say what a pass that rounds looks at where a file names nothing."""
    draft.ledger.default(
        dotted(place), "plain English that comes with Quern is looked at; Olive fetches wikitext"
    )
