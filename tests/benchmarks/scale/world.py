"""What all parts measure with: models, toolchains, a scratch folder."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.contract.plan import OUTPUT_DIR, object_path
from targets.cli.options import PROJECT
from targets.errors import QuernError
from targets.target import load_target
from targets.toolchain.platforms import this_machine
from targets.toolchain.toolchain import Toolchain
from targets.toolchain.venv import ensure_venv, venv_python
from tests.benchmarks.scale import measured
from tests.benchmarks.scale.measured import Cost

FULL_LAYERS = 32
_MISSED_LIMIT = 3  # as targets/errors.py has it
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


@dataclass(frozen=True)
class World:
    """One run of the benchmark."""

    scratch: Path
    cache: Path
    """As of the other commands: with toolchains."""
    given: Path | None
    """A checkpoint of Phi-3-mini's size that is there already."""
    given_small: Path | None
    """A checkpoint of the shipped base model that is there already."""
    layers: int
    """Of that checkpoint; 0 measures the small model alone."""
    thorough: bool
    """Whether to run plain calls at full size, which need all memory, and other targets too."""
    say: Callable[[str], None] = field(repr=False)

    @cached_property
    def checkpoint(self) -> Path:
        """Return the checkpoint of Phi-3-mini's size, made when first asked for."""
        if self.given is not None:
            return self.given
        out = self.scratch / "checkpoint"
        self.say(f"making a checkpoint of {self.layers} layers")
        self.must_run("checkpoint", out, "--layers", str(self.layers))
        return out

    @cached_property
    def small(self) -> Path:
        """Return the checkpoint of the shipped example's base model, of the cache if possible."""
        if self.given_small is not None:
            return self.given_small
        folder = self.scratch / "base"
        shutil.copytree(PROJECT / "configs" / "base", folder / "base")
        config = folder / "base.toml"
        config.write_text(
            'name = "base"\n[model.pretrain]\ntext = "base"\n[passes.model_builder]\n'
        )
        self.say("making the small base model ready")
        report = self.built(config, self.cache, folder / "dist")
        keys = {step["name"]: step["key"] for step in report["passes"]}
        return self.cache / "objects" / object_path(keys["pretrain"]) / OUTPUT_DIR

    def models(self) -> Iterator[tuple[str, Path]]:
        """Yield name and checkpoint of each model."""
        yield "small", self.small
        if self.layers:
            yield ("full size" if self.full else f"{self.layers} layers"), self.checkpoint

    @property
    def full(self) -> bool:
        """Return whether the large model has Phi-3-mini's size; aims are for that size."""
        return self.layers == FULL_LAYERS

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Yield an empty folder that is gone afterwards."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as name:
            yield Path(name)

    def toolchain(self, target: str = "cpu") -> Toolchain:
        """Return the toolchain of ``target`` on this machine."""
        return load_target(target).toolchain(this_machine())

    def python(self, target: str = "cpu") -> Path:
        """Return the interpreter of a toolchain."""
        ensure_venv(self.toolchain(target), self.cache, self.say)
        return venv_python(self.toolchain(target), self.cache)

    def run(self, module: str, *arguments: str | Path, target: str = "cpu") -> Cost:
        """Run a module of this package with a toolchain's Python, offline and as a pass would."""
        name = f"{__package__}.{module}"
        command: list[str | Path] = [self.python(target), "-m", name, *arguments]
        return measured.run(command, self.environment(target), self.log, PROJECT)

    def must_run(self, module: str, *arguments: str | Path) -> None:
        """Run what has to work. Raises ``QuernError``."""
        cost = self.run(module, *arguments)
        if not cost.worked:
            raise QuernError(f"{module}: {cost.ending}", log=self.log)

    def environment(self, target: str = "cpu") -> dict[str, str]:
        """Return the variables of a plain call: those of the toolchain, no hub."""
        (self.scratch / "home").mkdir(exist_ok=True)
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.scratch / "home"),
            "TMPDIR": str(self.scratch),
            "PYTHONPATH": str(PROJECT),
            **OFFLINE,
            **self.toolchain(target).environment,
        }

    @property
    def log(self) -> Path:
        """Return where the newest process's output is."""
        return self.scratch / "process.log"

    def build(self, config: Path, cache: Path, dist: Path, *options: str) -> Cost:
        """Run Quern's ``build`` as its users do; a check that missed its limit is no failure."""
        command: list[str | Path] = [sys.executable, "-m", "targets", "build", "--config", config]
        command += ["--cache", cache, "--dist", dist, *options]
        return measured.run(command, os.environ, self.log, PROJECT, also_well=(_MISSED_LIMIT,))

    def built(self, config: Path, cache: Path, dist: Path, *options: str) -> Mapping[str, Any]:
        """Build what has to work; return its report. Raises ``QuernError``."""
        cost = self.build(config, cache, dist, *options)
        if not cost.worked:
            raise QuernError(f"{config.name}: {cost.ending}", log=self.log)
        return report_in(dist)


def report_in(dist: Path) -> Mapping[str, Any]:
    """Return the one report below ``dist``."""
    (path,) = dist.glob("*/*/report.json")
    found: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
    return found
