"""Validates the table of one pass or check for one target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError

from pipeline.builder.options import requested_options, resolve
from pipeline.builder.params import ModelBuilderParams
from pipeline.contract.data_spec import DataSpec
from pipeline.contract.errors import StepError
from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import StepKind
from pipeline.contract.schema import BuildConfig, StepTable, TargetTable
from pipeline.data.requirements import DataRequirements
from pipeline.run.own_steps import OwnStepError, OwnType, own_type
from pipeline.run.registry import (
    UnknownStepError,
    check_types,
    load_check,
    load_pass,
    pass_types,
)
from targets.config.chain import Json, PassCall
from targets.config.data import main_data
from targets.config.documents import Sound
from targets.config.paths import expanded, is_file
from targets.config.read_own_step import read_own
from targets.config.source_map import KeyPath, SourceMap
from targets.config.validation_problems import validation_problems
from targets.errors import Problem
from targets.target import Target

# Set once for the whole build, and passed on to the passes that have these parameters.
DECIDED_ELSEWHERE = {
    "execution_provider": "the target decides it",
    "held_to": "set the limits in [checks]",
    "quantizers": "the passes before it say it",
    "repetition_penalty": "set it in model_builder's search",
    "trust_remote_code": "set it in [model]",
    "weights": "set it in [model]",
    "usual_limits": "set first_token_ms and token_ms",
}


@dataclass(frozen=True)
class Implementation:
    """The class of a pass or check, and its file if it is the user's own."""

    type_name: str
    step: Any
    script: Path | None


class StepReader:
    """Validates tables of passes and checks, and collects what is wrong with them."""

    def __init__(
        self,
        config: BuildConfig,
        target: Target,
        file: Path,
        source_map: SourceMap,
        sound: Sound,
    ) -> None:
        self._config = config
        self._target = target
        self._file = file
        self._source_map = source_map
        self._sound = sound
        main = main_data(config.data)
        self._data = None if main is None else config.data[main]
        self.problems: list[Problem] = []

    @property
    def target_table(self) -> TargetTable:
        """What the config changes for this target."""
        return self._config.targets.get(self._target.name, TargetTable())

    def pass_call(self, name: str, table: StepTable, path: KeyPath) -> PassCall | None:
        """Return the pass of ``table``, or ``None`` after saying what is wrong with it.

        ``path`` is where the table stands in the config.
        """
        overrides = self.target_table.passes.get(name, {}) if path[0] == "passes" else {}
        step = self.implementation("pass", name, table, path)
        if step is None:
            return None
        implementation = step.step
        builds = issubclass(implementation.Params, ModelBuilderParams)
        defaults = dict(self._target.builder_params()) if builds else {}
        params = self.params(implementation.Params, table.params, overrides, defaults, path)
        if params is None:
            return None
        # What checks are held against is built with the options of a pass, which is judged itself.
        judged = path[0] == "passes" and self._sound.target
        if judged and isinstance(params, ModelBuilderParams):
            self._check_precision(params.precision, path)
            self._check_builder(params, path)
        return PassCall(name, step.type_name, implementation, params, step.script)

    def implementation(
        self, kind: StepKind, name: str, table: StepTable, path: KeyPath
    ) -> Implementation | None:
        """Return what ``table`` is of, or ``None`` after saying why there is no such thing."""
        type_name = table.type or name
        own = own_type(type_name)
        if own is not None:
            return self._own(kind, name, own, path)
        try:
            load = load_pass if kind == "pass" else load_check
            return Implementation(type_name, load(type_name), None)
        except UnknownStepError as error:
            place = path if table.type is None else (*path, "type")
            advice = f"one of your own is PATH/TO/FILE.py:CLASS, not '{type_name}'"
            self.problem(str(error), place, advice if ".py" in type_name else "")
            return None

    def _own(self, kind: StepKind, name: str, own: OwnType, path: KeyPath) -> Implementation | None:
        """Load the user's own pass or check; on failure, add a problem and return ``None``."""
        place = (*path, "type")
        if name in (pass_types() if kind == "pass" else check_types()):
            self.problem(f"'{name}' is a built-in {kind}", path, "give yours another name")
            return None
        folder = self._file.parent.absolute()
        script = folder / expanded(own.file)
        if not is_file(script):
            self.problem(f"there is no file '{own.file}'", place, f"paths are relative to {folder}")
            return None
        try:
            return Implementation(f"{script.name}:{own.name}", read_own(kind, script, own), script)
        except OwnStepError as error:
            for problem in error.problems:
                self.problem(problem, place, error.hint)
        except StepError as error:
            self.problem(str(error), place, error.hint)
        return None

    def params(
        self, model: type[Frozen], written: Json, overrides: Json, defaults: Json, path: KeyPath
    ) -> Frozen | None:
        """Return the parameters, or ``None`` after saying what is wrong with them."""
        target_path = ("targets", self._target.name, *path)
        for table, place in ((written, path), (overrides, target_path)):
            for key in table.keys() & DECIDED_ELSEWHERE.keys():
                self.problem(f"cannot be set here: {DECIDED_ELSEWHERE[key]}", (*place, key))
        decided: dict[str, Any] = {
            "execution_provider": self._target.execution_provider,
            "trust_remote_code": self._config.model.trust_remote_code,
            "weights": self._config.model.weights,
            "usual_limits": self._target.limits,
        }
        known = model.model_fields
        merged = {
            **{key: value for key, value in defaults.items() if key in known},
            **written,
            **overrides,
            **{key: value for key, value in decided.items() if key in known},
        }
        try:
            checked = model.model_validate(merged)
        except ValidationError as error:
            self.problems += validation_problems(
                error,
                model,
                self._file,
                self._source_map,
                lambda loc: (*(target_path if loc and loc[0] in overrides else path), *loc),
            )
            return None
        data = self._measured if path[0] == "checks" else self._data
        if data is not None and self._sound.data and isinstance(checked, DataRequirements):
            for problem in checked.problems_with(data):
                self.problem(problem, path)
        return checked

    @property
    def _measured(self) -> DataSpec | None:
        """Return the data set whose prompts checks use: the held-out one, if there is one."""
        held_out = None if self._data is None else self._data.held_out
        return self._config.data.get(held_out, self._data) if held_out else self._data

    def _check_precision(self, precision: JsonValue, path: KeyPath) -> None:
        allowed = self._target.precision.allowed
        if precision not in allowed:
            self.problem(
                f"the target {self._target.name} cannot be built in {precision!r}",
                (*path, "precision"),
                f"it can be: {', '.join(allowed)}",
            )

    def _check_builder(self, params: ModelBuilderParams, path: KeyPath) -> None:
        known = self._target.builder_options()
        try:
            for alternative in params.alternatives():
                resolve(requested_options(alternative), known)
        except StepError as error:
            self.problem(f"{self._target.name}: {error}", path, error.hint)

    def problem(self, message: str, path: KeyPath, suggestion: str = "") -> None:
        """Note what is wrong with the value at ``path``."""
        self.problems.append(
            Problem(
                message,
                self._file,
                self._source_map.line(path),
                self._source_map.key(path),
                suggestion,
            )
        )
