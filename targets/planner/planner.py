"""The planner: computes the key of every step, and looks up which results are cached."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from pipeline.contract.data_spec import DataSpec
from pipeline.contract.kinds import CHOICES, Kind
from pipeline.contract.plan import DataInput, PathRef, SourceInput, Step, StepInput
from pipeline.contract.roles import ROLES, Role, Subject
from pipeline.contract.ways import input_of, role_of, way_name
from pipeline.passes.import_gguf import FOLDER
from pipeline.passes.rows import FETCHED, FILE, MODEL
from pipeline.process.packages import PACKAGES
from pipeline.run.code_digest import CodeDigests
from pipeline.run.registry import step_module
from pipeline.training.base_params import FetchParams
from pipeline.training.params import QUANTIZED, TOKENS
from targets.cache import Cache, CachedStep, runtime_of
from targets.config.chain import CheckCall, PassCall
from targets.config.hub_model import look_at_hub_model
from targets.config.load import LoadedConfig
from targets.devices.device import CPU
from targets.machine import cpu_name, threads
from targets.place import Place
from targets.planner.build_plan import BuildPlan, PlannedStep
from targets.planner.disk_space import foreseen
from targets.planner.history import History
from targets.planner.kept_base import SMALL_BASE, kept_base_call
from targets.planner.keys import Facts, facts_of, key_of
from targets.planner.known_code import KnownCode
from targets.planner.notes import note_on_tools, plan_notes
from targets.planner.row_steps import FEW_ROWS, fetch_call, rows_call, tokens_call
from targets.planner.shared_steps import with_elsewhere
from targets.planner.user_files import UserFiles
from targets.runtimes.runtime import PLACES, Mount, RuntimeName
from targets.systems.left_outputs import LeftOutputs

if TYPE_CHECKING:
    from targets.remote.shared_cache import SharedCache
    from targets.toolchain.package_set import PackageSet

Input = StepInput | SourceInput

_Subjects = dict[Subject, Mapping[str, Input]]
"""What roles are of in a chain: the inputs of a step that asks it something."""


class Planner:
    """Plans one build for one target. Create a new planner for every plan."""

    def __init__(
        self,
        loaded: LoadedConfig,
        cache: Cache,
        target: Place,
        training_place: Place,
        only: RuntimeName | None = None,
        shared: SharedCache | None = None,
        left: LeftOutputs | None = None,
    ) -> None:
        """``only`` is the runtime whose cached results are used; ``None`` means any. ``shared`` is
        asked for what the cache lacks, and ``left`` for what stayed on a system."""
        self._loaded = loaded
        self._cache = cache
        self._toolchains = {"target": target.toolchain, "host": training_place.toolchain}
        self._device = target.device
        self._training_device = training_place.device
        self._only = only
        self._shared = shared
        self._left = left
        name = target.toolchain.target
        self._chain = loaded.chains[name]
        self._known_code = KnownCode(cache.root)
        self._code = CodeDigests(read=self._known_code.read)
        self._history = History(cache.root, loaded.file, name)
        self._steps: list[PlannedStep] = []
        self._facts: dict[str, Facts] = {}
        self._files = UserFiles(loaded, cache, self._code)
        self._packages: dict[str, PackageSet] = {}
        self._data: DataInput | None = None
        self._idle: list[str] = []
        self._of_ways: dict[str, Input] = {}

    def plan(self) -> BuildPlan:
        """Return the plan. Reads the user's files to compute digests; writes only to the cache."""
        if self._loaded.main_data is not None:
            self._data = self._data_input(self._loaded.main_data)
        base = self._base
        newest: dict[Kind, Input] = {self._chain.base_kind: base}
        built_from = newest.get("checkpoint") or self._original
        artifact = self._chain.source.name if self._chain.source is not None else ""
        merge: _Merge | None = None
        unscaled: Input | None = None
        choosing = self._chain.choosing
        left_out = self._chain.quantizers(choosing) if choosing is not None else ()
        for call in self._chain.passes:
            if call in left_out:
                continue  # each way has a step of its own with it, or none
            consumed = call.implementation.consumes
            optional = call.implementation.may_consume
            inputs = {role: newest[kind] for role, kind in consumed.items()}
            inputs |= {role: newest[kind] for role, kind in optional.items() if kind in newest}
            if call is choosing:
                self._add_ways(call, newest)
                inputs |= self._of_ways
                if any(one.implementation.keeps_function for one in left_out):
                    unscaled = newest["checkpoint"]
            inputs |= self._enforced_check_inputs(call, newest, merge)
            inputs |= self._tokens(call, newest)
            inputs |= self._kept_base(call, newest)
            produced = self._add_pass(call.name, call, inputs)
            if "onnx" not in consumed.values():
                built_from = newest.get("checkpoint")
            if call.merges:
                siblings = {"model": newest["checkpoint"], "adapter": newest["adapter"]}
                merge = _Merge(siblings, produced)
            elif call.keeps_adapter:
                siblings = {"model": newest["checkpoint"], "adapter": newest["adapter"]}
                merge = _Merge(siblings, self._merged_for_checks(siblings), separate=True)
            if call.implementation.produces == "checkpoint":
                unscaled = inputs["model"] if call.implementation.keeps_function else None
            _make_newest(call.implementation.produces, produced, newest)
            artifact = call.name
        kind = self._chain.artifact_kind
        tuned = built_from if kind == "onnx" else newest.get("checkpoint")
        self._add_checks(
            base if self._chain.base_kind == "checkpoint" else None, tuned, newest, merge, unscaled
        )
        self._known_code.save()
        elsewhere = (self._cache, self._shared, self._left)
        self._steps = with_elsewhere(self._steps, artifact, *elsewhere)
        return BuildPlan(
            build=self._loaded.config.name,
            target=self._toolchains["target"].target,
            # Downloads need no other step's output, so they come first, in one process.
            steps=tuple(sorted(self._steps, key=lambda planned: not planned.step.hub)),
            mounts=(*self._files.mounts, *self._package_mounts),
            packages=tuple(self._packages.values()),
            artifact=artifact,
            artifact_kind=kind,
            notes=(
                *plan_notes(self._loaded, self._toolchains["target"].target, self._idle),
                *note_on_tools(self._loaded, self._toolchains["target"]),
                *self._looked_at(),
            ),
        )

    def _add_ways(self, choosing: PassCall, before: Mapping[Kind, Input]) -> None:
        """Plan the passes of each way among which the pass ``choosing`` chooses.

        What the artifact is compared with is the same in all of them: the checkpoint ``before``
        they begin. Where they scale its weights, it is asked for its logits once more, to prove
        that it computes the same.
        """
        asking = self._chain.check_passes["reference"]
        for way in choosing.ways:
            newest = {**before}
            for at, name in enumerate(way):
                call = next(call for call in self._chain.passes if call.name == name)
                read = {**call.implementation.consumes, **call.implementation.may_consume}
                inputs = {role: newest[kind] for role, kind in read.items() if kind in newest}
                produced = self._add_pass(way_name(way[: at + 1]), call, inputs)
                _make_newest(call.implementation.produces, produced, newest)
            model = newest["checkpoint"]
            if model != before["checkpoint"]:
                step = way_name([*_made_by(model), asking.name])
                logits = self._add_pass(step, asking, {"model": model})
                self._of_ways |= {input_of("model", way): model, input_of("reference", way): logits}
            for choice in CHOICES:
                if choice in newest:
                    self._of_ways[input_of(choice, way)] = newest[choice]

    def remember(self) -> None:
        """Store the facts of this plan, so that the next one can say what changed."""
        self._history.save(self._facts)

    def _looked_at(self) -> Iterator[str]:
        """Look at a model that is still to be fetched; yield a note where that was not possible."""
        for planned in self._steps:
            if planned.cached is None and planned.call and planned.step.type == "fetch":
                params = planned.call.params
                if isinstance(params, FetchParams):
                    note = look_at_hub_model(self._loaded, params, self._cache.outlines)
                    if note:
                        yield note

    @cached_property
    def _base(self) -> Input:
        """The base model; planned on first use."""
        source, fetching = self._chain.source, self._chain.fetching
        if source is None:
            local = self._files.model()
            assert local is not None  # noqa: S101 - the loader saw to it
            return local
        fetched: dict[str, Input] = {}
        if fetching is not None and self._chain.base_kind != "onnx":
            fetched[FOLDER] = self._add_pass(fetching.name, fetching, {})
        return self._add_pass(source.name, source, fetched)

    @property
    def _original(self) -> Input | None:
        """The checkpoint that a ready ONNX model was made from, if the config names it."""
        if self._chain.base_kind != "onnx":
            return None
        fetching = self._chain.fetching
        return self._add_pass(fetching.name, fetching, {}) if fetching else self._files.model()

    def _add_pass(self, name: str, call: PassCall, inputs: Mapping[str, Input]) -> StepInput:
        if name in self._facts:  # already there: a pass and a check both need it
            planned = next(planned for planned in self._steps if planned.step.name == name)
            return StepInput(step=name, key=planned.step.key)
        sources = self._files.sources(name, call)
        packages = self._packages_of(call, call.implementation.runs_on)
        code = self._files.code(name, call)
        measures = call.implementation.measures
        return self._add(
            Step(
                name=name,
                kind="pass",
                type=call.type_name,
                target=self._toolchains[call.implementation.runs_on].target,
                toolchain=self._toolchains[call.implementation.runs_on].digest,
                key="",
                seed=self._loaded.config.seed,
                params=call.values,
                inputs={**inputs, **sources, **packages},
                data=self._data_for(call),
                code=code,
                network=call.implementation.network or call.network,
                hub=call.implementation.network or call.hub,
                resumes=call.implementation.resumes,
                absent_device=self._device.absence if measures else "",
            ),
            # A file is the same wherever it lies: its digest is in the key, not its path.
            unkeyed=frozenset(call.implementation.sources)
            | frozenset(call.implementation.without_effect),
            device=self._device.here if measures else None,
            machine=self._machine if measures else "",
            gpu=self._gpu_of(call),
            call=call,
        )

    def _tokens(self, call: PassCall, newest: Mapping[Kind, Input]) -> dict[str, Input]:
        """Return the tokens of the rows for a training; nothing where it makes them itself."""
        if self._data is None or not self._has_many_rows(self._data):
            return {}
        making = tokens_call(call)
        if making is None:
            return {}
        return {TOKENS: self._add_pass(making.name, making, {"model": newest["checkpoint"]})}

    def _kept_base(self, call: PassCall, newest: Mapping[Kind, Input]) -> dict[str, Input]:
        """Return the base in 4 bits for a training over such; nothing where it quantizes it
        itself: on a GPU, in seconds."""
        device = self._training_device
        making = kept_base_call(call)
        if making is None or (device.kind != CPU and device.here):
            return {}
        base = newest["checkpoint"]
        mounts = (*self._files.mounts, *self._package_mounts)
        space = foreseen(base, self._steps, mounts)
        if space is not None and space.kept <= SMALL_BASE:
            return {}
        return {QUANTIZED: self._add_pass(making.name, making, {"model": base})}

    def _has_many_rows(self, data: DataInput) -> bool:
        """Return whether making tokens of ``data`` is worth a step; of rows that a step makes, that
        is not known, and so they count as many."""
        every = tuple(data.all())
        files = (file for one in every for file in self._loaded.data_files[one.name])
        return any(one.spec.is_made for one in every) or (
            sum(file.stat().st_size for file in files) > FEW_ROWS
        )

    def _data_for(self, call: PassCall | CheckCall) -> DataInput | None:
        """Return the data set as a step sees it."""
        implementation = call.implementation
        if self._data is None or not implementation.uses_data:
            return None
        return self._data if implementation.heeds_constraint else self._data.unconstrained()

    def _gpu_of(self, call: PassCall) -> str:
        """Return the model of the GPU on which the bytes of a pass may depend: of one that computes
        in the host's toolchain. What the model builder makes does not depend on a GPU."""
        if call.implementation.runs_on == "host":
            return "" if call.implementation.network else self._training_device.model
        return self._device.model if call.implementation.measures else ""

    def _packages_of(
        self, call: PassCall | CheckCall, runs_on: Literal["host", "target"]
    ) -> dict[str, Input]:
        """Return the packages that a step needs beside those of its toolchain, as an input. What
        decides them is their lock; the wheels need not be here yet."""
        name = call.implementation.packages
        if not name:
            return {}
        from targets.toolchain.package_set import package_set  # most plans have none

        packages = package_set(name, self._toolchains[runs_on])
        self._packages[packages.root] = packages
        return {PACKAGES: SourceInput(ref=PathRef(root=packages.root), digest=packages.digest)}

    @property
    def _package_mounts(self) -> Iterator[Mount]:
        """Yield where the packages of steps lie, or will."""
        for root, packages in self._packages.items():
            yield Mount(root, packages.folder(self._cache.root))

    @property
    def _machine(self) -> str:
        """Return the properties of this machine on which a choice by speed depends."""
        return f"{cpu_name()}, {threads(self._loaded.config.resources)} threads"

    def _enforced_check_inputs(
        self, call: PassCall, newest: Mapping[Kind, Input], merge: _Merge | None
    ) -> dict[str, Input]:
        """Return the inputs, except the artifact, of the checks whose limits a pass enforces."""
        if not call.enforced_checks:
            return {}
        checks = [check for check in self._chain.checks if check.name in call.enforced_checks]
        base = self._base if self._chain.base_kind == "checkpoint" else None
        subjects = _subjects(base, newest.get("checkpoint"), merge)
        missing = self._missing_roles(subjects) | {"model"}
        needed = {role for check in checks for role in check.needs()} - missing
        return {str(role): source for role, source in self._roles(subjects, needed).items()}

    def _add_checks(
        self,
        base: Input | None,
        tuned: Input | None,
        newest: Mapping[Kind, Input],
        merge: _Merge | None,
        unscaled: Input | None,
    ) -> None:
        """Add the checks that can judge the artifact, and the passes that only they need.

        ``tuned`` is the checkpoint that the artifact was made from; ``None``, as ``base`` is, for a
        ready ONNX model of which the config does not say so. ``merge`` is the last merge,
        ``unscaled`` the checkpoint that was scaled last.
        """
        kind = self._chain.artifact_kind
        subjects = {**_subjects(base, tuned, merge), "artifact": {"model": newest[kind]}}
        if unscaled is not None:
            subjects["unscaled"] = {"model": unscaled}
        choices = {choice: newest[choice] for choice in CHOICES if choice in newest}
        subjects |= {choice: {"model": made} for choice, made in choices.items()}
        missing = self._missing_roles(subjects)
        checks = [call for call in self._chain.checks if _can_judge(call, kind, missing)]
        self._idle = [call.name for call in self._chain.checks if call not in checks]
        needed = {role for call in checks for role in call.needs(kind)} - missing
        plain: dict[Role, Input] = {"artifact": newest[kind]}
        if "adapter" in subjects:
            plain["adapter"] = subjects["adapter"]["model"]
        if merge is not None:
            plain["merged"] = merge.merged
            plain["unmerged"], plain["merged_adapter"] = (
                merge.inputs[name] for name in ("model", "adapter")
            )
        plain.update(choices.items())
        if tuned is not None:
            plain["model"] = tuned
            if kind == "adapter" and any(_asks_tuned(role) for role in needed):
                parts: dict[str, Input] = {"model": tuned, "adapter": newest["adapter"]}
                subjects["tuned"] = {"model": self._merged_for_checks(parts)}
        roles = {**plain, **self._roles(subjects, needed)}
        own = self._add_own_passes(checks, kind, {**subjects, "nothing": {}})
        for check in checks:
            self._add_check(check, {**roles, **own[check.name]})

    def _merged_for_checks(self, parts: Mapping[str, Input]) -> Input:
        """Return base and adapter as one checkpoint, which is not part of the chain."""
        merging = self._chain.merging
        assert merging is not None  # noqa: S101 - the loader saw to it
        return self._add_pass(merging.name, merging, parts)

    def _missing_roles(self, subjects: _Subjects) -> set[Role]:
        """Return the roles that this chain cannot provide for a check."""
        return {
            role
            for role, source in ROLES.items()
            if source.of not in subjects
            or (source.step and source.made_by not in self._chain.check_passes)
        }

    def _roles(self, subjects: _Subjects, needed: AbstractSet[Role]) -> dict[Role, Input]:
        """Add the steps behind ``needed`` roles, each once; return what they make per role.

        What such a step reads of another role is among them.
        """
        made: dict[Role, Input] = {}
        for role, source in ROLES.items():
            if role in needed and source.step:
                self._add_role(role, subjects, made)
        return made

    def _add_role(self, role: Role, subjects: _Subjects, made: dict[Role, Input]) -> None:
        """Add the step behind ``role`` to the plan, and what it makes to ``made``."""
        source = ROLES[role]
        if role in made:
            return
        same = source.same_as
        if same in made and subjects[ROLES[same].of] == subjects[source.of]:
            made[role] = made[same]
            return
        inputs = dict(subjects[source.of])
        if source.beside is not None:
            self._add_role(source.beside, subjects, made)
            inputs["reference"] = made[source.beside]
        made[role] = self._add_pass(source.step, self._chain.check_passes[source.made_by], inputs)

    def _add_own_passes(
        self, checks: Iterable[CheckCall], kind: Kind, subjects: _Subjects
    ) -> dict[str, dict[Role, Input]]:
        """Add the passes that checks have of their own, each once where several have the same;
        return what they make, by check. ``kind`` is the artifact's."""
        made: dict[str, Input] = {}
        by_check: dict[str, dict[Role, Input]] = {}
        for check in checks:
            own: dict[Role, Input] = {}
            by_check[check.name] = own
            for role, call in check.own_passes.items():
                source = ROLES[role]
                if source.of not in subjects or role not in check.needs(kind):
                    continue
                inputs = {**subjects[source.of]}
                if source.beside is not None and source.beside in own:
                    inputs[source.beside] = own[source.beside]
                work = json.dumps([role, call.values], sort_keys=True)
                if work not in made:
                    made[work] = self._add_pass(call.name, call, inputs)
                own[role] = made[work]
        return by_check

    def _add_check(self, call: CheckCall, roles: Mapping[Role, Input]) -> None:
        toolchain = self._toolchains["target"]
        sources = self._files.sources(call.name, call)
        self._add(
            Step(
                name=call.name,
                kind="check",
                type=call.type_name,
                target=toolchain.target,
                toolchain=toolchain.digest,
                key="",
                seed=self._loaded.config.seed,
                params=call.values,
                inputs={
                    **{
                        role: roles[role]
                        for role in call.needs(self._chain.artifact_kind)
                        if role in roles
                    },
                    **{
                        name: one
                        for name, one in self._of_ways.items()
                        if role_of(name) in call.needs(self._chain.artifact_kind)
                    },
                    **sources,
                    **self._packages_of(call, "target"),
                },
                data=self._data_for(call),
                code=self._files.code(call.name, call),
                resumes=call.implementation.resumes,
                absent_device=self._device.absence,
                emulation=self._device.emulation,
            ),
            unkeyed=frozenset(call.implementation.sources),
            device=self._device.here if call.implementation.uses_device else None,
            gpu=self._device.model if call.implementation.uses_device else "",
        )

    def _add(
        self,
        step: Step,
        unkeyed: frozenset[str] = frozenset(),
        device: bool | None = None,
        machine: str = "",
        gpu: str = "",
        call: PassCall | None = None,
    ) -> StepInput:
        code = step.code
        facts = facts_of(
            type_name=step.type,
            code=code.digest if code else self._code.digest(step_module(step.kind, step.type)),
            params={k: v for k, v in step.params.items() if k not in unkeyed},
            inputs=step.inputs,
            data=step.data,
            toolchain=step.toolchain,
            seed=step.seed,
            device=device,
            machine=machine,
            cpu=cpu_name() if self._loaded.config.resources.arithmetic == "native" else "",
            gpu=gpu,
        )
        step = step.model_copy(update={"key": key_of(facts)})
        cached = self._cache.find(step.key)
        distrust = self._distrust(step, cached)
        if distrust:
            cached = None
        maker = runtime_of(cached.result) if cached else ""
        # A download is an input: its bytes are the same, whichever runtime fetched it.
        if self._only not in (None, maker) and maker and not step.network:
            reason = f"made in {PLACES[maker]}"
            planned = PlannedStep(step, None, reason, call, set_aside=cached)
        elif cached and (why := self._provisional(step, cached)):
            planned = PlannedStep(step, None, why, call, replaces=True)
        else:
            same = next((other.step for other in self._steps if other.step.key == step.key), None)
            if cached:
                reason = "cached"
            elif same:
                reason = f"the same as {same.name}, so it runs once"
            else:
                reason = distrust or self._history.reason(step.name, facts, _producers(step))
            planned = PlannedStep(step, cached, reason, call, distrusted=bool(distrust))
        self._steps.append(planned)
        self._facts[step.name] = facts
        return StepInput(step=step.name, key=step.key)

    def _distrust(self, step: Step, cached: CachedStep | None) -> str:
        """Return why no result of ``step`` that is in the cache may be used: it came from a shared
        cache that this config would not take it from, or was made from one that did. Empty if it
        may. Then it comes from the right shared cache, or is made here."""
        if cached is not None and cached.came:
            vouched_for = self._shared is not None and self._shared.vouches_for(cached)
            return "" if vouched_for else "it came from a shared cache that is not trusted here"
        distrusted = {one.step.key: one.step.name for one in self._steps if one.distrusted}
        read = next((distrusted[key] for key in step.read_keys() if key in distrusted), "")
        return f"{read} came from a shared cache that is not trusted here" if read else ""

    def _provisional(self, step: Step, cached: CachedStep) -> str:
        """Return why a cached result is made anew: it is provisional, or was made from one that is
        and that may come out otherwise now. Empty if it may be taken."""
        if cached.result.provisional:
            return f"made anew: {cached.result.provisional}"
        replaced = {planned.step.name for planned in self._steps if planned.replaces}
        read = sorted(replaced & set(_producers(step).values()))
        return f"{read[0]} is made anew" if read else ""

    def _data_input(self, name: str) -> DataInput:
        """Return the data set ``name`` with its parts, and plan the steps that make rows."""
        spec = self._loaded.config.data[name]
        files = self._files.data(name)
        parts = {"held_out": spec.held_out, "validation": spec.validation_data}
        return DataInput(
            name=name,
            rows=(self._made_rows(name, spec, files),) if spec.is_made else files,
            spec=spec,
            **{role: self._data_input(part) for role, part in parts.items() if part is not None},
        )

    def _made_rows(self, name: str, spec: DataSpec, files: Sequence[SourceInput]) -> StepInput:
        call = rows_call(name, spec)
        inputs: dict[str, Input] = {FILE.format(at): file for at, file in enumerate(files)}
        fetched = fetch_call(name, spec)
        if fetched is not None:
            inputs[FETCHED] = self._add_pass(fetched.name, fetched, {})
        if spec.code is not None and spec.code.pre_process is not None:
            inputs[MODEL] = self._base
        return self._add_pass(call.name, call, inputs)


