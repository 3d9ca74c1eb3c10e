"""One build of one target: plan, run what is missing, report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.contract.events import Event, StepFinished
from pipeline.contract.kinds import ARTIFACT_WORDS
from pipeline.contract.plan import (
    Plan,
    SourceInput,
    Step,
    unfinished_root,
)
from pipeline.contract.result import StepResult
from pipeline.contract.schema import Resources, parse_bytes
from targets.atomic import replace_file
from targets.cache import Cache, runtime_of
from targets.config.load import LoadedConfig
from targets.crashed_checks import run_plan
from targets.device_checks.checked_result import FILE as CHECKED_FILE
from targets.device_checks.checked_result import merge_into_report, read_checked
from targets.device_checks.parcel import pack
from targets.devices.device import Device
from targets.disk import Need, may_write, require_room
from targets.errors import ConfigError
from targets.known_pages import KnownPages
from targets.machine import cpu_name, threads
from targets.place import Place, places_by_name
from targets.planner.build_plan import BuildPlan, PlannedStep
from targets.planner.disk_space import disk_needs, disk_space
from targets.planner.planner import Planner
from targets.planner.shared_steps import may_stay, needed_outputs, travels
from targets.report.compose_report import compose
from targets.report.dist import write_dist
from targets.report.report_schema import Report
from targets.runtimes.hub_settings import hub_environment
from targets.runtimes.killed_runs import remove_killed_runs
from targets.runtimes.runtime import (
    PLACES,
    Mount,
    OnEvent,
    ProcessLimits,
    RunRequest,
    Runtime,
    RuntimeName,
    StartRuntime,
)
from targets.systems.left_outputs import LeftOutputs
from targets.systems.machines import gpus_of
from targets.toolchain.toolchain import ToolchainRecord
from targets.view import View

if TYPE_CHECKING:
    from targets.remote.shared_cache import SharedCache


@dataclass(frozen=True)
class BuildOutcome:
    """A finished build: its report and folder, its plan, and the result of each step."""

    report: Report
    folder: Path
    plan: BuildPlan
    results: Mapping[str, StepResult]


class Builder:
    """Builds one loaded config for one target."""

    def __init__(
        self,
        loaded: LoadedConfig,
        cache: Cache,
        target: Place,
        training_place: Place,
        runtime: StartRuntime,
        view: View,
        only: RuntimeName | None = None,
        shared: SharedCache | None = None,
        left: LeftOutputs | None = None,
    ) -> None:
        """``only`` is the runtime whose results are used from ``cache``; ``None`` means any.
        ``shared`` gives what ``cache`` lacks, and gets what is made here. ``left`` knows what
        stayed on systems."""
        self._loaded = loaded
        self._cache = cache
        self._target = target
        self._training_place = training_place
        self._runtime = runtime
        self._view = view
        self._only = only
        self._shared = shared
        self._left = left
        self._told: list[str] = []

    def plan(self) -> BuildPlan:
        """Return the plan of this build."""
        return self._planner().plan()

    def _planner(self) -> Planner:
        return Planner(
            *(self._loaded, self._cache, self._target, self._training_place),
            *(self._only, self._shared, self._left),
        )

    def build(self, dist: Path) -> BuildOutcome:
        """Run what is not cached and write ``dist/<build>/<target>``.

        Raises ``PassFailed``, ``EnvironmentUnable`` or ``Interrupted``; finished steps are kept.
        A missed limit does not raise: it is in the report.
        """
        if may_write(self._cache.root):
            remove_killed_runs(self._cache.root)
        self._cache.recover()
        plan = self.plan()
        self._forget_distrusted(plan)
        with self._cache.in_use(planned.step.key for planned in plan.steps):
            if not all(_is_here(planned) for planned in plan.steps):
                plan = self.plan()  # a result was removed at that very moment
            return self._build(dist, self._with_outputs(plan))

    def _forget_distrusted(self, plan: BuildPlan) -> None:
        """Remove what came from a shared cache that is not trusted, with all that was made from it,
        at once: of what is removed later an interrupted build would leave some."""
        keys = [planned.step.key for planned in plan.steps if planned.distrusted]
        if keys and may_write(self._cache.root):
            with self._cache.locked(keys, self._say_waiting):
                for key in keys:
                    self._cache.forget(key)
                    if self._left is not None:
                        self._left.forget(key)

    def _with_outputs(self, plan: BuildPlan) -> BuildPlan:
        """Return ``plan`` when the outputs that it reads have come from the shared cache. A step
        that could not be brought is run."""
        while self._shared is not None and (wanted := needed_outputs(plan)):
            for planned in wanted:
                self._shared.bring(planned.step)
            plan = self.plan()
        return plan

    def _build(self, dist: Path, plan: BuildPlan) -> BuildOutcome:
        self._view.planned(plan)
        for planned in plan.steps:
            cached = planned.cached
            if cached is not None and cached.elsewhere != "shared":
                self._push(plan, planned, cached.result if cached.elsewhere else None)
        if not self._target.device.here:
            why = self._target.device.absence
            self._view.say(f"{plan.target}: built, and not verified on its device: {why}")
        if not plan.missing:
            return self._finish(dist, plan, {})
        for planned in plan.missing:
            self._device(plan, [planned])  # before anything runs
        runtime = self._runtime([place.toolchain for place in self._needed(plan).values()])
        require_room(self._needs(runtime, plan, dist))
        records = self._prepare(runtime, plan)
        keys = [planned.step.key for planned in plan.missing]
        with self._cache.locked(keys, self._say_waiting):
            planner = self._planner()
            # Another build may have finished steps while this one waited, or been killed then.
            self._cache.recover()
            plan = self._with_outputs(planner.plan())
            self._log_file(plan).unlink(missing_ok=True)
            for planned in plan.missing:
                if planned.replaces:
                    self._cache.forget(planned.step.key)
            with self._cache.work_folder() as work:
                made: dict[str, StepResult] = {}
                for segment in _segments(plan.missing):
                    record = records[segment[0].step.target]
                    made |= {
                        result.key: result
                        for result in self._run(runtime, record, plan, segment, work)
                    }
            planner.remember()
            self._compare(plan, made)
            return self._finish(dist, plan, made)

    def _needs(self, runtime: Runtime, plan: BuildPlan, dist: Path) -> Iterator[Need]:
        """Yield the disk space that the build needs, in the order in which it is used."""
        for place in self._needed(plan).values():
            yield from runtime.needs(place.toolchain)
        for packages in plan.missing_packages:
            yield from packages.needs(self._cache.root)
        yield from disk_needs(plan, self._cache.root, dist, self._staying(plan))

    def _prepare(self, runtime: Runtime, plan: BuildPlan) -> dict[str, ToolchainRecord]:
        note = runtime.limits_note()
        if note:
            self._view.say(note)
        for packages in plan.missing_packages:
            packages.ensure(self._cache.root, self._view.say)
        return {
            name: runtime.prepare(place.toolchain, self._view.say)
            for name, place in self._needed(plan).items()
        }

    def _needed(self, plan: BuildPlan) -> dict[str, Place]:
        """Return the places whose toolchains run a step, by target."""
        names = (planned.step.target for planned in plan.missing)
        return places_by_name(names, (self._training_place, self._target))

    def _device(self, plan: BuildPlan, segment: Sequence[PlannedStep]) -> Device:
        """Return the device that the process of ``segment`` gets. Raises ``EnvironmentUnable`` if a
        training asks for more GPUs than there are."""
        device = self._needed(plan)[segment[0].step.target].device
        return device.times(max(gpus_of(planned.step) for planned in segment))

    def _run(
        self,
        runtime: Runtime,
        record: ToolchainRecord,
        plan: BuildPlan,
        segment: list[PlannedStep],
        work: Path,
    ) -> tuple[StepResult, ...]:
        """Run ``segment`` in one process, which sees what its steps read and nothing else."""
        first = segment[0].step
        resources = self._loaded.config.resources
        place = self._needed(plan)[first.target]
        device = self._device(plan, segment)
        cpus = threads(resources, record.cores)
        origin = _origin(plan.build, record, cpus)
        staying = self._staying(plan) & {planned.step.key for planned in segment}
        folder = self._cache.begin(work, (planned.step for planned in segment), origin)
        with self._cache.view(_read_from_before(segment)) as objects:
            request = RunRequest(
                plan=Plan(
                    build=plan.build,
                    steps=tuple(planned.step for planned in segment),
                    threads=cpus,
                    origin=origin,
                ),
                mounts=(
                    Mount("work", folder, writable=True),
                    Mount("objects", objects),
                    *_used_mounts(plan.mounts, segment),
                    *self._unfinished(segment),
                ),
                log=self._log_file(plan),
                network=first.network,
                device=device.container,
                visible=device.environment,
                resources=container_limits(resources),
                environment=hub_environment() if first.hub else {},
                may_stay=staying,
                writes=disk_space(plan).most,
                tell=self._told.append,
            )
            on_event = self._pushing(plan, segment, folder, origin)
            run_plan(runtime, place.toolchain, request, folder, on_event)
        left = self._left.results(staying) if self._left is not None else {}
        results = self._cache.finish(folder, left)
        for planned in segment:
            self._push(plan, planned, left.get(planned.step.key))
        return results

    def _staying(self, plan: BuildPlan) -> frozenset[str]:
        """Return the keys of the missing steps whose outputs may stay on the system that makes
        them."""
        wanted = self._shared is not None and self._shared.checkpoints
        if self._left is None or not self._left.leaves or wanted:
            return frozenset()
        return frozenset(one.step.key for one in plan.missing if may_stay(one, plan))

    def _push(self, plan: BuildPlan, planned: PlannedStep, left: StepResult | None) -> None:
        """Bring a finished step to the shared cache; of one that was ``left`` on a system, its
        result."""
        if self._shared is None:
            return
        if left is not None:
            self._shared.push_result(planned.step, left)
        else:
            going = travels(planned, plan, self._shared.checkpoints)
            self._shared.push_kept(planned.step, going)

    def _pushing(
        self, plan: BuildPlan, segment: list[PlannedStep], folder: Path, origin: dict[str, str]
    ) -> OnEvent:
        """Return what shows the events of ``segment`` and brings each step that has finished to the
        shared cache, while the next ones run."""
        shared = self._shared
        if shared is None:
            return self._view.event
        by_name = {planned.step.name: planned for planned in segment}

        def on_event(event: Event) -> None:
            self._view.event(event)
            if isinstance(event, StepFinished) and (planned := by_name.get(event.step)):
                going = travels(planned, plan, shared.checkpoints)
                place = folder / planned.step.key
                shared.push_written(planned.step, place, origin, going)

        return on_event

    def _unfinished(self, segment: Iterable[PlannedStep]) -> Iterator[Mount]:
        """Yield the folders in which steps keep files that survive a failed or killed run."""
        for step in (planned.step for planned in segment):
            if step.resumes:
                folder = self._cache.unfinished(step.key)
                folder.mkdir(parents=True, exist_ok=True)
                yield Mount(unfinished_root(step.key), folder, writable=True)

    def _compare(self, plan: BuildPlan, made: Mapping[str, StepResult]) -> None:
        """Show a message if a rebuilt model differs from the result that was set aside."""
        for planned in plan.missing:
            before, call = planned.set_aside, planned.call
            if before is None or call is None or call.implementation.produces not in ARTIFACT_WORDS:
                continue
            if before.result.files != made[planned.step.key].files:
                self._view.say(
                    f"{planned.step.name} was not reproduced: {PLACES[runtime_of(before.result)]} "
                    "gave other bytes, which these replace in the cache"
                )

    def _log_file(self, plan: BuildPlan) -> Path:
        folder = self._cache.root / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{plan.build}-{plan.target}.log"

    def _finish(
        self,
        dist: Path,
        plan: BuildPlan,
        made: Mapping[str, StepResult],
    ) -> BuildOutcome:
        """Write the outputs; ``made`` are the results of the steps that ran, by key."""
        results = {
            planned.step.name: (
                planned.cached.result if planned.cached is not None else made[planned.step.key]
                # A result does not depend on its step's name: it may be of one with another.
            ).model_copy(update={"name": planned.step.name})
            for planned in plan.steps
        }
        report = compose(self._loaded, plan, results)
        report = report.model_copy(update={"notes": (*report.notes, *self._told)})
        brought = dist / plan.build / plan.target / CHECKED_FILE
        if brought.is_file():
            report = self._with_checked(report, brought)
        text = brought.read_text("utf-8") if report.checked is not None else None

        pages = KnownPages(self._cache.pages, self._cache.digests)
        main = self._loaded.main_data
        spec = self._loaded.config.data[main] if main else None

        def complete(folder: Path) -> None:
            def render() -> dict[str, str]:
                # Who renders nothing need not wait for the library of templates.
                from targets.use.write_use import files_beside

                return files_beside(folder, report, spec)

            if plan.artifact_kind == "onnx":
                pack(folder, plan, results, lambda source: self._output(plan, source.step))
                asked = spec.model_dump_json() if spec is not None else ""
                pages.write(folder, ["use", report.model_dump_json(), asked], render)
            if text is not None:
                replace_file(folder / CHECKED_FILE, text)

        artifact = self._output(plan, plan.artifact)
        folder = write_dist(dist, report, artifact, self._cache.digests, complete, pages)
        return BuildOutcome(report, folder, plan, results)

    def _output(self, plan: BuildPlan, name: str) -> Path:
        """Return the output folder of the step ``name``, which is finished."""
        return self._cache.output(plan[name].step.key)

    def _with_checked(self, report: Report, brought: Path) -> Report:
        """Return ``report`` with results from another machine, if they are for the same bytes."""
        try:
            return merge_into_report(report, read_checked(brought), brought)
        except ConfigError as error:
            self._view.say(f"not used: {error}")
            return report

    def _say_waiting(self, _key: str) -> None:
        self._view.say("another build works on the same steps; waiting for it to finish")


def _is_here(planned: PlannedStep) -> bool:
    """Return whether a cached result is where the plan has it."""
    cached = planned.cached
    return cached is None or bool(cached.elsewhere) or cached.folder.exists()


def container_limits(resources: Resources) -> ProcessLimits:
    """Return the limits of the config in bytes, CPUs and seconds."""
    memory = parse_bytes(resources.memory) if resources.memory is not None else None
    return ProcessLimits(
        memory,
        resources.cpus,
        resources.step_hours * 3600,
        portable=resources.arithmetic == "portable",
    )


def _segments(missing: Iterable[PlannedStep]) -> Iterator[list[PlannedStep]]:
    """Yield consecutive steps that share one process: same toolchain, same need of network, hub and
    GPUs, and none that runs code of the user's, which has a process of its own.

    A process cannot hide its environment from the code that runs in it, nor keep that code from
    what the other steps of the process write.
    """
    for _, group in groupby(missing, key=lambda planned: _shared(planned.step)):
        yield list(group)


def _shared(step: Step) -> tuple[str, bool, bool, int, str]:
    """Return the properties in which the steps of one process agree."""
    own = step.key if step.runs_code_of_the_user else ""
    return step.target, step.network, step.hub, gpus_of(step), own


def _read_from_before(segment: Iterable[PlannedStep]) -> set[str]:
    """Return the keys of the steps that those of ``segment`` read and that ran earlier."""
    steps = [planned.step for planned in segment]
    return {key for step in steps for key in step.read_keys()} - {step.key for step in steps}


def _used_mounts(mounts: Iterable[Mount], segment: Iterable[PlannedStep]) -> Iterator[Mount]:
    """Yield the mounts that the steps of ``segment`` refer to, and no others."""
    roots = {planned.step.code.ref.root for planned in segment if planned.step.code}
    for planned in segment:
        if planned.step.data is not None:
            roots |= {source.ref.root for source in planned.step.data.sources()}
        roots |= {
            source.ref.root
            for source in planned.step.inputs.values()
            if isinstance(source, SourceInput)
        }
    return (mount for mount in mounts if mount.root in roots)


def _origin(build: str, record: ToolchainRecord, threads: int) -> dict[str, str]:
    """Return the origin that results record: build, system, runtime, image, Python, CPU, threads,
    start time."""
    facts = {
        "build": build,
        "runtime": record.runtime,
        "base_image": record.base_image,
        "image": record.image,
        "python": record.python,
        "system": record.system,
        "unconfined": record.unconfined,
        "cpu": record.cpu or cpu_name(),
        "threads": str(threads),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    return {name: fact for name, fact in facts.items() if fact}
