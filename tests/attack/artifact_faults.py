"""A catalogue of ways in which an artifact can differ from the checkpoint that it claims to be.

Each entry of :data:`FAULTS` plants one into an ONNX Runtime GenAI model folder. The pass
:class:`Plant`, as a user's own after ``model_builder``, applies one in a build; as a program,
``python artifact_faults.py WORK NAME...`` plants each into ``WORK/NAME/output``.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.passes.base import BasePass

Fault = Callable[[Path], None]

_GRAPH, _DATA, _SETTINGS = "model.onnx", "model.onnx.data", "genai_config.json"
_TOKENIZER, _TOKENS = "tokenizer.json", "tokenizer_config.json"
_TEMPLATE = "chat_template.jinja"


class PlantParams(Frozen):
    fault: str = ""


class Plant(BasePass[PlantParams]):
    """Copy the model folder and spoil it. Without a fault it is copied only."""

    Params = PlantParams
    consumes: ClassVar[Mapping[str, Kind]] = {"artifact": "onnx"}
    produces: ClassVar[Kind] = "onnx"
    runs_on: ClassVar[Literal["host", "target"]] = "target"

    def run(self, inputs: Any, params: PlantParams, out_dir: Path) -> dict[str, Any]:
        # What a step left, nobody may write.
        shutil.copytree(
            inputs["artifact"], out_dir, dirs_exist_ok=True, copy_function=shutil.copyfile
        )
        if params.fault:
            FAULTS[params.fault](out_dir)
        return {}


# Settings


def _json(file: str, change: Callable[[Any], object]) -> Fault:
    """Return what changes the content of a JSON file."""

    def plant(folder: Path) -> None:
        path = folder / file
        content = json.loads(path.read_text("utf-8"))
        change(content)
        path.write_text(json.dumps(content, ensure_ascii=False, indent=2), "utf-8")

    return plant


def _search(**settings: Any) -> Fault:
    return _json(_SETTINGS, lambda config: config["search"].update(settings))


def _model(**settings: Any) -> Fault:
    return _json(_SETTINGS, lambda config: config["model"].update(settings))


def _decoder(**settings: Any) -> Fault:
    return _json(_SETTINGS, lambda config: config["model"]["decoder"].update(settings))


def _session(**settings: Any) -> Fault:
    return _json(
        _SETTINGS, lambda config: config["model"]["decoder"]["session_options"].update(settings)
    )


def _another_end(config: Any) -> None:
    config["model"]["eos_token_id"].append(config["model"]["vocab_size"] - 1)


def _last_end_gone(config: Any) -> None:
    config["model"]["eos_token_id"].pop()


def _another_begin(config: Any) -> None:
    config["model"]["bos_token_id"] += 2


def _another_padding(config: Any) -> None:
    config["model"]["pad_token_id"] += 2


# Tokenizer and chat template


def _swap(content: Any) -> None:
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]


def _last_merge_gone(content: Any) -> None:
    content["model"]["merges"].pop()


def _not_special(token: str) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        (entry,) = (item for item in content["added_tokens"] if item["content"] == token)
        entry["special"] = False

    return change


def _dropped(token: str) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        content["added_tokens"] = [
            item for item in content["added_tokens"] if item["content"] != token
        ]

    return change


def _template(old: str, new: str) -> Fault:
    def plant(folder: Path) -> None:
        path = folder / _TEMPLATE
        text = path.read_text("utf-8")
        assert old in text, text
        path.write_text(text.replace(old, new), "utf-8", newline="\n")

    return plant


_EACH_TURN = "{% for m in messages %}"


# Weights


def _graph(folder: Path) -> Any:
    import onnx

    return onnx.load(str(folder / _GRAPH), load_external_data=False)


def _save(folder: Path, model: Any) -> None:
    (folder / _GRAPH).write_bytes(model.SerializeToString())


def _tensor(model: Any, part: str) -> Any:
    """Return the first tensor with that in its name: how names end depends on the algorithm."""
    return next(tensor for tensor in model.graph.initializer if part in tensor.name)


def _entry(tensor: Any, key: str) -> Any:
    return next(item for item in tensor.external_data if item.key == key)


def _values(folder: Path, part: str) -> Any:
    """Return the first tensor with that in its name, mapped for writing."""
    import numpy as np
    import onnx

    tensor = _tensor(_graph(folder), part)
    place = {entry.key: entry.value for entry in tensor.external_data}
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    file = folder / place["location"]
    return np.memmap(file, dtype, "r+", int(place.get("offset", 0)), tuple(tensor.dims))


def _weights(part: str, change: Callable[[Any], object]) -> Fault:
    """Return what changes the first tensor with that in its name, in place."""

    def plant(folder: Path) -> None:
        values = _values(folder, part)
        change(values)
        values.flush()

    return plant


def _times(part: str, factor: float) -> Fault:
    def change(values: Any) -> None:
        values[...] = values * factor

    return _weights(part, change)


def _noise(values: Any, rows: Any = slice(None)) -> None:
    import numpy as np

    chosen = values[rows]
    values[rows] = np.random.default_rng(0).integers(0, 256, chosen.shape, dtype=np.uint8)


def _shifted(packed: Any, by: Any) -> Any:
    """Return packed 4-bit weights, each moved by ``by`` within 0 to 15."""
    import numpy as np

    low, high = (packed & 15).astype(np.int16), (packed >> 4).astype(np.int16)
    low, high = (np.clip(part + step, 0, 15) for part, step in zip((low, high), by, strict=True))
    return (low | (high << 4)).astype(np.uint8)


def _zero_point_of_a_column(values: Any) -> None:
    values[3] = _shifted(values[3], (-1, -1))


def _zero_points(folder: Path) -> None:
    """Move every weight of every matrix as a zero point that is one too large does."""
    for tensor in _graph(folder).graph.initializer:
        if "weight_Q4" in tensor.name:
            values = _values(folder, tensor.name)
            values[...] = _shifted(values, (-1, -1))
            values.flush()


def _dithered(folder: Path) -> None:
    """Move every weight by one, up or down at random."""
    import numpy as np

    chance = np.random.default_rng(0)
    for tensor in _graph(folder).graph.initializer:
        if "weight_Q4" in tensor.name:
            values = _values(folder, tensor.name)
            by = chance.choice([-1, 1], (2, *values.shape))
            values[...] = _shifted(values, by)
            values.flush()


def _one_weight(values: Any) -> None:
    values[5, 0, 3] ^= 1


def _rare_rows(values: Any) -> None:
    """Spoil the rows of the last tokens of the vocabulary, which few texts hold."""
    _noise(values, slice(-8, None))


def _between_samples(values: Any) -> None:
    values[601:604] = values[1201:1204]


def _again_from_2048(values: Any) -> None:
    values[2048:] = values[: len(values) - 2048]


def _from_2048(folder: Path) -> None:
    for name in ("cos_cache", "sin_cache"):
        _weights(name, _again_from_2048)(folder)


def _other_base(folder: Path) -> None:
    """Turn positions by other frequencies, as of another ``rope_theta``."""
    import numpy as np

    cos, sin = (_values(folder, name) for name in ("cos_cache", "sin_cache"))
    frequencies = np.arctan2(sin[1].astype(np.float64), cos[1].astype(np.float64)) ** 1.2
    angles = np.arange(len(cos))[:, None] * frequencies
    cos[...], sin[...] = np.cos(angles), np.sin(angles)
    for table in (cos, sin):
        table.flush()


def _swapped_halves(values: Any) -> None:
    """Swap the two halves of the rows: gate and up projections are stored like that."""
    half = len(values) // 2
    first = values[:half].copy()
    values[:half] = values[half:]
    values[half:] = first


def _swapped_keys_and_values(folder: Path) -> None:
    config = json.loads((folder / _SETTINGS).read_text("utf-8"))["model"]["decoder"]
    size = config["num_key_value_heads"] * config["head_size"]
    for name in ("weight_Q4", "weight_scale"):
        rows = _values(folder, f"layers.0.attn.qkv_proj.MatMul.{name}")
        keys = rows[-2 * size : -size].copy()
        rows[-2 * size : -size] = rows[-size:]
        rows[-size:] = keys
        rows.flush()


def _swapped_layers(folder: Path) -> None:
    for name in ("weight_Q4", "weight_scale"):
        parts = [_values(folder, f"layers.{layer}.attn.o_proj.MatMul.{name}") for layer in (0, 1)]
        first = parts[0].copy()
        parts[0][...], parts[1][...] = parts[1], first
        for part in parts:
            part.flush()


def _no_end(folder: Path) -> None:
    """Never let the output layer give the tokens that end an answer."""
    config = json.loads((folder / _SETTINGS).read_text("utf-8"))
    scales = _values(folder, "lm_head.MatMul.weight_scale")
    for token in config["model"]["eos_token_id"]:
        scales[token] = 0
    scales.flush()


def _one_row(values: Any) -> None:
    values[-3] = values[40]


def _not_a_number(values: Any) -> None:
    values.reshape(-1)[0] = float("nan")


def _nothing(values: Any) -> None:
    values[...] = 0


def _infinite_norm(folder: Path) -> None:
    """Put a norm into the file of the graph, full of infinities."""
    import numpy as np
    from onnx import numpy_helper

    _weights("final_norm_layernorm.weight", _nothing)(folder)  # or its bytes would be left over
    model = _graph(folder)
    tensor = _tensor(model, "final_norm_layernorm.weight")
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(np.full(list(tensor.dims), np.inf, np.float32), name))
    _save(folder, model)


# Graph


def _nodes(operator: str, change: Callable[[Any], object]) -> Fault:
    """Return what changes the first node of an operator."""

    def plant(folder: Path) -> None:
        model = _graph(folder)
        change(next(node for node in model.graph.node if operator in (node.op_type, node.name)))
        _save(folder, model)

    return plant


def _attribute(operator: str, name: str, value: Any) -> Fault:
    def change(node: Any) -> None:
        import onnx

        kept = [item for item in node.attribute if item.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])

    return _nodes(operator, change)


def _retyped(operator: str) -> Callable[[Any], None]:
    def change(node: Any) -> None:
        node.op_type = operator

    return change


def _wider(node: Any) -> None:
    next(item for item in node.attribute if item.name == "K").i += 32


def _no_kernel(folder: Path) -> None:
    """Make one product an operator that ONNX Runtime knows and DirectML has no kernel for."""
    import onnx

    model = _graph(folder)
    node = next(node for node in model.graph.node if node.op_type == "Sigmoid")
    node.op_type = "Erf"
    for value in model.graph.value_info:
        if value.name in (*node.input, *node.output):
            value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    _save(folder, model)


def _head_on_first_layer(folder: Path) -> None:
    """Do what the builder does by itself to a model whose layer has the vocabulary's size."""
    model = _graph(folder)
    first = next(node for node in model.graph.node if "gate_proj/MatMul" in node.name)
    head = next(node for node in model.graph.node if node.name.startswith("/lm_head/"))
    head.input[0] = first.input[0]
    _save(folder, model)


