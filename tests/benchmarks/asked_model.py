"""Run by a toolchain's Python: asks a model the held-out prompts of a data set, and prints as JSON
what that took.

Usage: ``python asked_model.py CHECKPOINT DATA PROMPTS THREADS [ARTIFACT]``: the checkpoint in
PyTorch, or the artifact that was built from it. DATA is a data set of a config, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from pipeline.contract.data_spec import DataSpec
from pipeline.contract.step import Reporter
from pipeline.data.examples import Example, make_examples
from pipeline.data.load import read_files
from pipeline.data.split import split
from pipeline.data.tokenize import Codec
from pipeline.data.tokenizer import load_artifact_tokenizer, load_tokenizer
from pipeline.evaluation.scores import Answers, answer, score
from pipeline.onnx.answer_ends import answer_ends
from pipeline.onnx.answerer import GenAiAnswerer
from pipeline.onnx.artifact_codec import ArtifactCodec
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.onnx.session import Session
from pipeline.training.answerer import TorchAnswerer
from pipeline.training.loading import ModelLoading
from pipeline.training.streamed import load_fp32
from tests.support.silent import Silent


def main() -> None:
    """Ask, and print."""
    checkpoint = Path(sys.argv[1])
    prompts, threads = map(int, sys.argv[3:5])
    torch.set_num_threads(threads)
    examples = held_out(DataSpec.model_validate_json(sys.argv[2]))[:prompts]
    report = Silent()
    ask = artifact(Path(sys.argv[5]), threads) if sys.argv[5:] else in_torch(checkpoint, report)
    began = time.perf_counter(), time.process_time()
    answers: Answers = answer(*ask, examples, report)
    figures = {
        "prompts": len(examples),
        "seconds": time.perf_counter() - began[0],
        "cpu_seconds": time.process_time() - began[1],
        "accuracy": score(answers).value,
    }
    sys.stdout.write(json.dumps(figures) + "\n")


def held_out(spec: DataSpec) -> list[Example]:
    """Return the held-out part of a data set."""
    read = read_files([Path(str(spec.path))])
    assert not read.problems
    return list(split(make_examples(read.rows, spec), spec.own_split).eval)


def in_torch(checkpoint: Path, report: Reporter) -> tuple[Any, Any]:
    """Return what answers with the checkpoint, and its codec."""
    tokenizer = load_tokenizer(checkpoint)
    model = load_fp32(checkpoint, ModelLoading(), report)
    ends = frozenset(answer_ends(Checkpoint(checkpoint), tokenizer))
    return TorchAnswerer(model, tokenizer.pad_token_id, ends), Codec(tokenizer)


def artifact(folder: Path, threads: int) -> tuple[Any, Any]:
    """Return what answers with the artifact, and its codec."""
    session = Session(folder, threads)
    return GenAiAnswerer(session), ArtifactCodec(load_artifact_tokenizer(folder), session)


if __name__ == "__main__":
    main()
