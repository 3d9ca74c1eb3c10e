"""Answers the tasks of ``task_folder.py`` without lm-eval and without Quern's code, one token after
the other.

Usage: ``python plain_tasks.py CHECKPOINT ARTIFACT ROWS``; prints what each model scores, as JSON.
An ARTIFACT of ``-`` is left out.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_genai as og
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

LABELS = ("joy", "fear", "sadness")
SHOWN = 4
"""Rows that are asked with examples in front."""
Next = Callable[[Sequence[int]], Any]
"""Returns the logits after the last token."""


def of_checkpoint(folder: str) -> Next:
    """Return a model of transformers' that reads each text anew."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def after(ids: Sequence[int]) -> Any:
        with torch.no_grad():
            return model(torch.tensor([list(ids)])).logits[0, -1].double().numpy()

    return after


def of_artifact(folder: str) -> Next:
    """Return an artifact that reads each text anew, token by token."""
    model = og.Model(folder)

    def after(ids: Sequence[int]) -> Any:
        params = og.GeneratorParams(model)
        params.set_search_options(max_length=len(ids) + 1, do_sample=False)
        generator = og.Generator(model, params)
        for token in ids:
            generator.append_tokens(np.asarray([token], dtype=np.int32))
        return np.array(generator.get_output("logits"), dtype=np.float64)[0, -1]

    return after


def logprob(after: Next, prompt: Sequence[int], answer: Sequence[int]) -> float:
    """Return the log-probability of ``answer`` after ``prompt``."""
    total = 0.0
    for at, token in enumerate(answer):
        logits = after([*prompt, *answer[:at]])
        total += logits[token] - logits.max() - math.log(np.exp(logits - logits.max()).sum())
    return float(total)


def scores(after: Next, tokenizer: Any, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what a model scores on each task."""
    found: dict[str, Any] = {"acc": [], "acc_norm": [], "logprobs": [], "exact": [], "shots": []}
    asked = [f"<|user|>\n{row['phrase']}<|end|>\n<|assistant|>\n" for row in rows]
    shown = [text + row["tone"] for text, row in zip(asked, rows, strict=True)]
    ends = {tokenizer.convert_tokens_to_ids(end) for end in ("<|end|>", "<|endoftext|>")}
    for at, (prompt, row) in enumerate(zip(asked, rows, strict=True)):
        given = tokenizer.encode(prompt)

        def rated(text: str, labels: Sequence[str]) -> list[float]:
            # As lm-eval has it, white space at the end of a prompt is part of what is answered.
            start = tokenizer.encode(text.rstrip())
            wholes = [tokenizer.encode(text + label) for label in labels]
            return [logprob(after, start, whole[len(start) :]) for whole in wholes]

        of_labels = rated(prompt, LABELS)
        by_length = [one / len(name) for one, name in zip(of_labels, LABELS, strict=True)]
        found["acc"].append(float(np.argmax(of_labels) == row["answer"]))
        found["acc_norm"].append(float(np.argmax(by_length) == row["answer"]))
        found["logprobs"] += rated(prompt, [row["tone"] + "<|end|>"])
        ids = list(given)
        while len(ids) < len(given) + 8 and not (ids[len(given) :] and ids[-1] in ends):
            ids.append(int(np.argmax(after(ids))))
        text = tokenizer.decode(ids[len(given) :], skip_special_tokens=True)
        found["exact"].append(float(text.split("\n")[0] == row["tone"]))
        if at >= SHOWN:
            continue
        # The first two rows that are not the one that is asked.
        first = [example for number, example in enumerate(shown[:3]) if number != at][:2]
        of_shots = rated("\n\n".join([*first, prompt]), LABELS)
        found["shots"].append(float(np.argmax(of_shots) == row["answer"]))
    return found


def main(checkpoint: str, artifact: str, file: str) -> None:
    """Print the scores."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    rows = [json.loads(line) for line in Path(file).read_text("utf-8").splitlines()]
    rows = [row for row in rows if row["phrase"]]
    found = {"checkpoint": scores(of_checkpoint(checkpoint), tokenizer, rows)}
    if artifact != "-":
        found["artifact"] = scores(of_artifact(artifact), tokenizer, rows)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