def _unordered(folder: Path) -> None:
    model = _graph(folder)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    _save(folder, model)


def _more_of_a_node(folder: Path) -> None:
    """Add a node whose output nothing reads."""
    import onnx

    model = _graph(folder)
    source = model.graph.output[0].name
    model.graph.node.append(onnx.helper.make_node("Identity", [source], ["idle"], "/idle"))
    _save(folder, model)


def _other_residual(folder: Path) -> None:
    """Let the second layer skip over what its attention adds."""
    model = _graph(folder)
    norms = [node for node in model.graph.node if node.op_type.startswith("Skip")]
    norms[1].input[1] = norms[0].input[1]
    _save(folder, model)


def _other_operators(folder: Path) -> None:
    model = _graph(folder)
    for item in model.opset_import:
        item.version -= item.domain == ""
    _save(folder, model)


# Files


def _offset_beyond(folder: Path) -> None:
    model = _graph(folder)
    size = (folder / _DATA).stat().st_size
    _entry(_tensor(model, "weight_scale"), "offset").value = str(size + 4096)
    _save(folder, model)


def _overlap(folder: Path) -> None:
    model = _graph(folder)
    first, second, *_ = (
        tensor for tensor in model.graph.initializer if "layernorm.weight" in tensor.name
    )
    _entry(second, "offset").value = _entry(first, "offset").value
    _save(folder, model)


