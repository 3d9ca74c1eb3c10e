"""Builds of one small model, which differ in the form to which answers are held alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import tomli

from pipeline.data.constraint import constraint_of
from targets.build import Builder, BuildOutcome
from targets.cache import Cache
from targets.config.load import load_config
from targets.place import place_of
from targets.report.dist import MODEL_DIR
from targets.target import load_target
from targets.toolchain.platforms import this_machine
from targets.try_artifact import question, try_artifact
from tests.support.warm_builds import SilentView
from tests.support.warm_runtime import WarmRuntime

LABELS = (
    "very good",
    "very good indeed",
    "naïve 東京 🙂",
    "a+b (c)|[d]* {e}? ^f$ .",
    "back\\slash / \"quoted\" 'too'",
    "two\nlines\tand a tab",
)
"""With spaces, of any script, with what has a meaning in patterns, and one that begins another."""
CONFIG = """\
name = "held"
skip_checks = ["latency", "memory", "size", "quantization", "provider", "conversion"]

[model]
source = {source}

[data.tone]
path = "tone.jsonl"
prompt = "{{phrase}}"
completion = "{{tone}}"
label = "tone"
labels = {labels}
split = {{ eval = 1 }}
{constrain}

[passes.model_builder]

# The model knows other answers.
[checks.quality]
max_accuracy_loss = 1
max_perplexity_increase = 1
max_length_ratio = 100
min_length_ratio = 0

[checks.generation]
max_degenerate = 1

[resources]
cpus = 1
"""


@dataclass(frozen=True)
class HeldBuilds:
    """A folder with a config, and what is built of it."""

    folder: Path
    model: Path
    cache: Path
    runtime: WarmRuntime

    def build(self, constrain: str) -> BuildOutcome:
        config = CONFIG.format(
            source=json.dumps(str(self.model)),
            labels=json.dumps(LABELS, ensure_ascii=False),
            constrain=constrain,
        )
        (self.folder / "held.toml").write_text(config, "utf-8")
        target = load_target("cpu")
        place = place_of(target, this_machine())
        loaded = load_config(self.folder / "held.toml", [target])
        cache = Cache(self.cache)
        builder = Builder(loaded, cache, place, place, lambda _: self.runtime, SilentView())
        return builder.build(self.folder / "dist")

    def ask(self, text: str, constrain: str) -> str:
        """Return the answer of `try`, held as ``constrain`` says."""
        target = load_target("cpu")
        loaded = load_config(self.folder / "held.toml", [target])
        spec = loaded.config.data["tone"]
        written = tomli.loads(constrain)
        values = written.get("data", {"tone": written})["tone"]
        held = constraint_of(spec.model_copy(update={"constrain": False, **values}))
        params = {**question(spec, text), "max_new_tokens": 64}
        if held is not None:
            params["constraint"] = held.model_dump(mode="json")
        place = place_of(target, this_machine())
        model = self.folder / "dist" / "held" / "cpu" / MODEL_DIR
        view = SilentView()
        done = try_artifact(model, params, place, self.runtime, Cache(self.cache), view)
        return str(done.metrics["text"])


def held_builds_in(folder: Path, model: Path, cache: Path, runtime: WarmRuntime) -> HeldBuilds:
    """Return builds in ``folder`` of the checkpoint ``model``, with rows of all labels."""
    rows = [{"phrase": f"phrase {at}", "tone": LABELS[at % len(LABELS)]} for at in range(24)]
    (folder / "tone.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return HeldBuilds(folder, model, cache, runtime)
