"""The options that commands share, and the builds that they describe."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from platformdirs import user_cache_path
from pydantic import BaseModel, ValidationError
from rich.console import Console

from pipeline.contract.schema import (
    AzureMLSystem,
    BuildConfig,
    DockerSystem,
    SharedCacheTable,
    SlurmSystem,
    StepTable,
    SystemTable,
    ToolchainTable,
    is_image_registry,
)
from pipeline.contract.suggest import did_you_mean
from pipeline.run.code_digest import CodeDigests
from pipeline.training.params import TrainingLoopParams
from targets.cache import Cache
from targets.cli.echo import echo
from targets.config.documents import OWN_CONFIG, read_documents
from targets.config.load import (
    LoadedConfig,
    Overrides,
    load_document,
)
from targets.config.paths import resolved
from targets.config.validation_problems import validation_problems
from targets.console.ci_service import log_columns
from targets.console.safe_console import SafeConsole
from targets.devices.find import find_device
from targets.errors import ConfigError, EnvironmentUnable, Problem
from targets.known_rows import KnownRows
from targets.place import Place, building_place, default_training_target
from targets.planner.known_code import KnownCode
from targets.runtimes.platform import Choice, platform_for
from targets.systems.find import system_of
from targets.target import ALL, DEFAULT_TARGET, LOCAL, load_target, load_targets
from targets.toolchain.registry.settings import RegistrySettings

PROJECT = Path(__file__).parents[2]
_MEASURING = "tune"
"""The pass that measures the machine on which it runs."""
DEFAULT_CONFIG = PROJECT / "configs" / "tone.toml"
CACHE_VARIABLE = "QUERN_CACHE"
"""Variable that names the folder of the cache where no option does."""

REGISTRY = "QUERN_REGISTRY"
"""Variable with the registry for images, in place of the config's."""
REGISTRY_TRUST = "QUERN_REGISTRY_TRUST"
"""Variable with the files of keys that must have signed its images, in place of the config's."""

Command = TypeVar("Command", bound=Callable[..., Any])
Table = TypeVar("Table", bound=BaseModel)


@dataclass(frozen=True)
class BuildChoices:
    """The options of a command about what is built."""

    config: Path
    targets: tuple[str, ...]
    host: str | None = None
    data: Mapping[str, Path] = field(default_factory=dict)
    model: str | None = None
    runtime: Choice | None = None
    system: str | None = None

    def arguments(self) -> tuple[str, ...]:
        """Return the options of a command line that makes the same choices."""
        chosen: list[tuple[str, object]] = [
            ("--config", self.config),
            *(("--target", target) for target in self.targets),
            ("--host", self.host),
            *(("--data", f"{name}={path}") for name, path in self.data.items()),
            ("--model", self.model),
            ("--runtime", self.runtime),
            ("--system", self.system),
        ]
        return tuple(
            word for name, value in chosen if value is not None for word in (name, str(value))
        )


def build_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add all options about what is built and where; the command gets the arguments ``choices``,
    ``cache`` and ``dist``."""

    @wraps(command)
    def gathered(
        *,
        config: Path,
        targets: tuple[str, ...],
        host: str | None,
        data: dict[str, Path],
        model: str | None,
        system: str | None,
        runtime: Choice | None,
        **others: Any,
    ) -> None:
        command(choices=BuildChoices(config, targets, host, data, model, runtime, system), **others)

    for add in (place_options, config_runtime_option, build_target_option, config_options):
        gathered = add(gathered)
    return gathered


def pairs(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, Path]:
    """Parse options of the form NAME=PATH; a callback of click."""
    pairs = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not (name and equals and path):
            raise click.BadParameter(f"'{value}' is not NAME=PATH")
        pairs[name] = Path(path)
    return pairs


def system_option(command: Command) -> Command:
    """Add ``--system``."""
    return click.option(
        "--system",
        metavar="NAME",
        default=None,
        help="System of the config that runs the chain; `local` is this machine.",
    )(command)


def config_option(command: Command) -> Command:
    """Add ``--config``."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        default=lambda: OWN_CONFIG if OWN_CONFIG.exists() else DEFAULT_CONFIG,
        help="Build config (default: quern.toml here, else the shipped tone.toml).",
    )(command)


