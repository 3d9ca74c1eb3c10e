"""What a model folder shows by itself, where the checkpoint that it was made from is not known.

Its parts belong together: layers are alike, caches are those of their layers, a table of positions
turns evenly, a chat template shows what was said. What is the same in all of them, such as weights
or the base of positions, nothing here can hold against anything.

Each function returns or yields problems, one sentence each; none if there are none.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.contract.errors import ArtifactError
from pipeline.data.tokenizer import load_artifact_tokenizer
from pipeline.onnx.artifact_codec import chat_text
from pipeline.onnx.consistency import linear_inputs
from pipeline.onnx.genai_config import GenAiConfig
from pipeline.onnx.graph import OnnxModel, attributes, external
from pipeline.onnx.needed_files import needed_files
from pipeline.onnx.rotary import GraphTable, graph_tables
from pipeline.onnx.samples import CONVERSATIONS
from pipeline.onnx.session import Session
from pipeline.reading.json_text import read_json

_LAYER = re.compile(r"\blayers\.(\d+)\b")
_ALIKE = ("scale", "softcap", "smooth_softmax", "rotary_interleaved", "accuracy_level")
"""Attributes that are the same in all layers of every family: windows, positions and widths are
not."""
_CACHES = {"inputs": (3, 4), "outputs": (1, 2)}
"""Where GroupQueryAttention has the cache of keys and that of values."""
_UNEVEN = 0.02
"""By how much a cosine or sine may be off: rounding in bf16 is 0.004."""
_ROWS = 8192
"""Rows of a table that are compared at a time."""
_PIECE = 1 << 20
_JSON = ("tokenizer.json", "tokenizer_config.json")


def folder_problems(config: GenAiConfig, model: OnnxModel) -> list[str]:
    """Return in what the files of the folder, its graph and its settings do not fit together."""
    return [
        *_files(model.path.parent),
        *_checksums(model),
        *_said_twice(model),
        *_zeros(model),
        *_unlike_layers(model),
        *_caches(config, model),
        *_hidden_size(config, model),
        *(problem for table in graph_tables(model) for problem in uneven(table)),
    ]


def chat_problems(folder: Path, config: GenAiConfig, session: Session) -> list[str]:
    """Return in what tokenizer and chat template do not fit to the settings, or to a chat."""
    tokenizer = load_artifact_tokenizer(folder)
    return [
        *_twice(folder),
        *_ends(config, tokenizer),
        *(_unsaid(session) if tokenizer.chat_template is not None else ()),
    ]


def _files(folder: Path) -> Iterator[str]:
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    needed = {*needed_files(folder)}
    parents = {parent.as_posix() for name in needed for parent in Path(name).parents}
    for name in sorted(there - needed - parents):
        yield f"nothing refers to {name}"


def _checksums(model: OnnxModel) -> Iterator[str]:
    """Compare the SHA-1 that the graph says of a file, as ONNX defines it."""
    said: dict[str, set[str]] = defaultdict(set)
    for tensor in model.initializers.values():
        place = external(tensor)
        if place is not None:
            said[place.location] |= {
                entry.value for entry in tensor.external_data if entry.key == "checksum"
            }
    for location, sums in said.items():
        if sums:
            found = hashlib.sha1(usedforsecurity=False)
            with (model.path.parent / location).open("rb") as stream:
                for piece in iter(partial(stream.read, _PIECE), b""):
                    found.update(piece)
            if sums != {found.hexdigest()}:
                yield f"{location} has not the SHA-1 that the graph says: {', '.join(sorted(sums))}"


def _said_twice(model: OnnxModel) -> Iterator[str]:
    """Yield what a graph says in two ways, of which a reader may take either."""
    graph = model.graph
    names = Counter(tensor.name for tensor in graph.initializer)
    names.update(tensor.values.name for tensor in graph.sparse_initializer)
    # The inputs of an adapter have empty matrices for defaults.
    empty = {tensor.name for tensor in graph.initializer if not all(tensor.dims)}
    names.update(value.name for value in graph.input if value.name not in empty)
    yield from (f"{name} is given {count} times" for name, count in names.items() if count > 1)
    for tensor in graph.initializer:
        if external(tensor) is not None and tensor.raw_data:
            yield f"{tensor.name} has bytes in the graph and in a file"
    yield from (f"{function.name} is given another meaning" for function in model.proto.functions)
    if model.proto.training_info:
        yield "it has another graph for training"


def _zeros(model: OnnxModel) -> Iterator[str]:
    norms = (name for name in model.initializers if "norm" in name and name.endswith(".weight"))
    yield from (f"{name} is all zeros" for name in norms if not model.values(name).any())


def _unlike_layers(model: OnnxModel) -> Iterator[str]:
    """Yield the nodes of which most other layers have another one in the same place."""
    groups: dict[str, dict[str, tuple[Any, ...]]] = defaultdict(dict)
    for node in model.nodes:
        if _LAYER.search(node.name):
            found = attributes(node)
            facts = (node.op_type, *((name, found.get(name)) for name in _ALIKE))
            groups[_LAYER.sub("layers.*", node.name)][node.name] = facts
        if epsilon := attributes(node).get("epsilon"):
            groups["norms"][node.name] = ("norm", ("epsilon", epsilon))
    for nodes in groups.values():
        (usual, _), *others = Counter(nodes.values()).most_common()
        if others:
            name, facts = next(item for item in nodes.items() if item[1] != usual)
            yield f"{name} is {_shown(facts)}, others are {_shown(usual)}"


def _shown(facts: tuple[Any, ...]) -> str:
    given = (f"{name} = {value}" for name, value in facts[1:] if value is not None)
    return " ".join((str(facts[0]), *given))


def _caches(config: GenAiConfig, model: OnnxModel) -> Iterator[str]:
    """Check that each layer reads and writes its own cache, and keys where keys are."""
    for node in model.of_type("GroupQueryAttention"):
        layer = _LAYER.search(node.name)
        if layer is None:
            continue
        for group, places in _CACHES.items():
            names = list(node.input if group == "inputs" else node.output)
            patterns = config.decoder.get(group, {})
            when = "past" if group == "inputs" else "present"
            for kind, place in zip(("key", "value"), places, strict=True):
                pattern = str(patterns.get(f"{when}_{kind}_names", ""))
                if "%d" in pattern and len(names) > place:
                    wanted = pattern % int(layer[1])
                    if names[place] != wanted:
                        yield f"{node.name} has {names[place]} in place of {wanted}"


def _hidden_size(config: GenAiConfig, model: OnnxModel) -> Iterator[str]:
    wanted = config.decoder.get("hidden_size")
    for node in model.of_type("MatMulNBits", "MatMul"):
        if node.name.startswith("/lm_head/"):
            size = linear_inputs(model, node)
            if wanted is not None and size not in (None, wanted):
                yield f"hidden_size is {wanted}, the output layer reads {size} values"


def uneven(table: GraphTable) -> Iterator[str]:
    """Yield where a table of positions does not turn by the same angle from row to row.

    A table may begin anew with other frequencies: those for long texts of a longrope model.
    """
    import numpy as np

    sin = np.asarray(table.sin, np.float64)
    starts = np.flatnonzero(np.all(sin == 0, axis=1))
    if not len(starts) or starts[0] != 0:
        yield f"{table.name}: position 0 is turned"
        return
    known: list[Any] = []
    for begin, end in zip(starts, [*starts[1:], len(sin)], strict=True):
        cos = np.asarray(table.cos[begin:end], np.float64)
        turns = _turns(cos, sin[begin:end])
        if any(np.allclose(turns, other, rtol=_UNEVEN) for other in known):
            yield f"{table.name}: position {begin} is position 0 again"
            return
        known.append(turns)
        if np.any(turns <= 0):
            yield f"{table.name}: positions turn backwards"
            return
        row = _first_uneven(cos, sin[begin:end], turns)
        if row is not None:
            yield f"{table.name}: position {begin + row} does not follow from those before"
            return


def _turns(cos: Any, sin: Any) -> Any:
    """Return the angle from one row to the next for each frequency, from ever later rows, whose
    angles say it ever more exactly."""
    import numpy as np

    if len(cos) < 2:  # any angle leads to it
        return np.ones(cos.shape[1])
    turns, row = np.arctan2(sin[1], cos[1]), 2
    while row < len(cos):
        off = np.arctan2(sin[row], cos[row]) - turns * row
        turns = turns + ((off + math.pi) % (2 * math.pi) - math.pi) / row
        row *= 2
    return turns


def _first_uneven(cos: Any, sin: Any, turns: Any) -> int | None:
    """Return the first row that is not where ``turns`` lead; ``None`` if all are."""
    import numpy as np

    size = np.hypot(cos[0], sin[0])
    for first in range(0, len(cos), _ROWS):
        angles = np.outer(np.arange(first, min(first + _ROWS, len(cos))), turns)
        rows = slice(first, first + _ROWS)
        off = np.maximum(
            np.abs(size * np.cos(angles) - cos[rows]), np.abs(size * np.sin(angles) - sin[rows])
        )
        wrong = np.flatnonzero(~(off.max(axis=1) <= _UNEVEN * max(1.0, float(size.max()))))
        if len(wrong):
            return first + int(wrong[0])
    return None


def _twice(folder: Path) -> Iterator[str]:
    for name in _JSON:
        if (folder / name).is_file():
            try:
                read_json(folder / name, strict=True)
            except ValueError as error:
                yield f"{name}: {error}"


def _ends(config: GenAiConfig, tokenizer: Any) -> Iterator[str]:
    end = tokenizer.eos_token_id
    if end is not None and end not in config.end_ids:
        yield f"the tokenizer ends texts with {tokenizer.eos_token} ({end}), generation does not"
    added: Mapping[int, Any] = tokenizer.added_tokens_decoder
    for token in config.end_ids:
        if token in added and not added[token].special:
            yield f"{added[token].content} ({token}) ends answers and would show in them"


def _unsaid(session: Session) -> Iterator[str]:
    """Yield the turns that the chat template leaves out, but for system turns: some models have
    none, and their templates say so or do not."""
    for messages in CONVERSATIONS:
        asks = messages[-1]["role"] == "user"
        try:
            rendered = chat_text(session.tokenizer, messages, asks)
        except ArtifactError:
            continue  # it refuses such a chat
        for turn in messages:
            text = turn["content"].rpartition("</think>")[2].strip()
            if turn["role"] != "system" and text not in rendered:
                yield f"the chat template leaves out {text!r} of the {turn['role']}"
                return
