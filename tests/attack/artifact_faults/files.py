"""Faults of files: which there are, and where the bytes of tensors lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .model_folder import (
    DATA_FILE,
    TEMPLATE_FILE,
    TOKENIZER_FILE,
    TOKENS_FILE,
    Fault,
    InapplicableError,
    cut,
    gone,
    load_graph,
    place_of,
    put,
    save_graph,
    tensors,
    values_of,
    written,
)
from .weights import DOWN, NORM

_SOME = r"MatMul\.weight"
"""Any matrix, whatever it is made of."""


def _offset_beyond(folder: Path) -> None:
    model = load_graph(folder)
    put(tensors(model, _SOME)[0], offset=(folder / DATA_FILE).stat().st_size + 4096)
    save_graph(folder, model)


def _overlap(folder: Path) -> None:
    model = load_graph(folder)
    first, second, *_ = tensors(model, r"norm\.weight")
    put(second, offset=place_of(first)["offset"])
    save_graph(folder, model)


def _outside(folder: Path) -> None:
    model = load_graph(folder)
    put(tensors(model, _SOME)[0], location=f"../{DATA_FILE}")
    save_graph(folder, model)


def _trailing_bytes(folder: Path) -> None:
    with (folder / DATA_FILE).open("ab") as file:
        file.write(b"\0" * 10)


def _another_place(**place: str) -> Fault:
    """Return what adds an entry to where the bytes of a matrix lie."""

    def plant(folder: Path) -> None:
        model = load_graph(folder)
        for key, value in place.items():
            tensors(model, f"{DOWN}weight")[0].external_data.add(key=key, value=value)
        save_graph(folder, model)

    return plant


def _shorter(folder: Path) -> None:
    """Say that a matrix has fewer bytes than its shape needs."""
    model = load_graph(folder)
    tensor = tensors(model, f"{DOWN}weight")[0]
    put(tensor, length=int(place_of(tensor)["length"]) - 16)
    save_graph(folder, model)


def _moved(folder: Path) -> None:
    """Move a norm to the end of the data, and leave what was there where nothing reads it."""
    model = load_graph(folder)
    tensor = tensors(model, NORM)[0]
    values = values_of(folder, tensor).tobytes()
    put(tensor, offset=(folder / DATA_FILE).stat().st_size)
    with (folder / DATA_FILE).open("ab") as file:
        file.write(values)
    save_graph(folder, model)


def _places_swapped(folder: Path) -> None:
    """Let two norms change places, bytes and all: each is still what it was."""
    model = load_graph(folder)
    first, *others = tensors(model, r"norm\.weight")
    second = next(tensor for tensor in others if list(tensor.dims) == list(first.dims))
    one, other = values_of(folder, first), values_of(folder, second)
    kept = one.copy()
    one[...], other[...] = other, kept
    places = place_of(first)["offset"], place_of(second)["offset"]
    put(first, offset=places[1])
    put(second, offset=places[0])
    save_graph(folder, model)


def _in_the_graph(folder: Path) -> None:
    """Store the last tensor in the graph's own file."""
    import onnx

    model = load_graph(folder)
    tensor = max(model.graph.initializer, key=lambda item: int(place_of(item).get("offset", 0)))
    values = values_of(folder, tensor)
    raw, begin = values.tobytes(), int(place_of(tensor)["offset"])
    del tensor.external_data[:]
    tensor.raw_data, tensor.data_location = raw, onnx.TensorProto.DEFAULT
    save_graph(folder, model)
    del values
    content = (folder / DATA_FILE).read_bytes()
    (folder / DATA_FILE).write_bytes(content[:begin])


def _bytes_besides(folder: Path) -> None:
    """Leave other bytes in the graph's file for a tensor that lies outside."""
    model = load_graph(folder)
    tensors(model, NORM)[0].raw_data = b"a secret"
    save_graph(folder, model)


def _another_file(folder: Path) -> None:
    """Store the last tensor in a file of its own."""
    model = load_graph(folder)
    tensor = max(model.graph.initializer, key=lambda item: int(place_of(item).get("offset", 0)))
    begin = int(place_of(tensor)["offset"])
    content = (folder / DATA_FILE).read_bytes()
    (folder / DATA_FILE).write_bytes(content[:begin])
    (folder / "more.data").write_bytes(content[begin:])
    put(tensor, location="more.data", offset=0)
    save_graph(folder, model)


def _another_spelling(folder: Path) -> None:
    """Name the same file otherwise for one tensor."""
    model = load_graph(folder)
    put(tensors(model, NORM)[0], location=f"./{DATA_FILE}")
    save_graph(folder, model)


def _link_beside(folder: Path) -> None:
    (folder / "tokenizer.model").symlink_to("/etc/hostname")


def _folder_beside(folder: Path) -> None:
    if not folder.is_dir():
        raise InapplicableError("there is no folder")
    (folder / "empty").mkdir()


FILES: Mapping[str, Fault] = {
    "another_file": _another_file,
    "another_spelling": _another_spelling,
    "bytes_besides": _bytes_besides,
    "checksum": _another_place(checksum="0" * 40),
    "code_beside": written("modeling_phi3.py", b"import os\n"),
    "data_gone": gone(DATA_FILE),
    "data_truncated": cut(DATA_FILE, lambda size: size - 1000),
    "folder_beside": _folder_beside,
    "hidden_beside": written(".env", b"TOKEN=1\n"),
    "in_the_graph": _in_the_graph,
    "key_beside": written("id_rsa", b"a key"),
    "library_beside": written("libcustom.so", b"\x7fELF"),
    "link_beside": _link_beside,
    "moved": _moved,
    "offset_beyond": _offset_beyond,
    "offset_twice": _another_place(offset="0"),
    "other_graph_beside": written("model_fp32.onnx", b"x"),
    "outside": _outside,
    "overlap": _overlap,
    "pickle_beside": written("onnx/training_args.bin", b"\x80\x04."),
    "places_swapped": _places_swapped,
    "prepacked": _another_place(prepacked_0="MatMulNBits+0|0;64;0"),
    "shorter": _shorter,
    "template_gone": gone(TEMPLATE_FILE),
    "tokenizer_gone": gone(TOKENIZER_FILE),
    "tokenizer_settings_gone": gone(TOKENS_FILE),
    "trailing_bytes": _trailing_bytes,
}
