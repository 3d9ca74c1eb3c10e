"""The temporary folder of a run on this machine, with its plan, whose roots are filled in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.contract.plan import Plan
from targets.atomic import remove_tree
from targets.errors import EnvironmentUnable
from targets.runtimes.driver import new_run_id, remove_orphaned_folders
from targets.runtimes.lease import hold_lease

PIPELINE_DIR = Path(__file__).parents[2] / "pipeline"


@dataclass(frozen=True)
class Workspace:
    """``plan`` is the file to hand to the process; ``home`` an empty folder it may write to."""

    run_id: str
    plan: Path
    home: Path
    lease: Path | None
    """What the driver holds while it lives (:mod:`targets.runtimes.lease`), if it can."""

    def secret_variables(self, variables: Mapping[str, str]) -> Path:
        """Return a file with ``variables``, which only this user can read and which goes with the
        folder."""
        file = self.plan.with_name("variables.json")
        file.touch(mode=0o600)
        file.write_text(json.dumps(variables), encoding="utf-8")
        return file


@contextmanager
def workspace(cache: Path, plan: Plan, roots: Mapping[str, str]) -> Iterator[Workspace]:
    """Create the folder of a run below ``cache/runs``, and remove it afterwards."""
    runs = cache / "runs"
    remove_orphaned_folders(runs)
    run_id = new_run_id()
    folder = runs / run_id
    try:
        home = folder / "home"
        home.mkdir(parents=True)
        file = folder / "plan.json"
        resolved = plan.model_copy(update={"roots": dict(roots)})
        file.write_text(resolved.model_dump_json(indent=1), encoding="utf-8")
        lease = folder / "lease"
        with hold_lease(lease) as holds:
            yield Workspace(run_id, file, home, lease if holds else None)
    except OSError as error:
        if error.filename is None or not str(error.filename).startswith(str(folder)):
            raise
        raise EnvironmentUnable(
            f"cannot write to the cache: {error.strerror} ({error.filename})",
            "free some space, or choose another folder with `--cache`",
        ) from error
    finally:
        remove_tree(folder)
