"""Load a built artifact in its toolchain and let it answer one prompt."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from pipeline.config.schema import Resources
from pipeline.data.spec import DataSpec
from pipeline.data.template import Template
from pipeline.plan import RESULT_FILE, PathRef, Plan, SourceInput, Step
from pipeline.result import StepResult
from targets.build import View, threads
from targets.cache import Cache
from targets.errors import ConfigError, Problem
from targets.runtimes.runtime import Mount, RunRequest, Runtime
from targets.toolchain.toolchain import Toolchain


def fill_prompt(spec: DataSpec | None, text: str) -> tuple[str, bool]:
    """Return what the model is told for ``text``, and whether the chat template wraps it.

    A prompt with one field is filled with ``text``, as in training; otherwise ``text`` goes to
    the model as it is. Raises ``ConfigError`` when the prompt has several fields.
    """
    if spec is None or spec.messages is not None:
        return text, True
    if spec.template is not None:
        whole = spec.template
        template = Template(
            whole[: len(whole) - len(spec.completion)] if spec.completion else whole
        )
    else:
        template = Template(spec.prompt or "")
    if len(template.fields) != 1:
        fields = ", ".join(template.fields)
        raise ConfigError(
            [
                Problem(
                    f"the prompt has the fields {fields}",
                    suggestion="give the whole prompt with --raw",
                )
            ]
        )
    return template.render({template.fields[0]: text}), spec.chat and spec.template is None


def try_artifact(
    artifact: Path,
    params: dict[str, JsonValue],
    toolchain: Toolchain,
    runtime: Runtime,
    cache: Cache,
    view: View,
) -> StepResult:
    """Run the ``generate`` pass on ``artifact``; its text goes to ``view`` while it is made."""
    runtime.prepare(toolchain, view.say)
    cache.objects.mkdir(parents=True, exist_ok=True)
    step = Step(
        name="try",
        kind="pass",
        type="generate",
        target=toolchain.target,
        toolchain=toolchain.digest,
        key="try",
        seed=0,
        params=params,
        inputs={"artifact": SourceInput(ref=PathRef(root="artifact"), digest="")},
    )
    with cache.scratch_folder() as work:
        runtime.run(
            toolchain,
            RunRequest(
                plan=Plan(build="try", steps=(step,), threads=threads(Resources())),
                mounts=(
                    Mount("objects", cache.objects),
                    Mount("work", work, writable=True),
                    Mount("artifact", artifact),
                ),
                log=cache.root / "logs" / "try.log",
            ),
            view.event,
        )
        return StepResult.model_validate_json((work / step.key / RESULT_FILE).read_bytes())
