"""Which module knows a file, by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import PurePosixPath

from targets.release.differences.difference import Difference, Pair

Comparer = Callable[[Pair], Iterator[Difference]]

_BY_SUFFIX = {
    ".json": "json_values",
    ".onnx": "onnx_model",
    ".safetensors": "safetensors_file",
}
_ARCHIVES = (".tar", ".tgz", ".tar.gz", ".tar.xz", ".tar.bz2")


def is_known(name: str) -> bool:
    """Return whether a file of that name is more than bytes."""
    return is_archive(name) or _module_of(name) is not None


def is_archive(name: str) -> bool:
    """Return whether a file of that name holds other files, each of its own kind."""
    return name.endswith(_ARCHIVES)


def kind_of(name: str) -> Comparer:
    """Return what compares files of that name; it is imported here, not before."""
    module = import_module(f"{__package__}.{_module_of(name) or 'raw_bytes'}")
    differences: Comparer = module.differences
    return differences


def _module_of(name: str) -> str | None:
    return _BY_SUFFIX.get(PurePosixPath(name).suffix.lower())
