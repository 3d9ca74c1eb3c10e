"""Outputs that stay on the system where they were made, such as merged checkpoints.

In the cache folder::

    left/<key>.json    a finished step, and the tree that has its result and its output there
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from pipeline.contract.frozen import Frozen
from pipeline.contract.result import StepResult
from targets.atomic import replace_file
from targets.errors import EnvironmentUnable

if TYPE_CHECKING:
    from targets.systems.system import System


class LeftOutput(Frozen):
    """A finished step whose output is on a system, and not here."""

    name: str
    """What the config calls the system."""
    where: str
    """The system, with its address."""
    result: StepResult
    tree: str
    """Digest of the tree there, for a task that reads it."""


class LeftOutputs:
    """What one cache knows of such outputs, as the builds on one system use them."""

    def __init__(self, cache: Path, system: System | None = None, *, leaves: bool = True) -> None:
        """``system`` is where steps run now, ``None`` for this machine. ``leaves`` is whether
        outputs may stay there."""
        self._folder = cache / "left"
        self._system = system
        self.leaves = leaves and system is not None

    def note(self, result: StepResult, tree: str) -> None:
        """Note that the output of a step has stayed."""
        assert self._system is not None  # noqa: S101 - this machine leaves nothing
        self._folder.mkdir(parents=True, exist_ok=True)
        name, where = self._system.name, self._system.where
        left = LeftOutput(name=name, where=where, result=result, tree=tree)
        replace_file(self._file(result.key), left.model_dump_json(indent=1))

    def find(self, key: str) -> LeftOutput | None:
        """Return the step ``key``, wherever its output has stayed."""
        try:
            left = LeftOutput.model_validate_json(self._file(key).read_bytes())
        except (OSError, ValidationError):
            return None
        return left if left.result.key == key else None

    def at_hand(self, key: str) -> LeftOutput | None:
        """Return the step ``key`` if its output was left where steps run now. Nobody is asked."""
        left = self.find(key)
        if left is None or self._system is None or left.where != self._system.where:
            return None
        return left

    def is_there(self, key: str) -> bool:
        """Return whether steps that run now can read the output of ``key``. The system is asked; if
        it does not answer, what is known of it counts."""
        left = self.at_hand(key)
        if left is None or self._system is None:
            return False
        with suppress(EnvironmentUnable):
            return self._system.has(left.tree)
        return True

    def results(self, keys: Iterable[str]) -> dict[str, StepResult]:
        """Return the results of those steps among ``keys`` whose outputs were left there."""
        found = {key: self.at_hand(key) for key in keys}
        return {key: left.result for key, left in found.items() if left is not None}

    def forget(self, key: str) -> None:
        """Forget the step ``key``."""
        self._file(key).unlink(missing_ok=True)

    def remove(self, before: float) -> None:
        """Forget what was noted before ``before`` (seconds of the epoch)."""
        for file in self._folder.glob("*.json"):
            with suppress(OSError):  # another command removes it
                if file.stat().st_mtime < before:
                    file.unlink()

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.json"
