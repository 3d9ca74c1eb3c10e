"""Builds whose steps do nothing but wait for what a test has them do, at any moment of a build.

A step looks into the folder for temporary files of its process, which lies in the cache, for the
file ``go``: what stands in it is what the step does. So one plan serves every attack, and nothing
is trained.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import docker
import psutil

from targets.cli.options import PROJECT
from targets.runtimes.docker import RUN_LABEL
from tests.support.command import Quern
from tests.support.project import Project
from tests.support.running_builds import Running

GATED = ("first", "second", "third")
"""The steps that wait: two passes, and a check. Between the last two runs that of the size."""

CONFIG = """\
name = "small"
skip_checks = ["general"]  # which runs a model

[model]
source = "model"

[passes.first]
type = "gated.py:Gated"

[passes.second]
type = "gated.py:Gated"

[checks.third]
type = "gated.py:GatedCheck"
"""

CODE = '''\
import os
import tempfile
import time
from pathlib import Path

from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.frozen import Frozen
from pipeline.passes.base import BasePass
from pipeline.verdicts.verdicts import limit_verdict


class NoParams(Frozen):
    pass


def wait(folder):
    """Wait, then do what is asked for. What a disk takes shows in `folder`."""
    gate = Path(tempfile.gettempdir()) / "go"
    while not gate.exists():
        time.sleep(0.02)
    act = gate.read_text()
    held = []
    while act == "hoard":
        held.append(bytearray(b"x") * (1 << 24))
    if act == "private":
        (folder / "half").chmod(0o600)
    if act == "fail":
        raise RuntimeError("it was told to fail")
    if act == "large":
        (folder / "large").write_bytes(os.urandom(1 << 20) * 24)
    if act == "most":
        disk = os.statvfs(folder)
        (folder / "most").write_bytes(bytes(disk.f_bavail * disk.f_frsize - (8 << 20)))
    if act == "fill":
        with (folder / "filler").open("wb") as file:
            while True:
                file.write(os.urandom(1 << 20))
    return act


class Gated(BasePass[NoParams]):
    Params = NoParams
    consumes = {"model": "checkpoint"}
    produces = "checkpoint"

    def run(self, inputs, params, out_dir):
        (out_dir / "half").write_text("half of it")
        act = wait(out_dir)
        if act == "copy":
            (out_dir / "before").write_text((inputs["model"] / "whole").read_text())
        (out_dir / "half").rename(out_dir / "whole")
        return {}


class GatedCheck(BaseCheck[NoParams]):
    Params = NoParams
    accepts = ("checkpoint",)

    def run(self, inputs, params):
        wait(Path(tempfile.gettempdir()))
        return Outcome((limit_verdict("waited", 0, "<=", 1, "times"),))
'''

_RESUMING = """
class Resuming(BasePass[NoParams]):
    Params = NoParams
    consumes = {"model": "checkpoint"}
    produces = "checkpoint"
    resumes = True

    def run(self, inputs, params, out_dir):
        with (inputs.unfinished / "runs").open("a") as file:
            file.write("run ")
        wait(out_dir)
        (out_dir / "runs").write_text((inputs.unfinished / "runs").read_text())
        return {}
