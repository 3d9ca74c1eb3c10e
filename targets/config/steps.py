"""Reads the tables of passes and checks of a config for one target into a chain."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError

from pipeline.builder.options import resolve, wanted_options
from pipeline.builder.params import ModelBuilderParams
from pipeline.contract.data_spec import DataSpec
from pipeline.contract.errors import StepError
from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import ARTIFACT_WORDS, Kind
from pipeline.contract.roles import ROLES
from pipeline.contract.schema import HUB_PREFIX, BuildConfig, StepTable, TargetTable
from pipeline.contract.suggest import did_you_mean
from pipeline.data.needs import NeedsOfData
from pipeline.run.own_steps import OwnStepError, OwnType, StepKind, own_type
from pipeline.run.registry import (
    UnknownStepError,
    check_types,
    instead_of,
    load_check,
    load_pass,
    pass_types,
)
from targets.config.chain import Chain, CheckCall, Json, PassCall
from targets.config.data import main_data
from targets.config.fusing import fused
from targets.config.hub import parse_hub_model
from targets.config.own_steps import read_own
from targets.config.places import Loc, Places
from targets.config.problems import problems_of
from targets.errors import Problem
from targets.target import Target

MERGE_FOR_CHECKS = "merge-for-checks"
_RESERVED = {
    *("pretrain", "fetch", "import_onnx", MERGE_FOR_CHECKS),
    *(source.step for source in ROLES.values() if source.step),
}

# Decided in one place for the whole build; a pass that needs them is told.
DECIDED_ELSEWHERE = {
    "execution_provider": "the target decides it",
    "held_to": "set the limits in [checks]",
    "trust_remote_code": "set it in [model]",
    "weights": "set it in [model]",
    "usual_limits": "set first_token_ms and token_ms",
}


@dataclass(frozen=True)
class _Implementation:
    """The class of a pass or check, and the file it was found in if it is the user's own."""

    type_name: str
    step: Any
    script: Path | None


