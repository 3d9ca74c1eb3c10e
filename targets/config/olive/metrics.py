"""Translates the metrics of an evaluator into checks, and their goals into limits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pipeline.contract.suggest import did_you_mean
from pipeline.run.registry import check_types
from targets.config.olive.context import OWN, Context
from targets.config.olive.draft import Draft
from targets.config.olive.node import Fields, Node
from targets.config.olive.sets import OliveDataSet, dummy_prompt, used_set

_ACCURACY = {
    "accuracy_score": "accuracy",
    "accuracy": "accuracy",
    "exact_match": "exact_match",
    "f1_score": "macro_f1",
    "precision": "precision",
    "recall": "recall",
    "perplexity": "perplexity",
}
CLASSES = {"accuracy_score", "accuracy", "f1_score", "precision", "recall"}
"""Accuracy metrics that compare classes."""

_STATISTICS = ("avg", "min", "max", "p50", "p75", "p90", "p95", "p99", "p999")
_GOALS = {
    "min-improvement": "min_improvement",
    "percent-min-improvement": "min_improvement_percent",
    "max-degradation": "max_degradation",
    "percent-max-degradation": "max_degradation_percent",
}
_LOWER_IS_BETTER = {"perplexity", "latency", "size_on_disk"}
_AVERAGED = ("f1_score", "precision", "recall")
_MIN_SAMPLES = 64
_SAMPLES = "the report has a hundred of the wrong answers"
_OWN_INPUTS = "the runtime makes the inputs of its own graph"

_CHECKS = {
    "accuracy": "quality",
    "latency": "latency",
    "throughput": "latency",
    "size_on_disk": "size",
    "custom": "script",
}
"""Quern's check for each type of metric."""

_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class _Metric:
    """The parts of one metric."""

    node: Node
    kind: str
    """Its type in lower case: ``accuracy``."""
    name: str
    """Name of the check in the Quern config."""
    figures: list[tuple[Node, Fields]]
    """Its sub-types, each with its keys."""
    user: Fields
    """The keys of ``user_config``."""
    prompt: int | None
    """Tokens of made-up prompts, where the metric asks for them."""


def translate_metric(
    node: Node, sets: dict[str, OliveDataSet], draft: Draft, context: Context
) -> None:
    """Write the check that a metric stands for, and its goals."""
    fields = node.fields("a metric")
    name = fields.take("name")
    kind_node = fields.take("type")
    kind = str(kind_node.raw).lower() if kind_node is not None else ""
    if kind_node is not None and OWN.match(str(kind_node.raw)):
        _own_check(fields, name, kind_node, draft, context)
        return
    if kind_node is None or kind not in _CHECKS:
        (kind_node or node).refuse(
            f"there is no metric of type '{kind}'", did_you_mean(kind, _CHECKS)
        )
        for part in (*((name,) if name is not None else ()), *fields.rest()):
            part.no_effect("nothing is read of a metric of unknown type")
        return
    backend = fields.take("backend")
    if backend is not None and str(backend.raw) not in ("torch_metrics", "huggingface_metrics"):
        backend.refuse(f"there is no backend '{backend.raw}'", "remove it")
    elif backend is not None:
        backend.no_effect("Quern computes its metrics itself")
    fields.ignore(dict.fromkeys(("sample_log_num", "sample_log_dir"), _SAMPLES))
    data = fields.take("data_config")
    user = _user_config(fields)
    inner = user.take("data_config")
    prompt: int | None = None
    if (data or inner) is not None:
        prompt = _dummy_prompt_tokens(data or inner, sets)
    label = kind
    if kind == "custom":
        custom_label = _label(name, kind, draft)
        if custom_label is None:
            for part in (kind_node, *user.rest(), *fields.rest()):
                part.no_effect("nothing is read of a metric without a name of its own")
            return
        label = custom_label
    check = label if kind == "custom" else _CHECKS[kind]
    if name is not None:
        name.translated(f"checks.{check}")
    kind_node.translated(f"the check {check}")
    metric = _Metric(node, kind, label, _sub_types(fields), user, prompt)
    if kind == "accuracy":
        _accuracy(metric, draft)
    elif kind == "size_on_disk":
        _size(metric, draft)
    elif kind == "custom":
        _custom(metric, draft, context)
    else:
        _latency(metric, draft)
    fields.refuse_rest("a metric")


