"""Reads the tables of passes and checks of a config for one target into a chain."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.builder.params import ModelBuilderParams
from pipeline.contract.roles import ROLES, Role
from pipeline.contract.schema import GGUF_SUFFIX, HUB_PREFIX, BuildConfig, StepTable
from pipeline.contract.suggest import did_you_mean
from pipeline.contract.ways import ChoosesWays
from pipeline.run.registry import check_types, load_check, replacement_hint
from targets.config.chain import Chain, CheckCall, Json, PassCall
from targets.config.data import main_data
from targets.config.documents import Sound
from targets.config.fusing import fused
from targets.config.hub import parse_hub_model
from targets.config.source_map import KeyPath, SourceMap
from targets.config.step_reader import StepReader
from targets.config.wiring import IMPORT_ADAPTER, chain_mistakes
from targets.errors import Problem
from targets.target import Target, load_target, target_names

MERGE_FOR_CHECKS = "merge-for-checks"
_RESERVED = {
    *("pretrain", "fetch", "import_onnx", "import_gguf", MERGE_FOR_CHECKS),
    *(source.step for source in ROLES.values() if source.step),
}


class ChainReader:
    """Makes the chain of one config for one target and collects what is wrong."""

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
        self._whole = sound.whole
        main = main_data(config.data)
        self._data = None if main is None else config.data[main]
        self._steps = StepReader(config, target, file, source_map, sound)

    @property
    def problems(self) -> list[Problem]:
        """Return what is wrong, as far as it has been read."""
        return self._steps.problems

    def read(self) -> Chain:
        """Return the chain; meaningful only if :attr:`problems` stays empty."""
        config, whole = self._config, self._whole
        tables = list(self._pass_tables())
        passes = tuple(call for table in tables if (call := self._steps.pass_call(*table)))
        merging = self._steps.pass_call(MERGE_FOR_CHECKS, _merge_for_checks(passes), ("passes",))
        evaluation = None
        if self._data is not None and self._data.holds_out:
            evaluation = self._steps.pass_call(
                "evaluate", StepTable.model_validate(config.evaluation), ("evaluation",)
            )
        if evaluation is not None:
            params = evaluation.params.model_copy(update=_penalty(passes))
            evaluation = replace(evaluation, params=params)
        self._targets_overrides()
        checks = self._checks(whole, passes)
        passes = tuple(
            _held_to(_after(passes[:at], call), checks) for at, call in enumerate(passes)
        )
        chain = Chain(
            source=self._source(),
            fetching=self._fetching() if config.model.file or config.model.onnx else None,
            passes=passes,
            check_passes=self._check_passes(passes, evaluation, checks),
            merging=merging,
            checks=checks,
        )
        if whole and len(passes) == len(tables):
            for mistake in chain_mistakes(chain, self._data, _RESERVED):
                self._steps.problem(*mistake)
            for call in passes if not self._target.separate_adapters else ():
                if call.keeps_adapter:
                    self._no_separate_adapter(call)
        return fused(chain)

    def _pass_tables(self) -> Iterator[tuple[str, StepTable, KeyPath]]:
        """Yield name, table and place of each pass, with that which takes over an adapter."""
        if self._config.model.adapter is not None:
            table = StepTable.model_validate({"folder": self._config.model.adapter})
            yield IMPORT_ADAPTER, table, ("model", "adapter")
            if IMPORT_ADAPTER in self._config.passes:
                message = "this name is used by a built-in step"
                self._steps.problem(message, ("passes", IMPORT_ADAPTER))
        for name, table in self._config.passes.items():
            yield name, table, ("passes", name)

    def _source(self) -> PassCall | None:
        model = self._config.model
        if model.pretrain is not None:
            table = StepTable.model_validate(model.pretrain)
            return self._steps.pass_call("pretrain", table, ("model", "pretrain"))
        if model.onnx is not None:
            table = StepTable.model_validate({"folder": model.onnx})
            return self._steps.pass_call("import_onnx", table, ("model", "onnx"))
        if model.file is not None:
            return self._steps.pass_call("import_gguf", StepTable(), ("model", "file"))
        if model.source is not None and model.source.endswith(GGUF_SUFFIX):
            table = StepTable.model_validate({"file": model.source})
            return self._steps.pass_call("import_gguf", table, ("model", "source"))
        return self._fetching()

    def _fetching(self) -> PassCall | None:
        """Return the pass that fetches the model, or the file of it, if it is on the hub."""
        model = self._config.model
        if model.source is None or not model.source.startswith(HUB_PREFIX):
            return None
        try:
            hub = parse_hub_model(model.source)
        except ValueError as error:
            self._steps.problem(str(error), ("model", "source"))
            return None
        # The hub is asked for a branch's commit only when everything else is valid.
        revision = hub.revision if hub.is_pinned else "0" * 40
        values = {"repo": hub.repo, "revision": revision, "file": model.file}
        table = StepTable.model_validate(values)
        return self._steps.pass_call("fetch", table, ("model", "source"))

    def _check_passes(
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
            else self._steps.pass_call(name, StepTable(), ("passes", name))
            for name in types
        }
        return {name: call for name, call in calls.items() if call is not None}

    def _float_reference(
        self,
        passes: Sequence[PassCall],
        evaluation: PassCall | None,
        checks: Sequence[CheckCall],
    ) -> PassCall | None:
        """Return the pass that makes ``float_reference``, with the parameters that the checks set
        and the limits of the evaluation."""
        builders = [call.params for call in passes if isinstance(call.params, ModelBuilderParams)]
        # What has its inputs in bf16 can overflow fp16, and the CPU provider has no bf16 kernels.
        if not builders or not builders[-1].is_quantized or builders[-1].bf16_io:
            return None
        values: Json = {
            "type": "float_reference",
            "precision": self._target.precision.float_export,
            "fuse_qkv": builders[-1].fuse_qkv,
            "extra_options": {**builders[-1].extra_options},
            "search": _penalty(passes),
        }
        if evaluation is not None:
            values |= {key: evaluation.values[key] for key in ("max_samples", "max_new_tokens")}
        for call in checks:
            values |= call.implementation.export_of(call.params)
        table = StepTable.model_validate(values)
        return self._steps.pass_call("float_reference", table, ("checks", "quantization"))

    def _adapted_reference(self, passes: Sequence[PassCall]) -> PassCall | None:
        """Return the pass that makes ``adapted_reference``, with parameters of the last merge."""
        merge = next((call for call in reversed(passes) if call.merges or call.keeps_adapter), None)
        if merge is None:
            return None
        table = {"type": "adapted_reference"}
        if merge.keeps_adapter:
            table["into"] = "original"
        elif merge.script is None:
            table["into"] = str(merge.values["into"])
        return self._steps.pass_call(
            "adapted_reference", StepTable.model_validate(table), ("checks", "merging")
        )

    def _checks(self, whole: bool, passes: Sequence[PassCall]) -> tuple[CheckCall, ...]:
        """Return the checks of what ``passes`` make. Those of an adapter are there where the
        artifact keeps one separate, those of scaled weights where some are, and those that stand in
        for others where these have no row to ask; or where the config names them."""
        named = self._config.checks
        separate = any(call.keeps_adapter for call in passes)
        scaled = any(call.implementation.keeps_function for call in passes)
        trained = any(call.implementation.produces in ("adapter", "checkpoint") for call in passes)
        default = (name for name in check_types() if load_check(name).runs_by_default)
        tables = {**{name: StepTable() for name in default}, **named}
        calls = []
        self._skipped(named)
        for name, table in tables.items():
            if name in self._config.skip_checks:
                continue
            step = self._steps.implementation("check", name, table, ("checks", name))
            if step is None:
                continue
            implementation = step.step
            if implementation.uses_data and self._data is None and name not in named:
                continue
            needed = {*implementation.needs} - {*implementation.optional_needs}
            if "adapter" in needed and not separate and name not in named:
                continue
            if "unscaled_reference" in needed and not scaled and name not in named:
                continue
            other = implementation.stands_in_for
            stands_in = trained and not self._holds_out and other not in self._config.skip_checks
            if other and not stands_in and name not in named:
                continue
            if implementation.needs_held_out and not self._holds_out:
                if whole and name in named:
                    self._nothing_to_ask(name)
                continue
            overrides = self._steps.target_table.checks.get(name, {})
            defaults = self._config.evaluation if step.script is None else {}
            params = self._steps.params(
                implementation.Params, table.params, overrides, defaults, ("checks", name)
            )
            if params is not None:
                call = CheckCall(name, step.type_name, implementation, params, step.script)
                if whole and not self._holds_out and call.needs_held_out:
                    self._nothing_to_ask(name)
                calls.append(replace(call, own_passes=self._own_passes(call)))
        return tuple(calls)

    @property
    def _holds_out(self) -> bool:
        return self._data is not None and self._data.holds_out

    def _no_separate_adapter(self, call: PassCall) -> None:
        able = [name for name in target_names() if load_target(name).separate_adapters]
        self._steps.problem(
            f"an adapter cannot be kept separate for {self._target.name}, only for "
            f"{', '.join(able)}: nothing proves it there",
            ("passes", call.name),
            "for this target, put merge before model_builder",
        )

    def _nothing_to_ask(self, name: str) -> None:
        path = ("checks", name)
        if self._data is None:
            self._steps.problem("needs a data set", path, "add [data.NAME]")
        else:
            message = "nothing is held out that the artifact could be asked"
            self._steps.problem(message, path, "raise split.eval, or remove the check")

    def _own_passes(self, call: CheckCall) -> dict[Role, PassCall]:
        """Return the passes that make what a check reads, where each check has one of its own."""
        made = {}
        for role in call.needs():
            source = ROLES[role]
            if source.each:
                values = call.implementation.own_pass_of(call.params, role)
                table = StepTable.model_validate({"type": source.made_by, **values})
                name = f"{source.each}-{call.name}"
                own = self._steps.pass_call(name, table, ("checks", call.name))
                if own is not None:
                    made[role] = own
        return made

    def _skipped(self, named: Collection[str]) -> None:
        """Check that the checks to skip exist and have no table."""
        for name in self._config.skip_checks:
            if name not in check_types():
                advice = replacement_hint("check", name, check_types())
                self._steps.problem(
                    f"there is no built-in check '{name}'", ("skip_checks",), advice
                )
            elif name in named:
                self._steps.problem(f"'{name}' is to be skipped and has a table", ("checks", name))

    def _targets_overrides(self) -> None:
        table = self._steps.target_table
        place = ("targets", self._target.name)
        for name in table.passes.keys() - self._config.passes.keys():
            self._steps.problem(
                "this config has no such pass",
                (*place, "passes", name),
                did_you_mean(name, self._config.passes),
            )
        checks = {*check_types(), *self._config.checks}
        for name in table.checks.keys() - checks:
            self._steps.problem(
                "there is no such check",
                (*place, "checks", name),
                replacement_hint("check", name, checks),
            )


def _merge_for_checks(passes: Sequence[PassCall]) -> StepTable:
    """Return how an adapter is merged for checks alone. One that the artifact keeps separate is so
    over the base as it is, and nothing is rounded."""
    exactly = {"into": "original", "dtype": "fp32"}
    separate = any(call.keeps_adapter for call in passes)
    return StepTable.model_validate({"type": "merge", **(exactly if separate else {})})


def _penalty(passes: Sequence[PassCall]) -> Json:
    """Return the repetition penalty that the artifact gets other than the checkpoint's, if any: all
    models that are compared are asked alike."""
    builders = [call.params for call in passes if isinstance(call.params, ModelBuilderParams)]
    search = builders[-1].search if builders else {}
    return {name: value for name, value in search.items() if name == "repetition_penalty"}


def _held_to(call: PassCall, checks: Sequence[CheckCall]) -> PassCall:
    """Return ``call`` with the limits of the checks that it enforces itself."""
    enforced = [
        check
        for check in checks
        if check.script is None and check.type_name in call.implementation.enforces
    ]
    if not enforced:
        return call
    held_to: Json = {
        check.name: {"type": check.type_name, "params": check.values} for check in enforced
    }
    params = call.implementation.Params.model_validate({**call.values, "held_to": held_to})
    return replace(call, params=params, enforced_checks=tuple(check.name for check in enforced))


def _after(earlier: Sequence[PassCall], call: PassCall) -> PassCall:
    """Return ``call`` with what the ``earlier`` passes work for, if it may choose among them."""
    if not isinstance(call.params, ChoosesWays):
        return call
    quantizers = {one.name: one.quantizer for one in earlier if one.quantizer is not None}
    return replace(call, params=call.params.model_copy(update={"quantizers": quantizers}))
