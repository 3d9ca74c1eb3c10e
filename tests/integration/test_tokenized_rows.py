"""Trainings on tokens that a step before them made: same bytes, and no row is read again."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.data_spec import DataSpec, Sequences, Split
from pipeline.contract.events import Noted, Warned
from pipeline.contract.plan import DataInput, SourceInput, StepInput
from pipeline.contract.result import StepResult
from pipeline.training.params import TOKENS
from tests.support import plans
from tests.support.warm_process import warm_code

Inputs = dict[str, StepInput | SourceInput]
LORA = {"max_steps": 6, "batch_size": 2, "dropout": 0.1, "logging_steps": 1}
TONES = {"prompt": "{phrase}", "completion": "{tone}", "label": "tone"}


def data(name: str, file: str, **parts: DataInput) -> DataInput:
    named: dict[str, Any] = {role: part.name for role, part in parts.items()}
    spec = DataSpec(path=file, **SPECS[name], **named)
    return DataInput(name=name, rows=(plans.material_input(file),), spec=spec, **parts)


SPECS: dict[str, dict[str, Any]] = {
    "chat": TONES,
    "others": TONES,
    "text": {"template": "{phrase} = {tone}", "completion": " {tone}"},
    "joined": {
        "template": "{phrase} is {tone}.",
        "loss_on": "all",
        "sequences": Sequences(strategy="join-sliding-window", length=24, stride=8),
    },
    "ids": {"tokens": True, "split": Split(validation=0.2)},
}
CHAT = data("chat", "tones.jsonl")
WHOLE = data("others", "tones.jsonl")
CASES: dict[str, tuple[str, dict[str, Any], DataInput]] = {
    "chat": ("lora", LORA, CHAT),
    "packing": ("lora", {**LORA, "packing": True, "max_length": 64}, CHAT),
    "text, by length": ("lora", {**LORA, "group_by_length": True}, data("text", "tones.jsonl")),
    "two data sets": ("lora", LORA, data("chat", "tones.jsonl", held_out=WHOLE)),
    "joined": ("lora", LORA, data("joined", "tones.jsonl")),
    "token ids": ("lora", LORA, data("ids", "ids.jsonl")),
    "cut": ("lora", {**LORA, "max_length": 12, "too_long": "cut"}, CHAT),
    "all weights": ("full_finetune", {"max_steps": 6, "batch_size": 2}, CHAT),
    "qlora": ("qlora", LORA, CHAT),
    "two processes": ("lora", {**LORA, "gpus": 2}, CHAT),
}
CHEAP = ("chat", "packing")


@pytest.fixture(scope="module", autouse=True)
def ids(material: Path) -> None:
    chance = random.Random(1)  # noqa: S311
    rows = [[chance.randrange(300) for _ in range(chance.randint(4, 20))] for _ in range(40)]
    lines = [
        json.dumps(
            {"input_ids": row, "labels": [*([-100] * (len(row) // 2)), *row[len(row) // 2 :]]}
        )
        for row in rows
    ]
    (material / "ids.jsonl").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=() if c in CHEAP else pytest.mark.slow) for c in CASES],
)
def test_a_training_has_the_same_bytes_where_a_step_made_its_tokens(
    toolchain_python: Path, material: Path, tmp_path: Path, case: str
) -> None:
    kind, params, rows = CASES[case]
    limits = {"max_length": 1024, "too_long": "drop"}
    limits |= {name: params[name] for name in limits if name in params}
    alone = plans.step(kind, "pass", {"model": plans.CHECKPOINT}, params, data=rows)
    made = plans.step("tokenize", "pass", {"model": plans.CHECKPOINT}, limits, data=rows)
    inputs: Inputs = {"model": plans.CHECKPOINT, TOKENS: plans.output_of("tokenize")}
    after = plans.step("after", "pass", inputs, params, data=rows, type=kind)

    code, events, log = plans.run(toolchain_python, tmp_path / "work", material, [alone])
    assert code == 0, log[-3000:]
    own = [str(event.message) for event in events if isinstance(event, (Warned, Noted))]
    code, events, log = plans.run(toolchain_python, tmp_path / "work", material, [made, after])
    assert code == 0, log[-3000:]
    found, right = (plans.result(tmp_path / "work", name) for name in ("after", kind))
    assert found.files == right.files
    assert _untimed(found) == _untimed(right)
    said = [str(event.message) for event in events if isinstance(event, (Warned, Noted))]
    assert sorted(said) == sorted(own)


def test_its_tokens_are_those_of_transformers_and_no_row_is_read_again(
    toolchain_python: Path, material: Path, tmp_path: Path
) -> None:
    file = material / "own.jsonl"
    file.write_bytes((material / "tones.jsonl").read_bytes())
    rows = data("chat", "own.jsonl")
    limits = {"max_length": 1024, "too_long": "drop"}
    made = plans.step("tokenize", "pass", {"model": plans.CHECKPOINT}, limits, data=rows)
    plans.must_run(toolchain_python, tmp_path / "work", material, [made])
    folder = tmp_path / "work" / "tokenize" / "output"
    warm_code(toolchain_python, AS_TRANSFORMERS, material / "checkpoint", file, folder)
    file.unlink()
    inputs: Inputs = {"model": plans.CHECKPOINT, TOKENS: plans.output_of("tokenize")}
    plans.must_run(
        toolchain_python,
        tmp_path / "work",
        material,
        [plans.step("lora", "pass", inputs, LORA, data=rows)],
    )


AS_TRANSFORMERS = """
import json, sys
import pyarrow
from transformers import AutoTokenizer
checkpoint, rows, folder = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(checkpoint)
asked = {}
for line in open(rows):
    row = json.loads(line)
    turn = {"role": "user", "content": row["phrase"]}
    before = tokenizer.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)
    answer = row["tone"] + "<|end|>"
    texts = (before, before + answer)
    prompt, whole = (tokenizer.encode(text, add_special_tokens=False) for text in texts)
    asked[tuple(whole)] = [False] * len(prompt) + [True] * (len(whole) - len(prompt))
count = 0
for part in ("training", "validation"):
    with pyarrow.ipc.open_stream(f"{folder}/{part}.arrow") as stream:
        for row in stream.read_all().to_pylist():
            assert asked[tuple(row["ids"])] == row["learnt"], row
            count += 1
assert count > 10, count
"""


def _untimed(result: StepResult) -> dict[str, Any]:
    timed = ("second", "peak")
    return {
        name: value
        for name, value in result.metrics.items()
        if not any(word in name for word in timed)
    }
