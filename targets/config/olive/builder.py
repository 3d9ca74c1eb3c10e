"""Translates MergeAdapterWeights, ModelBuilder and ExtractAdapters: what follows fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.builder.options import RESERVED
from pipeline.reading.whole_numbers import whole_number
from targets.config.olive.draft import Draft
from targets.config.olive.node import Fields, Node
from targets.config.olive.search import DEFAULTS, SEARCHED
from targets.config.olive.secrets import is_secret
from targets.config.source_map import KeyPath
from targets.target import load_target

_PARAMS = (
    ("int4_block_size", "block_size"),
    ("int4_accuracy_level", "accuracy_level"),
    ("int4_is_symmetric", "symmetric"),
    ("int4_op_types_to_quantize", "op_types"),
    ("int4_nodes_to_exclude", "nodes_to_exclude"),
    ("int4_algo_config", "algorithm"),
    ("include_hidden_states", "include_hidden_states"),
    ("prune_lm_head", "prune_lm_head"),
    ("shared_embeddings", "shared_embeddings"),
)
"""Options that the pass has a parameter for, by the names of Olive and of older builders. Newer
builders say the same without ``int4_``."""

_QUANTIZED = ("int4", "int8")
_SEARCHABLE = (*SEARCHED, "accuracy_level")
_SEARCHED_WORD, _DEFAULT_WORDS = "SEARCHABLE_VALUES", ("DEFAULT", "DEFAULT_VALUE")
_PARAMETER = "olive_parameter_type"

_SWITCHES = (
    "exclude_embeds",
    "exclude_lm_head",
    "use_qdq",
    "use_8bits_moe",
)
_OF_ONE_TARGET = (
    ("enable_cuda_graph", "cuda", "cuda_graph"),
    ("use_cuda_bf16", "cuda", "bf16_io"),
    ("use_webgpu_fp32", "webgpu", "fp32_io"),
)
"""Switches that have an effect for one target alone, and its parameter for each."""
_EXTRACTED = (
    ("adapter_type", "lora", "only LoRA can be kept separate; others are merged"),
    ("save_format", "onnx_adapter", "the runtime loads no other format"),
    ("make_inputs", "true", "the runtime gives an adapter to inputs of the graph alone"),
)
"""Parameters of ExtractAdapters of which one value is done."""
SURGERIES = "graphsurgeries"
"""Olive's name of a pass of changes to a graph, in lower case."""
_TIES = "tiewordembeddings"

_SEPARATE = ("lora", "qlora", "loftq")
"""Passes whose adapters can be kept separate, in lower case."""
_ALIKE = {
    "dynamic_lora_r": "the inputs take an adapter of any rank",
    "optional_inputs": "the inputs are optional: without an adapter it is the base",
}
_IDLE = {
    "save_as_external_data": "weights always lie in a file beside the graph",
    "all_tensors_to_one_file": "weights always lie in one file",
    "external_data_name": "weights always lie in model.onnx.data",
    "size_threshold": "weights always lie in a file beside the graph",
    "convert_attribute": "the builder decides what is an attribute",
    "enable_GQA_on_CPU": "the builder always uses grouped attention on the CPU",
}


def translate_merge(fields: Fields, place: KeyPath, draft: Draft) -> None:
    """Write a ``merge`` pass. Olive's has no parameters."""
    draft.table(place, fields.owner)
    for name in _IDLE:
        node = fields.take(name)
        if node is not None:
            node.no_effect("the merged model is a checkpoint, not a graph")


def translate_extract(fields: Fields, place: KeyPath, draft: Draft) -> None:
    """Write a ``separate_adapter`` pass, with Olive's name for the adapter's file."""
    draft.set((*place, "name"), "adapter_weights", None)
    for name, ours, otherwise in _EXTRACTED:
        node = fields.take(name)
        if node is None:
            continue
        if str(node.raw).lower() == ours:
            node.honoured()
        else:
            node.refuse(otherwise, f"write {ours}")
    for name, reason in _ALIKE.items():
        node = fields.take(name)
        if node is not None and node.flag() is not None:
            node.no_effect(reason)
    fields.ignore(_IDLE)
    fields.refuse_rest("ExtractAdapters")