def _own_check(
    fields: Fields, name: Node | None, kind: Node, draft: Draft, context: Context
) -> None:
    """Write a check of the author's own: its type is ``path/to/file.py:ClassName``."""
    script, _, class_name = str(kind.raw).rpartition(":")
    label = _label(name, class_name, draft)
    if label is None:
        for part in fields.rest():
            part.no_effect("nothing is read of a metric without a name of its own")
        return
    place = ("checks", label)
    if name is not None:
        name.translated(f"checks.{label}")
    draft.set((*place, "type"), f"{context.find(script) or script}:{class_name}", kind)
    params = fields.take("user_config", "config")
    for node in (*(params.fields("user_config").rest() if params else ()), *fields.rest()):
        draft.set((*place, node.name), node.raw, node)


def _label(name: Node | None, otherwise: str, draft: Draft) -> str | None:
    """Return the name of the author's own check; ``None`` if another check has that name."""
    text = name.word() if name is not None else otherwise
    if text is None:
        return None
    label = _NAME.sub("-", text).strip("-") or "custom"
    if label in check_types():
        label = f"{label}-of-my-own"  # a built-in check has the bare name
    if draft.get(("checks", label)) is not None:
        assert name is not None  # noqa: S101
        name.refuse(f"two metrics are called '{label}'", "names must differ")
        return None
    return label


def _dummy_prompt_tokens(node: Node | None, sets: dict[str, OliveDataSet]) -> int | None:
    """Return the tokens of made-up prompts, if the metric's data set is one of those."""
    chosen = used_set(node, sets) if node is not None else None
    prompt = dummy_prompt(chosen) if chosen is not None else None
    if prompt is not None and node is not None:
        node.translated(f"prompts of {prompt} made-up tokens")
    return prompt


def _user_config(fields: Fields) -> Fields:
    """Return the metric's ``user_config``; newer files write its keys beside the metric's."""
    inner = fields.take("user_config")
    user = inner.fields("user_config") if inner is not None else Fields({}, fields.owner)
    for name in (*_USER, "evaluate_func", "metric_func", "post_processing_func", "func_kwargs"):
        part = fields.take(name)
        if part is not None:
            user.merge(Fields({name: part}, fields.owner))
    return user


_USER = (
    "user_script",
    "script_dir",
    "inference_settings",
    "data_dir",
    "dataloader_func",
    "dataloader_func_kwargs",
    "batch_size",
    "input_names",
    "input_shapes",
    "input_types",
    "shared_kv_buffer",
    "io_bind",
    "run_kwargs",
    "evaluate_func_kwargs",
    "metric_func_kwargs",
    "post_func_kwargs",
)


def _sub_types(fields: Fields) -> list[tuple[Node, Fields]]:
    listed = fields.take("sub_types")
    single = fields.take("sub_type")
    if listed is not None and not isinstance(listed.raw, list):
        listed.refuse("sub_types must be a list")
        return []
    if listed is not None:
        return [(item, item.fields("a sub-type")) for item in listed.items()]
    if single is None:
        return []
    # The form of 2022: one sub-type, its goal and rank beside the metric's name.
    keys = ("goal", "metric_config", "higher_is_better", "priority_rank", "priority")
    parts = {key: part for key in keys if (part := fields.take(key)) is not None}
    return [(single, Fields({"name": single, **parts}, fields.owner))]


def _read_sub_type(sub: tuple[Node, Fields], names: tuple[str, ...]) -> tuple[str, Fields] | None:
    node, fields = sub
    name = fields.take("name")
    priority = fields.take("priority", "priority_rank")
    if priority is not None:
        priority.no_effect("the first one decides what a search looks for; all others are limits")
    if name is None:
        node.refuse("a sub-type needs a name", ", ".join(names))
        return None
    if names and str(name.raw) not in names:
        name.refuse(
            f"there is no such figure here: '{name.raw}'", did_you_mean(str(name.raw), names)
        )
        for part in fields.rest():
            part.no_effect("nothing is read of an unknown figure")
        return None
    name.translated("a figure of the check")
    return str(name.raw), fields


