"""The two models that all are asked on: a real one, and one of Phi-3-mini's shape."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.contract.plan import OUTPUT_DIR, object_path
from pipeline.contract.sha256 import sha256_of_file
from pipeline.run.registry import check_types
from targets.cli.options import PROJECT
from tests.benchmarks.example import built
from tests.benchmarks.peers.making import kept, last_line, run
from tests.benchmarks.peers.programs.answering import Question
from tests.benchmarks.scale.world import World
from tests.support.smollm import fetch_model

SHORT, LONG = 128, 1024
FEW, MANY = 32, 256
_WINDOWS, _WINDOW = 16, 512
_TEXT = PROJECT / "configs" / "base" / "stories-1.txt"
_RANDOM = PROJECT / "tests" / "benchmarks" / "scale" / "checkpoint.py"
_WARM = 8


@dataclass(frozen=True)
class Subject:
    """A model in the forms in which the peers take it, and what is asked of it."""

    name: str
    title: str
    source: Path
    """As a config of Quern's names it."""
    checkpoint: Path
    gguf: Path
    """What llama.cpp quantizes."""
    ids: Sequence[int]
    """Of what is read."""
    real: bool

    @property
    def warm(self) -> Sequence[int]:
        """Return a short prompt."""
        return self.ids[SHORT + LONG :][:_WARM]

    def questions(self, threads: int) -> Sequence[Question]:
        """Return what is asked with so many threads: of a large model, not everything with one.

        No prompt begins like another: some libraries remember what they read.
        """
        short, long = self.ids[:SHORT], self.ids[SHORT : SHORT + LONG]
        if self.real or threads > 1:
            return (Question(short, MANY), Question(long, FEW))
        return (Question(short, FEW),)

    @property
    def texts(self) -> Sequence[Sequence[int]]:
        """Return the windows that are read for perplexity; none for random weights."""
        firsts = range(0, _WINDOWS * _WINDOW, _WINDOW) if self.real else ()
        return [self.ids[first : first + _WINDOW] for first in firsts]


def smollm(world: World) -> Subject:
    """Return SmolLM2-135M-Instruct: the GGUF file, and the checkpoint that Quern makes of it."""
    gguf = fetch_model()
    config = world.scratch / "import.toml"
    values = {"model": str(gguf), "skip_checks": list(check_types())}
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in values.items()]
    config.write_text(f'name = "import"\n{"".join(lines)}[passes.model_builder]\n', "utf-8")
    report = built(["cpu"], world.cache, world.scratch / "dist", config)["cpu"]
    (key,) = (step.key for step in report.passes if step.name == "import_gguf")
    folder = world.cache / "objects" / object_path(key) / OUTPUT_DIR
    told = run(world, world.python(), "text_ids", folder, _TEXT)
    ids = json.loads(last_line(told))
    return Subject("smollm2", "SmolLM2-135M", gguf, folder, gguf, ids, True)


def phi(world: World) -> Subject:
    """Return a model of Phi-3-mini's shape, with the run's number of layers and random weights."""
    layers = world.layers
    code = sha256_of_file(_RANDOM)

    def make(out: Path) -> None:
        world.say(f"making a checkpoint of {layers} layers")
        world.must_run("checkpoint", out, "--layers", str(layers))

    def convert(out: Path) -> None:
        run(world, world.python(), "gguf_phi3", folder, out / "model.gguf")

    folder = kept(world, f"phi3-{layers}", code, make)
    gguf = kept(world, f"phi3-{layers}-gguf", code, convert) / "model.gguf"
    title = f"Phi-3-mini's shape, {layers} layers"
    ids = [100 + place for place in range(SHORT + LONG + _WARM)]
    return Subject(f"phi3-{layers}", title, folder, folder, gguf, ids, False)


SUBJECTS = {"smollm2": smollm, "phi3": phi}
