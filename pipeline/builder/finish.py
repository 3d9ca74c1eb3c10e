"""Makes the builder's tokenizer and generation settings right, portable and reproducible."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pipeline.builder.params import SearchOption
from pipeline.builder.session_options import SessionOption, SessionValue, set_session, write_config
from pipeline.builder.tokenizer_files import make_readable
from pipeline.data.tokenizer import load_artifact_tokenizer
from pipeline.evaluation.settings import shipped
from pipeline.onnx.answer_ends import answer_ends
from pipeline.onnx.checkpoint import Checkpoint, as_ids


def finish(
    folder: Path,
    checkpoint: Checkpoint,
    threads: int | None,
    search: Mapping[SearchOption, bool | int | float],
    session: Mapping[SessionOption, SessionValue],
) -> tuple[int, ...]:
    """Complete the model folder in place and return the ids that end an answer.

    - The tokenizer's files: see :mod:`pipeline.builder.tokenizer_files`.
    - ``genai_config.json``: answers end (:mod:`pipeline.onnx.answer_ends`) and are chosen
      (:mod:`pipeline.evaluation.settings`) as those of the models that it is compared with, unless
      ``search`` has it otherwise. ``threads`` and ``session`` are written.
    """
    make_readable(folder)
    path = folder / "genai_config.json"
    config = json.loads(path.read_text("utf-8"))
    model = config["model"]
    known = answer_ends(checkpoint, load_artifact_tokenizer(folder))
    ends = dict.fromkeys([*as_ids(model.get("eos_token_id")), *known])
    model["eos_token_id"] = list(ends)
    config["search"] |= shipped(checkpoint.generation_config)
    config["search"] |= search
    set_session(config, threads, session)
    write_config(path, config)
    return tuple(ends)
