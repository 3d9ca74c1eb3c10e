"""How to ask a released model: a program of a few lines, and the wheels that it needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from pipeline.contract.data_spec import DataSpec
from targets.report.templates import source_environment
from targets.target import Target
from targets.toolchain.requirements import Pin, read_lock
from targets.use.program import Program, program_for

_RUNTIME = ("onnxruntime", "numpy")
"""Beginnings of the names of the wheels that are enough to run an artifact."""
_LIBRARIES = {
    "cuda": tuple(
        f"nvidia-{name}"
        for name in (
            "cublas",
            "cuda-nvrtc",
            "cuda-runtime",
            "cudnn",
            "cufft",
            "curand",
            "nvjitlink",
        )
    )
}
"""The same of what an execution provider loads that comes as wheels, and its loader does not find:
https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#preload-dlls"""


@dataclass(frozen=True)
class Asking:
    """How an artifact is asked."""

    script: bytes
    """``ask.py``."""
    usage: str
    """The arguments of the script: a word for each field of the prompt."""
    system: str | None
    """The system message."""
    prompt: str
    """The prompt, with its fields in braces."""
    chat_template: str
    """What makes the model's input of messages, in Jinja; empty if it continues the prompt."""


def asking(
    spec: DataSpec | None, model: Path, target: Target, quality: Mapping[str, JsonValue]
) -> Asking:
    """Return how the artifact of ``target`` in the folder ``model`` is asked, whose rows are of
    ``spec`` and whose ``quality`` was measured."""
    program = program_for(spec, model, quality, "model", preloads(target))
    template = program.form.template
    return Asking(
        script=ask_script(program),
        usage=program.usage,
        system=program.system,
        prompt=f"{{{program.fields[0]}}}" if template is None else template.text,
        chat_template=_chat_template(model) if program.chat else "",
    )


def ask_script(program: Program) -> bytes:
    """Return ``ask.py``, which fills in the prompt and prints the model's answer."""
    environment = source_environment(Path(__file__).parent, repr)
    return environment.get_template("ask.py.j2").render(p=program).encode()


def preloads(target: Target) -> bool:
    """Return whether the libraries of the target's provider come as wheels."""
    return target.execution_provider in _LIBRARIES


def run_requirements(target: Target) -> bytes:
    """Return ``requirements.txt``: a lock of :func:`run_pins`, with the hashes of their files."""
    return "".join(f"{pin.requirement()}\n" for pin in run_pins(target)).encode()


def run_pins(target: Target) -> list[Pin]:
    """Return the locked wheels that are enough to run an artifact of ``target``."""
    runs_on = [name for name in target.platforms if not target.platforms[name].builds]
    platform = runs_on[0] if runs_on else next(iter(target.platforms))
    pins = read_lock(target.toolchain(platform).lock)
    names = (*_RUNTIME, *_LIBRARIES.get(target.execution_provider, ()))
    chosen = (pin for pin in pins if pin.name.startswith(names))
    return sorted(chosen, key=lambda pin: pin.name)


def _chat_template(model: Path) -> str:
    """Return the chat template of the tokenizer in ``model``."""
    file = model / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8")
    stated = json.loads((model / "tokenizer_config.json").read_text("utf-8"))["chat_template"]
    return stated if isinstance(stated, str) else json.dumps(stated, indent=2)
