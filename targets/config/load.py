"""Loads and validates a config file, and reports all mistakes of the file and its data at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue, ValidationError

from pipeline.contract.data_spec import PARQUET, DataSpec
from pipeline.contract.errors import StepError
from pipeline.contract.schema import (
    AZURE_PREFIX,
    GGUF_SUFFIX,
    HUB_PREFIX,
    BuildConfig,
    DockerSystem,
    ModelSource,
)
from pipeline.contract.suggest import did_you_mean
from pipeline.data.constraint import constraint_problems
from pipeline.reading.files import UnreadableError
from pipeline.reading.parquet_file import require_parquet
from targets.config.adapter_folder import adapter_folder_problems, merge_only_problems
from targets.config.chain import Chain, CheckCall, PassCall, kept_base_step
from targets.config.chain_reader import ChainReader
from targets.config.data import (
    fetch_step,
    main_data,
    mistakes,
    rows_step,
    tokens_step,
    with_commits,
    with_files,
)
from targets.config.documents import Document, Sound, is_olive, read_documents
from targets.config.hub import parse_hub_model, pinned
from targets.config.model_folder import checkpoint_folder, model_folder_problems
from targets.config.model_for_chain import model_for_chain_problems
from targets.config.onnx_folder import onnx_folder_problems
from targets.config.paths import expanded, is_file, is_there, resolved
from targets.config.salvage import salvage
from targets.config.source_map import KeyPath, SourceMap
from targets.config.validation_problems import causes, validation_problems
from targets.config.wiring import IMPORT_ADAPTER
from targets.errors import ConfigError, Problem
from targets.known_rows import KnownRows
from targets.target import DEFAULT_TARGET, LOCAL, Target, load_target, named_targets, target_names

if TYPE_CHECKING:
    from pipeline.data.problems import DataProblem
    from pipeline.gguf.header import GgufHeader

Bring = Callable[[BuildConfig, str], Path | None]
"""Returns where a resource that a config names is now on this machine; ``None`` if the config does
not say in which workspace it is."""


@dataclass(frozen=True)
class Overrides:
    """Values of the command line that replace those of the config."""

    data: Mapping[str, Path] = field(default_factory=dict)
    model: str | None = None
    bring: Bring | None = None
    """Brings what lies in Azure Machine Learning to this machine."""
    known: KnownRows = field(default_factory=KnownRows)
    """What is known of the rows of data sets."""


@dataclass(frozen=True)
class LoadedConfig:
    """A valid config: paths are resolved, and every pass and check is validated."""

    file: Path
    config: BuildConfig
    chains: Mapping[str, Chain]
    """Passes and checks per target name."""
    targets: tuple[str, ...]
    """Names of the targets to build."""
    data_files: Mapping[str, tuple[Path, ...]]
    """Absolute paths of the files per data set; none if its rows come from a hub or from code."""
    main_data: str | None
    """The data set for training and evaluation."""
    known_rows: KnownRows
    """What is known of the rows."""
    shows_tools: bool
    """Whether the model's chat template is given tools, as far as the host can read the rows."""
    model_folder: Path | None
    """Absolute path of a local base model."""
    gguf: GgufHeader | None
    """Header of a local GGUF file, from which the base model is made."""
    shown: Path
    """The config file as the user named it."""
    source_map: SourceMap
    """Lines of the config's keys."""

    @property
    def of_olive(self) -> bool:
        """Return whether the file is one of Olive's, whose systems are translated."""
        return is_olive(self.file)

    def path(self, relative: str) -> Path:
        """Resolve a path in the config, which is relative to the config file."""
        return resolved(self.file, relative)

    def problem(self, message: str, place: KeyPath, suggestion: str = "") -> Problem:
        """Return a problem at the key ``place`` of the config."""
        line, key = self.source_map.line(place), self.source_map.key(place)
        return Problem(message, self.shown, line, key, suggestion)


def load_config(
    file: Path, targets: Sequence[Target], overrides: Overrides | None = None
) -> LoadedConfig:
    """Read and validate the config in ``file`` for ``targets``.

    Raises :class:`ConfigError` with every problem found, each with file, line, key and suggestion.
    """
    (document,) = read_documents(file)
    return load_document(file, document, targets, overrides)


