"""Checks figures that the user's Python function returns: a metric of answers, or of the model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from pydantic import Field, JsonValue, field_validator, model_validator
from typing_extensions import Self

from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.errors import BeyondCpuError, StepError
from pipeline.contract.frozen import Frozen
from pipeline.contract.step import Inputs
from pipeline.contract.suggest import did_you_mean
from pipeline.process.causes import out_of_memory
from pipeline.verdicts.goals import Goal, distinct_goals, goal_verdict
from pipeline.verdicts.verdicts import marked_as_on_cpu


class ScriptParams(Frozen):
    """Exactly one of ``metric`` and ``evaluate``. The function returns a number, or a dictionary of
    numbers (or of tables with a ``value``) by name."""

    script: str
    """Python file with the functions, relative to the config file."""
    script_dir: str | None = None
    """Folder whose modules the script imports, relative to the config file."""
    metric: str | None = None
    """Function of the answers and the expected answers, two lists of texts of equal length."""
    evaluate: str | None = None
    """Function of the model: an object with ``model_path`` (the artifact's folder), ``tokenizer``,
    ``answer(text)`` and ``ask(messages)``, which return the greedy answer. If it has parameters
    ``device`` and ``execution_providers``, they are filled in."""
    post_process: str | None = None
    """Function applied to each answer before ``metric`` sees it."""
    params: dict[str, JsonValue] = Field(default_factory=dict)
    """Additional keyword arguments of ``metric`` or ``evaluate``."""
    samples: int | None = Field(default=None, ge=1)
    """How many held-out prompts are answered for ``metric``, from the first one on. Default: all.
    """
    max_new_tokens: int | None = Field(default=None, ge=1)
    """Longest answer in tokens. Default: a little more than the longest expected one for
    ``metric``, 256 for ``evaluate``."""
    goals: tuple[Goal, ...] = ()
    """Goals of the figures by their names. If the function returns a single number, its name is
    that of the function, or the one that all goals name. Only ``at_most`` and ``at_least``."""

    @field_validator("goals")
    @classmethod
    def _absolute(cls, goals: tuple[Goal, ...]) -> tuple[Goal, ...]:
        for goal in goals:
            if goal.is_relative:
                raise ValueError(
                    f"a script measures the artifact, not the base model that the goal of "
                    f"{goal.metric} compares with; give at_most or at_least"
                )
            if goal.statistic is not None:
                raise ValueError(f"{goal.metric} is one figure; remove statistic")
        return distinct_goals(goals)

    @model_validator(mode="after")
    def _one_function(self) -> Self:
        if (self.metric is None) == (self.evaluate is None):
            raise ValueError("give exactly one of metric and evaluate")
        if self.evaluate is not None and self.post_process is not None:
            raise ValueError("post_process goes with metric; evaluate sees to its answers itself")
        return self


_LONG_ANSWER = 256


class Check(BaseCheck[ScriptParams]):
    """Run your function on the artifact and compare the figures that it returns with goals.

    It runs in the target's toolchain, without network access. Without the target's device the
    artifact answers through the CPU provider.
    """

    Params = ScriptParams
    sources: ClassVar[tuple[str, ...]] = ("script", "script_dir")
    runs_by_default: ClassVar[bool] = False
    uses_data: ClassVar[bool] = True
    uses_device: ClassVar[bool] = True

    @classmethod
    def needs_held_out_of(cls, params: ScriptParams) -> bool:
        """Return whether there is a ``metric``: it compares answers to held-out prompts."""
        return params.metric is not None

    def run(self, inputs: Inputs, params: ScriptParams) -> Outcome:
        """Call the function. Raises :class:`StepError` if it raises, or if a figure is missing."""
        from pipeline.scripts.importable import importable
        from pipeline.scripts.load import load_script

        with importable(inputs.paths.get("script_dir")):
            script = _Script(load_script(inputs["script"]))
            if params.metric is not None:
                name, returned = params.metric, _metric(script, inputs, params)
            else:
                name, returned = str(params.evaluate), _evaluate(script, inputs, params)
        figures = _figures(returned, name, params.goals)
        missing = [goal.metric for goal in params.goals if goal.metric not in figures]
        if missing:
            raise StepError(
                f"{name} returned no {' and no '.join(missing)}; it returned: "
                f"{', '.join(figures) or 'nothing'}",
                did_you_mean(missing[0], figures),
                "bad_input",
            )
        verdicts = tuple(
            goal_verdict(goal, figures[goal.metric], goal.at_least is not None, unit="")
            for goal in params.goals
        )
        measured: dict[str, JsonValue] = {**figures}
        return Outcome(
            marked_as_on_cpu(verdicts) if inputs.absent_device else verdicts, {"figures": measured}
        )


class _Script:
    """The user's file, imported; calls its functions."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._file = Path(str(module.__file__)).name

    def function(self, name: str) -> Callable[..., Any]:
        """Return the function ``name``. Raises :class:`StepError` if there is none."""
        from pipeline.scripts.load import find_object

        value = find_object(self._module, name)
        if not callable(value):
            raise StepError(f"{name} in {self._file} is not a function", cause="bad_input")
        function: Callable[..., Any] = value
        return function

    def call(self, name: str, *arguments: object, **named: object) -> Any:
        """Call the function and return its result. Raises :class:`StepError` if it raises."""
        function = self.function(name)
        try:
            return function(*arguments, **named)
        except (StepError, BeyondCpuError):
            raise  # the artifact's fault, not the script's
        # A user's code may raise anything. A script that calls exit must not end the build as done.
        except (Exception, SystemExit) as error:
            if out_of_memory(error):
                raise
            raise StepError(
                f"{name} in {self._file} raised {type(error).__name__}: {error}",
                "the log has the traceback",
                "bad_input",
            ) from error

    def takes(self, name: str) -> frozenset[str]:
        """Return the names of the function's parameters; none if it has no signature."""
        try:
            return frozenset(inspect.signature(self.function(name)).parameters)
        except (TypeError, ValueError):
            return frozenset()


@dataclass(frozen=True)
class Model:
    """The argument of a user's ``evaluate``: the artifact, loaded and ready to answer."""

    model_path: str
    tokenizer: Any
    """The transformers tokenizer of the artifact."""
    _session: Any
    _max_new_tokens: int

    def answer(self, text: str) -> str:
        """Return the greedy answer to one message of a user."""
        return self.ask([{"role": "user", "content": text}])

    def ask(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Return the greedy answer to a conversation of messages with ``role`` and ``content``, and
        other keys that the chat template writes."""
        from pipeline.data.chat import Message
        from pipeline.data.examples import Example
        from pipeline.evaluation.scores import greedy
        from pipeline.onnx.answerer import GenAiAnswerer
        from pipeline.onnx.artifact_codec import ArtifactCodec

        named = ("role", "content")
        turns = tuple(
            Message(
                turn["role"],
                turn["content"],
                {key: value for key, value in turn.items() if key not in named},
            )
            for turn in messages
        )
        codec = ArtifactCodec(self.tokenizer, self._session)
        chat = bool(self.tokenizer.chat_template)
        example = Example(1, turns, "", chat=chat)
        prompt = codec.prompt_ids(example)
        answerer = GenAiAnswerer(self._session)
        ((_, reply),) = greedy(answerer, [prompt], self._max_new_tokens)
        return codec.answer_text(reply.ids, example)


def _metric(script: _Script, inputs: Inputs, params: ScriptParams) -> Any:
    from pipeline.data.parts import parts_of
    from pipeline.data.tokenizer import load_artifact_tokenizer
    from pipeline.evaluation.scores import greedy, longest_completion
    from pipeline.onnx.answerer import GenAiAnswerer
    from pipeline.onnx.artifact_codec import ArtifactCodec
    from pipeline.onnx.session import Session

    examples = list(parts_of(inputs).eval[: params.samples])
    if not examples:
        raise StepError("nothing is held out that the artifact could be asked", cause="bad_input")
    folder = inputs["artifact"]
    session = Session(folder, inputs.threads, cpu=bool(inputs.absent_device))
    codec = ArtifactCodec(load_artifact_tokenizer(folder), session)
    limit = params.max_new_tokens or longest_completion(codec, examples)
    answers: dict[int, Any] = {}
    prompts = [codec.prompt_ids(example) for example in examples]
    for number, reply in greedy(GenAiAnswerer(session), prompts, limit):
        text: Any = codec.answer_text(reply.ids, examples[number])
        if params.post_process is not None:
            text = script.call(params.post_process, text)
        answers[number] = text
        inputs.report.progress(len(answers), len(examples), "prompts")
    expected = [example.completion for example in examples]
    given = [answers[number] for number in range(len(examples))]
    return script.call(str(params.metric), given, expected, **params.params)


def _evaluate(script: _Script, inputs: Inputs, params: ScriptParams) -> Any:
    from pipeline.contract.errors import ArtifactError
    from pipeline.data.tokenizer import load_artifact_tokenizer
    from pipeline.onnx.genai_config import GenAiConfig
    from pipeline.onnx.providers import onnxruntime_name
    from pipeline.onnx.session import Session

    folder = inputs["artifact"]
    try:
        provider = "cpu" if inputs.absent_device else GenAiConfig(folder).provider
    except ValueError as error:
        raise ArtifactError(str(error)) from error
    model = Model(
        str(folder),
        load_artifact_tokenizer(folder),
        Session(folder, inputs.threads, cpu=bool(inputs.absent_device)),
        params.max_new_tokens or _LONG_ANSWER,
    )
    name = str(params.evaluate)
    # Olive passes these to every such function.
    available = {
        "device": "cpu" if provider == "cpu" else "gpu",
        "execution_providers": [onnxruntime_name(provider)],
    }
    arguments = {key: value for key, value in available.items() if key in script.takes(name)}
    return script.call(name, model, **{**arguments, **params.params})


def _figures(returned: Any, name: str, goals: Sequence[Goal]) -> dict[str, float]:
    """Return the figures by name, from any of the allowed forms. Raises :class:`StepError`."""
    if not isinstance(returned, Mapping):
        requested = {goal.metric for goal in goals}
        returned = {requested.pop() if len(requested) == 1 else name: returned}
    figures = {}
    for key, value in returned.items():
        figures[str(key)] = _number(value, f"{name} returned {value!r} for {key}")
    return figures


def _number(value: Any, label: str) -> float:
    """Return ``value`` as a float: a number (also of NumPy or PyTorch), or a table's ``value``."""
    inner = value.get("value") if isinstance(value, Mapping) else value
    if not isinstance(inner, str):  # text that looks like a number is a mistake
        with suppress(TypeError, ValueError, RuntimeError):
            return float(inner)  # type: ignore[arg-type]
    raise StepError(f"{label}, which is not a number", cause="bad_input")
