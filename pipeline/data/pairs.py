"""Known layouts of question and answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.contract.data_spec import PairFormat

_CHIP2 = re.compile(r"\s*<human>:(?P<question>.*?)\n\s*<bot>:(?P<answer>.*)", re.DOTALL)
_CHIP2_TURN = re.compile(r"^\s*<(human|bot)>:", re.MULTILINE)

_TASK = "Below is an instruction that describes a task"
_WITH_INPUT = ", paired with an input that provides further context"
_REQUEST = ". Write a response that appropriately completes the request.\n\n"


@dataclass(frozen=True)
class PairLayout:
    """The columns that a layout reads, and a function from a row to question and answer."""

    columns: tuple[str, ...]
    """Columns that every row must have, with text."""
    optional: tuple[str, ...]
    read: Callable[[Mapping[str, str]], tuple[str, str]]
    """Returns question and answer. Raises ``ValueError`` with the problem."""


def _alpaca(row: Mapping[str, str]) -> tuple[str, str]:
    input_text = row.get("input", "").strip()
    task = f"{_TASK}{_WITH_INPUT if input_text else ''}{_REQUEST}"
    context = f"\n\n### Input:\n{row['input']}" if input_text else ""
    question = f"{task}### Instruction:\n{row['instruction']}{context}\n\n### Response: "
    return question, row["output"]


def _chip2(row: Mapping[str, str]) -> tuple[str, str]:
    match = _CHIP2.fullmatch(row["text"])
    if match is None or len(_CHIP2_TURN.findall(row["text"])) != 2:
        raise ValueError("the column 'text' must be one <human>: turn and one <bot>: turn")
    question, answer = match["question"].strip(), match["answer"].strip()
    if not question or not answer:
        raise ValueError("the column 'text' has an empty turn")
    return question, answer


def _self_instruct(row: Mapping[str, str]) -> tuple[str, str]:
    return row["prompt"], row["completion"]


PAIR_LAYOUTS: Mapping[PairFormat, PairLayout] = {
    # https://huggingface.co/datasets/tatsu-lab/alpaca
    "alpaca": PairLayout(("instruction", "output"), ("input",), _alpaca),
    # unified_chip2.jsonl of https://huggingface.co/datasets/laion/OIG
    "chip2": PairLayout(("text",), (), _chip2),
    # https://huggingface.co/datasets/yizhongw/self_instruct
    "self_instruct": PairLayout(("prompt", "completion"), (), _self_instruct),
}
