"""Makes a runtime of a system: one adapter, so that builds know nothing of other machines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import JsonValue

from pipeline.contract.events import Event, StepFinished
from pipeline.contract.plan import Plan, Step, object_path
from targets.digests import Digests
from targets.disk import Need
from targets.errors import EnvironmentUnable, Interrupted
from targets.intake import take_in_left
from targets.runtimes.ending import Ending
from targets.runtimes.event_reader import EventReader
from targets.runtimes.interrupts import deferring_signals, interruptible
from targets.runtimes.log import opened_log
from targets.runtimes.runtime import OnEvent, RunRequest, RuntimeName
from targets.runtimes.step_timer import StepTimer
from targets.runtimes.workspace import PIPELINE_DIR
from targets.systems.detached import Detached
from targets.systems.job_notes import JobNotes
from targets.systems.left_outputs import LeftOutputs
from targets.systems.system import Job, JobGone, JobState, System
from targets.systems.task import Input, Limits, Material, Task
from targets.systems.tree import tree_of
from targets.toolchain.toolchain import Toolchain, ToolchainRecord
from targets.version import invocation

_WORK, _OBJECTS = "work", "objects"


class SystemRuntime:
    """Runs plans on a system: sends what they read, follows the job, fetches what it made."""

    def __init__(
        self,
        system: System,
        notes: JobNotes,
        say: Callable[[str], None],
        *,
        detach: bool = False,
        pipeline_dir: Path = PIPELINE_DIR,
    ) -> None:
        """``detach`` starts the first job and raises :class:`Detached`."""
        self.system = system
        self.name: RuntimeName = system.runtime
        self._notes = notes
        self._say = say
        self._detach = detach
        self._pipeline = pipeline_dir
        self._digests = Digests(notes.cache / "digests.sqlite")
        self._left = LeftOutputs(notes.cache, system)

    def prepare(self, toolchain: Toolchain, say: Callable[[str], None]) -> ToolchainRecord:
        """Make the toolchain ready there."""
        with interruptible():
            return self.system.prepare(toolchain, say)

    def needs(self, toolchain: Toolchain) -> tuple[Need, ...]:  # noqa: ARG002 - the interface
        """Return nothing: what it takes there is looked at there."""
        return ()

    def limits_note(self) -> str:
        """Return where steps run, and what is not enforced there."""
        note = self.system.limits_note()
        return f"steps run on {self.system.where}" + (f"; {note}" if note else "")

    def run(self, toolchain: Toolchain, request: RunRequest, on_event: OnEvent) -> None:
        """Run the plan there; see :meth:`targets.runtimes.runtime.Runtime.run`."""
        with interruptible():
            task, material = self._described(toolchain, request)
            noted = self._notes.covering(self.system.name, task.plan)
            job_id = noted or task.job_id(self._notes.owner)
            with self._cancelled_if_broken_off(job_id):
                if noted is None:
                    self._notes.write(job_id, self.system.name, task)
                job = self.system.submit(job_id, toolchain, task, material, self._say)
                if self._detach:
                    job.detach()
                    raise Detached(job_id, self.system.where)
                self._follow(job, task, request, on_event)

    def _described(self, toolchain: Toolchain, request: RunRequest) -> tuple[Task, Material]:
        """Return the task of ``request``, and what it names by digest."""
        trees = {
            (root, path): tree_of(source, self._digests)
            for root, path, source in self._sources(request)
        }
        left = [
            Input(root=_OBJECTS, path=path, digest=digest)
            for path, digest in self._left_there(request.plan)
            if (_OBJECTS, path) not in trees
        ]
        code = tree_of(self._pipeline, self._digests)
        resources = request.resources
        task = Task(
            plan=request.plan.model_copy(update={"roots": {}}),
            toolchain=toolchain.digest,
            environment={
                **(toolchain.environment if resources.portable else {}),
                **request.visible,
            },
            code=code.digest,
            inputs=(
                *(
                    Input(root=root, path=path, digest=tree.digest)
                    for (root, path), tree in sorted(trees.items())
                ),
                *left,
            ),
            network=request.network,
            device={name: _plain(value) for name, value in request.device.items()},
            writes=request.writes,
            limits=Limits(
                memory_bytes=resources.memory_bytes,
                cpus=resources.cpus,
                step_seconds=resources.step_seconds,
            ),
            secrets=tuple(sorted(request.environment)),
        )
        by_digest = {tree.digest: tree for tree in (code, *trees.values())}
        return task, Material(by_digest, dict(request.environment))

    def _left_there(self, plan: Plan) -> Iterator[tuple[str, str]]:
        """Yield the place, below the root of results, and the tree of each step that ``plan`` reads
        and that earlier jobs left there."""
        own = {step.key for step in plan.steps}
        read = {key for step in plan.steps for key in step.read_keys()}
        for key in sorted(read - own):
            if (left := self._left.at_hand(key)) is not None:
                yield object_path(key), left.tree

    def _sources(self, request: RunRequest) -> Iterator[tuple[str, str, Path]]:
        """Yield what the steps read: root, path below it, and where it is here.

        Each finished step goes by itself: it is read by many, and sent once.
        """
        for mount in request.mounts:
            if mount.root == _OBJECTS:
                for folder in sorted(mount.source.glob("*/*")):
                    yield _OBJECTS, object_path(folder.name), folder
            elif mount.root == _WORK:
                yield from _finished_before(mount.source, request.plan)
            elif not mount.writable:  # what an interrupted step left does not travel
                yield mount.root, "", mount.source

    def _follow(self, job: Job, task: Task, request: RunRequest, on_event: OnEvent) -> None:
        """Read events until the job has ended; fetch each step when it is finished."""
        work = next(mount.source for mount in request.mounts if mount.root == _WORK)
        kept: set[str] = set()
        timer = StepTimer(request.resources.step_seconds)
        steps = {step.name: step for step in task.plan.steps}

        def fetched_first(event: Event) -> None:
            if isinstance(event, StepFinished) and (step := steps.get(event.step)):
                timer.restart()  # what comes now is not its own time
                self._bring(job, step, request, work, kept)
            on_event(event)

        with opened_log(request.log) as log:
            # A job that was started before may do more steps than are asked for now.
            reader = EventReader(fetched_first, log, request.step_names, timer)
            try:
                with job.attended(), timer.ending(job.stop):
                    for piece in job.read():
                        reader.feed(piece.data)
                    reader.close()
                    state = job.state()
                    for step in task.plan.steps:
                        self._bring(job, step, request, work, kept)
                    for data in job.read_log():
                        log.write(data)
            except JobGone:
                state = JobState("gone")
        if state.phase == "gone":
            raise EnvironmentUnable(
                f"the job {job.id} is gone from {self.system.name}: it was removed there, or what "
                "ran it stopped",
                "run again: finished steps are kept",
                request.log,
            )
        if state.cost:
            request.tell(f"{self.system.name}: {state.cost}")
        self._cancel(job)
        if state.error:
            raise EnvironmentUnable(f"{self.system.name} says: {state.error}", log=request.log)
        Ending(
            exit_code=state.exit_code if state.exit_code is not None else 1,
            step=reader.step,
            failure=reader.failure,
            log=request.log,
            out_of_memory=bool(state.exit_code and state.out_of_memory),
            memory_bytes=request.resources.memory_bytes,
            time_limit=timer.exceeded,
        ).check()

    def _bring(self, job: Job, step: Step, request: RunRequest, work: Path, kept: set[str]) -> None:
        """Fetch the finished ``step``, or have it stay there, once; ``kept`` are those that do."""
        if step.key in kept or (work / step.key).exists():
            return
        may_stay = step.key in request.may_stay
        left = job.leave(step.key) if may_stay else None
        if left is not None:
            result = take_in_left(step, left.result, left.files, request.plan.origin)
            self._left.note(result, left.tree)
            kept.add(step.key)
        elif job.collect(step.key, work / step.key) and may_stay:
            self._say(f"{step.name} comes here: {self.system.name} has no room to keep it")

    @contextmanager
    def _cancelled_if_broken_off(self, job_id: str) -> Iterator[None]:
        """End the job there if the block ends otherwise than it should, and wait until it is so;
        what it has finished is fetched by then."""
        try:
            yield
        except Detached:
            raise
        except KeyboardInterrupt:
            self._say(f"ending the job {job_id} on {self.system.name}")
            try:
                with deferring_signals():
                    self._cancel(self.system.job(job_id))
            except EnvironmentUnable as unable:
                raise Interrupted(
                    f"stopped; but {self.system.name} does not answer, so that the job {job_id} "
                    f"may still run there ({unable})",
                    "it ends by itself when nobody asks after it; finished steps are kept",
                ) from None
            raise
        except BaseException:
            with deferring_signals():  # the first error says why
                try:
                    self._cancel(self.system.job(job_id))
                except EnvironmentUnable as unable:
                    self._say(
                        f"warning: the job {job_id} may still run on {self.system.name}: {unable}; "
                        f"`{invocation('cancel', job_id)}` ends it"
                    )
            raise

    def _cancel(self, job: Job) -> None:
        job.cancel()
        self._notes.remove(job.id)


def _plain(value: object) -> JsonValue:
    plain: JsonValue = json.loads(json.dumps(value))
    return plain


def _finished_before(work: Path, plan: Plan) -> Iterator[tuple[str, str, Path]]:
    """Yield the steps that an earlier process of the same work folder has finished, as far as those
    of ``plan`` read them."""
    own = {step.key for step in plan.steps}
    read = {key for step in plan.steps for key in step.read_keys()}
    for key in sorted(read - own):
        if (work / key).is_dir():
            yield _OBJECTS, object_path(key), work / key
