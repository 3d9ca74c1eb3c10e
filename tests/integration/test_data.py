"""Rows that a step makes: of a script written for Olive, of Parquet, of a hub that is not there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.data_spec import DataSpec
from pipeline.contract.events import StepFailed, Warned
from pipeline.contract.plan import DataInput, PathRef, SourceInput, Step, StepInput
from pipeline.passes.rows import FETCHED, FILE
from tests.support import hub_stand_in, plans

SCRIPT = """\
import json
from datetime import date
from pathlib import Path

import numpy
from datasets import Dataset
from helper import PREFIX
from olive.data.registry import Registry
from transformers import AutoTokenizer

TONES = {"joy": ["sun", "cake", "song"], "fear": ["dark", "fog", "hands"]}

@Registry.register_dataset()
def Tones(copies, **kwargs):
    rows = [
        {"phrase": f"{word} {copy}", "tone": tone, "day": date(2026, 11, 5),
         "weight": numpy.float32(0.5)}
        for copy in range(copies) for tone, words in TONES.items() for word in words
    ]
    return Dataset.from_list(rows)

def as_text(row):
    return f"{PREFIX} {row['phrase']} = {row['tone']}"

@Registry.register_pre_process("to_tokens")
def tokens(dataset, model_name, tokenizer, size):
    assert Path(model_name, "config.json").is_file()
    assert isinstance(dataset, Dataset)
    texts = [f"{row['phrase']} {row['tone']}" for row in dataset]
    own = AutoTokenizer.from_pretrained(model_name)
    assert own(texts)["input_ids"] == tokenizer(texts)["input_ids"]
    encoded = tokenizer(texts, truncation=True, max_length=size)
    return [{"input_ids": numpy.array(ids), "labels": ids} for ids in encoded["input_ids"]]
"""
TRAINING = {"max_steps": 2, "batch_size": 4, "r": 4, "alpha": 4}
BASE = {"model": plans.CHECKPOINT}


def of_material(path: str) -> SourceInput:
    return SourceInput(ref=PathRef(root="material", path=path), digest=path)


CODE: dict[str, StepInput | SourceInput] = {
    "script": of_material("user.py"),
    "script_dir": of_material("lib"),
}


def rows_step(name: str, inputs: dict[str, StepInput | SourceInput], **params: Any) -> Step:
    return plans.step(name, "pass", inputs, params, type="rows")


def data_of(name: str, **spec: Any) -> DataInput:
    """Return the rows that the step ``name`` makes as a data set."""
    code = {"script": "user.py", "load": "tones"}
    read = DataSpec.model_validate({"code": code, **spec})
    return DataInput(name=name, rows=(plans.output_of(name),), spec=read)


@pytest.fixture(scope="module")
def material(toolchain_python: Path, material: Path) -> Path:
    """Add to the tiny model a script of the user's with a module beside it, and a Parquet file."""
    (material / "user.py").write_text(SCRIPT)
    (material / "lib").mkdir()
    (material / "lib" / "helper.py").write_text("PREFIX = 'tone of'\n")
    write = (
        "import sys, pyarrow as pa, pyarrow.parquet as pq\n"
        "table = pa.table({'prompt': ['a', 'b', 'c'], 'completion': ['x', 'y', None]})\n"
        "pq.write_table(table, sys.argv[1])\n"
        "calls = [[{'name': 'clock', 'arguments': {'city': 'Oslo'}}], [{'name': 'stop',"
        " 'arguments': {'now': True}, 'then': None}]]\n"
        "pq.write_table(pa.table({'prompt': ['a', None], 'calls': calls}), sys.argv[3])\n"
        "images = pa.table({'prompt': ['a'], 'image': [b'GIF']})\n"
        "pq.write_table(images, sys.argv[2])\n"
    )
    files = [str(material / f"{name}.parquet") for name in ("pairs", "images", "calls")]
    subprocess.run([str(toolchain_python), "-c", write, *files], check=True)
    (material / "more.csv").write_text("prompt,completion\nd,z\n")
    return material