def _outside(folder: Path) -> None:
    model = _graph(folder)
    _entry(_tensor(model, "weight_scale"), "location").value = f"../{_DATA}"
    _save(folder, model)


def _cut(file: str, of: Callable[[int], int]) -> Fault:
    def plant(folder: Path) -> None:
        path = folder / file
        content = path.read_bytes()
        path.write_bytes(content[: of(len(content))])

    return plant


def _trailing_bytes(folder: Path) -> None:
    with (folder / _DATA).open("ab") as file:
        file.write(b"\0" * 10)


def _recoded(file: str, encoding: str) -> Fault:
    """Return what writes the same text in another encoding."""

    def plant(folder: Path) -> None:
        text = (folder / file).read_text("utf-8")
        (folder / file).write_bytes(text.encode(encoding))

    return plant


def _stands_twice(file: str, name: str, value: str) -> Fault:
    """Return what says something else of a name before it is said right: readers choose either."""

    def plant(folder: Path) -> None:
        text = (folder / file).read_text("utf-8")
        assert f'"{name}"' in text
        (folder / file).write_text(text.replace(f'"{name}"', f'"{name}": {value}, "{name}"', 1))

    return plant


def _another_place(key: str, value: str) -> Fault:
    """Return what adds an entry to where the bytes of a matrix lie."""

    def plant(folder: Path) -> None:
        model = _graph(folder)
        tensor = _tensor(model, f"{_DOWN}.weight_Q4")
        tensor.external_data.add(key=key, value=value)
        _save(folder, model)

    return plant


