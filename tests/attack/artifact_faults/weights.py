"""Faults of weights: matrices, embedding, norms, biases and tables of rotary positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .model_folder import (
    Fault,
    InapplicableError,
    Matrix,
    changed_tensor,
    load_graph,
    matrices,
    matrix,
    save_graph,
    settings_of,
    tensors,
    values,
    values_of,
)

DOWN = r"layers\.1\..*(down_proj|w2)\.MatMul\."
"""A matrix that every family has under one of these names."""
NORM = r"layers\.1\.(input_layernorm|operator_norm)\.weight"
_HEAD = r"lm_head\.MatMul\."
_EMBEDDING = r"embed_tokens\.weight(_scales)?$"
_FINAL_NORM = "final_norm_layernorm.weight"
_TABLES = ("cos_cache$", "sin_cache$")


def _times(pattern: str, factor: float) -> Fault:
    def change(numbers: Any) -> None:
        numbers[...] = numbers * factor

    return changed_tensor(pattern, change)


def _in_matrix(pattern: str, change: Callable[[Matrix], object]) -> Fault:
    """Return what changes one matrix."""

    def plant(folder: Path) -> None:
        found = matrix(folder, pattern)
        change(found)
        found.save()

    return plant


def _in_each_matrix(change: Callable[[Matrix], object]) -> Fault:
    def plant(folder: Path) -> None:
        for found in matrices(folder):
            change(found)
            found.save()

    return plant


def _scaled(pattern: str, factor: float) -> Fault:
    """Return what multiplies a matrix."""

    def change(found: Matrix) -> None:
        part = found.weights if found.scales is None else found.scales
        part[...] = part * factor

    return _in_matrix(pattern, change)


def _noise(found: Matrix, rows: Any = slice(None)) -> None:
    import numpy as np

    chance = np.random.default_rng(0)
    chosen = found.weights[rows]
    if found.scales is None:
        found.weights[rows] = chance.normal(0, 0.1, chosen.shape)
    else:
        found.weights[rows] = chance.integers(0, 256, chosen.shape, dtype=np.uint8)


def _shifted(packed: Any, bits: int, by: Any) -> Any:
    """Return packed weights, each moved by ``by`` within what ``bits`` can say."""
    import numpy as np

    if bits == 8:
        return np.clip(packed.astype(np.int16) + by[0], 0, 255).astype(np.uint8)
    if bits != 4:
        raise InapplicableError("it is not quantized")
    halves = (packed & 15).astype(np.int16), (packed >> 4).astype(np.int16)
    low, high = (np.clip(half + step, 0, 15) for half, step in zip(halves, by, strict=True))
    return (low | (high << 4)).astype(np.uint8)


def _zero_point_of_a_column(found: Matrix) -> None:
    found.weights[3] = _shifted(found.weights[3], found.bits, (-1, -1))


def _zero_points(found: Matrix) -> None:
    """Move every weight of every matrix as a zero point that is one too large does."""
    found.weights[...] = _shifted(found.weights, found.bits, (-1, -1))


def _dithered(found: Matrix) -> None:
    """Move every weight by one, up or down at random."""
    import numpy as np

    by = np.random.default_rng(0).choice([-1, 1], (2, *found.weights.shape))
    found.weights[...] = _shifted(found.weights, found.bits, by)


def _no_zero_points(found: Matrix) -> None:
    """Take the middle of the range for zero, as of a quantizer that knows no other."""
    import numpy as np

    if found.zero_points is None:
        raise InapplicableError("it has no zero points")
    middle = 0x88 if found.bits == 4 else 0x80
    found.zero_points[...] = np.full_like(found.zero_points, middle)


def _one_weight(found: Matrix) -> None:
    import numpy as np

    if found.scales is None:
        found.weights[5, 3] = np.nextafter(found.weights[5, 3], found.weights.dtype.type(9))
    else:
        found.weights.reshape(len(found.weights), -1)[5, 3] ^= 1


def _rare_rows(found: Matrix) -> None:
    """Spoil the rows of the last tokens of the vocabulary, which few texts hold."""
    _noise(found, slice(-8, None))


def _groups_in_another_order(found: Matrix) -> None:
    """Read the scales of each row from its end."""
    if found.scales is None:
        raise InapplicableError("it is not quantized")
    found.scales[...] = found.scales[:, ::-1].copy()


def _halves_of_bytes_swapped(found: Matrix) -> None:
    """Take the high half of each byte for the first weight."""
    if found.bits != 4:
        raise InapplicableError("no byte has two weights")
    found.weights[...] = (found.weights << 4) | (found.weights >> 4)


def _coarser_scales(found: Matrix) -> None:
    """Keep 8 bits of each scale's mantissa, as a cast to bf16 on the way does."""
    import numpy as np

    if found.scales is None or found.scales.dtype != np.float32:
        raise InapplicableError("its scales are not fp32")
    found.scales.view(np.uint32)[...] &= np.uint32(0xFFFF0000)