def rows_of(work: Path, name: str) -> list[Any]:
    text = (work / name / "output" / "rows.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_rows_of_a_script_are_joined_and_trained_on(
    toolchain_python: Path, material: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    sequences = {"strategy": "join", "length": 64, "joiner": "\n"}
    split = {"eval": 0, "validation": 0.1}
    texts = data_of("texts", template="{text}", sequences=sequences, split=split)
    ids = data_of("ids", tokens=True, split={"eval_count": 4, "validation": "eval"})
    code = {"script": "user.py", "script_dir": "lib", "load": "tones"}
    steps = [
        rows_step("texts", CODE, **code, load_params={"copies": 4}, columns={"text": "as_text"}),
        rows_step(
            "ids",
            {**CODE, **BASE},
            **code,
            load_params={"copies": 2},
            pre_process="TO_TOKENS",
            pre_process_params={"size": 16},
        ),
        plans.step("lora-texts", "pass", BASE, TRAINING, texts, type="lora"),
        plans.step("lora-ids", "pass", BASE, TRAINING, ids, type="lora"),
        plans.step("evaluate-ids", "pass", BASE, None, ids, type="evaluate"),
        plans.step(
            "reference-texts",
            "pass",
            BASE,
            {"samples": 2, "long_tokens": 0},
            texts,
            type="reference",
        ),
    ]
    code_, events, log = plans.run(toolchain_python, work, material, steps)
    assert code_ == 0, ([event for event in events if isinstance(event, StepFailed)], log[-3000:])

    assert rows_of(work, "texts")[0] == {
        "phrase": "sun 0",
        "tone": "joy",
        "day": "2026-11-05",
        "weight": 0.5,
        "text": "tone of sun 0 = joy",
    }
    assert plans.result(work, "texts").metrics["rows"] == 24
    joined = plans.result(work, "lora-texts").metrics
    assert joined["train_sequences"] == int(str(joined["train_tokens"])) // 64
    assert 0 < int(str(joined["train_sequences"])) < int(str(joined["train_rows"])) <= 22
    assert joined["validation_sequences"] == 1
    assert joined["validation_loss"] is not None
    said = [event.message for event in events if isinstance(event, Warned)]
    assert any(message.startswith("the validation rows joined have") for message in said)

    taught = plans.result(work, "lora-ids").metrics
    assert (taught["train_sequences"], taught["validation_sequences"]) == (8, 4)
    assert plans.result(work, "evaluate-ids").metrics["samples"] == 4
    assert plans.result(work, "reference-texts").metrics["rows"] == 2


def test_parquet_and_its_bad_row(toolchain_python: Path, material: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    files: dict[str, StepInput | SourceInput] = {
        FILE.format(at): of_material(name) for at, name in enumerate(("pairs.parquet", "more.csv"))
    }
    data = data_of("pairs", pair_format="self_instruct")
    steps = [
        rows_step("pairs", files, files=2),
        plans.step("evaluate", "pass", BASE, None, data),
    ]
    _, events, _ = plans.run(toolchain_python, work, material, steps)
    rows = rows_of(work, "pairs")
    assert [row["completion"] for row in rows] == ["x", "y", None, "z"]
    (failed,) = [event for event in events if isinstance(event, StepFailed)]
    assert (failed.step, failed.cause) == ("evaluate", "bad_input")
    assert "row 3: the column 'completion' is empty" in failed.message


def test_values_have_no_fields_but_their_own(
    toolchain_python: Path, material: Path, tmp_path: Path
) -> None:
    """Arrow gives each call the arguments of all."""
    calls = {FILE.format(0): of_material("calls.parquet")}
    (material / "same.py").write_text("def same(rows):\n    return rows\n")
    code: dict[str, StepInput | SourceInput] = {"script": of_material("same.py")}
    steps = [
        rows_step("read", {**calls}, files=1),
        rows_step("passed", {**calls, **code}, files=1, script="same.py", pre_process="same"),
    ]
    plans.must_run(toolchain_python, tmp_path / "work", material, steps)
    for name in ("read", "passed"):
        assert rows_of(tmp_path / "work", name) == [
            {"prompt": "a", "calls": [{"name": "clock", "arguments": {"city": "Oslo"}}]},
            {"prompt": None, "calls": [{"name": "stop", "arguments": {"now": True}}]},
        ]


@pytest.mark.parametrize(
    ("inputs", "params", "said"),
    [
        (
            {FILE.format(0): of_material("images.parquet")},
            {"files": 1},
            "row 1: the column 'image'",
        ),
        ({FILE.format(0): of_material("tones.parquet")}, {"files": 1}, "is not a Parquet file"),
    ],
)
def test_what_is_no_text(
    toolchain_python: Path,
    material: Path,
    tmp_path: Path,
    inputs: dict[str, StepInput | SourceInput],
    params: dict[str, Any],
    said: str,
) -> None:
    (material / "tones.parquet").write_text("no Parquet")
    _, events, _ = plans.run(
        toolchain_python, tmp_path / "work", material, [rows_step("rows", inputs, **params)]
    )
    (failed,) = [event for event in events if isinstance(event, StepFailed)]
    assert failed.cause == "bad_input"
    assert said in failed.message


def test_a_hub_that_does_not_answer(toolchain_python: Path, material: Path, tmp_path: Path) -> None:
    # Without network the client does not even try; where it tries in vain, it raises the same.
    wanted = {"repo": "org/tones", "revision": hub_stand_in.COMMIT}
    step = plans.step("rows", "pass", {}, wanted, type="fetch_rows")
    code, events, _ = plans.run(toolchain_python, tmp_path / "work", material, [step])
    (failed,) = [event for event in events if isinstance(event, StepFailed)]
    assert (code, failed.cause) == (1, "network")
    assert f"org/tones@{hub_stand_in.COMMIT} cannot be fetched" in failed.message
    assert "--data NAME=PATH" in failed.hint


def test_a_hub_gives_one_part_at_one_commit(
    toolchain_python: Path, material: Path, tmp_path: Path
) -> None:
    lines = b"".join(b'{"text": "row %d"}\n' % number for number in range(10))
    work = tmp_path / "work"
    wanted = {"repo": "org/tones", "revision": hub_stand_in.COMMIT, "part": "train[2:4]"}
    fetched = [
        plans.step("fetched", "pass", {}, wanted, type="fetch_rows"),
        plans.step("other", "pass", {}, {**wanted, "part": "test"}, type="fetch_rows"),
    ]
    with hub_stand_in.hub("org/tones", {"train.jsonl": lines}) as endpoint:
        environment = {"HF_ENDPOINT": endpoint, "HF_TOKEN": hub_stand_in.TOKEN}
        _, events, log = plans.run(
            toolchain_python,
            work,
            material,
            [step.model_copy(update={"network": True, "hub": True}) for step in fetched],
            environment=environment,
        )
    (failed,) = [event for event in events if isinstance(event, StepFailed)]
    assert (failed.step, failed.cause) == ("other", "bad_input")
    assert 'Unknown split "test"' in failed.message

    own = {"columns": {"loud": "shout"}, "script": "loud.py"}
    (material / "loud.py").write_text("def shout(row):\n    return row['text'].upper()\n")
    brought: dict[str, StepInput | SourceInput] = {FETCHED: plans.output_of("fetched")}
    script: dict[str, StepInput | SourceInput] = {"script": of_material("loud.py")}
    made = [rows_step("rows", brought), rows_step("loud", {**brought, **script}, **own)]
    plans.must_run(toolchain_python, work, material, made)
    assert rows_of(work, "rows") == [{"text": "row 2"}, {"text": "row 3"}], log[-3000:]
    assert [row["loud"] for row in rows_of(work, "loud")] == ["ROW 2", "ROW 3"]