"""
"""A step that writes down each of its runs, and goes on with that."""

_MODEL: Mapping[str, Any] = {
    "config.json": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "num_hidden_layers": 1,
        "max_position_embeddings": 64,
        "vocab_size": 4,
        "torch_dtype": "float32",
    },
    "tokenizer.json": {"added_tokens": [{"id": 3, "content": "<end>"}], "model": {"vocab": {}}},
    "tokenizer_config.json": {"eos_token": "<end>"},
}


def gated_project(folder: Path) -> Project:
    """Return a project in ``folder`` whose steps wait."""
    model = folder / "model"
    model.mkdir(parents=True)
    for name, content in _MODEL.items():
        (model / name).write_text(json.dumps(content))
    tensor = {"dtype": "F32", "shape": [4, 8], "data_offsets": [0, 128]}
    header = json.dumps({"model.embed_tokens.weight": tensor, "__metadata__": {"format": "pt"}})
    weights = struct.pack("<Q", len(header)) + header.encode() + bytes(128)
    (model / "model.safetensors").write_bytes(weights)
    project = Project(folder)
    project.config.write_text(CONFIG)
    (folder / "gated.py").write_text(CODE)
    return project


def with_resuming_step(project: Project) -> None:
    """Have the second step go on with what an earlier run of it had: it tells of its runs."""
    (project.folder / "gated.py").write_text(CODE + _RESUMING)
    project.edit(
        '[passes.second]\ntype = "gated.py:Gated"', '[passes.second]\ntype = "gated.py:Resuming"'
    )


class Sent(NamedTuple):
    """One signal to the process that was started, so many seconds after the first."""

    seconds: float
    number: signal.Signals


class Surroundings(NamedTuple):
    """What a command sees otherwise than the tests do."""

    environment: Mapping[str, str] = {}
    before: Sequence[str] = ()
    """The command that it stands behind."""


class GatedBuild(Running):
    """A build of that project in the background, through one of the front doors."""

    command = "build"

    def __init__(
        self,
        quern: Quern,
        door: str,
        arguments: Sequence[str],
        around: Surroundings = Surroundings(),  # noqa: B008 - immutable
    ) -> None:
        """``door`` is ``nox`` or ``python``."""
        self.cache = quern.cache
        through_python = quern.command(self.command, *arguments)
        through_nox = (sys.executable, str(PROJECT / "nox"), "-s", "build-cpu", "--", *arguments)
        # Lines that no CI system folds: tests wait for them.
        plain = {"PYTHONUNBUFFERED": "1", "GITHUB_ACTIONS": "", "GITLAB_CI": "", "TF_BUILD": ""}
        super().__init__(
            subprocess.Popen(
                [*around.before, *(through_nox if door == "nox" else through_python)],
                cwd=PROJECT,
                env={**quern.environment(around.environment), **plain},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        )

    @property
    def said(self) -> str:
        """Return all that it has said so far."""
        return "".join(self.lines)

    def started(self) -> list[psutil.Process]:
        """Return every process of the build that runs here, not in a container."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def containers(self, client: docker.DockerClient | None = None) -> list[str]:
        """Return the IDs of its containers in the usual engine, or in another one."""
        client = client or docker.from_env()
        marks = {f"-p{process.pid}-" for process in self.started()}
        found = client.containers.list(all=True, filters={"label": RUN_LABEL}, ignore_removed=True)
        return [
            str(one.id) for one in found if any(mark in one.labels[RUN_LABEL] for mark in marks)
        ]

    def reach(self, moment: str) -> None:
        """Let the steps go until it says ``moment``, such as ``second ...``."""
        for step in GATED:
            for line in (f"{step} ...", f"✓ {step}"):
                self.wait_for(line)
                if line == moment:
                    return
                if line.endswith("..."):
                    self.let_go()
        raise AssertionError(moment)

    def let_go(self, act: str = "") -> None:
        """Have the step that waits do that, and end."""
        deadline = time.monotonic() + 60
        while not (waiting := self.waiting()):
            assert time.monotonic() < deadline, f"no step waits\n{self.said}"
            time.sleep(0.02)
        (folder,) = waiting
        (folder / "go.partial").write_text(act)
        (folder / "go.partial").rename(folder / "go")

    def waiting(self) -> list[Path]:
        """Return the folders for temporary files of the steps that wait."""
        return list(self.cache.glob("work/*/*/scratch.partial"))

    def complete(self) -> int:
        """Let all steps go that have not ended; return the exit code."""
        for step in GATED:
            self.wait_for_any(f"{step} ...", f"✓ {step}")
            if f"✓ {step}" not in self.said:
                self.let_go()
        return self.finish(120)

    def send(self, signals: Sequence[Sent]) -> None:
        """Send the signals, each if the process is still there at its time."""
        began = time.monotonic()
        for seconds, number in signals:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(max(0, began + seconds - time.monotonic()))
            if self.process.poll() is not None:
                return
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it with all processes of its session."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
