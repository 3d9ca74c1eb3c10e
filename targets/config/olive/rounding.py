"""Translates Gptq, GptqModel, GptqQuantizer and AutoAWQQuantizer: what is done with data before
ModelBuilder rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from targets.config.olive.draft import Draft
from targets.config.olive.node import Fields, Node
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
    "true_sequential": "layers are rounded one after the other, the matrices of each all at once",
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


AWQ = "autoawqquantizer"
"""Olive's pass that scales, by its lower-case name."""
_AWQ_GROUP_SIZE = 128
_AWQ_IDLE = {
    "version": "ModelBuilder writes the weights as its kernels read them",
    "duo_scaling": "factors by inputs and weights are tried, and those by inputs alone",
    "input_model_dtype": "what is scaled is in fp32, which ModelBuilder rounds",
    "export_compatible": "it makes a checkpoint of floats, which ModelBuilder rounds",
    "pack_model_for_onnx_conversion": "it makes a checkpoint of floats, which ModelBuilder rounds",
}


def translate_awq(fields: Fields, place: KeyPath, draft: Draft) -> TrainingData | None:
    """Write an ``awq`` pass; return which data set it names, if it names one."""
    _grid(fields.take("w_bit"), fields.take("q_group_size"), _AWQ_GROUP_SIZE, fields, place, draft)
    zero_point = fields.take("zero_point")
    value = False if zero_point is None else not zero_point.flag()
    draft.set((*place, "symmetric"), value, zero_point)
    left = fields.take("modules_to_not_convert")
    if left is not None and left.raw:
        left.refuse(
            "every matrix that ModelBuilder rounds is scaled",
            "name their nodes in nodes_to_exclude of a TOML config",
        )
    elif left is not None:
        left.no_effect("it is empty")
    fields.ignore(_AWQ_IDLE)
    return _data_of(fields)


def translate_gptq(kind: str, fields: Fields, place: KeyPath, draft: Draft) -> TrainingData | None:
    """Write a ``gptq`` pass; return which data set it names, if it names one."""
    defaults = KINDS[kind]
    _grid(fields.take("bits"), fields.take("group_size"), defaults.group_size, fields, place, draft)
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
    return _data_of(fields)


def _grid(
    bits: Node | None, size: Node | None, default: int, fields: Fields, place: KeyPath, draft: Draft
) -> None:
    """Write to what weights are rounded; ``default`` is Olive's size of a block."""
    wide = None if bits is None else bits.number()
    if bits is not None and wide not in (4, 8):
        bits.refuse("weights of 4 or 8 bits can be stored", "write 4 or 8")
    elif bits is not None:
        draft.set((*place, "precision"), f"int{wide}", bits)
    block = default if size is None else size.number()
    if block == -1:
        (size or fields.owner).refuse(
            "one scale for a whole row: the runtime has blocks of 16 to 256 weights",
            "write a group size of 32 or 128",
        )
    else:
        draft.set((*place, "block_size"), block, size)


def _data_of(fields: Fields) -> TrainingData | None:
    data = fields.take("data_config")
    return None if data is None else TrainingData(data, None, None, None, measures=False)


def settle_builder(place: KeyPath, draft: Draft) -> None:
    """Give the builder at ``place`` the blocks of the pass before it that works for rounding:
    Olive's takes them from the checkpoint."""
    for name, table in draft.document.get("passes", {}).items():
        if table.get("type", name) in ("awq", "gptq") and draft.get((*place, "block_size")) is None:
            draft.derive((*place, "block_size"), table.get("block_size"))


def without_data(place: KeyPath, draft: Draft) -> None:
    """Say what such a pass looks at where a file names nothing."""
    draft.ledger.default(
        dotted(place), "plain English that comes with Quern is looked at; Olive fetches wikitext"
    )