@dataclass(frozen=True)
class _Merge:
    """An adapter that was merged into a checkpoint: by a pass of the chain, or for the checks."""

    inputs: Mapping[str, Input]
    """Base and adapter: ``model`` and ``adapter``."""
    merged: Input
    separate: bool = False
    """Whether it was merged for the checks alone, and the artifact keeps it separate."""


def _make_newest(kind: Kind, made: Input, newest: dict[Kind, Input]) -> None:
    """Note what was ``made`` last of its kind."""
    if kind == "checkpoint":
        for choice in CHOICES:
            newest.pop(choice, None)  # it is of the checkpoint before
    newest[kind] = made


def _made_by(source: Input) -> tuple[str, ...]:
    """Return the name of the step that made an input, if one did."""
    return (source.step,) if isinstance(source, StepInput) else ()


def _subjects(base: Input | None, tuned: Input | None, merge: _Merge | None) -> _Subjects:
    """Return what roles can be of in a chain; ``None`` is what it has not."""
    subjects: _Subjects = {}
    if base is not None:
        subjects["base"] = {"model": base}
    if tuned is not None:
        subjects["tuned"] = subjects["exported"] = {"model": tuned}
    if merge is not None:
        subjects["merged"], subjects["unmerged"] = {"model": merge.merged}, merge.inputs
        if merge.separate:
            subjects["tuned"], subjects["exported"] = subjects["merged"], merge.inputs
            subjects["adapter"] = {"model": merge.inputs["adapter"]}
    return subjects


def _asks_tuned(role: Role) -> bool:
    """Return whether a step asks the tuned model something for ``role``."""
    return ROLES[role].of == "tuned" and bool(ROLES[role].made_by)


def _can_judge(call: CheckCall, kind: Kind, missing: AbstractSet[Role]) -> bool:
    """Return whether a check accepts the kind of artifact and none of its roles is ``missing``."""
    check = call.implementation
    missed = (missing & set(call.needs(kind))) - set(check.optional_needs)
    return kind in check.accepts and not missed


def _producers(step: Step) -> dict[str, str]:
    """Return the name of the step behind each input that another step makes."""
    inputs = step.inputs.items()
    return {role: source.step for role, source in inputs if isinstance(source, StepInput)}