def _moved(folder: Path) -> None:
    """Move a norm to the end of the data, and leave what was there where nothing reads it."""
    model = _graph(folder)
    tensor = _tensor(model, _NORM)
    values = _values(folder, _NORM).tobytes()
    _entry(tensor, "offset").value = str((folder / _DATA).stat().st_size)
    with (folder / _DATA).open("ab") as file:
        file.write(values)
    _save(folder, model)


def _twice_in_the_graph(folder: Path) -> None:
    """Put another norm of the same name before the right one: readers choose either."""
    import numpy as np
    from onnx import numpy_helper

    model = _graph(folder)
    tensors = list(model.graph.initializer)
    name = _tensor(model, _NORM).name
    other = numpy_helper.from_array(np.zeros(list(_tensor(model, _NORM).dims), np.float32), name)
    del model.graph.initializer[:]
    model.graph.initializer.extend([other, *tensors])
    _save(folder, model)


def _as_an_input(folder: Path) -> None:
    """Let the caller give a norm: then its weights are only a default."""
    import onnx

    model = _graph(folder)
    tensor = _tensor(model, _NORM)
    value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
    model.graph.input.append(value)
    _save(folder, model)


def _another_output(folder: Path) -> None:
    import onnx

    model = _graph(folder)
    node = next(node for node in model.graph.node if "layernorm" in node.name.lower())
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(node.output[0]))
    _save(folder, model)


def _other_size(folder: Path) -> None:
    """Let the graph take one token at a time."""
    model = _graph(folder)
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        dim.dim_value = 1
    _save(folder, model)


def _noted(folder: Path) -> None:
    model = _graph(folder)
    model.metadata_props.add(key="author", value="somebody else")
    _save(folder, model)


def _function(folder: Path) -> None:
    """Give an operator another meaning by a function of the model's own."""
    import onnx

    model = _graph(folder)
    node = onnx.helper.make_node("Tanh", ["x"], ["y"])
    model.functions.append(
        onnx.helper.make_function("", "Sigmoid", ["x"], ["y"], [node], list(model.opset_import))
    )
    _save(folder, model)


def _gone(file: str) -> Fault:
    return lambda folder: (folder / file).unlink()


def _written(file: str, content: bytes) -> Fault:
    def plant(folder: Path) -> None:
        (folder / file).write_bytes(content)

    return plant


def _earlier_template(folder: Path) -> None:
    """Leave another template where transformers looks first."""
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": "no"}), "utf-8")


_ATTENTION, _PACKED = "GroupQueryAttention", "MatMulNBits"
_NORM = "layers.1.input_layernorm.weight"
_DOWN = "layers.1.mlp.down_proj.MatMul"
_HEAD = "lm_head.MatMul"

