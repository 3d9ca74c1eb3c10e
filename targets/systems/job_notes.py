"""What this machine notes of the jobs that it has started elsewhere.

In the cache folder::

    jobs/owner        who asks, so that the same task of another cache is another job
    jobs/<id>.json    a job that was started, until it is over
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

from pydantic import ValidationError

from pipeline.contract.frozen import Frozen
from pipeline.contract.plan import Plan
from pipeline.contract.schema import SystemTable
from targets.atomic import replace_file
from targets.errors import ConfigError, Problem
from targets.systems.task import Task


class Origin(Frozen):
    """The command that started a job, so that it can be gone on with."""

    arguments: tuple[str, ...]
    """Those of ``build``, without ``--detach``."""
    folder: str
    """Where it was called."""
    system: str
    """Name of the system in the config."""
    table: SystemTable
    """The system, as the config had it."""


class JobNote(Frozen):
    """One job that was started."""

    id: str
    started: str
    build: str
    steps: tuple[str, ...]
    keys: tuple[str, ...]
    system: str
    origin: Origin | None = None
    """The command that started it; ``None`` if no config names its system."""


class JobNotes:
    """The notes of one cache."""

    def __init__(self, cache: Path, origin: Origin | None = None) -> None:
        """``origin`` is the command that starts jobs now."""
        self.cache = cache
        self._folder = cache / "jobs"
        self._origin = origin

    @property
    def owner(self) -> str:
        """Return who this cache is, to systems."""
        file = self._folder / "owner"
        with suppress(OSError):
            if owner := file.read_text("ascii").strip():
                return owner
        self._folder.mkdir(parents=True, exist_ok=True)
        replace_file(file, secrets.token_hex(16))
        return file.read_text("ascii").strip()

    def write(self, job_id: str, system: str, task: Task) -> None:
        """Note that a job is started."""
        self._folder.mkdir(parents=True, exist_ok=True)
        note = JobNote(
            id=job_id,
            started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            build=task.plan.build,
            steps=tuple(step.name for step in task.plan.steps),
            keys=tuple(step.key for step in task.plan.steps),
            system=system,
            origin=self._origin,
        )
        replace_file(self._file(job_id), note.model_dump_json(indent=1))

    def remove(self, job_id: str) -> None:
        """Forget a job that is over."""
        self._file(job_id).unlink(missing_ok=True)

    def covering(self, system: str, plan: Plan) -> str | None:
        """Return the job on ``system`` that makes all steps of ``plan``, if one was started: those
        that it had finished may have been fetched since, and be no part of the plan any more."""
        wanted = {step.key for step in plan.steps}
        ids = (one.id for one in self.all() if one.system == system and wanted <= {*one.keys})
        return next(ids, None)

    def started(self, job_id: str) -> tuple[JobNote, Origin]:
        """Return the job whose ID begins with ``job_id``, and the command that started it.

        Raises ``ConfigError`` if there is no such job, or more than one.
        """
        found = [note for note in self.all() if note.id.startswith(job_id)]
        if len(found) != 1:
            known = ", ".join(note.id for note in self.all()) or "none"
            raise ConfigError([Problem(f"there is no job '{job_id}' (known here: {known})")])
        note = found[0]
        if note.origin is None:
            problem = "it was started through DOCKER_HOST or a context: run its build again"
            raise ConfigError([Problem(problem, key=note.id)])
        return note, note.origin

    def all(self) -> tuple[JobNote, ...]:
        """Return the jobs that were started and are not over, as far as is known here."""
        found = []
        for file in sorted(self._folder.glob("*.json")):
            with suppress(OSError, ValidationError):
                found.append(JobNote.model_validate_json(file.read_bytes()))
        return tuple(sorted(found, key=lambda note: note.started))

    def _file(self, job_id: str) -> Path:
        return self._folder / f"{job_id}.json"