def load_document(
    file: Path,
    document: Document,
    targets: Sequence[Target] | None = None,
    overrides: Overrides | None = None,
) -> LoadedConfig:
    """Validate one ``document`` of ``file``, for ``targets`` or else for those that it names.

    Raises :class:`ConfigError` with every problem found, each with file, line, key and suggestion.
    """
    overrides = overrides or Overrides()
    source_map = document.source_map
    sound = document.sound if targets is None else replace(document.sound, target=True)
    table = {**document.table}
    if overrides.model is not None:
        table["model"] = _with_source(table.get("model"), overrides.model)
    problems = list(document.problems)
    try:
        config = with_files(BuildConfig.model_validate(table), overrides.data)
    except ValidationError as error:
        found = validation_problems(error, BuildConfig, file, source_map)
        problems += causes(found, document.problems) if document.ledger is not None else found
        salvaged = salvage(table, BuildConfig)
        if salvaged is not None:
            salvaged = with_files(salvaged, overrides.data)
            loader = _Loader(file, salvaged, source_map, overrides, replace(sound, whole=False))
            loader.load(_chosen(salvaged, targets, loader))
            problems += causes(loader.problems, document.problems)
        raise ConfigError(list(dict.fromkeys(problems))) from None
    loader = _Loader(file, config, source_map, overrides, sound)
    loaded = loader.load(_chosen(config, targets, loader))
    if problems or loader.problems:
        followed = [*loader.problems, *loader.unreachable]
        all_problems = [*problems, *causes(followed, document.problems)]
        raise ConfigError(list(dict.fromkeys(all_problems)))
    if loader.unreachable and overrides.bring is not None:
        config = _brought(config, overrides.bring)
        loader = _Loader(file, config, source_map, overrides)
        loaded = loader.load(_chosen(config, targets, loader))
    if loader.problems or loader.unreachable:
        raise ConfigError([*loader.problems, *loader.unreachable])
    exact = _pinned(config)
    if exact == config:
        return loaded
    return _Loader(file, exact, source_map, overrides).load(_chosen(exact, targets, loader))


def _brought(config: BuildConfig, bring: Bring) -> BuildConfig:
    """Return ``config`` with what lies in Azure Machine Learning as files of this machine.

    Raises ``EnvironmentUnable``.
    """

    def here(address: str) -> str:
        place = bring(config, address) if address.startswith(AZURE_PREFIX) else None
        return address if place is None else str(place)

    model, data = config.model, {}
    if model.source is not None:
        model = model.model_copy(update={"source": here(model.source)})
    for name, spec in config.data.items():
        path = spec.path
        if path is not None:
            path = here(path) if isinstance(path, str) else tuple(map(here, path))
        data[name] = spec.model_copy(update={"path": path})
    return config.model_copy(update={"model": model, "data": data})


def _chosen(
    config: BuildConfig, targets: Sequence[Target] | None, loader: _Loader
) -> Sequence[Target]:
    """Return ``targets``, else those that the config names, else the default one."""
    if targets is not None:
        return targets
    names = named_targets(config.default_targets or (DEFAULT_TARGET,))
    loader.require_targets(names)
    return [load_target(name) for name in names if name in target_names()]


def _with_source(model: JsonValue, source: str) -> JsonValue:
    """Return the ``[model]`` table with ``source``, which is relative to the working directory."""
    table = dict(model) if isinstance(model, dict) else {}
    for other in ("pretrain", "onnx", "file"):
        table.pop(other, None)
    if not source.startswith(HUB_PREFIX):
        source = str(expanded(source).absolute())
    return {**table, "source": source}


def _pinned(config: BuildConfig) -> BuildConfig:
    """Return ``config`` with branches and tags of hub models and data sets replaced by commits."""
    config = with_commits(config)
    source = config.model.source
    if source is None or not source.startswith(HUB_PREFIX):
        return config
    model = pinned(parse_hub_model(source))
    exact = config.model.model_copy(update={"source": f"{HUB_PREFIX}{model.repo}@{model.revision}"})
    return config.model_copy(update={"model": exact})