def refuse_extract(kind: Node, fields: Fields, trainings: Sequence[Node]) -> None:
    """Refuse an ``ExtractAdapters`` before ``ModelBuilder``; ``trainings`` are the passes that left
    the adapter."""
    low_rank = all(str(one.raw.get("type")).lower() in _SEPARATE for one in trainings)
    kind.refuse(
        "the adapter is taken out of the artifact, and no ModelBuilder is before it",
        "put it after ModelBuilder, or MergeAdapterWeights before ModelBuilder"
        if low_rank
        else "put MergeAdapterWeights in its place: only LoRA can be kept separate",
    )
    for node in fields.rest():
        node.no_effect("nothing is extracted")


def ties_only(fields: Fields) -> bool:
    """Return whether ``GraphSurgeries`` only stores embedding and output layer once."""
    node = fields.peek("surgeries")
    listed = node.raw if node is not None and isinstance(node.raw, list) else []
    names = [str(one.get("surgeon")).lower() if isinstance(one, dict) else "" for one in listed]
    return bool(names) and set(names) == {_TIES}


def translate_ties(kind: Node, fields: Fields, builder: KeyPath, draft: Draft) -> None:
    """Have the pass at ``builder`` store embedding and output layer once."""
    kind.translated("shared_embeddings of model_builder")
    surgeries = fields.take("surgeries")
    for one in surgeries.items() if surgeries is not None else ():
        table = one.fields("a surgery")
        surgeon = table.take("surgeon")
        if surgeon is not None:
            draft.set((*builder, "shared_embeddings"), True, surgeon)
        table.refuse_rest("TieWordEmbeddings")
    fields.ignore(_IDLE)
    fields.refuse_rest("GraphSurgeries")


def searches(fields: Fields) -> bool:
    """Return whether Olive's search would vary a parameter of the pass, which it does only if the
    pass quantizes."""
    precision = fields.peek("precision")
    return precision is not None and str(precision.raw).lower() in _QUANTIZED


def translate_builder(
    fields: Fields, place: KeyPath, draft: Draft, searched: bool = False, whole: bool = True
) -> None:
    """Write a ``model_builder`` pass, or a ``tune`` pass if it is ``searched`` over. ``whole`` says
    whether Quern has every pass before it."""
    draft.table(place, fields.owner)
    extra = fields.take("extra_options")
    if extra is not None:
        _extra(extra.fields("extra_options"), fields)
    metadata = fields.take("metadata_only")
    alone = metadata.flag() if metadata is not None else None
    if metadata is not None and alone:
        metadata.refuse(
            "it would write a config for an ONNX model that other passes made",
            "remove it: ModelBuilder makes graph and config together",
        )
    elif metadata is not None and alone is False:
        metadata.no_effect("false: graph and config are made together")
    precision = fields.take("precision")
    if precision is None:
        draft.set((*place, "precision"), "fp32", None)
    elif str(precision.raw).upper() in ("SEARCHABLE_VALUES", "DEFAULT"):
        precision.refuse("a precision is not searched over", "write one value")
    else:
        draft.set((*place, "precision"), str(precision.raw).lower(), precision)
    search = fields.take("search")
    if search is not None:
        draft.set((*place, "search"), search.raw, search)
    quantized = str(precision.raw if precision else "fp32").lower() in _QUANTIZED
    for name, key in _PARAMS:
        node = fields.take(name, name.removeprefix("int4_"))
        if searched and key in _SEARCHABLE and _varied(node, place, key, draft):
            continue
        if node is not None and key == "op_types" and not whole:
            node.no_effect("what is left to quantize is not known: Quern lacks a pass before it")
            continue
        _param(node, (*place, key), draft, quantized or not name.startswith("int4_"))
    for name, target, key in _OF_ONE_TARGET:
        _of_target(fields.take(name), target, (*place, key), draft)
    for name in _SWITCHES:
        node = fields.take(name)
        value = node.flag() if node is not None else None
        if node is not None and value and name in RESERVED:
            node.refuse(RESERVED[name], "remove it")
        elif node is not None and value:
            draft.set((*place, "extra_options", name), True, node)
        elif node is not None and value is False:
            node.no_effect("it is off anyway")
    fields.ignore(_IDLE)
    _filename(fields.take("filename"))