def _goal(
    fields: Fields, check: str, entry: dict[str, Any], higher: bool | None, draft: Draft
) -> None:
    """Add the goal of a sub-type to the check; without one the figure is only measured.

    ``higher`` says whether more is better; ``None`` where only the file can know.
    """
    better = fields.take("higher_is_better")
    higher_is_better = better.flag() if better is not None else None
    if better is not None and higher_is_better is not None:
        if higher in (None, higher_is_better):
            better.honoured()
        else:
            word = "higher" if higher else "lower"
            better.refuse(f"of {_described(entry)} the {word} is better", "remove it")
    higher = higher if higher is not None else bool(higher_is_better)
    goal = fields.take("goal")
    if goal is None or not goal.raw:
        if goal is not None:
            goal.no_effect("no goal")
        return
    inner = goal.fields("a goal")
    form, value = inner.take("type"), inner.take("value")
    if form is None or value is None:
        goal.refuse("a goal needs type and value", "threshold, min-improvement, max-degradation")
        return
    for part in (form, value):
        part.no_effect("the goal is not understood")  # replaced below, once it is understood
    name = str(form.raw).lower()
    key = ("at_least" if higher else "at_most") if name == "threshold" else _GOALS.get(name)
    if key is None:
        form.refuse(
            f"there is no goal of type '{form.raw}'", did_you_mean(name, ("threshold", *_GOALS))
        )
        return
    limit = value.number()
    if limit is None:
        return
    made = {**entry, key: limit}
    if made not in (draft.get(("checks", check, "goals")) or []):
        draft.append(("checks", check, "goals"), made, goal)
    goal.translated(f"checks.{check}.goals: {_described(entry)} {key} = {limit}")
    inner.refuse_rest("a goal")


def _described(entry: dict[str, Any]) -> str:
    return " ".join(str(part) for part in entry.values())


def _accuracy(metric: _Metric, draft: Draft) -> None:
    draft.table(("checks", "quality"), metric.node)
    for sub in metric.figures:
        sub_type = _read_sub_type(sub, tuple(_ACCURACY))
        if sub_type is None:
            continue
        figure, fields = sub_type
        config = fields.take("metric_config")
        if config is not None:
            _metric_config(config, figure)
        _goal(
            fields, "quality", {"metric": _ACCURACY[figure]}, figure not in _LOWER_IS_BETTER, draft
        )
        fields.refuse_rest("a sub-type")
    for key in ("dataloader_func", "post_processing_func", "evaluate_func"):
        part = metric.user.take(key)
        if part is not None:
            part.refuse(
                "Quern asks the artifact and compares the text of its answers",
                "give data_config, or use a metric of type custom",
            )
    _ignore_user(metric.user)
    if metric.prompt is not None:
        metric.node.fail("made-up inputs have no right answers", "give data_config real rows")


def _metric_config(config: Node, figure: str) -> None:
    """Account for a metric's settings; those that would change the figure are refused."""
    fields = config.fields("metric_config")
    average, best = fields.take("average"), fields.take("top_k")
    if average is not None and figure in _AVERAGED and str(average.raw).lower() != "macro":
        average.refuse(f"Quern's {figure} is the mean over classes", 'write "average": "macro"')
    elif average is not None and figure in _AVERAGED:
        average.translated("the mean over classes")
    elif average is not None:
        average.no_effect(f"{figure} is over all rows")
    if best is not None and best.number() not in (1, None):
        best.refuse("the artifact gives one answer", "leave top_k out")
    elif best is not None:
        best.no_effect("the artifact gives one answer")
    for part in fields.rest():
        part.no_effect("answers are compared as text; classes are told apart by their names")


def _latency(metric: _Metric, draft: Draft) -> None:
    higher = metric.kind == "throughput"
    measure = "prompts_per_second" if higher else "first_token_ms"
    for sub in metric.figures:
        sub_type = _read_sub_type(sub, _STATISTICS)
        if sub_type is None:
            continue
        figure, fields = sub_type
        config = fields.take("metric_config")
        if config is not None:
            _latency_config(config.fields("metric_config"), draft)
        _goal(fields, "latency", {"metric": measure, "statistic": figure}, higher, draft)
        fields.refuse_rest("a sub-type")
    loader = metric.user.take("dataloader_func")
    if loader is not None:
        loader.no_effect("the artifact is timed on prompts, as its users call it")
    if metric.prompt is not None:
        path = ("checks", "latency", "prompt_tokens")
        draft.set(path, [metric.prompt], None, f"prompts of {metric.prompt} made-up tokens")
    draft.table(("checks", "latency"), metric.node)
    _ignore_user(metric.user)


