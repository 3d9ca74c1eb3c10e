"""The data of lm-eval's own tasks: fetched by one step, read by those that ask models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from pipeline.contract.errors import StepError
from pipeline.contract.sha256 import sha256_of_bytes

TASK_DATA = "task_data"
"""Name of the input with what was fetched: a folder for each data set."""


@contextmanager
def replaced(owner: Any, name: str, value: object) -> Iterator[None]:
    """Give the attribute ``name`` of ``owner`` another value while the block runs."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def kept_datasets(fetched: Path | None) -> Iterator[None]:
    """Have ``datasets.load_dataset`` return what is in ``fetched`` while the block runs; where that
    is ``None``, do nothing."""
    import datasets

    if fetched is None:
        yield
        return

    def kept(path: str, name: str | None = None, **options: Any) -> Any:
        folder = fetched / _place(path, name, options)
        if not folder.is_dir():
            raise StepError(f"the data set {path} was not fetched", cause="bad_input")
        return datasets.load_from_disk(folder)

    with replaced(datasets, "load_dataset", kept):
        yield


@contextmanager
def keeping_datasets(out_dir: Path) -> Iterator[dict[str, JsonValue]]:
    """Write each data set that ``datasets.load_dataset`` returns while the block runs into
    ``out_dir``. Yields their commits, by name, which are complete at the end."""
    import datasets

    load, commits = datasets.load_dataset, dict[str, JsonValue]()

    def keeping(path: str, name: str | None = None, **options: Any) -> Any:
        folder = out_dir / _place(path, name, options)
        if not folder.is_dir():
            if commit := _commit(path, options.get("revision")):
                commits[path] = options["revision"] = commit
            load(path, name, **options).save_to_disk(folder)
        return datasets.load_from_disk(folder)

    with replaced(datasets, "load_dataset", keeping):
        yield commits


def _place(path: str, name: str | None, options: dict[str, Any]) -> str:
    """Return the folder of a data set with the arguments of ``load_dataset``."""
    words = json.dumps([path, name, options], sort_keys=True, default=str)
    return sha256_of_bytes(words.encode())[:16]


def _commit(path: str, revision: str | None) -> str:
    """Return the commit of a data set of the hub; empty for one of files (``json``).

    Raises ``OSError`` if the hub cannot be reached or refuses.
    """
    from httpx2 import TransportError  # with which huggingface_hub asks
    from huggingface_hub import HfApi

    if "/" not in path:
        return ""
    try:
        return str(HfApi().dataset_info(path, revision=revision).sha)
    except TransportError as error:
        raise ConnectionError(str(error)) from error
