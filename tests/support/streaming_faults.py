"""Builds a model while something fails, and says what became of it.

Usage: ``python streaming_faults.py CHECKPOINT OUT``, run by a toolchain's Python in the project's
root. Writes ``OUT/found.json``: for each fault the error, the warnings and how often the builder
was called.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import Phi3ForCausalLM

from pipeline.builder import streaming
from pipeline.builder.build import build
from pipeline.builder.call import BuilderCall
from pipeline.builder.matrices import replaced
from pipeline.builder.params import ModelBuilderParams
from tests.support.beside_plain import WarningRecorder

Fault = Callable[..., Any]


def our_own(*_arguments: Any) -> Any:
    """Fail as code of Quern's with a mistake in it does."""
    raise TypeError("a mistake of our own")


def doing(deed: Callable[[Any], Any]) -> Fault:
    """Return a loader that does ``deed`` to a weight of the model it returns."""
    plain = Phi3ForCausalLM.from_pretrained.__func__

    def load(kind: type, folder: Any, **options: Any) -> Any:
        model = plain(kind, folder, **options)
        deed(model.lm_head.weight.data)
        return model

    return load


def refused(kind: type, *_arguments: Any, **_options: Any) -> Any:
    """Fail as transformers does for a checkpoint that does not fit."""
    raise RuntimeError(f"{kind.__name__} cannot be made of this")


FAULTS: dict[str, tuple[Any, str, Any]] = {
    "our_own": (streaming, "WhenWritten", our_own),
    "no_fit": (Phi3ForCausalLM, "from_pretrained", classmethod(refused)),
    "in_place": (
        Phi3ForCausalLM,
        "from_pretrained",
        classmethod(doing(lambda weight: weight.mul_(2))),
    ),
    "array": (
        Phi3ForCausalLM,
        "from_pretrained",
        classmethod(doing(lambda weight: weight.numpy())),
    ),
}


def main(checkpoint: Path, out: Path) -> None:
    """Plant each fault."""
    outcomes = {}
    for name, (owner, attribute, fault) in FAULTS.items():
        report, error = WarningRecorder(), ""
        calls: list[str] = []
        run = BuilderCall.run

        def counted(call: BuilderCall, run: Any = run, calls: list[str] = calls) -> None:
            calls.append("run")
            run(call)

        shutil.rmtree(out / name, ignore_errors=True)
        (out / name).mkdir(parents=True)
        with replaced(owner, attribute, fault), replaced(BuilderCall, "run", counted):
            try:
                build(checkpoint, out / name, ModelBuilderParams(), report)
            except Exception as raised:
                error = f"{type(raised).__name__}: {raised}"
        outcomes[name] = {"error": error, "warnings": report.warnings, "calls": len(calls)}
    (out / "found.json").write_text(json.dumps(outcomes))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
