"""Faults of the graph: its nodes, their attributes, and what it says of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .model_folder import (
    ATTENTION,
    GRAPH_FILE,
    PACKED,
    Fault,
    InapplicableError,
    changed_graph,
    cut,
    nodes,
    put,
    tensors,
)
from .weights import NORM

_NORMS = (
    *("SkipSimplifiedLayerNormalization", "SimplifiedLayerNormalization"),
    *("SkipLayerNormalization", "LayerNormalization"),
)
_GATES = ("Sigmoid", "Gelu", "FastGelu", "QuickGelu", "Relu", "Swiglu")


def _node(change: Callable[[Any], object], *operators: str) -> Fault:
    """Return what changes the first node of an operator."""
    return changed_graph(lambda model: change(nodes(model, *operators)[0]))


def _set(node: Any, name: str, value: Any) -> None:
    """Give a node an attribute."""
    import onnx

    kept = [item for item in node.attribute if item.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])


def _attribute(name: str, value: Any, *operators: str) -> Fault:
    return _node(lambda node: _set(node, name, value), *operators)


def _number(node: Any, name: str) -> Any:
    """Return a number that a node has as an attribute."""
    found = next((item for item in node.attribute if item.name == name), None)
    if found is None:
        raise InapplicableError(f"{node.op_type} has no {name}")
    return found.i


def _other_gate(node: Any) -> None:
    node.op_type, node.domain = "Tanh", ""
    del node.attribute[:]


def _wider(node: Any) -> None:
    _set(node, "K", _number(node, "K") + 32)


def _larger_blocks(node: Any) -> None:
    _set(node, "block_size", 2 * _number(node, "block_size"))


def _half_the_keys(node: Any) -> None:
    heads = _number(node, "kv_num_heads")
    _set(node, "kv_num_heads", heads // 2 or 2)


def _epsilon_of_one(model: Any) -> None:
    """Add a hundredth to a variance in one norm of many: no other family would notice."""
    norms = [node for node in model.graph.node if node.op_type in _NORMS]
    if not norms:
        raise InapplicableError("the graph has no norm")
    _set(norms[len(norms) // 2], "epsilon", 1e-12)


def _constant(name: str, values: list[int]) -> Fault:
    """Return what changes a constant of whole numbers."""

    def change(model: Any) -> None:
        import numpy as np
        import onnx

        node = next((node for node in model.graph.node if name in node.output), None)
        if node is None:
            raise InapplicableError(f"the graph has no {name}")
        old = onnx.numpy_helper.to_array(node.attribute[0].t)
        new = np.array(values, old.dtype).reshape(old.shape)
        node.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(new, node.attribute[0].t.name))

    return changed_graph(change)


def _no_kernel(model: Any) -> None:
    """Make one node an operator that ONNX Runtime knows and DirectML has no kernel for."""
    import onnx

    node = nodes(model, *_GATES)[0]
    node.op_type, node.domain = "Erf", ""
    del node.attribute[:]
    for value in model.graph.value_info:
        if value.name in (*node.input, *node.output):
            value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE


def _head_on_first_layer(model: Any) -> None:
    """Do what the builder does by itself to a model whose layer has the vocabulary's size."""
    first = next(node for node in model.graph.node if "/mlp/" in node.name and len(node.input) > 1)
    head = next(node for node in model.graph.node if node.name.startswith("/lm_head/"))
    head.input[0] = first.input[0]


def _unordered(model: Any) -> None:
    every = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(every))


def _more_of_a_node(model: Any) -> None:
    """Add a node whose output nothing reads."""
    import onnx

    source = model.graph.output[0].name
    model.graph.node.append(onnx.helper.make_node("Identity", [source], ["idle"], "/idle"))


def _node_of_another_library(model: Any) -> None:
    """Add a node whose operator a library would bring, and whose output nothing reads."""
    import onnx

    source = model.graph.output[0].name
    node = onnx.helper.make_node("Send", [source], ["sent"], "/send", domain="somebody.else")
    model.graph.node.append(node)
    model.opset_import.add(domain="somebody.else", version=1)