def _latency_config(fields: Fields, draft: Draft) -> None:
    warmup = fields.take("warmup_num")
    if warmup is not None and (requested := warmup.number()) is not None:
        _set_once(("checks", "latency", "warmup"), requested, warmup, "", draft)
    repeat = fields.take("repeat_test_num")
    if repeat is not None and (requested := repeat.number()) is not None:
        count = max(int(requested), _MIN_SAMPLES)
        note = f"checks.latency.samples = {count}"
        if count != requested:
            note += f": fewer than {_MIN_SAMPLES} prove no percentile"
        _set_once(("checks", "latency", "samples"), count, repeat, note, draft)
    sleep = fields.take("sleep_num")
    if sleep is not None:
        sleep.no_effect("the model is timed as it answers, one prompt after the other")
    fields.refuse_rest("metric_config")


def _set_once(path: tuple[str, ...], value: Any, node: Node, note: str, draft: Draft) -> None:
    """Write the value, unless an earlier figure of the same metric has set it."""
    if draft.get(path) in (None, value):
        draft.set(path, value, node, note)
    else:
        node.no_effect(f"an earlier figure says {draft.get(path)}: they are timed together")


def _size(metric: _Metric, draft: Draft) -> None:
    draft.table(("checks", "size"), metric.node)
    for sub in metric.figures:
        sub_type = _read_sub_type(sub, ("bytes",))
        if sub_type is None:
            continue
        _, fields = sub_type
        config = fields.take("metric_config")
        if config is not None:
            config.no_effect("a size has no settings")
        _goal(fields, "size", {"metric": "bytes"}, False, draft)
        fields.refuse_rest("a sub-type")
    _ignore_user(metric.user)


def _custom(metric: _Metric, draft: Draft, context: Context) -> None:
    """Write a ``script`` check from the author's own functions."""
    place = ("checks", metric.name)
    draft.table(place, metric.node)
    draft.set((*place, "type"), "script", None)
    script = metric.user.take("user_script")
    if script is None:
        metric.node.fail("a custom metric needs user_script", "name the Python file")
    elif not script.refuse_placeholder():
        path = context.find(str(script.raw))
        draft.set((*place, "script"), path or str(script.raw), script)
    folder = metric.user.take("script_dir")
    if folder is not None:
        draft.set((*place, "script_dir"), context.find(str(folder.raw)) or str(folder.raw), folder)
    evaluate, function = metric.user.take("evaluate_func"), metric.user.take("metric_func")
    if evaluate is not None:
        draft.set((*place, "evaluate"), str(evaluate.raw), evaluate)
        if function is not None:
            function.no_effect("evaluate_func goes first")
    elif function is not None:
        draft.set((*place, "metric"), str(function.raw), function)
    else:
        metric.node.fail("a custom metric needs evaluate_func or metric_func", "name a function")
    post = metric.user.take("post_processing_func")
    if post is not None:
        draft.set((*place, "post_process"), str(post.raw), post)
    _func_kwargs(
        metric.user, place, "evaluate_func" if evaluate is not None else "metric_func", draft
    )
    loader = metric.user.take("dataloader_func")
    if loader is not None:
        loader.no_effect("evaluate_func loads what it needs; metric_func gets the held-out answers")
    for sub in metric.figures:
        sub_type = _read_sub_type(sub, ())
        if sub_type is None:
            continue
        figure, fields = sub_type
        config = fields.take("metric_config")
        if config is not None:
            config.no_effect("func_kwargs reach the function")
        _goal(fields, metric.name, {"metric": figure}, None, draft)
        fields.refuse_rest("a sub-type")
    _ignore_user(metric.user)


def _func_kwargs(user: Fields, place: tuple[str, ...], function: str, draft: Draft) -> None:
    every = user.take("func_kwargs")
    if every is not None:
        inner = every.fields("func_kwargs")
        kwargs = inner.take(function)
        if kwargs is not None:
            draft.set((*place, "params"), kwargs.raw, kwargs)
        for other in inner.rest():
            other.no_effect("that function is not called")
    kwargs = user.take(f"{function}_kwargs")
    if kwargs is not None:
        draft.set((*place, "params"), kwargs.raw, kwargs)


def _ignore_user(user: Fields) -> None:
    for part in user.rest():
        if part.name in (
            "batch_size",
            "io_bind",
            "shared_kv_buffer",
            "inference_settings",
            "run_kwargs",
        ):
            part.no_effect("ONNX Runtime GenAI runs the artifact with the settings it holds")
        elif part.name in _USER or part.name in (
            "func_kwargs",
            "post_processing_func",
            "metric_func",
        ):
            part.no_effect(_OWN_INPUTS)
        else:
            part.refuse("user_config has no such key", did_you_mean(part.name, _USER))
