"""`plan` shows rows in tokens and as rendered before any training, as transformers has them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import plans
from tests.support.command import Quern

CONFIG = """
name = "small"
model = "checkpoint"

[data.tone]
path = "train.jsonl"
prompt = "{phrase}"
completion = "{tone}"
label = "tone"
held_out = "later"
split = { validation = 0 }

[data.later]
path = "later.jsonl"
prompt = "{phrase}"
completion = "{tone}"
label = "tone"

[passes.lora]
max_length = 64

[passes.merge]

[passes.model_builder]
"""
PARTS = {
    "training": [(f"word {'and more ' * (n % 17)}{n}", ("joy", "fear")[n % 2]) for n in range(40)],
    "held-out": [(f"another {'so ' * n}end", ("joy", "fear")[n % 2]) for n in range(9)],
}


@pytest.fixture
def config(tmp_path: Path, tiny: Path) -> Path:
    (tmp_path / "checkpoint").symlink_to(tiny / "checkpoint")
    for name, rows in zip(("train.jsonl", "later.jsonl"), PARTS.values(), strict=True):
        lines = (json.dumps({"phrase": phrase, "tone": tone}) for phrase, tone in rows)
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    path = tmp_path / "tokens.toml"
    path.write_text(CONFIG)
    return path


HERE = ("--target", "cpu", "--runtime", "venv")


def planned(quern: Quern, config: Path, code: int = 0) -> dict[str, Any]:
    ran = quern("plan", "--config", str(config), *HERE, "--json")
    assert ran.code == code, ran.stderr
    document = json.loads(ran.stdout)
    assert not any(step["cached"] for step in document["plans"][0]["steps"])
    (data,) = document["data"]
    assert isinstance(data, dict)
    return data


def test_lengths_are_transformers_and_are_counted_once(
    quern: Quern, toolchain_python: Path, tiny: Path, config: Path
) -> None:
    data = planned(quern, config)
    asked = [str(toolchain_python), "-m", "tests.support.rendered_lengths"]
    right = subprocess.run(
        [*asked, str(tiny / "checkpoint"), json.dumps(PARTS)],
        cwd=plans.ROOT,
        env={**os.environ, "PYTHONPATH": str(plans.ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = {
        part: [lengths[name] for name in ("p50", "p90", "p99", "longest")]
        for part, lengths in data["lengths"].items()
    }
    assert found == json.loads(right.stdout)
    assert (data["max_length"], data["context"], data["every"]) == (64, 4096, 1)
    rendered = [
        "".join(f"[{p['text']}]" if p["learnt"] else p["text"] for p in sample["pieces"])
        for sample in data["samples"]
    ]
    assert [text.replace("\n", "/") for text in rendered] == [
        f"<|user|>/{phrase}<|end|>/<|assistant|>/[{tone}<|end|>]"
        for phrase, tone in PARTS["training"][:3]
    ]
    log = quern.cache / "logs" / "small-rows.log"
    before = log.stat().st_mtime_ns
    assert planned(quern, config) == data
    assert log.stat().st_mtime_ns == before


@pytest.fixture
def refused(config: Path) -> Path:
    """Add rows to both parts that are refused, each for another reason."""
    with config.with_name("train.jsonl").open("a") as lines:
        lines.write('{"phrase": "a <|end|> b", "tone": "joy"}\n')
    with config.with_name("later.jsonl").open("a") as lines:
        lines.write('{"phrase": "a <|user|> b", "tone": "joy"}\n')
        lines.write(json.dumps({"phrase": "too long " * 4000, "tone": "fear"}) + "\n")
    config.write_text(CONFIG.replace("max_length = 64", 'max_length = 24\ntoo_long = "error"'))
    return config


def test_rows_that_training_would_refuse_end_a_plan_with_all_of_them(
    quern: Quern, refused: Path
) -> None:
    data = planned(quern, refused, code=2)
    assert data["lengths"] is None
    assert len(data["samples"]) == 3
    first, third, second = sorted(data["refused"].removeprefix("lora: ").split("; "))
    assert first.startswith("1 of 11 held-out rows are longer than the model's context of 4096 ")
    assert "later.jsonl:11 (" in first
    assert second == (
        "train.jsonl:41 holds '<|end|>', later.jsonl:10 holds '<|user|>': for this model no text, "
        "but a token that only the chat template may write"
    )
    assert third.startswith("train.jsonl:") and third.endswith("longer than max_length (24 tokens)")


@pytest.mark.slow
def test_a_plan_ends_as_the_build_would(quern: Quern, refused: Path) -> None:
    ends = [
        quern(command, "--config", str(refused), *HERE, "--dist", str(refused.parent / "dist"))
        for command in ("plan", "build")
    ]
    assert [end.code for end in ends] == [2, 2]
    shown, built = (end.stderr.partition("error: ")[2].partition("  log: ")[0] for end in ends)
    assert "take it out of the row" in shown
    assert shown == built


def test_what_is_not_there_is_not_made(tmp_path: Path, config: Path) -> None:
    empty = Quern(tmp_path / "cache")
    data = planned(empty, config)
    assert (data["lengths"], data["unknown"]) == (None, "the toolchain has to be made first")
    assert not list((tmp_path / "cache").rglob("venvs/*"))