SETTINGS: Mapping[str, Fault] = {
    "a_number_for_a_switch": _search(do_sample=0),
    "a_switch_for_an_end": _json(
        _SETTINGS,
        lambda config: config["model"].update(
            eos_token_id=[bool(one) if one < 2 else one for one in config["model"]["eos_token_id"]]
        ),
    ),
    "another_begin": _json(_SETTINGS, _another_begin),
    "another_end": _json(_SETTINGS, _another_end),
    "another_padding": _json(_SETTINGS, _another_padding),
    "beams": _search(num_beams=4),
    "context_halved": _model(context_length=2048),
    "context_larger": _model(context_length=8192),
    "early_stop": _search(early_stopping=False),
    "end_is_the_beginning": _json(
        _SETTINGS, lambda config: config["model"].update(eos_token_id=[0])
    ),
    "end_of_text_gone": _json(_SETTINGS, _last_end_gone),
    "end_of_turn_gone": _model(eos_token_id=1),
    "head_size": _decoder(head_size=64),
    "hidden_size": _decoder(hidden_size=128),
    "input_renamed": _json(
        _SETTINGS,
        lambda config: config["model"]["decoder"]["inputs"].update(input_ids="tokens"),
    ),
    "key_value_heads": _decoder(num_key_value_heads=4),
    "layers": _decoder(num_hidden_layers=3),
    "length_penalty": _search(length_penalty=2.0),
    "longest_answer": _search(max_length=8),
    "model_type": _model(type="llama"),
    "no_ends": _model(eos_token_id=[]),
    "optimization_off": _session(graph_optimization_level="ORT_DISABLE_ALL"),
    "penalty": _search(repetition_penalty=1.5),
    "provider": _session(provider_options=[{"cuda": {}}]),
    "returned_sequences": _search(num_return_sequences=2),
    "sampling": _search(do_sample=True, temperature=1.5, top_k=50),
    "settings_are_no_json": _cut(_SETTINGS, lambda size: size // 2),
    "settings_begin_with_a_mark": _recoded(_SETTINGS, "utf-8-sig"),
    "settings_in_utf16": _recoded(_SETTINGS, "utf-16"),
    "settings_twice": _stands_twice(_SETTINGS, "do_sample", "true"),
    "shared_buffer": _json(
        _SETTINGS,
        lambda config: config["search"].update(
            past_present_share_buffer=not config["search"]["past_present_share_buffer"]
        ),
    ),
    "shortest_answer": _search(min_length=64),
    "temperature": _search(temperature=0.1),
    "threads": _session(intra_op_num_threads=1, inter_op_num_threads=7),
    "vocabulary_size": _model(vocab_size=440),
    "without_repeats": _search(no_repeat_ngram_size=1),
}
TOKENIZER: Mapping[str, Fault] = {
    "another_decoder": _json(_TOKENIZER, lambda content: content.update(decoder={"type": "Fuse"})),
    "another_post_processor": _json(
        _TOKENIZER,
        lambda content: content.update(
            post_processor={
                "type": "ByteLevel",
                "add_prefix_space": True,
                "trim_offsets": True,
                "use_regex": True,
            }
        ),
    ),
    "begin_added": _json(_TOKENS, lambda tokens: tokens.update(add_bos_token=True)),
    "begin_named_otherwise": _json(
        _TOKENS, lambda tokens: tokens.update({"bos_token": "<|user|>"})
    ),
    "earlier_template": _earlier_template,
    "end_named_otherwise": _json(_TOKENS, lambda tokens: tokens.update({"eos_token": "<|user|>"})),
    "end_of_turn_not_special": _json(_TOKENIZER, _not_special("<|end|>")),
    "lower_case": _json(
        _TOKENIZER, lambda content: content.update(normalizer={"type": "Lowercase"})
    ),
    "merge_gone": _json(_TOKENIZER, _last_merge_gone),
    "normalizer": _json(_TOKENIZER, lambda content: content.update(normalizer={"type": "NFKC"})),
    "padding_named_otherwise": _json(_TOKENS, lambda tokens: tokens.update({"pad_token": "<s>"})),
    "spaces_after_a_token_gone": _json(
        _TOKENIZER, lambda content: content["added_tokens"][-1].update(rstrip=True)
    ),
    "swapped_letters": _json(_TOKENIZER, _swap),
    "system_token_gone": _json(_TOKENIZER, _dropped("<|system|>")),
    "template_empty": _written(_TEMPLATE, b""),
    "template_is_no_template": _written(_TEMPLATE, b"{% for"),
    "template_without_ends": _template("<|end|>", ""),
    "template_without_first_turns": _template(_EACH_TURN, "{% for m in messages[-1:] %}"),
    "template_without_prompt": _template("{{ '<|assistant|>\n' }}", ""),
    "template_without_system": _template(
        _EACH_TURN, "{% for m in messages if m['role'] != 'system' %}"
    ),
    "tokenizer_class": _json(
        _TOKENS, lambda tokens: tokens.update(tokenizer_class="LlamaTokenizer")
    ),
    "tokenizer_in_utf16": _recoded(_TOKENIZER, "utf-16"),
    "tokenizer_is_no_json": _cut(_TOKENIZER, lambda size: size // 2),
    "token_twice": _stands_twice(_TOKENIZER, "vocab", "{}"),
    "truncated": _json(
        _TOKENIZER,
        lambda content: content.update(
            truncation={
                "direction": "Right",
                "max_length": 4,
                "strategy": "LongestFirst",
                "stride": 0,
            }
        ),
    ),
}
WEIGHTS: Mapping[str, Fault] = {
    "dithered": _dithered,
    "embedding_smaller": _times("embed_tokens.weight", 0.9),
    "embedding_row": _weights("embed_tokens.weight", _one_row),
    "final_norm": _times("final_norm_layernorm.weight", 1.01),
    "infinite_norm": _infinite_norm,
    "layer_a_little_larger": _times(f"{_DOWN}.weight_scale", 1.01),
    "layer_larger": _times(f"{_DOWN}.weight_scale", 1.25),
    "never_ends": _no_end,
    "norm_larger": _times(_NORM, 1.3),
    "norm_zero": _weights(_NORM, _nothing),
    "not_a_number": _weights("qkv_proj.MatMul.weight_scale", _not_a_number),
    "one_weight": _weights(f"{_DOWN}.weight_Q4", _one_weight),
    "rare_rows": _weights(f"{_HEAD}.weight_Q4", _rare_rows),
    "rotary_between_samples": _weights("cos_cache", _between_samples),
    "rotary_from_2048": _from_2048,
    "rotary_of_another_base": _other_base,
    "scales_zero": _weights(f"{_DOWN}.weight_scale", _nothing),
    "scrambled": _weights(f"{_HEAD}.weight_Q4", _noise),
    "swapped_keys_and_values": _swapped_keys_and_values,
    "swapped_layers": _swapped_layers,
    "swapped_rows": _weights(f"{_HEAD}.weight_Q4", _swapped_halves),
    "zero_point_of_a_column": _weights(f"{_DOWN}.weight_Q4", _zero_point_of_a_column),
    "zero_points": _zero_points,
}
GRAPH: Mapping[str, Fault] = {
    "accuracy_level": _attribute(_PACKED, "accuracy_level", 1),
    "another_output": _another_output,
    "another_size": _other_size,
    "as_an_input": _as_an_input,
    "attention_scale": _attribute(_ATTENTION, "scale", 0.5),
    "broken_graph": _cut(_GRAPH, lambda size: size // 2),
    "epsilon": _attribute("SkipSimplifiedLayerNormalization", "epsilon", 1e-2),
    "function": _function,
    "gate": _nodes("Sigmoid", _retyped("Tanh")),
    "head_on_first_layer": _head_on_first_layer,
    "interleaved": _attribute(_ATTENTION, "rotary_interleaved", 1),
    "more_of_a_node": _more_of_a_node,
    "no_kernel": _no_kernel,
    "no_positions": _attribute(_ATTENTION, "do_rotary", 0),
    "noted": _noted,
    "operator_set": _other_operators,
    "residual": _other_residual,
    "softcap": _attribute(_ATTENTION, "softcap", 2.0),
    "twice_in_the_graph": _twice_in_the_graph,
    "unordered": _unordered,
    "wider": _nodes(_PACKED, _wider),
    "window": _attribute(_ATTENTION, "local_window_size", 5),
    "window_a_little_smaller": _attribute(_ATTENTION, "local_window_size", 2046),
}
FILES: Mapping[str, Fault] = {
    "data_gone": _gone(_DATA),
    "data_truncated": _cut(_DATA, lambda size: size - 1000),
    "key_beside": _written("id_rsa", b"a key"),
    "library_beside": _written("libcustom.so", b"\x7fELF"),
    "moved": _moved,
    "offset_beyond": _offset_beyond,
    "offset_twice": _another_place("offset", "0"),
    "other_graph_beside": _written("model_fp32.onnx", b"x"),
    "outside": _outside,
    "overlap": _overlap,
    "prepacked": _another_place("prepacked_0", "MatMulNBits+0|0;64;0"),
    "template_gone": _gone(_TEMPLATE),
    "tokenizer_gone": _gone(_TOKENIZER),
    "tokenizer_settings_gone": _gone(_TOKENS),
    "trailing_bytes": _trailing_bytes,
}
FAULTS: Mapping[str, Fault] = {**SETTINGS, **TOKENIZER, **WEIGHTS, **GRAPH, **FILES}


def main(work: Path, names: list[str]) -> None:
    """Plant every fault named."""
    for name in names:
        FAULTS[name](work / name / "output")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