def _turned(found: Matrix) -> None:
    """Store a square of the matrix with rows for columns."""
    import numpy as np

    size = min(found.weights.shape[0], found.weights.reshape(len(found.weights), -1).shape[1])
    square = found.weights.reshape(len(found.weights), -1)[:size, :size]
    square[...] = np.array(square).T


def _swapped_halves(found: Matrix) -> None:
    """Swap the two halves of the rows: gate and up projections are stored like that."""
    for part in found.parts:
        half = len(part) // 2
        first = part[:half].copy()
        part[:half] = part[half : 2 * half]
        part[half : 2 * half] = first


def _row_as_another(found: Matrix) -> None:
    for part in found.parts:
        part[-3] = part[40]


def _not_a_number(found: Matrix) -> None:
    part = found.weights if found.scales is None else found.scales
    part[0, 0] = float("nan")


def _without_scales(found: Matrix) -> None:
    part = found.weights if found.scales is None else found.scales
    part[...] = 0


def _swapped_layers(folder: Path) -> None:
    first, second = (
        matrix(folder, rf"layers\.{layer}\..*(o_proj|down_proj|w2)\.MatMul\.") for layer in (0, 1)
    )
    for one, other in zip(first.parts, second.parts, strict=True):
        kept = one.copy()
        one[...], other[...] = other, kept
    first.save()
    second.save()


def _layer_again(folder: Path) -> None:
    """Give the second layer all the matrices of the first."""
    pairs = zip(
        *(list(matrices(folder, rf"layers\.{layer}\.mlp\.")) for layer in (0, 1)), strict=True
    )
    for first, second in pairs:
        for one, other in zip(first.parts, second.parts, strict=True):
            other[...] = one
        second.save()


def _heads(folder: Path, layer: int) -> tuple[Matrix, int, int, int]:
    """Return the joined projection of queries, keys and values, and the numbers of rows of a head,
    of all queries, and of all keys."""
    decoder = settings_of(folder)["model"]["decoder"]
    size = decoder["head_size"]
    found = matrix(folder, rf"layers\.{layer}\.attn\.qkv_proj\.MatMul\.")
    return (
        *(found, size),
        *(decoder["num_attention_heads"] * size, decoder["num_key_value_heads"] * size),
    )


def _attention_layer(folder: Path) -> int:
    """Return the first layer with a joined projection."""
    name = tensors(load_graph(folder), r"attn\.qkv_proj\.MatMul\.weight")[0].name
    return int(name.split("layers.")[1].split(".")[0])


def _swapped_keys_and_values(folder: Path) -> None:
    found, _, _, size = _heads(folder, _attention_layer(folder))
    for part in found.parts:
        keys = part[-2 * size : -size].copy()
        part[-2 * size : -size] = part[-size:]
        part[-size:] = keys
    found.save()


