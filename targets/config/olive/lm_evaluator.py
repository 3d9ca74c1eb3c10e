"""Translates Olive's ``LMEvaluator`` into the check ``lm_eval``."""

from __future__ import annotations

from targets.config.olive.draft import Draft
from targets.config.olive.node import Fields, Node

LM_EVALUATOR = "lmevaluator"

_CHECK = ("checks", "lm_eval")
_SAME = ("limit", "num_fewshot", "max_length", "bootstrap_iters", "batch_size")
_SWITCHES = ("apply_chat_template", "fewshot_as_multiturn")
_SIZE = "size_on_disk"
_WITHOUT_EFFECT = {
    "name": "the check is called lm_eval",
    "device": "the artifact is asked on the device of its target",
    "execution_provider": "the artifact is asked through the provider of its target",
    "provider_options": "the artifact is asked with its own session options, which its users get",
    "sample_log_num": "the report has the figures of every task",
    "sample_log_dir": "the report has the figures of every task",
}
_MODELS = {
    "ortgenai": "the artifact is asked through ONNX Runtime GenAI",
    "ort": "the artifact is asked through ONNX Runtime GenAI, which its users have",
    "hf": "base and tuned model are asked in PyTorch, and the artifact through ONNX Runtime GenAI",
}
_ARGUMENTS = {
    "past_present_share_buffer": "the artifact is asked with its own search settings",
}


def translate_lm_evaluator(kind: Node, fields: Fields, draft: Draft) -> None:
    """Write ``[checks.lm_eval]``. What the check limits, Olive only measures: by default, what is
    lost against the tuned and the base model."""
    kind.translated("the check lm_eval")
    if not _tasks(fields.take("tasks"), kind, draft):
        for part in fields.rest():
            part.no_effect("there is no task to run")
        return
    draft.table(_CHECK, kind)
    for name in _SAME:
        node = fields.take(name)
        value = node.number() if node is not None else None
        if node is not None and value is not None:
            draft.set((*_CHECK, name), value, node)
    for name in _SWITCHES:
        node = fields.take(name)
        if node is not None and node.name == "apply_chat_template" and _names_template(node):
            node.refuse("templates by name are not asked in", "true asks in the tokenizer's own")
        elif node is not None and (on := node.flag()) is not None:
            draft.set((*_CHECK, name), on, node)
    instruction = fields.take("system_instruction")
    if instruction is not None and (text := instruction.word()) is not None:
        draft.set((*_CHECK, "system_instruction"), text, instruction)
    model = fields.take("model_class")
    if model is not None and (reason := _MODELS.get(str(model.raw))):
        model.no_effect(reason)
    elif model is not None:
        model.refuse(f"there is no model_class '{model.raw}'", f"one of {', '.join(_MODELS)}")
    arguments = fields.take("model_args")
    if arguments is not None:
        inner = arguments.fields("model_args")
        inner.ignore(_ARGUMENTS)
        for node in inner.rest():
            node.refuse("the artifact's backend takes no such argument", "remove it")
    fields.ignore(_WITHOUT_EFFECT)
    fields.refuse_rest("an LMEvaluator")


def _names_template(node: Node) -> bool:
    return isinstance(node.raw, str) and node.raw.strip().lower() not in ("true", "false", "0", "1")


def _tasks(tasks: Node | None, kind: Node, draft: Draft) -> bool:
    """Write which tasks are run; return whether there are some."""
    if tasks is None:
        kind.fail("an LMEvaluator needs tasks", '"tasks": ["arc_easy"]')
        return False
    names = []
    for item in tasks.items():
        if isinstance(item.raw, dict):
            item.refuse(
                "a task is named, not written here",
                "write it as a YAML file into a folder, with its data, and name the folder with "
                "task_folder of [checks.lm_eval] (`convert` writes the TOML file)",
            )
            for part in item.fields().rest():
                part.no_effect("nothing is read of a task that is not named")
        elif (name := item.word()) is not None:
            names.append(name)
    if _SIZE in names:
        names.remove(_SIZE)
        draft.table(("checks", "size"), None)
        tasks.translated("checks.size")
    if names:
        draft.set((*_CHECK, "tasks"), names, tasks)
    return bool(names)
