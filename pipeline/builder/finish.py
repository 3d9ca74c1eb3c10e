"""Makes the builder's tokenizer and generation settings right, portable and reproducible."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pipeline.builder.params import SearchOption
from pipeline.builder.session_options import SessionOption, SessionValue, set_session, write_config
from pipeline.builder.tokenizer_files import make_readable
from pipeline.onnx.checkpoint import Checkpoint, as_ids
from pipeline.onnx.turn_end import turn_end

_READS_DECODERS = "0.14"
"""Version of GenAI since which SentencePiece-style BPE is known by its decoder."""


def finish(
    folder: Path,
    checkpoint: Checkpoint,
    threads: int | None,
    search: Mapping[SearchOption, bool | int | float],
    session: Mapping[SessionOption, SessionValue],
) -> tuple[int, ...]:
    """Complete the model folder in place and return the ids that end an answer.

    - The tokenizer's files: see :mod:`pipeline.builder.tokenizer_files`.
    - ``genai_config.json``: answers end at the checkpoint's end tokens and at the token with which
      the chat template ends a turn. Sampling is off, so that the same prompt has the same answer,
      and the repetition penalty is the checkpoint's, as for the models that it is compared with,
      unless ``search`` or the caller has it otherwise. ``threads`` and ``session`` are written.
    """
    from onnxruntime_genai import __version__
    from packaging.version import Version

    make_readable(folder, by_class=Version(__version__) < Version(_READS_DECODERS))
    path = folder / "genai_config.json"
    config = json.loads(path.read_text("utf-8"))
    model = config["model"]
    end = turn_end(folder)
    ends = dict.fromkeys([*as_ids(model.get("eos_token_id")), *checkpoint.end_ids])
    if end is not None:
        ends[end] = None
    model["eos_token_id"] = list(ends)
    penalty = checkpoint.generation_config.get("repetition_penalty") or 1.0
    config["search"] |= {"do_sample": False, "repetition_penalty": penalty, **search}
    set_session(config, threads, session)
    write_config(path, config)
    return tuple(ends)