def config_options(command: Command) -> Command:
    """Add the options that choose what is built."""
    for option in (
        click.option("--model", metavar="PATH", help="Base model in place of the config's."),
        click.option(
            "--data",
            multiple=True,
            metavar="NAME=PATH",
            callback=pairs,
            help="A data file in place of the config's. Repeatable.",
        ),
        config_option,
        click.option(
            "--host",
            metavar="NAME",
            default=None,
            help="Target that trains and merges (default: the first whose device is here).",
        ),
        system_option,
    ):
        command = option(command)
    return command


def _targets(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """Split ``--target cpu,cuda`` like ``--target cpu --target cuda``; a callback of click."""
    return tuple(name for value in values for part in value.split(",") if (name := part.strip()))


def target_option(described: str) -> Callable[[Command], Command]:
    """Add ``--target``, repeatable; ``described`` is added to its help text."""
    return click.option(
        "--target",
        "--targets",
        "targets",
        multiple=True,
        metavar="NAME",
        callback=_targets,
        help=f"Target, several with commas, or `{ALL}`. Repeatable. {described}",
    )


build_target_option = target_option("Default: default_targets of the config, else cpu.")


def cache_option(command: Command) -> Command:
    """Add ``--cache``."""
    return click.option(
        "--cache",
        type=click.Path(path_type=Path, file_okay=False),
        default=None,
        envvar=CACHE_VARIABLE,
        help="Folder of the shared cache (default: the user's cache folder).",
    )(command)


def dist_option(command: Command) -> Command:
    """Add ``--dist``."""
    return click.option(
        "--dist",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("dist"),
        show_default=True,
        help="Folder for the outputs.",
    )(command)


def place_options(command: Command) -> Command:
    """Add the options for the paths of cache and outputs."""
    return dist_option(cache_option(command))


def runtime_option(command: Command) -> Command:
    """Add ``--runtime``."""
    return _runtime(command, "auto", "containers where they can be had")


def config_runtime_option(command: Command) -> Command:
    """Add ``--runtime`` for a command with a config, which can set it too."""
    return _runtime(command, None, "as the config says, else containers where they can be had")


def _runtime(command: Command, default: Choice | None, described: str) -> Command:
    return click.option(
        "--runtime",
        type=click.Choice(["auto", "docker", "venv"]),
        default=default,
        help="Where passes run: containers, or a virtual environment with the same lock "
        f"(default: {described}).",
    )(command)


def require_verified_option(command: Command) -> Command:
    """Add ``--require-verified``."""
    return click.option(
        "--require-verified",
        is_flag=True,
        help="Stop before any work where a target's device is not here to verify it.",
    )(command)


def verbose_option(command: Command) -> Command:
    """Add ``--verbose``."""
    return click.option(
        "-v", "--verbose", is_flag=True, help="List all proofs, and what training took."
    )(command)


def json_option(command: Command) -> Command:
    """Add ``--json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Machine-readable output on standard output."
    )(command)


@dataclass(frozen=True)
class Request:
    """What to build: a loaded config, its targets where their steps run, and how they run."""

    loaded: LoadedConfig
    places: tuple[Place, ...]
    training_place: Place
    runtime: Choice
    elsewhere: SystemChoice | None = None
    """The system on which the steps run, if not on this machine."""
    left_out: tuple[str, ...] = ()
    """Which of all targets cannot be built there, and why."""

    @property
    def registry(self) -> RegistrySettings | None:
        """Return the registry for images. Raises ``ConfigError``."""
        config = self.loaded.config
        return registry_of(config.toolchain, config.cache, self.loaded.path)

    @property
    def stays(self) -> str:
        """Return why its steps can run on this machine alone, of which the plan knows CPU and GPU;
        empty if any other one with the toolchain does as well."""
        passes = self.loaded.config.passes.items()
        if self.loaded.config.resources.arithmetic == "native":
            return 'the config has `arithmetic = "native"`'
        if any(_measures(name, step) for name, step in passes):
            return f"the config has `{_MEASURING}`, which measures on this one"
        used = (place for place in (*self.places, self.training_place) if place.device.container)
        gpu = next(used, None)
        return f"a GPU of this one was found for {gpu.toolchain.target}" if gpu is not None else ""

    @property
    def trust(self) -> tuple[Path, ...]:
        """Return the keys of which one must have signed an image, whatever registry it is in."""
        config = self.loaded.config
        return trust_of(config.toolchain, config.cache, self.loaded.path)


@dataclass(frozen=True)
class SystemChoice:
    """A system of the config, with its paths made absolute."""

    name: str
    table: SystemTable


def load_requests(
    choices: BuildChoices, *, here: bool = False, cache: Cache | None = None
) -> tuple[Request, ...]:
    """Load and validate the config of the options; one request for each flow in it. With ``here``
    they are for this machine, whatever the config says. ``cache`` remembers what rows are.

    Raises ``ConfigError``, or ``EnvironmentUnable`` if a target cannot be built here.
    """
    file = as_typed(choices.config)
    chosen = load_targets(choices.targets) or None
    known = KnownRows() if cache is None else _known_rows(cache)
    overrides = Overrides(data=choices.data, model=choices.model, bring=_bring, known=known)
    problems: dict[Problem, None] = {}
    loaded_configs = []
    for document in read_documents(file, choices.system):
        try:
            loaded_configs.append(load_document(file, document, chosen, overrides))
        except ConfigError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise ConfigError(tuple(problems))
    requests = tuple(_request(loaded, choices, here) for loaded in loaded_configs)
    for line in dict.fromkeys(line for request in requests for line in request.left_out):
        echo(f"note: {line}", err=True)
    return requests


def _known_rows(cache: Cache) -> KnownRows:
    """Return what the cache knows of rows, which the code that reads them decides too."""
    notes = KnownCode(cache.root)
    digests = CodeDigests(read=notes.read)

    def code(module: str) -> str:
        digest = digests.digest(module)
        notes.save()
        return digest

    return KnownRows(cache.rows, cache.digests, code)


def _bring(config: BuildConfig, address: str) -> Path | None:
    """Return where a resource of Azure Machine Learning is now on this machine."""
    from targets.systems.azureml.resources import AzureResources

    systems = (one for one in config.systems.values() if isinstance(one, AzureMLSystem))
    folder = open_cache(Path(found) if (found := os.environ.get(CACHE_VARIABLE)) else None).root
    said = console(as_json=True)
    return AzureResources(folder / "azureml", systems, said.print).bring(address)


def _request(loaded: LoadedConfig, choices: BuildChoices, here: bool) -> Request:
    runtime = choices.runtime or loaded.config.runtime
    elsewhere = None if here else _system_choice(loaded, choices)
    host = choices.host or (None if is_system(loaded.config) else loaded.config.host)
    find, platform = find_device, platform_for(runtime)
    if elsewhere is not None:
        table = elsewhere.table
        system = system_of(elsewhere.name, table, Path())
        find, platform = system.device, table.platform or platform_for("docker")
        host = choices.host or table.trains
        if host is None and isinstance(table, DockerSystem):
            host = DEFAULT_TARGET
    asked = choices.targets or loaded.config.default_targets
    places, left_out = [], []
    for name in loaded.targets:
        try:
            places.append(building_place(load_target(name), platform, find))
        except EnvironmentUnable as unable:
            # Who asks for all gets all that can be had, and hears of the rest.
            if ALL not in asked:
                raise
            left_out.append(f"{name} is left out: {unable}; {unable.hint}")
    if not places:
        raise EnvironmentUnable(f"no target can be built on {platform}", "\n".join(left_out))
    loaded = replace(loaded, targets=tuple(place.toolchain.target for place in places))
    training = load_target(host or default_training_target(platform, find=find))
    training_place = building_place(training, platform, find)
    return Request(loaded, tuple(places), training_place, runtime, elsewhere, tuple(left_out))


def _system_choice(loaded: LoadedConfig, choices: BuildChoices) -> SystemChoice | None:
    """Return the system that ``--system``, else ``host`` of the config names; ``None`` for this
    machine. Raises ``ConfigError`` where the config holds what cannot run elsewhere."""
    config = loaded.config
    host = config.host if is_system(config) else None
    name = host if loaded.of_olive else choices.system or host  # Olive's files have it by now
    if name is None or name == LOCAL:
        return None
    table = config.systems.get(name)
    if table is None:
        known = (*config.systems, LOCAL)
        problem = loaded.problem(f"there is no system '{name}'", ("systems",))
        raise ConfigError([replace(problem, suggestion=did_you_mean(name, known))])
    if choices.runtime == "venv":
        message = "it says how steps run here, not on a system; --system local has them run here"
        raise ConfigError([Problem(message, key="--runtime venv")])
    problems = [*_bound_to_this_machine(loaded, name), *_not_shared(loaded, name, table)]
    if problems:
        raise ConfigError(problems)
    if isinstance(table, DockerSystem) and table.certificates:
        folder = str(loaded.path(table.certificates))
        table = table.model_copy(update={"certificates": folder})
    return SystemChoice(name, table)


def is_system(config: BuildConfig) -> bool:
    """Return whether ``host`` of ``config`` names a system, not a target."""
    return config.host in config.systems


def _bound_to_this_machine(loaded: LoadedConfig, system: str) -> Iterator[Problem]:
    """Yield what a config holds that depends on the machine, of which the plan knows only this."""
    here = "run it on this machine with `--system local`"
    if loaded.config.resources.arithmetic == "native":
        message = f"the bytes would be those of {system}'s CPU, which the keys do not know"
        yield loaded.problem(message, ("resources", "arithmetic"), here)
    for name, step in loaded.config.passes.items():
        if _measures(name, step):
            message = f"it chooses by times that it measures, which cannot be done on {system} yet"
            yield loaded.problem(message, ("passes", name), here)


def _measures(name: str, step: StepTable) -> bool:
    return (step.type or name) == _MEASURING


def _not_shared(loaded: LoadedConfig, system: str, table: SystemTable) -> Iterator[Problem]:
    """Yield what the machines of a system cannot share evenly."""
    if isinstance(table, DockerSystem):
        return
    key = "nodes" if isinstance(table, SlurmSystem) else "instance_count"
    count: int = getattr(table, key)
    calls = [call for name in loaded.targets for call in loaded.chains[name].passes]
    asked = {call.params.gpus for call in calls if isinstance(call.params, TrainingLoopParams)}
    several = asked - {1}
    if count == 1 or (several and all(gpus % count == 0 for gpus in several)):
        return
    told = (
        f"{count} machines share the processes of a training, of which `gpus` says how many there "
        f"are together (here {', '.join(map(str, sorted(asked))) or 'none'})"
    )
    advice = f"set `gpus` of the training to {count} or a multiple of it, or leave out `{key}`"
    yield loaded.problem(told, ("systems", system, key), advice)


def shared_cache_table(config: Path) -> SharedCacheTable | None:
    """Return the table ``[cache]`` of ``config``, whatever else stands there; ``None`` without it.

    Raises ``ConfigError`` if it is wrong.
    """
    return _table(as_typed(config), "cache", SharedCacheTable)


_SERVICES: Mapping[str, type[AzureMLSystem | SlurmSystem]] = {
    "azureml": AzureMLSystem,
    "slurm": SlurmSystem,
}


def systems_of(config: Path) -> tuple[dict[str, SystemTable], str]:
    """Return the systems of ``config``, with absolute paths, and the one that is its host; empty if
    that is a target. Raises ``ConfigError`` if one is wrong."""
    file = as_typed(config)
    document = next(iter(read_documents(file)))
    tables = document.table.get("systems")
    if not isinstance(tables, Mapping):
        return {}, ""
    systems: dict[str, SystemTable] = {}
    for name, written in tables.items():
        kind = written.get("type") if isinstance(written, Mapping) else None
        if (service := _SERVICES.get(str(kind))) is not None:
            found = _table(file, "systems", service, name)
            systems |= {name: found} if found is not None else {}
        elif (engine := _table(file, "systems", DockerSystem, name)) is not None:
            systems[name] = _absolute(engine, file)
    host = document.table.get("host")
    return systems, host if isinstance(host, str) and host in systems else ""


def _absolute(table: DockerSystem, file: Path) -> DockerSystem:
    folder = table.certificates and str(resolved(file, table.certificates))
    return table.model_copy(update={"certificates": folder})


def _table(file: Path, name: str, model: type[Table], within: str = "") -> Table | None:
    """Return the table ``name`` of ``file``, or the one ``within`` it."""
    document = next(iter(read_documents(file)))
    place = (name, within) if within else (name,)
    table = document.table.get(name)
    if table is not None and within:
        table = table[within]
    if table is None:
        return None
    try:
        return model.model_validate(table)
    except ValidationError as error:
        found = validation_problems(
            error, model, file, document.source_map, lambda inside: (*place, *inside)
        )
        raise ConfigError(tuple(found)) from None


def registry_settings(config: Path | None = None) -> RegistrySettings | None:
    """Return the registry for images that the environment names, else ``config``.

    Of the config, only the tables that say so are read. Raises ``ConfigError`` if they are wrong.
    """
    toolchain, shared = None, None
    if config is not None:
        file = as_typed(config)
        toolchain = _table(file, "toolchain", ToolchainTable)
        shared = _table(file, "cache", SharedCacheTable)
    return registry_of(toolchain or ToolchainTable(), shared, partial(resolved, config or Path()))


def registry_of(
    toolchain: ToolchainTable, shared: SharedCacheTable | None, path: Callable[[str], Path]
) -> RegistrySettings | None:
    """Return the registry for images that the environment names, else the tables of a config, whose
    files are at ``path``. Raises ``ConfigError`` for an address in the environment that is none."""
    address = os.environ.get(REGISTRY) or toolchain.registry
    if address is None:
        return None
    try:
        is_image_registry(address)
    except ValueError as error:
        raise ConfigError([Problem(str(error), key=REGISTRY)]) from None
    return RegistrySettings(address, trust_of(toolchain, shared, path))


def trust_of(
    toolchain: ToolchainTable, shared: SharedCacheTable | None, path: Callable[[str], Path]
) -> tuple[Path, ...]:
    """Return the keys for images that the environment names, else the tables of a config."""
    trust = toolchain.trust
    if trust is None:
        trust = shared.trust if shared is not None else ()
    keys = os.environ.get(REGISTRY_TRUST)
    return tuple(map(Path, keys.split(os.pathsep)) if keys else map(path, trust))


def require_here(requests: Iterable[Request], doing: str) -> None:
    """Raise ``EnvironmentUnable`` if the steps are to run on a system: ``doing`` is done here."""
    for request in requests:
        if request.elsewhere is not None:
            raise EnvironmentUnable(
                f"{doing} works on this machine, not on {request.elsewhere.name}",
                "give it `--system local`; results that were made there are used",
            )


def open_cache(folder: Path | None) -> Cache:
    """Return the cache in ``folder``; by default in the user's cache folder."""
    return Cache((folder or user_cache_path("quern")).absolute())


def console(as_json: bool) -> Console:
    """Return the console: standard error if standard output is for JSON, else standard output."""
    width = log_columns(os.environ)
    return SafeConsole(stderr=as_json, width=width, soft_wrap=False, emoji=False)


def as_typed(path: Path) -> Path:
    """Return ``path`` relative to the working directory, if it is below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def identity_options(described: str) -> Callable[[Command], Command]:
    """Add ``--identity`` and ``--issuer``, by which sigstore identifies a signer."""

    def added(command: Command) -> Command:
        issuer = click.option(
            "--issuer",
            metavar="URL",
            help="Who vouches for that identity, e.g. https://github.com/login/oauth.",
        )
        identity = click.option(
            "--identity",
            metavar="NAME",
            help=f"{described} this identity: an e-mail address or a URI.",
        )
        return identity(issuer(command))

    return added


def require_identity(
    identity: str | None, issuer: str | None, key: Path | None, key_option: str
) -> None:
    """Raise ``ConfigError`` unless identity and issuer are both given without a key, or neither."""
    if (identity is None) != (issuer is None):
        missing = "--issuer" if issuer is None else "--identity"
        raise ConfigError([Problem("--identity and --issuer go together", key=missing)])
    if key is not None and identity is not None:
        raise ConfigError([Problem("give either a key or an identity", key=key_option)])
