"""The examples of `docs/data.md`, and what a build says of them.

Usage, by a toolchain's Python: ``python -m tests.support.data_page CHECKPOINT EXAMPLES FOLDER``;
the second is a JSON list of tables: ``settings`` of the data set, ``kind`` and ``rows`` of its
file, ``params`` of the pass and the model's ``context``. Prints a JSON list with what is said of
each.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from pipeline.contract.data_files import DataFiles
from pipeline.contract.data_spec import DataSpec
from pipeline.contract.errors import StepError
from pipeline.data.look import look
from pipeline.data.parts import load_parts
from pipeline.data.room import require_room
from pipeline.data.tokenize import Codec
from pipeline.data.trained_view import samples_of
from pipeline.passes.lora import Pass
from pipeline.training.training_rows import training_rows
from tests.support.silent import Silent


def said_of(example: dict[str, Any], tokenizer: Any, folder: Path) -> list[str]:
    """Return what is said of one example, up to the error that ends the build."""
    file = folder / f"rows.{example['kind']}"
    file.write_text(example["rows"], encoding="utf-8", newline="")
    spec = DataSpec.model_validate({**example["settings"], "path": "rows"})
    listener = Silent()
    said = listener.warnings
    try:
        parts = load_parts(DataFiles("tone", spec, (file,)))
        seen = look(parts)
        said += [*seen.notes, *seen.warnings]
        codec = Codec(tokenizer)
        params = Pass.Params(**example["params"])
        training_rows("training", parts.train, codec, spec, params, listener)
        require_room(parts.eval, codec, example["context"])
        for sample in samples_of(parts.train, codec):
            for piece in sample.pieces:
                how = "learnt" if piece.learnt else "given"
                text = piece.text.replace("\n", "\\n")
                said.append(f"{sample.place} {how}: {text}")
    except StepError as error:
        said.append(str(error))
    return said


def main() -> None:
    """Print what is said of each example."""
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    examples = json.loads(sys.argv[2])
    folder = Path(sys.argv[3])
    print(json.dumps([said_of(example, tokenizer, folder) for example in examples]))  # noqa: T201


if __name__ == "__main__":
    main()