def _shadowed(model: Any) -> None:
    """Read a norm from within a branch, where another tensor has its name, as readers by name do
    that know no branches."""
    import numpy as np
    import onnx

    tensor = tensors(model, NORM)[0]
    zeros = np.zeros(list(tensor.dims), np.float32)
    branches = []
    for name in ("then_branch", "else_branch"):
        inner = onnx.helper.make_node("Identity", [tensor.name], [f"/{name}"])
        out = onnx.helper.make_tensor_value_info(f"/{name}", 1, list(tensor.dims))
        held = onnx.numpy_helper.from_array(zeros, tensor.name)
        branches.append(onnx.helper.make_graph([inner], name, [], [out], [held]))
    flag = onnx.helper.make_node(
        "Constant", [], ["/flag"], "/flag", value=onnx.numpy_helper.from_array(np.array(True))
    )
    choice = onnx.helper.make_node(
        *("If", ["/flag"], ["/chosen"], "/choice"),
        then_branch=branches[0],
        else_branch=branches[1],
    )
    for node in model.graph.node:
        node.input[:] = ["/chosen" if name == tensor.name else name for name in node.input]
    every = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([flag, choice, *every])


def _other_residual(model: Any) -> None:
    """Let the second layer skip over what its attention adds."""
    norms = [node for node in model.graph.node if node.op_type.startswith("Skip")]
    if len(norms) < 2:
        norms = [node for node in nodes(model, "Add") if "bias" not in " ".join(node.input)]
    if len(norms) < 2:
        raise InapplicableError("nothing is added to what was before")
    norms[1].input[1] = norms[0].input[1]


def _norm_of_another_layer(model: Any) -> None:
    """Let the first layer's norm read the weights of the second's."""
    names = [tensors(model, NORM.replace("1", str(layer)))[0].name for layer in (0, 1)]
    for node in model.graph.node:
        node.input[:] = [names[1] if name == names[0] else name for name in node.input]


def _another_layers_cache(model: Any) -> None:
    """Let two layers store their keys in each other's place."""
    first, *_, last = nodes(model, ATTENTION)
    first.output[1], last.output[1] = last.output[1], first.output[1]


def _values_for_keys(model: Any) -> None:
    """Let attention read stored values as keys."""
    node = nodes(model, ATTENTION)[0]
    node.input[3], node.input[4] = node.input[4], node.input[3]


def _sines_for_cosines(model: Any) -> None:
    node = nodes(model, ATTENTION)[0]
    if len(node.input) < 9 or not node.input[7]:
        node = nodes(model, "RotaryEmbedding")[0]
        node.input[2], node.input[3] = node.input[3], node.input[2]
        return
    node.input[7], node.input[8] = node.input[8], node.input[7]


def _other_branch(model: Any) -> None:
    """Take the table for long texts for short ones, and the other way round."""
    first, second = nodes(model, "If")[0].attribute[:2]
    first.name, second.name = second.name, first.name


def _bias_skipped(model: Any) -> None:
    """Leave out a bias: what is added to, is passed on."""
    stored = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Add" and "bias" in node.input[1] and node.input[1] in stored:
            for other in model.graph.node:
                other.input[:] = [
                    node.input[0] if name == node.output[0] else name for name in other.input
                ]
            return
    raise InapplicableError("nothing adds a bias")


def _other_operators(model: Any) -> None:
    for item in model.opset_import:
        item.version -= item.domain == ""


def _twice_in_the_graph(model: Any) -> None:
    """Put another norm of the same name before the right one: readers choose either."""
    import numpy as np
    from onnx import numpy_helper

    every = list(model.graph.initializer)
    tensor = tensors(model, NORM)[0]
    other = numpy_helper.from_array(np.zeros(list(tensor.dims), np.float32), tensor.name)
    del model.graph.initializer[:]
    model.graph.initializer.extend([other, *every])


def _never_read(model: Any) -> None:
    """Add a tensor that nothing reads."""
    import numpy as np
    from onnx import numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "spare"))


def _as_an_input(model: Any) -> None:
    """Let the caller give a norm: then its weights are only a default."""
    import onnx

    tensor = tensors(model, NORM)[0]
    model.graph.input.append(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
    )


def _another_output(model: Any) -> None:
    import onnx

    node = next(node for node in model.graph.node if "layernorm" in node.name.lower())
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(node.output[0]))


def _other_size(model: Any) -> None:
    """Let the graph take one token at a time."""
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        dim.dim_value = 1


def _other_names_of_sizes(model: Any) -> None:
    """Call two sizes by one name: then they have to be the same."""
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "batch_size"


def _other_shape(model: Any) -> None:
    """Say another shape of what a node makes."""
    value = next(item for item in model.graph.value_info if item.type.tensor_type.shape.dim)
    value.type.tensor_type.shape.dim[-1].dim_value = 1


