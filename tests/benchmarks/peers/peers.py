"""Makes the files of each peer from the same model, and says how they are asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.contract.sha256 import sha256_of_file
from pipeline.run.registry import check_types
from targets.cli.options import PROJECT
from targets.errors import QuernError
from targets.toolchain.requirements import read_lock
from tests.benchmarks.example import built
from tests.benchmarks.peers.environments import openvino
from tests.benchmarks.peers.llama_package import RELEASE, llama_cpp
from tests.benchmarks.peers.making import kept, run, run_measured
from tests.benchmarks.peers.programs.libllama import PLACE
from tests.benchmarks.peers.subjects import Subject
from tests.benchmarks.scale.environments import ensure_environment
from tests.benchmarks.scale.world import World

_UNTUNED = '[passes.model_builder]\nprecision = "int4"\n'
_TUNED = """\
[passes.tune]
precision = "int4"
finalists = {finalists}
rounds = 3
[passes.tune.space]
block_size = [32, 64, 128]
algorithm = ["{algorithm}"]
"""
"""It takes a few minutes. No limit holds the choice: what it costs stands beside it."""
_ROUNDED = """\
[data.stories]
path = {path}
template = "{{text}}"
split = {{ eval = 0, validation = 0 }}
[passes.gptq]
[passes.model_builder]
algorithm = "k_quant_last"
"""
_LOOKED_AT = PROJECT / "configs" / "base" / "stories-2.txt"
"""What `gptq` looks at: other stories than those whose perplexity is taken."""
_TOGETHER = 4
"""Its paragraphs that are one row."""
_OPENVINO = (
    *("--task", "text-generation-with-past", "--weight-format", "int4"),
    *("--group-size-fallback", "adjust"),
)
"""Groups are of 128 weights, which not every matrix has a multiple of."""


@dataclass(frozen=True)
class Peer:
    """A model as one library takes it."""

    program: str
    python: Path
    model: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    """What there is to say of how it was made."""

    @property
    def bytes(self) -> int:
        """Return the size of its weights, graph and tables: all files that it is loaded from."""
        files = [self.model] if self.model.is_file() else self.model.rglob("*")
        return sum(file.stat().st_size for file in files if file.is_file())


def _untuned(world: World, subject: Subject) -> Peer:
    return _built(world, subject, "untuned", _UNTUNED)


def _tuned(world: World, subject: Subject) -> Peer:
    finalists, algorithm = (2, "k_quant") if subject.real else (1, "default")
    passes = _TUNED.format(finalists=finalists, algorithm=algorithm)
    return _built(world, subject, "tuned", passes)


def _rounded(world: World, subject: Subject) -> Peer:
    paragraphs = _LOOKED_AT.read_text("utf-8").split("\n\n")
    firsts = range(0, len(paragraphs), _TOGETHER)
    texts = ["\n\n".join(paragraphs[first : first + _TOGETHER]) for first in firsts]
    rows = world.scratch / f"{_LOOKED_AT.stem}.jsonl"
    rows.write_text("".join(f"{json.dumps({'text': text})}\n" for text in texts), "utf-8")
    passes = _ROUNDED.format(path=json.dumps(str(rows)))
    note = f"`gptq` looked at {len(texts)} rows of `{_LOOKED_AT.relative_to(PROJECT)}`"
    return replace(_built(world, subject, "rounded", passes), note=note)


def _built(world: World, subject: Subject, name: str, passes: str) -> Peer:
    """Return what Quern builds; its cache keeps it."""
    config = world.scratch / f"{subject.name}-{name}.toml"
    values = {"name": config.stem, "model": str(subject.source), "skip_checks": list(check_types())}
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in values.items()]
    config.write_text("".join(lines) + passes, "utf-8")
    dist = world.scratch / "dist"
    try:
        report = built(["cpu"], world.cache, dist, config)["cpu"]
    except SystemExit as ended:
        raise QuernError(f"its build ended with exit code {ended.code}") from ended
    told = next((step.metrics.get("tuning") for step in report.passes if step.name == "tune"), None)
    note = f"`tune` chose `{json.dumps(told['pinned'])}`" if isinstance(told, dict) else ""
    model = dist / config.stem / "cpu" / "model"
    return Peer("genai", world.python(), model, world.toolchain().environment, note)


def _plain(world: World, subject: Subject) -> Peer:
    def make(out: Path) -> None:
        world.say(f"building {subject.name} with the plain builder")
        world.must_run("plain.builder", subject.checkpoint, out, "int4", "cpu")

    decided_by = f"{subject.checkpoint} {world.toolchain().digest}"
    folder = kept(world, f"{subject.name}-plain", decided_by, make)
    return Peer("genai", world.python(), folder, world.toolchain().environment)


def _llama(kind: str) -> Callable[[World, Subject], Peer]:
    def peer(world: World, subject: Subject) -> Peer:
        libraries = llama_cpp(world.cache)
        variables = {PLACE: str(libraries)}

        def make(out: Path) -> None:
            world.say(f"quantizing {subject.name} to {kind}")
            place = (subject.gguf, out / "model.gguf", kind)
            run(world, world.python(), "gguf_quantize", *place, variables=variables)

        decided_by = f"{subject.gguf} {libraries}"
        model = kept(world, f"{subject.name}-{kind}", decided_by, make) / "model.gguf"
        return Peer("llama_cpp", world.python(), model, variables)

    return peer


def _given(world: World, subject: Subject) -> Peer:
    variables = {PLACE: str(llama_cpp(world.cache))}
    return Peer("llama_cpp", world.python(), subject.gguf, variables)


def _openvino(world: World, subject: Subject) -> Peer:
    environment = ensure_environment(openvino(), world.cache, world.say)
    python = environment / "bin" / "python"

    def make(out: Path) -> None:
        world.say(f"exporting {subject.name} for OpenVINO")
        command: list[str | Path] = [python, environment / "bin" / "optimum-cli"]
        command += ["export", "openvino", "--model", subject.checkpoint, *_OPENVINO, out]
        run_measured(world, command)

    decided_by = f"{subject.checkpoint} {sha256_of_file(openvino().lock)}"
    model = kept(world, f"{subject.name}-openvino", decided_by, make)
    return Peer("openvino_genai", python, model)


OURS = "Quern"
PEERS: Mapping[str, Callable[[World, Subject], Peer]] = {
    OURS: _untuned,
    "Quern, tuned": _tuned,
    "plain builder": _plain,
    "llama.cpp Q4_0": _llama("Q4_0"),
    "llama.cpp Q4_K_M": _llama("Q4_K_M"),
    "OpenVINO GenAI": _openvino,
}
"""By the names that the page has."""
ROUNDED = "Quern, gptq"
"""The real model only: random weights have nothing to keep."""
GIVEN = "llama.cpp Q4_1"
"""The real model's own file, in which nothing more is lost."""
IN_TORCH = "transformers, fp32"


def peers_of(subject: Subject) -> Mapping[str, Callable[[World, Subject], Peer]]:
    """Return what is asked on ``subject``."""
    return {**PEERS, ROUNDED: _rounded, GIVEN: _given} if subject.real else PEERS


def in_torch(world: World, subject: Subject) -> Peer:
    """Return what the perplexity of all is held against."""
    return Peer("in_torch", world.python(), subject.checkpoint)


def versions(world: World) -> str:
    """Return what was compared."""
    ours = {str(pin.name): str(pin) for pin in read_lock(world.toolchain().lock)}
    theirs = {str(pin.name): str(pin) for pin in read_lock(openvino().lock)}
    named = [ours[name] for name in ("onnxruntime", "onnxruntime-genai")]
    return ", ".join([*named, RELEASE, *(theirs[name] for name in ("openvino-genai", "nncf"))])
