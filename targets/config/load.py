"""From a TOML file to a validated config; every mistake of the file and its data in one go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tomli
from pydantic import JsonValue, ValidationError

from pipeline.config.schema import HUB_PREFIX, BuildConfig
from pipeline.data.check import check_rows
from pipeline.data.load import read_rows
from pipeline.data.problems import DataProblem
from pipeline.suggest import did_you_mean
from targets.config.hub import parse_hub_model, pinned
from targets.config.model_folder import model_folder_problems, onnx_folder_problems
from targets.config.positions import TomlPositions
from targets.config.problems import problems_of
from targets.config.salvage import salvage
from targets.config.steps import Chain, ChainReader
from targets.errors import ConfigError, Problem
from targets.target import Target, load_target, target_names


@dataclass(frozen=True)
class Overrides:
    """What the command line says in place of the config."""

    data: Mapping[str, Path] = field(default_factory=dict)
    model: str | None = None


@dataclass(frozen=True)
class LoadedConfig:
    """A config that is right: paths are resolved, every pass and check is validated."""

    file: Path
    config: BuildConfig
    chains: Mapping[str, Chain]
    """Passes and checks per target name."""
    data_files: Mapping[str, Path]
    """Absolute path per data set."""
    model_folder: Path | None
    """Absolute path of a local base model."""

    def path(self, relative: str) -> Path:
        """Return a path of the config, which is relative to the config file."""
        return (self.file.parent / relative).absolute()


def load_config(
    file: Path, targets: Sequence[Target], overrides: Overrides | None = None
) -> LoadedConfig:
    """Read and validate ``file`` for ``targets``.

    Raises :class:`ConfigError` with every problem found, each with file, line, key and suggestion.
    """
    overrides = overrides or Overrides()
    text = _read(file)
    document = _parse(file, text)
    lines = TomlPositions(text)
    if isinstance(document.get("model"), str):
        document["model"] = {"source": document["model"]}
    if overrides.model is not None:
        document["model"] = _with_source(document.get("model"), overrides.model)
    try:
        config = BuildConfig.model_validate(document)
    except ValidationError as error:
        problems = list(problems_of(error, BuildConfig, file, lines))
        rest = salvage(document, BuildConfig)
        if rest is not None:
            loader = _Loader(file, rest, lines, overrides, whole=False)
            loader.load(targets)
            problems += loader.problems
        raise ConfigError(list(dict.fromkeys(problems))) from None
    loaded = _load(_Loader(file, config, lines, overrides), targets)
    exact = _pinned(config)
    if exact == config:
        return loaded
    return _load(_Loader(file, exact, lines, overrides), targets)


def _load(loader: _Loader, targets: Sequence[Target]) -> LoadedConfig:
    loaded = loader.load(targets)
    if loader.problems:
        raise ConfigError(list(dict.fromkeys(loader.problems)))
    return loaded


def _with_source(model: JsonValue, source: str) -> JsonValue:
    """Return the ``[model]`` table with ``source``, a path relative to where the user stands."""
    table = dict(model) if isinstance(model, dict) else {}
    for other in ("pretrain", "onnx"):
        table.pop(other, None)
    if not source.startswith(HUB_PREFIX):
        source = str(Path(source).expanduser().absolute())
    return {**table, "source": source}


def _pinned(config: BuildConfig) -> BuildConfig:
    """Return ``config`` with a branch or tag of a hub model replaced by its commit."""
    source = config.model.source
    if source is None or not source.startswith(HUB_PREFIX):
        return config
    model = pinned(parse_hub_model(source))
    exact = config.model.model_copy(update={"source": f"{HUB_PREFIX}{model.repo}@{model.revision}"})
    return config.model_copy(update={"model": exact})


class _Loader:
    """Reads what a valid form refers to; its result is meaningful only without problems."""

    def __init__(
        self,
        file: Path,
        config: BuildConfig,
        lines: TomlPositions,
        overrides: Overrides,
        whole: bool = True,
    ) -> None:
        self._file = file.absolute()
        self._shown = file
        self._config = config
        self._lines = lines
        self._overrides = overrides
        self._whole = whole
        self.problems: list[Problem] = []

    def load(self, targets: Sequence[Target]) -> LoadedConfig:
        model_folder = self._model()
        chains = self._chains(targets)
        data_files = self._data()
        return LoadedConfig(self._file, self._config, chains, data_files, model_folder)

    def _chains(self, targets: Sequence[Target]) -> dict[str, Chain]:
        asked = {target.name: target for target in targets}
        chains = {}
        for name in {**asked, **self._config.targets}:
            if name not in target_names():
                self._problem(
                    f"unknown target '{name}'",
                    ("targets", name),
                    did_you_mean(name, target_names()),
                )
                continue
            target = asked.get(name) or load_target(name)
            reader = ChainReader(self._config, target, self._shown, self._lines)
            chains[name] = reader.read(self._whole)
            self.problems += reader.problems
            self._sources(chains[name])
        return chains

    def _sources(self, chain: Chain) -> None:
        # That of an ONNX model is looked into more closely below.
        made = chain.source if self._config.model.pretrain is not None else None
        calls = [call for call in (made, *chain.passes) if call]
        for call in calls:
            prefix = ("model", "pretrain") if call is chain.source else ("passes", call.name)
            for key in call.implementation.sources:
                path = call.params[key]
                if path is not None and not (self._file.parent / str(path)).exists():
                    self._problem(f"there is no '{path}'", (*prefix, key), self._relative)

    @property
    def _relative(self) -> str:
        return f"paths are relative to {self._file.parent}"

    def _model(self) -> Path | None:
        model = self._config.model
        if [model.source, model.pretrain, model.onnx].count(None) != 2:
            self._problem("give exactly one of source, pretrain and onnx", ("model",))
            return None
        if model.onnx is not None:
            folder = (self._file.parent / Path(model.onnx).expanduser()).absolute()
            for message, suggestion in onnx_folder_problems(folder):
                self._problem(message, ("model", "onnx"), suggestion)
            return None
        if model.source is None or model.source.startswith(HUB_PREFIX):
            return None
        folder = (self._file.parent / Path(model.source).expanduser()).absolute()
        for message, suggestion in model_folder_problems(folder, model.weights):
            self._problem(
                message if str(folder) in message else f"'{folder}' is not a model: {message}",
                ("model", "source"),
                suggestion,
            )
        return folder

    def _data(self) -> dict[str, Path]:
        for name in self._overrides.data.keys() - self._config.data.keys():
            self._problem(
                f"--data names the data set '{name}', which this config does not have",
                (),
                did_you_mean(name, self._config.data),
            )
        files = {}
        for name, spec in self._config.data.items():
            override = self._overrides.data.get(name)
            path = override.absolute() if override else (self._file.parent / spec.path).absolute()
            if not path.is_file():
                where = ("data", name, "path")
                self._problem(f"there is no file '{path}'", where, self._relative)
                continue
            rows, found = read_rows(path)
            found = found or check_rows(rows, spec)
            self.problems += (self._data_problem(name, path, problem) for problem in found)
            files[name] = path
        return files

    def _data_problem(self, name: str, file: Path, problem: DataProblem) -> Problem:
        """Return a problem of the data file with its row, or of its settings with their key."""
        if problem.line is not None:
            return Problem(problem.message, file, problem.line, f"data.{name}", problem.suggestion)
        place = ("data", name, *([problem.key] if problem.key else []))
        return Problem(
            problem.message,
            self._shown,
            self._lines.line(place),
            ".".join(place),
            problem.suggestion,
        )

    def _problem(self, message: str, path: tuple[str, ...], suggestion: str = "") -> None:
        self.problems.append(
            Problem(message, self._shown, self._lines.line(path), ".".join(path), suggestion)
        )


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError([Problem("there is no such config file", file)]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(f"cannot be read as UTF-8 text: {error}", file)]) from None


def _parse(file: Path, text: str) -> dict[str, JsonValue]:
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        raise ConfigError([Problem(f"not valid TOML: {error.msg}", file, error.lineno)]) from None