def _as_others_made_it(model: Any) -> None:
    model.producer_name, model.producer_version = "pytorch", "0.0"


def _noted(model: Any) -> None:
    model.metadata_props.add(key="author", value="somebody else")


def _function(model: Any) -> None:
    """Give an operator another meaning by a function of the model's own."""
    import onnx

    node = onnx.helper.make_node("Tanh", ["x"], ["y"])
    model.functions.append(
        onnx.helper.make_function("", "Sigmoid", ["x"], ["y"], [node], list(model.opset_import))
    )


def _in_training(model: Any) -> None:
    model.training_info.add().initialization.name = "training"


def _few_numbers(model: Any) -> None:
    """Say a tensor again as one that is mostly zeros."""
    import numpy as np
    import onnx

    name = tensors(model, NORM)[0].name
    held = onnx.numpy_helper.from_array(np.ones(1, np.float32), name)
    at = onnx.numpy_helper.from_array(np.zeros(1, np.int64))
    size = list(tensors(model, NORM)[0].dims)
    model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(held, at, size))


def _offsets_of_two_layers(model: Any) -> None:
    """Let two layers read each other's matrix: both are of one shape."""
    first, second = (
        tensors(model, rf"layers\.{layer}\..*(o_proj|down_proj|w2)\.MatMul\.weight(_Q|$)")[0]
        for layer in (0, 1)
    )
    if list(first.dims) != list(second.dims):
        raise InapplicableError("no two layers have a matrix of one shape")
    places = [
        {entry.key: entry.value for entry in tensor.external_data} for tensor in (first, second)
    ]
    put(first, offset=places[1]["offset"])
    put(second, offset=places[0]["offset"])


GRAPH: Mapping[str, Fault] = {
    "accuracy_level": _attribute("accuracy_level", 1, PACKED),
    "another_layers_cache": changed_graph(_another_layers_cache),
    "another_output": changed_graph(_another_output),
    "another_size": changed_graph(_other_size),
    "as_an_input": changed_graph(_as_an_input),
    "as_others_made_it": changed_graph(_as_others_made_it),
    "attention_scale": _attribute("scale", 0.5, ATTENTION),
    "bias_skipped": changed_graph(_bias_skipped),
    "broken_graph": cut(GRAPH_FILE, lambda size: size // 2),
    "epsilon": _attribute("epsilon", 1e-2, *_NORMS),
    "epsilon_of_one_layer": changed_graph(_epsilon_of_one),
    "few_numbers": changed_graph(_few_numbers),
    "function": changed_graph(_function),
    "gate": _node(_other_gate, *_GATES),
    "head_on_first_layer": changed_graph(_head_on_first_layer),
    "in_training": changed_graph(_in_training),
    "interleaved": _attribute("rotary_interleaved", 1, ATTENTION),
    "key_value_heads_of_attention": _node(_half_the_keys, ATTENTION),
    "larger_blocks": _node(_larger_blocks, PACKED),
    "length_off_by_one": _constant("/model/constants/INT64/[1]", [0]),
    "more_of_a_node": changed_graph(_more_of_a_node),
    "names_of_sizes": changed_graph(_other_names_of_sizes),
    "never_read": changed_graph(_never_read),
    "no_kernel": changed_graph(_no_kernel),
    "no_positions": _attribute("do_rotary", 0, ATTENTION),
    "node_of_another_library": changed_graph(_node_of_another_library),
    "norm_of_another_layer": changed_graph(_norm_of_another_layer),
    "noted": changed_graph(_noted),
    "offsets_of_two_layers": changed_graph(_offsets_of_two_layers),
    "operator_set": changed_graph(_other_operators),
    "other_branch": changed_graph(_other_branch),
    "other_shape": changed_graph(_other_shape),
    "residual": changed_graph(_other_residual),
    "shadowed": changed_graph(_shadowed),
    "sines_for_cosines": changed_graph(_sines_for_cosines),
    "smooth_softmax": _attribute("smooth_softmax", 1, ATTENTION),
    "softcap": _attribute("softcap", 2.0, ATTENTION),
    "twice_in_the_graph": changed_graph(_twice_in_the_graph),
    "unordered": changed_graph(_unordered),
    "values_for_keys": changed_graph(_values_for_keys),
    "wider": _node(_wider, PACKED),
    "window": _attribute("local_window_size", 5, ATTENTION),
    "window_a_little_smaller": _attribute("local_window_size", 2046, ATTENTION),
}
