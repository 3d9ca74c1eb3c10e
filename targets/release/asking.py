"""How to ask a released model: a program of a few lines, and the wheels that it needs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pipeline.contract.data_spec import DataSpec
from pipeline.data.prompt_form import PromptForm, has_chat_template, prompt_form
from targets.report.templates import python_environment
from targets.target import Target
from targets.toolchain.requirements import Pin, read_lock

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
_MESSAGE = "message"


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


def asking(spec: DataSpec | None, model: Path, target: Target) -> Asking:
    """Return how the artifact of ``target`` in the folder ``model`` is asked, whose rows are of
    ``spec``."""
    form = prompt_form(spec)
    template = _chat_template(model) if form.chat and has_chat_template(model) else ""
    return Asking(
        script=ask_script(spec, bool(template), target.execution_provider in _LIBRARIES),
        usage=" ".join(_placeholder(name) for name in _fields(form)),
        system=form.system if template else None,
        prompt=f"{{{_MESSAGE}}}" if form.template is None else form.template.text,
        chat_template=template,
    )


def ask_script(spec: DataSpec | None, has_template: bool, preloads: bool = False) -> bytes:
    """Return ``ask.py``, which fills in the prompt of ``spec`` and prints the model's answer.

    ``has_template`` says whether the artifact has a chat template, without which the text of a
    message is what the model continues; ``preloads`` whether the libraries of its provider come as
    wheels.
    """
    form = prompt_form(spec)
    fields = _fields(form)
    parts = (("", _MESSAGE),) if form.template is None else form.template.parts
    pieces = [
        piece
        for literal, name in parts
        for piece in (repr(literal) if literal else "", "" if name is None else f"given[{name!r}]")
        if piece
    ]
    turns = [] if form.system is None else [f'{{"role": "system", "content": {form.system!r}}}']
    turns.append('{"role": "user", "content": text}')
    template = python_environment(Path(__file__).parent).get_template("ask.py.j2")
    return template.render(
        fields=repr(fields),
        usage=" ".join(_placeholder(name) for name in fields),
        text=" + ".join(pieces) or "''",
        chat=form.chat and has_template,
        preloads=preloads,
        messages=f"[{', '.join(turns)}]",
    ).encode()


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


def _fields(form: PromptForm) -> list[str]:
    return [_MESSAGE] if form.template is None else list(form.template.fields)


def _chat_template(model: Path) -> str:
    """Return the chat template of the tokenizer in ``model``."""
    file = model / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8")
    stated = json.loads((model / "tokenizer_config.json").read_text("utf-8"))["chat_template"]
    return stated if isinstance(stated, str) else json.dumps(stated, indent=2)


def _placeholder(name: str) -> str:
    """Return a word for what is to be typed: ``PHRASE`` for the column ``phrase``."""
    return "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in name).upper()