class ChainReader:
    """Validates the tables of one config for one target and collects what is wrong."""

    def __init__(self, config: BuildConfig, target: Target, file: Path, places: Places) -> None:
        self._config = config
        self._target = target
        self._file = file
        self._places = places
        main = main_data(config.data)
        self._data = None if main is None else config.data[main]
        self.problems: list[Problem] = []

    def read(self, whole: bool = True) -> Chain:
        """Return the chain; meaningful only if :attr:`problems` stays empty.

        ``whole`` is false for what is left of a config with wrong keys: then no pass or check is
        blamed for what was taken out.
        """
        config = self._config
        passes = tuple(
            call
            for name, table in config.passes.items()
            if (call := self._pass(name, table, ("passes", name)))
        )
        merging = self._pass(MERGE_FOR_CHECKS, StepTable(type="merge"), ("passes",))
        evaluation = None
        if self._data is not None and self._data.holds_out:
            evaluation = self._pass(
                "evaluate", StepTable.model_validate(config.evaluation), ("evaluation",)
            )
        self._targets_overrides()
        checks = self._checks(whole)
        passes = tuple(_held_to(call, checks) for call in passes)
        chain = Chain(
            source=self._source(),
            passes=passes,
            behind=self._behind(passes, evaluation, checks),
            merging=merging,
            checks=checks,
        )
        if whole and len(passes) == len(config.passes):
            self._wiring(chain)
        return fused(chain)

    def _wiring(self, chain: Chain) -> None:
        """See that every pass finds what it consumes, that none works in vain, and that names are
        told apart."""
        made = {chain.begins}
        if not chain.passes and chain.begins != "onnx":
            self._problem("nothing would be made", ("passes",), "add model_builder")
        unused: dict[Kind, PassCall] = {}
        for call in chain.passes:
            path = ("passes", call.name)
            if _needs_data(call) and self._data is None:
                self._problem("needs a data set", path, "add [data.NAME]")
            elif self._data is not None and _trains(call) and not self._data.trains:
                self._problem("there is nothing to train on: all is held out", path, "lower eval")
            for role, kind in call.implementation.consumes.items():
                if kind not in made:
                    self._problem(f"no pass before it makes its {role} (of kind {kind})", path)
                unused.pop(kind, None)
            produces = call.implementation.produces
            if produces not in ARTIFACT_WORDS or call.implementation.by_itself:
                self._problem("no pass for a chain: it runs by itself where it is needed", path)
                continue
            if produces in unused:
                self._in_vain(unused[produces], chain)
            made.add(produces)
            unused[produces] = call
        for call in unused.values():
            if call is not chain.passes[-1]:
                self._in_vain(call, chain)
        timings = {call.timing.name for call in chain.checks if call.timing is not None}
        for table, calls in (("passes", chain.passes), ("checks", chain.checks)):
            for name in (timings | _RESERVED) & {call.name for call in calls}:
                self._problem("this name is used by a built-in step", (table, name))
        for name in {call.name for call in chain.passes} & {call.name for call in chain.checks}:
            self._problem("a pass has the same name", ("checks", name))

    def _in_vain(self, call: PassCall, chain: Chain) -> None:
        """Say that what a pass makes is neither used nor the artifact."""
        produces = call.implementation.produces
        following = chain.passes[chain.passes.index(call) + 1].name
        advice = f"the artifact is what the last pass makes: put '{call.name}' there"
        if produces == "adapter":
            advice = f"add merge before {following}"
        what = ARTIFACT_WORDS[produces].partition(" ")[2]
        message = f"the {what} made by '{call.name}' is not used by any later pass"
        self._problem(message, ("passes", call.name), advice)

    def _source(self) -> PassCall | None:
        model = self._config.model
        if model.pretrain is not None:
            table = StepTable.model_validate(model.pretrain)
            return self._pass("pretrain", table, ("model", "pretrain"))
        if model.onnx is not None:
            table = StepTable.model_validate({"folder": model.onnx})
            return self._pass("import_onnx", table, ("model", "onnx"))
        if model.source is not None and model.source.startswith(HUB_PREFIX):
            try:
                hub = parse_hub_model(model.source)
            except ValueError as error:
                self._problem(str(error), ("model", "source"))
                return None
            # The hub is asked for the commit of a branch only once all else is right.
            revision = hub.revision if hub.is_pinned else "0" * 40
            table = StepTable.model_validate({"repo": hub.repo, "revision": revision})
            return self._pass("fetch", table, ("model", "source"))
        return None

    def _behind(
        self,
        passes: Sequence[PassCall],
        evaluation: PassCall | None,
        checks: Sequence[CheckCall],
    ) -> dict[str, PassCall]:
        """Return the passes that make what checks read, by type, as this chain wants them."""
        special = {
            "evaluate": evaluation,
            "float_reference": self._float_reference(passes, evaluation, checks),
            "adapted_reference": self._adapted_reference(passes),
        }
        types = dict.fromkeys(source.made_by for source in ROLES.values() if source.step)
        calls = {
            name: special[name]
            if name in special
            else self._pass(name, StepTable(), ("passes", name))
            for name in types
        }
        return {name: call for name, call in calls.items() if call is not None}

    def _float_reference(
        self,
        passes: Sequence[PassCall],
        evaluation: PassCall | None,
        checks: Sequence[CheckCall],
    ) -> PassCall | None:
        """Return the pass behind the role ``float_reference``, as the checks that need it want it
        and with the evaluation's limits."""
        builders = [call.params for call in passes if isinstance(call.params, ModelBuilderParams)]
        # What has its inputs in bf16 can overflow fp16, and the CPU provider has no bf16 kernels.
        if not builders or not builders[-1].is_quantized or builders[-1].bf16_io:
            return None
        wanted: Json = {
            "type": "float_reference",
            "precision": self._target.precision.float_export,
            "fuse_qkv": builders[-1].fuse_qkv,
        }
        if evaluation is not None:
            wanted |= {key: evaluation.values[key] for key in ("max_samples", "max_new_tokens")}
        for call in checks:
            wanted |= call.implementation.export_of(call.params)
        table = StepTable.model_validate(wanted)
        return self._pass("float_reference", table, ("checks", "quantization"))

    def _adapted_reference(self, passes: Sequence[PassCall]) -> PassCall | None:
        """Return the pass behind the role ``adapted_reference``: of the last merge, and into the
        base that it merges into."""
        merge = next((call for call in reversed(passes) if call.merges), None)
        if merge is None:
            return None
        table = {"type": "adapted_reference"}
        if merge.script is None:
            table["into"] = str(merge.values["into"])
        return self._pass(
            "adapted_reference", StepTable.model_validate(table), ("checks", "merging")
        )

    def _pass(self, name: str, table: StepTable, path: Loc) -> PassCall | None:
        overrides = self._target_table().passes.get(name, {}) if path[0] == "passes" else {}
        found = self._implementation("pass", name, table, path)
        if found is None:
            return None
        implementation = found.step
        builds = issubclass(implementation.Params, ModelBuilderParams)
        defaults = dict(self._target.builder_params()) if builds else {}
        params = self._params(implementation.Params, table.params, overrides, defaults, path)
        if params is None:
            return None
        if isinstance(params, ModelBuilderParams):
            self._check_precision(params.precision, path)
            self._check_builder(params, path)
        return PassCall(name, found.type_name, implementation, params, found.script)

    def _checks(self, whole: bool) -> tuple[CheckCall, ...]:
        named = self._config.checks
        unasked = (name for name in check_types() if load_check(name).unasked)
        tables = {**{name: StepTable() for name in unasked}, **named}
        calls = []
        self._skipped(named)
        for name, table in tables.items():
            if name in self._config.skip_checks:
                continue
            found = self._implementation("check", name, table, ("checks", name))
            if found is None:
                continue
            implementation = found.step
            if implementation.uses_data and self._data is None and name not in named:
                continue
            if implementation.asks_held_out and not self._holds_out:
                if whole and name in named:
                    self._nothing_to_ask(name)
                continue
            overrides = self._target_table().checks.get(name, {})
            defaults = self._config.evaluation if found.script is None else {}
            params = self._params(
                implementation.Params, table.params, overrides, defaults, ("checks", name)
            )
            if params is not None:
                call = CheckCall(name, found.type_name, implementation, params, found.script)
                if whole and not self._holds_out and call.asks_held_out:
                    self._nothing_to_ask(name)
                calls.append(replace(call, timing=self._timing(call)))
        return tuple(calls)

    @property
    def _holds_out(self) -> bool:
        return self._data is not None and self._data.holds_out

    def _nothing_to_ask(self, name: str) -> None:
        path = ("checks", name)
        if self._data is None:
            self._problem("needs a data set", path, "add [data.NAME]")
        else:
            said = "nothing is held out that the artifact could be asked"
            self._problem(said, path, "raise split.eval, or remove the check")

    def _timing(self, call: CheckCall) -> PassCall | None:
        """Return the pass that times the base model for a check, if it needs it."""
        if "base_timing" not in call.needs():
            return None
        work = call.implementation.timing_of(call.params)
        table = StepTable.model_validate({"type": "time_base", **work})
        return self._pass(f"time-base-{call.name}", table, ("checks", call.name))

    def _implementation(
        self, kind: StepKind, name: str, table: StepTable, path: Loc
    ) -> _Implementation | None:
        type_name = table.type or name
        own = own_type(type_name)
        if own is not None:
            return self._own(kind, name, own, path)
        try:
            load = load_pass if kind == "pass" else load_check
            return _Implementation(type_name, load(type_name), None)
        except UnknownStepError as error:
            place = path if table.type is None else (*path, "type")
            advice = f"one of your own is PATH/TO/FILE.py:CLASS, not '{type_name}'"
            self._problem(str(error), place, advice if ".py" in type_name else "")
            return None

    def _own(self, kind: StepKind, name: str, own: OwnType, path: Loc) -> _Implementation | None:
        """Return a pass or check of the user's own, or say what is wrong with it."""
        place = (*path, "type")
        if name in (pass_types() if kind == "pass" else check_types()):
            self._problem(f"'{name}' is a built-in {kind}", path, "give yours another name")
            return None
        folder = self._file.parent.absolute()
        script = folder / Path(own.file).expanduser()
        if not script.is_file():
            self._problem(
                f"there is no file '{own.file}'", place, f"paths are relative to {folder}"
            )
            return None
        try:
            return _Implementation(f"{script.name}:{own.name}", read_own(kind, script, own), script)
        except OwnStepError as error:
            for problem in error.problems:
                self._problem(problem, place, error.hint)
        except StepError as error:
            self._problem(str(error), place, error.hint)
        return None

    def _params(
        self, model: type[Frozen], own: Json, overrides: Json, defaults: Json, path: Loc
    ) -> Frozen | None:
        """Return the parameters, or ``None`` after saying what is wrong with them."""
        target_path = ("targets", self._target.name, *path)
        for table, place in ((own, path), (overrides, target_path)):
            for key in table.keys() & DECIDED_ELSEWHERE.keys():
                self._problem(f"cannot be set here: {DECIDED_ELSEWHERE[key]}", (*place, key))
        decided: dict[str, Any] = {
            "execution_provider": self._target.execution_provider,
            "trust_remote_code": self._config.model.trust_remote_code,
            "weights": self._config.model.weights,
            "usual_limits": self._target.limits,
        }
        known = model.model_fields
        merged = {
            **{key: value for key, value in defaults.items() if key in known},
            **own,
            **overrides,
            **{key: value for key, value in decided.items() if key in known},
        }
        try:
            checked = model.model_validate(merged)
        except ValidationError as error:
            self.problems += problems_of(
                error,
                model,
                self._file,
                self._places,
                lambda loc: (*(target_path if loc and loc[0] in overrides else path), *loc),
            )
            return None
        data = self._measured if path[0] == "checks" else self._data
        if data is not None and isinstance(checked, NeedsOfData):
            for problem in checked.problems_with(data):
                self._problem(problem, path)
        return checked

    @property
    def _measured(self) -> DataSpec | None:
        """Return the data set that checks ask from: the held-out one, where there is one."""
        held_out = None if self._data is None else self._data.held_out
        return self._config.data.get(held_out, self._data) if held_out else self._data

    def _check_precision(self, precision: JsonValue, path: Loc) -> None:
        allowed = self._target.precision.allowed
        if precision not in allowed:
            self._problem(
                f"the target {self._target.name} cannot be built in {precision!r}",
                (*path, "precision"),
                f"it can be: {', '.join(allowed)}",
            )

    def _check_builder(self, params: ModelBuilderParams, path: Loc) -> None:
        known = self._target.builder_options()
        try:
            for asked in params.alternatives():
                resolve(wanted_options(asked), known)
        except StepError as error:
            self._problem(f"{self._target.name}: {error}", path, error.hint)

    def _skipped(self, named: Collection[str]) -> None:
        """See that what is to be skipped is there, and has no table."""
        for name in self._config.skip_checks:
            if name not in check_types():
                advice = instead_of("check", name, check_types())
                self._problem(f"there is no built-in check '{name}'", ("skip_checks",), advice)
            elif name in named:
                self._problem(f"'{name}' is to be skipped and has a table", ("checks", name))

    def _target_table(self) -> TargetTable:
        return self._config.targets.get(self._target.name, TargetTable())

    def _targets_overrides(self) -> None:
        table = self._target_table()
        place = ("targets", self._target.name)
        for name in table.passes.keys() - self._config.passes.keys():
            self._problem(
                "this config has no such pass",
                (*place, "passes", name),
                did_you_mean(name, self._config.passes),
            )
        checks = {*check_types(), *self._config.checks}
        for name in table.checks.keys() - checks:
            self._problem(
                "there is no such check",
                (*place, "checks", name),
                instead_of("check", name, checks),
            )

    def _problem(self, message: str, path: Loc, suggestion: str = "") -> None:
        self.problems.append(
            Problem(
                message, self._file, self._places.line(path), self._places.key(path), suggestion
            )
        )


def _held_to(call: PassCall, checks: Sequence[CheckCall]) -> PassCall:
    """Return ``call`` with the limits of the checks that it keeps by itself."""
    kept = [
        check
        for check in checks
        if check.script is None and check.type_name in call.implementation.keeps
    ]
    if not kept:
        return call
    held: Json = {check.name: {"type": check.type_name, "params": check.values} for check in kept}
    params = call.implementation.Params.model_validate({**call.values, "held_to": held})
    return replace(call, params=params, keeps=tuple(check.name for check in kept))


def _needs_data(call: PassCall) -> bool:
    return call.implementation.uses_data and not call.implementation.does_without_data


def _trains(call: PassCall) -> bool:
    return call.implementation.uses_data and call.implementation.produces == "adapter"
