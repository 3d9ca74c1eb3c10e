"""The data sets of a config: the main one, their mistakes, and overrides of the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pipeline.contract.data_spec import DataSpec
from pipeline.contract.schema import HUB_PREFIX, BuildConfig
from pipeline.contract.suggest import did_you_mean
from targets.config.hub import parse_hub_model, pinned

_PARTS = ("held_out", "validation_data")


class DataSetMistake(NamedTuple):
    """A mistake in the data sets of a config, and its key."""

    message: str
    path: tuple[str, ...]
    suggestion: str = ""


def rows_step(name: str) -> str:
    """Return the name of the step that makes the rows of the data set ``name``."""
    return f"rows-{name}"


def fetch_step(name: str) -> str:
    """Return the name of the step that fetches the rows of the data set ``name`` from the hub."""
    return f"fetch-{name}"


def tokens_step(training: str) -> str:
    """Return the name of the step that makes tokens of the rows for the pass ``training``."""
    return f"tokens-{training}"


def main_data(data: Mapping[str, DataSpec]) -> str | None:
    """Return the data set for training and evaluation: the one that is no part of another.

    ``None`` without data. If there are several, which is a mistake, the first.
    """
    return next(iter([*_main_ones(data), *data]), None)


def mistakes(data: Mapping[str, DataSpec]) -> Iterator[DataSetMistake]:
    """Yield the mistakes in how the data sets refer to each other."""
    for name, spec in data.items():
        for key, part in _parts(spec):
            place = ("data", name, key)
            if part not in data:
                hint = did_you_mean(part, data.keys() - {name})
                yield DataSetMistake(f"there is no data set '{part}'", place, hint)
            elif part == name:
                yield DataSetMistake("a data set cannot be a part of itself", place)
            elif any(_parts(data[part])):
                yield DataSetMistake(f"'{part}' is a part itself and cannot have parts", place)
    main = _main_ones(data)
    if len(main) > 1:
        yield DataSetMistake(
            f"{len(main)} data sets could be the one that is trained on: {', '.join(main)}",
            ("data", main[1]),
            "name the others as its held_out or validation_data, or remove them",
        )
    elif data and not main:
        yield DataSetMistake("every data set is a part of another", ("data", next(iter(data))))


def with_files(config: BuildConfig, files: Mapping[str, Path]) -> BuildConfig:
    """Return ``config`` with its data sets read from ``files`` instead of their own sources.

    Functions that make columns are kept.
    """
    data = {
        name: _from_file(spec, files[name].absolute()) if name in files else spec
        for name, spec in config.data.items()
    }
    return config.model_copy(update={"data": data})


def with_commits(config: BuildConfig) -> BuildConfig:
    """Return ``config`` with branches and tags of the hub's data sets replaced by their commits.

    Raises ``EnvironmentUnable`` if the hub does not answer or does not know them.
    """
    data = {}
    for name, spec in config.data.items():
        if spec.source is None:
            data[name] = spec
            continue
        dataset = pinned(parse_hub_model(spec.source, "dataset"), "dataset")
        source = f"{HUB_PREFIX}{dataset.repo}@{dataset.revision}"
        data[name] = spec.model_copy(update={"source": source})
    return config.model_copy(update={"data": data})


def _from_file(spec: DataSpec, path: Path) -> DataSpec:
    code = spec.code
    if code is not None:
        code = code.model_copy(update={"load": None, "load_params": {}})
        if not code.columns and code.pre_process is None:
            code = None
    place = {"path": str(path), "source": None, "subset": None, "part": "train", "code": code}
    return spec.model_copy(update=place)


def _parts(spec: DataSpec) -> Iterator[tuple[str, str]]:
    for key in _PARTS:
        part = getattr(spec, key)
        if part is not None:
            yield key, part


def _main_ones(data: Mapping[str, DataSpec]) -> list[str]:
    parts = {part for spec in data.values() for _, part in _parts(spec)}
    return [name for name in data if name not in parts]
