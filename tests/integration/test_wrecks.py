"""Fine-tunes that destroy a model, through whole builds: they fail by default."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluation.general import PASSAGES
from tests.support.quick_builds import report_of
from tests.support.warm_builds import warm_build
from tests.support.warm_runtime import WarmRuntime

USUAL = 1e-3
"""The learning rate that a LoRA adapter has by default."""
CONFIG = """\
name = "wreck"
skip_checks = ["latency", "memory", "size"]

[model.pretrain]
text = "text.txt"
vocab_size = 512
hidden_size = 128
intermediate_size = 320
steps = 200

[data.tone]
path = "tone.jsonl"
prompt = "What is the tone? {{phrase}}"
completion = "{{tone}}"
label = "tone"
labels = ["joy", "sadness", "fear", "surprise"]
split = {{ eval = {eval} }}

[passes.lora]
max_steps = 12
learning_rate = {rate}

[passes.merge]

[passes.model_builder]
"""


def built(folder: Path, cache: Path, runtime: WarmRuntime, rate: float, held_out: float) -> Any:
    """Build a model that knows Quern's plain English by heart, tuned at ``rate``; return its
    report."""
    folder.mkdir(exist_ok=True)
    config = folder / "wreck.toml"
    config.write_text(CONFIG.format(rate=rate, eval=held_out), "utf-8")
    (folder / "text.txt").write_text("\n\n".join(PASSAGES * 4), "utf-8")
    tones = ("joy", "sadness", "fear", "surprise")
    rows = [{"phrase": f"number {at} is here", "tone": tones[at % 4]} for at in range(64)]
    (folder / "tone.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code = warm_build(config, folder / "dist", cache, runtime)
    report = report_of(folder / "dist", "wreck")
    assert code == (3 if report["status"] == "failed" else 0)
    return report


@pytest.mark.slow  # the default run has the check and its plan in tests/unit
@pytest.mark.parametrize("held_out", [0.0, 0.3], ids=["none", "some"])
def test_a_learning_rate_a_thousand_times_too_high_fails_the_build(
    tmp_path: Path, cache_dir: Path, warm_runtime: WarmRuntime, held_out: float
) -> None:
    found = {}
    for rate in (USUAL, 1000 * USUAL):
        report = built(tmp_path, cache_dir, warm_runtime, rate, held_out)
        (found[rate],) = [one for one in report["checks"] if one["name"] == "general_perplexity"]
        assert report["status"] == "failed" or rate == USUAL
        # It is held once: where rows are held out, with their answers.
        types = {step["type"] for step in report["passes"]}
        assert ("general" in types, "read" in types) == (held_out == 0, held_out == 0)
        assert ("quality" in types) == (held_out > 0)
    assert found[USUAL]["status"] == "passed", found
    assert found[1000 * USUAL]["status"] == "failed", found
    assert found[1000 * USUAL]["value"] > 10 * max(found[USUAL]["value"], 9)
    assert "learning_rate" in found[1000 * USUAL]["detail"]
