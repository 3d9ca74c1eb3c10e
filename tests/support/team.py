"""Members of a team: each with a cache and a shared cache; a stand-in makes their steps."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pipeline.contract.schema import SharedCacheTable
from targets.build import BuildOutcome
from targets.cache import Cache
from targets.remote.shared_cache import SharedCache
from tests.support.cached_steps import KEY, a_step, finish_step
from tests.support.stand_builds import Stand, World


class Member:
    """One of a team: a clone of the project, a cache and a view of the shared cache."""

    def __init__(self, folder: Path, remote: str, **table: Any) -> None:
        """``table`` has the other keys of ``[cache]``."""
        self.world = World(folder)
        self.trust = [Path(key) for key in table.get("trust", ())]
        self.table = SharedCacheTable(remote=remote, **table)
        self.ran: list[str] = []

    def shared(self) -> SharedCache:
        return SharedCache(self.table, self.trust, self.world.cache, self.world.view.say)

    def build(self, stand: Stand | None = None) -> BuildOutcome:
        stand = stand or Stand("venv")
        shared = self.shared()
        outcome = self.world.builder(stand, shared=shared).build(self.world.dist)
        shared.finish()
        self.ran = stand.ran
        return outcome

    def command(self, *options: str) -> list[str]:
        """Return the command that builds what this member has, with the same cache."""
        config = self.world.project.config
        lines = [f"{key} = {json.dumps(value)}" for key, value in self.table.model_dump().items()]
        if "[cache]" not in config.read_text():
            config.write_text("\n".join([config.read_text(), "[cache]", *lines, ""]))
        return [
            *(sys.executable, "-m", "targets", *(options or ("build",))),
            *("--config", str(config), "--cache", str(self.world.cache.root)),
        ]

    @property
    def warnings(self) -> list[str]:
        return [line for line in self.world.view.lines if line.startswith("warning")]


def artifact(outcome: BuildOutcome) -> str:
    """Return what the artifact of a stand-in's build says."""
    return (outcome.folder / "model" / "model.bin").read_text()


class Clone:
    """One of a team without any plan: a cache with one step or none, and a shared cache."""

    def __init__(self, folder: Path, remote: str, **table: Any) -> None:
        """``table`` has the other keys of ``[cache]``."""
        self.cache = Cache(folder)
        self.remote = remote
        self.trust = [Path(key) for key in table.get("trust", ())]
        self.table = {"push": True, **table}
        self.lines: list[str] = []

    def shared(self) -> SharedCache:
        table = SharedCacheTable(remote=self.remote, **self.table)
        return SharedCache(table, self.trust, self.cache, self.lines.append)

    def push(self, text: str = "weights") -> None:
        """Make the step, if it is not here, and bring it to the shared cache."""
        shared = self.shared()
        if self.cache.find(KEY) is None:
            finish_step(self.cache, text)
        shared.push_kept(a_step(), travels=True)
        shared.finish()

    def get(self) -> str | None:
        """Return what the step wrote, from the shared cache; ``None`` if it does not come."""
        shared = self.shared()
        if KEY not in shared.find([KEY]) or not shared.bring(a_step()):
            return None
        return (self.cache.output(KEY) / "model.bin").read_text()

    @property
    def warnings(self) -> list[str]:
        return [line for line in self.lines if line.startswith("warning")]
