"""Runs the steps that an action or a template of a CI service is made of, as the service does.

Only what these files use is understood; anything else is an error. Steps of others (``uses``,
``task``) do not run: what they are given is kept.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_EXPRESSION = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")
_MACRO = re.compile(r"\$\(([\w.]+)\)")


@dataclass(frozen=True)
class Ran:
    """What became of the steps."""

    code: int
    """Exit code of the first script that failed; 0 if none did."""
    stdout: str
    stderr: str
    given: Mapping[str, Mapping[str, str]]
    """What the steps of others were given, by their names without versions."""


@dataclass
class Run:
    """One run of steps on one machine."""

    context: dict[str, str]
    """Values by their names in expressions: ``inputs.config``, ``runner.temp``."""
    environment: Mapping[str, str]
    folder: Path
    macros: Mapping[str, str] = field(default_factory=dict)
    """Values of ``$(name)``, which Azure Pipelines knows."""
    code: int = 0
    stdout: str = ""
    stderr: str = ""
    given: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def steps(self, steps: list[dict[str, Any]]) -> Ran:
        """Run all steps, in their order."""
        for step in steps:
            condition = step.get("if") or step.get("condition")
            if self._holds(condition):
                self._step(step)
        return Ran(self.code, self.stdout, self.stderr, self.given)

    def _step(self, step: Mapping[str, Any]) -> None:
        script = step.get("run") or step.get("bash")
        if script is None:
            used = str(step.get("uses") or step.get("task") or "publish")
            values = step.get("with") or step.get("inputs") or {"publish": step.get("publish")}
            self.given[used.partition("@")[0]] = {
                name: self.expanded(str(value)) for name, value in values.items()
            }
            return
        variables = {name: self.expanded(value) for name, value in step.get("env", {}).items()}
        at = self.expanded(step.get("workingDirectory", str(self.folder)))
        output = self.folder.parent / "outputs"
        output.write_text("")
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=at,
            env={**os.environ, **self.environment, **variables, "GITHUB_OUTPUT": str(output)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        self.code = self.code or done.returncode
        self.stdout += done.stdout
        self.stderr += done.stderr
        for line in output.read_text().splitlines():
            name, _, value = line.partition("=")
            self.context[f"steps.{step['id']}.outputs.{name}"] = value

    def expanded(self, text: str) -> str:
        """Return ``text`` with the values of its expressions."""
        text = _EXPRESSION.sub(lambda found: self.context[found[1]], text)
        return _MACRO.sub(lambda found: self.macros[found[1]], text)

    def _holds(self, condition: str | None) -> bool:
        if condition is None:
            return self.code == 0
        holds = True
        for part in condition.split("&&"):
            if part.strip() == "always()":
                continue
            name, _, value = part.partition("!=")
            holds = holds and self.context[name.strip()] != value.strip().strip("'")
        return holds