class _Loader:
    """Reads and checks the files that a well-formed config refers to.

    Its result is meaningful only if there are no problems.
    """

    def __init__(
        self,
        file: Path,
        config: BuildConfig,
        source_map: SourceMap,
        overrides: Overrides,
        sound: Sound | None = None,
    ) -> None:
        self._file = file.absolute()
        self._shown = file
        self._config = config
        self._source_map = source_map
        self._overrides = overrides
        self._sound = sound or Sound()
        self.problems: list[Problem] = []
        self._gguf: GgufHeader | None = None
        self._shows_tools = False
        self.unreachable: list[Problem] = []
        """Problems of a model or data set in Azure ML that has no local copy."""

    def require_targets(self, names: Sequence[str]) -> None:
        """Add a problem for each unknown target in ``default_targets``."""
        for name in names:
            if name not in target_names():
                advice = did_you_mean(name, target_names())
                self._problem(f"unknown target '{name}'", ("default_targets",), advice)

    def load(self, targets: Sequence[Target]) -> LoadedConfig:
        before = len(self.problems)
        model_folder = self._model()
        usable = len(self.problems) == before
        chains = self._chains(targets)
        if model_folder is not None and usable:
            for place, message, advice in model_for_chain_problems(model_folder, chains, targets):
                self._problem(message, place, advice)
        self._adapter(model_folder if usable else None, chains)
        self._trusted_keys()
        self._systems()
        data_files = self._data()
        return LoadedConfig(
            file=self._file,
            config=self._config,
            chains=chains,
            targets=tuple(target.name for target in targets),
            data_files=data_files,
            main_data=main_data(self._config.data),
            known_rows=self._overrides.known,
            shows_tools=self._shows_tools,
            model_folder=model_folder,
            gguf=self._gguf,
            shown=self._shown,
            source_map=self._source_map,
        )

    def _chains(self, targets: Sequence[Target]) -> dict[str, Chain]:
        by_name = {target.name: target for target in targets}
        chains = {}
        for name in {**by_name, **self._config.targets}:
            if name not in target_names():
                self._problem(
                    f"unknown target '{name}'",
                    ("targets", name),
                    did_you_mean(name, target_names()),
                )
                continue
            target = by_name.get(name) or load_target(name)
            reader = ChainReader(self._config, target, self._shown, self._source_map, self._sound)
            chains[name] = reader.read()
            self.problems += reader.problems
            self._sources(chains[name])
        return chains

    def _adapter(self, base: Path | None, chains: Mapping[str, Chain]) -> None:
        """Check the adapter of ``[model]``; ``base`` is the model's folder, if it is usable."""
        model = self._config.model
        if model.adapter is None:
            return
        place = ("model", "adapter")
        if model.onnx is not None:
            self._problem("an ONNX model takes no adapter", place, "merge it into its checkpoint")
            return
        folder = resolved(self._file, model.adapter)
        before = len(self.problems)
        self._folder_problems(adapter_folder_problems(model.adapter, folder, base), place)
        calls = [call for chain in chains.values() for call in chain.passes]
        if len(self.problems) == before and any(call.keeps_adapter for call in calls):
            self._folder_problems(merge_only_problems(folder), place)

    def _trusted_keys(self) -> None:
        tables = {"cache": self._config.cache, "toolchain": self._config.toolchain}
        for name, table in tables.items():
            for at, key in enumerate((table.trust if table else None) or ()):
                if not is_file(resolved(self._file, key)):
                    self._problem(f"there is no '{key}'", (name, "trust", at), self._relative)

    def _systems(self) -> None:
        for name, system in self._config.systems.items():
            place = ("systems", name)
            if name in (*target_names(), LOCAL):
                self._problem(f"'{name}' is a name of Quern's own", place, "choose another")
            if system.trains is not None and system.trains not in target_names():
                advice = did_you_mean(system.trains, target_names())
                self._problem(f"unknown target '{system.trains}'", (*place, "trains"), advice)
            folder = system.certificates if isinstance(system, DockerSystem) else None
            if folder is not None and not is_there(resolved(self._file, folder)):
                self._problem(f"there is no '{folder}'", (*place, "certificates"), self._relative)

    def _sources(self, chain: Chain) -> None:
        calls: list[tuple[tuple[str, ...], PassCall | CheckCall]] = [
            # An adapter that was trained elsewhere is checked more closely.
            *(
                (("passes", call.name), call)
                for call in chain.passes
                if call.name != IMPORT_ADAPTER
            ),
            *((("checks", call.name), call) for call in chain.checks),
        ]
        # The folder of an ONNX model is checked more closely below.
        if chain.source is not None and self._config.model.pretrain is not None:
            calls.append((("model", "pretrain"), chain.source))
        for prefix, call in calls:
            for key in call.implementation.sources:
                path = call.values[key]
                if path is not None and not is_there(resolved(self._file, str(path))):
                    self._problem(f"there is no '{path}'", (*prefix, key), self._relative)

    @property
    def _relative(self) -> str:
        return f"paths are relative to {self._file.parent}"

    def _model(self) -> Path | None:
        model = self._config.model
        ready = model.source is not None or model.onnx is not None
        if ready == (model.pretrain is not None):
            self._problem("give exactly one of source, pretrain and onnx", ("model",))
            return None
        self._file_of_hub(model)
        if model.onnx is not None:
            folder = resolved(self._file, model.onnx)
            problems = onnx_folder_problems(folder, model.trust_remote_code)
            self._folder_problems(problems, ("model", "onnx"))
            if (model.file or model.source or "").endswith(GGUF_SUFFIX):
                message = "an ONNX model is held against a checkpoint, not a GGUF file"
                self._problem(message, ("model", "source"), "name the checkpoint it was made from")
                return None
        if model.source is None or model.source.startswith(HUB_PREFIX):
            return None
        if model.source.startswith(AZURE_PREFIX):
            self._in_azure(model.source, ("model", "source"), "--model PATH")
            return None
        if model.source.endswith(GGUF_SUFFIX):
            self._gguf_file(resolved(self._file, model.source))
            return None
        folder = checkpoint_folder(resolved(self._file, model.source))
        problems = (
            (message if str(folder) in message else f"'{folder}' is not a model: {message}", advice)
            for message, advice in model_folder_problems(folder, model.weights)
        )
        self._folder_problems(problems, ("model", "source"))
        return folder

    def _folder_problems(self, found: Iterable[tuple[str, str]], place: tuple[str, ...]) -> None:
        """Note what is wrong with a folder, or that it cannot be looked at."""
        try:
            for message, suggestion in found:
                self._problem(message, place, suggestion)
        except OSError as error:
            what = f"{error.filename}: " if error.filename else ""
            self._problem(f"cannot be read: {what}{error.strerror or error}", place)

    def _gguf_file(self, file: Path) -> None:
        # Few configs have one: the others need not wait for what reads it.
        from pipeline.gguf.header import read_header
        from pipeline.gguf.support import refusals

        where = ("model", "source")
        if not is_file(file):
            self._problem(f"there is no file '{file}'", where, self._relative)
            return
        try:
            self._gguf = read_header(file)
        except OSError as error:
            self._problem(f"'{file}' cannot be read: {error.strerror or error}", where)
            return
        except StepError as error:
            self._problem(f"'{file}' is not a model: {error}", where, error.hint)
            return
        for refusal in refusals(self._gguf):
            self._problem(f"'{file}' cannot be used: {refusal.message}", where, refusal.hint)

    def _file_of_hub(self, model: ModelSource) -> None:
        if model.file is None:
            return
        where = ("model", "file")
        if model.source is None or not model.source.startswith(HUB_PREFIX):
            advice = "a local file stands in source itself"
            self._problem("file is that of a model of the hub", where, advice)
        elif not model.file.endswith(GGUF_SUFFIX):
            advice = "other models are fetched as a whole"
            self._problem(f"'{model.file}' is no GGUF file", where, advice)

    def _data(self) -> dict[str, tuple[Path, ...]]:
        for name in self._overrides.data.keys() - self._config.data.keys():
            self._problem(
                f"--data names the data set '{name}', which this config does not have",
                (),
                did_you_mean(name, self._config.data),
            )
        # A missing data set may be one that was removed above because it is invalid.
        for mistake in mistakes(self._config.data) if self._sound.whole else ():
            self._problem(*mistake)
        self._names_of_added_steps()
        main = main_data(self._config.data)
        files = {}
        for name, spec in self._config.data.items():
            files[name] = self._files(name, spec)
            self._code(name, spec)
            for problem in constraint_problems(spec):
                place = ("data", name, problem.key)
                self._problem(problem.message, place, problem.suggestion)
            if len(files[name]) == len(spec.files):
                self._rows(name, spec, files[name], part=name != main)
        return files

    def _files(self, name: str, spec: DataSpec) -> tuple[Path, ...]:
        files = []
        for file in spec.files:
            if file.startswith(AZURE_PREFIX):
                self._in_azure(file, ("data", name, "path"), f"--data {name}=PATH")
                continue
            path = resolved(self._file, file)
            if is_file(path):
                files.append(path)
            else:
                key = ("data", name, "path")
                self._problem(f"there is no file '{path}'", key, self._relative)
        return tuple(files)

    def _in_azure(self, address: str, path: tuple[str, ...], option: str) -> None:
        message = f"'{address}' lies in Azure ML, and nothing says in which workspace"
        self.unreachable.append(
            Problem(
                message,
                self._shown,
                self._source_map.line(path),
                self._source_map.key(path),
                f"give a local copy with {option}",
            )
        )

    def _code(self, name: str, spec: DataSpec) -> None:
        """Check that script and folder exist, and that the name on the hub is valid."""
        for key in ("script", "script_dir"):
            path = getattr(spec.code, key, None)
            if path is not None and not is_there(resolved(self._file, path)):
                self._problem(f"there is no '{path}'", ("data", name, "code", key), self._relative)
        if spec.source is not None:
            try:
                parse_hub_model(spec.source, "dataset")
            except ValueError as error:
                self._problem(str(error), ("data", name, "source"))

    def _rows(self, name: str, spec: DataSpec, files: tuple[Path, ...], part: bool) -> None:
        """Check the rows that the host can read; others are checked by the step that makes them."""
        parquet = [path for path in files if path.suffix.lower() == PARQUET]
        for path in parquet:
            try:
                require_parquet(path)
            except (OSError, UnreadableError) as error:
                self.problems.append(Problem(str(error), path, key=f"data.{name}"))
        if parquet or not files:
            return
        if spec.is_made:
            # Who knows its rows, or has none to check here, does without what reads them.
            from pipeline.data.chat import tools_of
            from pipeline.data.examples import TOOLS
            from pipeline.data.load import read_files

            read = read_files(files)
            row_problems = read.problems
            if not row_problems and spec.messages is not None and spec.chat_template is None:
                self._shows_tools |= any(tools_of(row.values.get(TOOLS)) for row in read.rows)
        else:
            checked, row_problems = self._overrides.known.check(files, spec, part)
            shows = checked is not None and checked.shows_tools and spec.chat_template is None
            self._shows_tools |= shows
        self.problems += (
            self._data_problem(name, files[problem.file], problem) for problem in row_problems
        )

    def _names_of_added_steps(self) -> None:
        data = self._config.data.items()
        steps = {rows_step(name) for name, spec in data if spec.is_made}
        steps |= {fetch_step(name) for name, spec in data if spec.source is not None}
        steps |= set(map(tokens_step, self._config.passes))
        self._taken_names(steps, "makes rows")
        self._taken_names(set(map(kept_base_step, self._config.passes)), "quantizes a base")

    def _taken_names(self, steps: set[str], does: str) -> None:
        for name in steps & {*self._config.passes, *self._config.checks}:
            kind = "passes" if name in self._config.passes else "checks"
            self._problem(f"this name is used by the step that {does}", (kind, name))

    def _data_problem(self, name: str, file: Path, problem: DataProblem) -> Problem:
        """Convert a problem of data: to one in the data file, or at the key of its settings."""
        if problem.line is not None:
            return Problem(problem.message, file, problem.line, f"data.{name}", problem.suggestion)
        message = problem.message
        if not problem.key and len(self._config.data[name].files) > 1:
            message = f"{file.name}: {message}"
        place = ("data", name, *([problem.key] if problem.key else []))
        return Problem(
            message,
            self._shown,
            self._source_map.line(place),
            self._source_map.key(place),
            problem.suggestion,
        )

    def _problem(self, message: str, path: KeyPath, suggestion: str = "") -> None:
        self.problems.append(
            Problem(
                message,
                self._shown,
                self._source_map.line(path),
                self._source_map.key(path),
                suggestion,
            )
        )
