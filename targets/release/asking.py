"""How to ask a released model: a program of a few lines, and the wheels that it needs."""

from __future__ import annotations

from pathlib import Path

from pipeline.contract.data_spec import DataSpec
from pipeline.data.prompt_form import prompt_form
from targets.report.templates import python_environment
from targets.target import Target
from targets.toolchain.requirements import read_lock

_RUNTIME = ("onnxruntime", "numpy")
"""Beginnings of the names of the wheels that are enough to run an artifact."""
_MESSAGE = "message"


def ask_script(spec: DataSpec | None, has_template: bool) -> bytes:
    """Return ``ask.py``, which fills in the prompt of ``spec`` and prints the model's answer.

    ``has_template`` says whether the artifact has a chat template, without which the text of a
    message is what the model continues.
    """
    form = prompt_form(spec)
    fields = [_MESSAGE] if form.template is None else list(form.template.fields)
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
        messages=f"[{', '.join(turns)}]",
    ).encode()


def run_requirements(target: Target) -> bytes:
    """Return ``requirements.txt``: the locked wheels that are enough to run an artifact of
    ``target``."""
    runs_on = [name for name in target.platforms if not target.platforms[name].builds]
    platform = runs_on[0] if runs_on else next(iter(target.platforms))
    pins = read_lock(target.toolchain(platform).lock)
    chosen = sorted((str(pin.name), pin) for pin in pins if str(pin.name).startswith(_RUNTIME))
    return "".join(f"{pin}\n" for _, pin in chosen).encode()


def _placeholder(name: str) -> str:
    """Return a word for what is to be typed: ``PHRASE`` for the column ``phrase``."""
    return "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in name).upper()