def _extra(options: Fields, fields: Fields) -> None:
    """Move options for which Quern has parameters to the parameters of the pass.

    Others remain extra options, which are checked against the target's locked builder.
    """
    fields.merge(options)


def remaining_options(fields: Fields, place: KeyPath, draft: Draft) -> None:
    """Write the rest of ``extra_options``, which only the builder knows, as extra options."""
    for node in fields.rest():
        if node.name in RESERVED and not is_secret(node.name):
            node.refuse(RESERVED[node.name], "remove it")
        elif "extra_options" in node.path:
            draft.set((*place, "extra_options", node.name), node.raw, node)
        else:
            node.refuse("ModelBuilder has no such parameter", "did you mean extra_options?")


def _varied(node: Node | None, place: KeyPath, key: str, draft: Draft) -> bool:
    """Write the values over which a parameter is searched; return whether it is searched."""
    raw = None if node is None else node.raw
    word = raw.upper() if isinstance(raw, str) else ""
    if node is None or word == _SEARCHED_WORD:
        if key in SEARCHED:
            draft.set((*place, "space", key), list(SEARCHED[key]), node)
        elif node is not None:
            node.refuse("Olive has no values to try for it", "write those to try")
        return True
    if word in _DEFAULT_WORDS and key in DEFAULTS:
        draft.set((*place, key), DEFAULTS[key], node)
        return True
    if isinstance(raw, dict) and _PARAMETER in raw:
        if raw.get("type") == "Categorical" and isinstance(raw.get("support"), list):
            draft.set((*place, "space", key), raw["support"], node)
        else:
            node.refuse(
                "values that depend on another parameter cannot be tried", "list the values"
            )
        return True
    if isinstance(raw, list):
        draft.set((*place, "space", key), raw, node)
        return True
    return False


def _param(node: Node | None, path: KeyPath, draft: Draft, used: bool) -> None:
    if node is None or node.refuse_placeholder():
        return
    if (isinstance(node.raw, str) and node.raw.upper() == _SEARCHED_WORD) or (
        isinstance(node.raw, dict) and _PARAMETER in node.raw
    ):
        node.refuse(
            "a search over its values, and nothing is searched over here",
            "write one value, or a search_strategy in a chain that ends with ModelBuilder",
        )
    elif isinstance(node.raw, str) and node.raw.upper() in _DEFAULT_WORDS:
        node.no_effect("the default")
    elif path[-1] == "accuracy_level" and str(node.raw) == "0":
        node.no_effect("0: the builder's own choice")
    elif not used:
        node.no_effect("only int4 and int8 are quantized")
    else:
        value = node.raw
        if path[-1] == "op_types" and isinstance(value, str):
            value = [part for part in value.replace("/", ",").split(",") if part]
        if path[-1] == "nodes_to_exclude" and isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if path[-1] in ("symmetric", "include_hidden_states", "prune_lm_head"):
            value = node.flag()
            if value is None:
                return
        if path[-1] in ("block_size", "accuracy_level") and isinstance(value, str):
            number = whole_number(value)
            value = value if number is None else number
        draft.set(path, value, node)


def _of_target(node: Node | None, target: str, path: KeyPath, draft: Draft) -> None:
    """Write a switch that has an effect only for ``target``."""
    value = None if node is None else node.flag()
    if node is None or value is None:
        return
    usual = bool(load_target(target).builder.get(str(path[-1]), False))
    if value == usual:
        node.no_effect(f"it is {'on' if usual else 'off'} anyway")
    else:
        draft.set(("targets", target, *path), value, node)


def _filename(node: Node | None) -> None:
    if node is None:
        return
    if node.raw == "model.onnx":
        node.honoured()
    else:
        node.no_effect("the graph is always model.onnx: genai_config.json names it")
