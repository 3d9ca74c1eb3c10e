"""Loads a built artifact in its toolchain and generates the answer to one prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from pipeline.contract.data_spec import DataSpec
from pipeline.contract.plan import PathRef, SourceInput, Step
from pipeline.contract.result import StepResult
from pipeline.data.constraint import constraint_of
from pipeline.data.prompt_form import prompt_form
from pipeline.data.template import Template
from targets.cache import Cache
from targets.errors import ConfigError, EnvironmentUnable, Problem
from targets.place import Place
from targets.report.dist import MODEL_DIR, REPORT_FILE, read_report, require_onnx
from targets.run_steps import run_uncached
from targets.runtimes.runtime import Mount, Runtime
from targets.version import invocation
from targets.view import View

GENAI_CONFIG = "genai_config.json"


def built_artifact(folder: Path, target: str, doing: str) -> Path:
    """Return the model folder of the build in ``folder``, which ``doing`` needs.

    Raises ``EnvironmentUnable`` if there is none, and ``ConfigError`` if it is no ONNX model.
    """
    model = folder / MODEL_DIR
    if not (model / GENAI_CONFIG).is_file():
        if (folder / REPORT_FILE).is_file():
            require_onnx(read_report(folder), folder, doing)
        raise EnvironmentUnable(
            f"there is no artifact at {model}", f"build it first: {invocation(f'build-{target}')}"
        )
    return model


def question(spec: DataSpec | None, text: str) -> dict[str, JsonValue]:
    """Return parameters of the ``generate`` pass for ``text``, with the prompt of the data set.

    A prompt with one field is filled with ``text``. Without a data set, or for data of whole
    conversations, ``text`` is the user's message. Raises ``ConfigError`` for a prompt with several
    fields.
    """
    form = prompt_form(spec)
    if form.template is None:
        return {"text": text}
    filled = _fill(form.template, text)
    if not form.chat:
        return {"prompt": filled}
    if form.system is None:
        return {"text": filled}
    system: JsonValue = {"role": "system", "content": form.system}
    return {"messages": [system, {"role": "user", "content": filled}]}


def constraint(spec: DataSpec | None) -> dict[str, JsonValue]:
    """Return the parameters of ``generate`` that hold its answer as ``spec`` says."""
    found = constraint_of(spec)
    return {} if found is None else {"constraint": found.model_dump(mode="json")}


def conversation(
    asked: Mapping[str, JsonValue], earlier: Sequence[JsonValue]
) -> dict[str, list[JsonValue]]:
    """Return the parameters of ``generate`` for the question ``asked`` after ``earlier`` turns:
    messages, of which a system message stands first once.

    Raises ``ConfigError`` for prompts of raw text.
    """
    if "prompt" in asked:
        raise ConfigError([Problem("its prompts are raw text, which holds no chat", key="TEXT")])
    turns = asked.get("messages")
    now = list(turns) if isinstance(turns, list) else [{"role": "user", "content": asked["text"]}]
    return {"messages": [*earlier, *(now[-1:] if earlier else now)]}


def _fill(template: Template, text: str) -> str:
    if len(template.fields) != 1:
        problem = f"the prompt has the fields {', '.join(template.fields)}, not one"
        raise ConfigError([Problem(problem, suggestion="give the whole prompt with --raw")])
    return template.render({template.fields[0]: text})


def try_artifact(
    artifact: Path,
    params: Mapping[str, JsonValue],
    place: Place,
    runtime: Runtime,
    cache: Cache,
    view: View,
) -> StepResult:
    """Run the ``generate`` pass on ``artifact``, and stream its text to ``view``."""
    toolchain = place.toolchain
    runtime.prepare(toolchain, view.say)
    step = Step(
        name="try",
        kind="pass",
        type="generate",
        target=toolchain.target,
        toolchain=toolchain.digest,
        key="try",
        seed=0,
        params=dict(params),
        inputs={"artifact": SourceInput(ref=PathRef(root="artifact"), digest="")},
    )
    log = cache.root / "logs" / "try.log"
    mounts = [Mount("artifact", artifact)]
    (result,) = run_uncached("try", [step], mounts, place, runtime, cache, log, view.event)
    return result