def _heads_in_another_order(folder: Path) -> None:
    """Give each group of queries the keys of another: repeat keys as ``tile`` does instead of
    ``repeat_interleave``."""
    import numpy as np

    found, size, queries, keys = _heads(folder, _attention_layer(folder))
    if queries == keys or keys == size:
        raise InapplicableError("each head has keys of its own, or all have the same")
    order = np.arange(queries // size).reshape(keys // size, -1).T.reshape(-1)
    for part in found.parts:
        heads = part[:queries].reshape(queries // size, size, -1)
        part[:queries] = heads[order].reshape(part[:queries].shape)
    found.save()


def _rows_for_interleaved_positions(folder: Path) -> None:
    """Order the rows of the queries as for positions that turn neighbours, which llama.cpp's
    converter does."""
    found, size, queries, _ = _heads(folder, _attention_layer(folder))
    for part in found.parts:
        heads = part[:queries].reshape(queries // size, 2, size // 2, -1)
        part[:queries] = heads.swapaxes(1, 2).reshape(part[:queries].shape).copy()
    found.save()


def _biases(change: Callable[[Any], object]) -> Fault:
    return changed_tensor(r"\.bias$", change)


def _nothing(numbers: Any) -> None:
    numbers[...] = 0


def _rolled(numbers: Any) -> None:
    """Put each row where the next one belongs."""
    import numpy as np

    numbers[...] = np.roll(np.array(numbers), 1, axis=0)


def _turned_square(numbers: Any) -> None:
    """Store a square of the embedding with rows for columns."""
    import numpy as np

    rows = numbers.reshape(len(numbers), -1)
    size = min(rows.shape)
    rows[:size, :size] = np.array(rows[:size, :size]).T


def _one_row(numbers: Any) -> None:
    numbers[-3] = numbers[40]


def _one_less(numbers: Any) -> None:
    """Store the weights of a norm as Gemma's checkpoints have them: one is added there."""
    numbers[...] = numbers - 1


def _norms_swapped(folder: Path) -> None:
    """Swap the norms before attention and after it."""
    model = load_graph(folder)
    names = (NORM, r"layers\.1\.(post_attention_layernorm|ffn_norm)\.weight")
    first, second = (values_of(folder, tensors(model, name)[0]) for name in names)
    if first.tobytes() == second.tobytes():
        raise InapplicableError("both norms are the same")
    kept = first.copy()
    first[...], second[...] = second, kept


def _query_norm_for_keys(folder: Path) -> None:
    """Norm keys as queries."""
    model = load_graph(folder)
    queries, keys = (tensors(model, rf"{name}_norm")[0] for name in ("q", "k"))
    numbers = values_of(folder, keys)
    numbers[...] = values_of(folder, queries)
    numbers.flush()


def _tables(change: Callable[[Any], object]) -> Fault:
    """Return what changes the tables of cosines and of sines."""

    def plant(folder: Path) -> None:
        for name in _TABLES:
            changed_tensor(name, change)(folder)

    return plant


def _between_samples(numbers: Any) -> None:
    numbers[601:604] = numbers[1201:1204]


def _again_from_2048(numbers: Any) -> None:
    numbers[2048:] = numbers[: len(numbers) - 2048].copy()


def _negative(numbers: Any) -> None:
    numbers[...] = -numbers


def _other_base(folder: Path) -> None:
    """Turn positions by other frequencies, as of another ``rope_theta``."""
    import numpy as np

    cos, sin = (values(folder, name) for name in _TABLES)
    frequencies = np.arctan2(sin[1].astype(np.float64), cos[1].astype(np.float64)) ** 1.2
    angles = np.arange(len(cos))[:, None] * frequencies
    cos[...], sin[...] = np.cos(angles), np.sin(angles)
    for table in (cos, sin):
        table.flush()


def _no_end(folder: Path) -> None:
    """Never let the output layer give the tokens that end an answer."""
    found = matrix(folder, _HEAD)
    part = found.weights if found.scales is None else found.scales
    for token in settings_of(folder)["model"]["eos_token_id"]:
        part[token] = 0
    found.save()


def _infinite_norm(folder: Path) -> None:
    """Put a norm into the file of the graph, full of infinities."""
    import numpy as np
    import onnx

    changed_tensor(_FINAL_NORM, _nothing)(folder)  # or its bytes would be left over
    model = load_graph(folder)
    tensor = tensors(model, _FINAL_NORM)[0]
    name, kind = tensor.name, onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    endless = np.full(list(tensor.dims), np.inf, np.float32).astype(kind)
    tensor.CopyFrom(onnx.numpy_helper.from_array(endless, name))
    save_graph(folder, model)


WEIGHTS: Mapping[str, Fault] = {
    "bias_gone": _biases(_nothing),
    "bias_rolled": _biases(_rolled),
    "dithered": _in_each_matrix(_dithered),
    "embedding_row": changed_tensor(_EMBEDDING, _one_row),
    "embedding_rows_shifted": changed_tensor(_EMBEDDING, _rolled),
    "embedding_smaller": _times(_EMBEDDING, 0.9),
    "embedding_turned": changed_tensor(r"embed_tokens\.weight(_Q)?$", _turned_square),
    "final_norm": _times(_FINAL_NORM, 1.01),
    "groups_in_another_order": _in_matrix(DOWN, _groups_in_another_order),
    "halves_of_bytes_swapped": _in_matrix(DOWN, _halves_of_bytes_swapped),
    "heads_in_another_order": _heads_in_another_order,
    "infinite_norm": _infinite_norm,
    "layer_a_little_larger": _scaled(DOWN, 1.01),
    "layer_again": _layer_again,
    "layer_larger": _scaled(DOWN, 1.25),
    "matrix_turned": _in_matrix(DOWN, _turned),
    "never_ends": _no_end,
    "no_zero_points": _in_matrix(DOWN, _no_zero_points),
    "norm_larger": _times(NORM, 1.3),
    "norm_one_less": changed_tensor(NORM, _one_less),
    "norm_zero": changed_tensor(NORM, _nothing),
    "norms_swapped": _norms_swapped,
    "not_a_number": _in_matrix(DOWN, _not_a_number),
    "one_weight": _in_matrix(DOWN, _one_weight),
    "query_norm_for_keys": _query_norm_for_keys,
    "rare_rows": _in_matrix(_HEAD, _rare_rows),
    "rotary_between_samples": changed_tensor(_TABLES[0], _between_samples),
    "rotary_from_2048": _tables(_again_from_2048),
    "rotary_of_another_base": _other_base,
    "rotary_off_by_one": _tables(_rolled),
    "rotary_the_other_way": changed_tensor(_TABLES[1], _negative),
    "rows_for_interleaved_positions": _rows_for_interleaved_positions,
    "scales_coarser": _in_matrix(DOWN, _coarser_scales),
    "scales_zero": _in_matrix(DOWN, _without_scales),
    "scrambled": _in_matrix(_HEAD, _noise),
    "swapped_keys_and_values": _swapped_keys_and_values,
    "swapped_layers": _swapped_layers,
    "swapped_rows": _in_matrix(_HEAD, _swapped_halves),
    "token_row": _in_matrix(_HEAD, _row_as_another),
    "zero_point_of_a_column": _in_matrix(DOWN, _zero_point_of_a_column),
    "zero_points": _in_each_matrix(_zero_points),
}
