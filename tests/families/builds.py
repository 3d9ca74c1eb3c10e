"""Builds of a family: a config for its checkpoint, and a build of it for one target."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from targets.build import Builder, BuildOutcome
from targets.cache import Cache
from targets.config.load import load_config
from targets.devices.device import Device
from targets.place import Place, place_of
from targets.runtimes.runtime import Runtime
from targets.target import load_target
from targets.toolchain.platforms import this_machine
from tests.families.table import Family
from tests.support.warm_builds import SilentView

CONFIG = """\
name = {name}
seed = {seed}
{skipped}

[model]
source = {source}

[data.tones]
path = {data}
prompt = "{{phrase}}"
completion = "{{tone}}"
label = "tone"
chat = {chat}

[passes.lora]
r = 4
max_steps = 4
learning_rate = {rate}
keep = "last"

[passes.merge]

[passes.model_builder]

# A model that is 64 wide loses some answers to int4; that it is the same model, other checks say.
[checks.quality]
min_valid = 0.5
max_accuracy_loss = 0.5
max_tuning_loss = 1

[checks.generation]
min_ended = 0.5
max_degenerate = 0.5

[resources]
cpus = 1
"""
TIMED = """
[checks.latency]
lengths = []
rounds = 3
target_limits = false
"""


def write_config(family: Family, checkpoints: Path, seed: int = 0, timed: bool = True) -> Path:
    """Write the config of a build of ``family``; return its file.

    Unless ``timed``, it leaves out the checks that are about the machine: time and memory.
    """
    file = checkpoints / f"{family.name}.toml"
    text = CONFIG.format(
        name=json.dumps(family.name),
        seed=seed,
        rate=family.rate,
        skipped="" if timed else 'skip_checks = ["latency", "memory"]',
        source=json.dumps(str(checkpoints / family.name)),
        data=json.dumps(str(checkpoints / "tones.jsonl")),
        chat=json.dumps(bool(family.template)),
    )
    file.write_text(text + (TIMED if timed else ""), "utf-8")
    return file


def place(target: str) -> Place:
    """Return the place of ``target`` on this machine; that of cuda has the CPU's wheels.

    The builder writes the same graphs with them, without several gigabytes of libraries.
    """
    if target != "cuda":
        return place_of(load_target(target), this_machine())
    toolchain = load_target("cpu").toolchain(this_machine())
    return Place(replace(toolchain, target="cuda"), Device("cuda", "a test without a GPU"))


def build_family(
    family: Family,
    target: str,
    folder: Path,
    cache: Path,
    runtime: Runtime,
    seed: int = 0,
    timed: bool = True,
) -> BuildOutcome:
    """Build the checkpoint of ``family`` below ``folder`` for ``target``.

    Raises what :func:`targets.config.load.load_config` and :meth:`Builder.build` raise.
    """
    config = write_config(family, folder / "checkpoints", seed, timed)
    loaded = load_config(config, [load_target(target)])
    builder = Builder(
        loaded, Cache(cache), place(target), place("cpu"), lambda _: runtime, SilentView()
    )
    return builder.build(folder / "dist")
