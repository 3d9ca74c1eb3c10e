"""Translates ``pre_process_data_config``: how rows become text and sequences."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from typing import Any

from pipeline.data.template import Template, TemplateError
from targets.config.olive.data_draft import DataDraft
from targets.config.olive.node import Fields, Node
from targets.config.olive.row_limit import first_rows

_PRE = {
    "pre_process",
    "skip_pre_process",
    "huggingface_pre_process",
    "tokenizer_pre_process",
    "text_generation_huggingface_pre_process",
    "default_pre_process_data",
}
_FORMATS = ("alpaca", "chip2", "self_instruct")
_SEQUENCES = {
    "max_samples": "count",
    "drop_short_sequences": "drop_short",
    "add_special_tokens": "special_tokens",
}
_DRAWN = {"random_seed": "seed", "random_retries": "retries"}
_ASSISTANT = re.compile(
    r"<\|assistant\|>\s*|<\|im_start\|>assistant\s*|<\|start_header_id\|>assistant"
    r"<\|end_header_id\|>\s*|<start_of_turn>model\s*|\[/INST\]\s*|"
    r"^(?:#+ ?)?(?:assistant|response|answer):[ \t]*\n?",
    re.IGNORECASE | re.MULTILINE,
)
"""What begins the turn of an assistant in the chat formats of the models that are tuned."""
_LENGTH = 1024
"""Olive's default of ``max_seq_len``."""


def translate_text(
    fields: Fields,
    out: DataDraft,
) -> None:
    """Write text, loss and sequences of ``[data.NAME]`` from the pre-processing's parameters.

    What is not in the file gets Olive's default in :attr:`DataDraft.defaults`.
    """
    kind = fields.take("type")
    if kind is not None and str(kind.raw).strip().lower() not in _PRE:
        _own(kind, fields, out)
        return
    if kind is not None:
        kind.no_effect("it is how rows of text are read anyway")
    known = ("model_name", "task", "trust_remote_code", "kwargs")
    fields.ignore(dict.fromkeys(known, "it is known from input_model"))
    for key in ("user_script", "script_dir"):
        out.script(fields.take(key))
    _padding(fields)
    dataset = fields.take("dataset_type")
    pairs = dataset is not None and str(dataset.raw).lower() == "pair"
    if dataset is not None and not dataset.refuse_placeholder():
        if str(dataset.raw).lower() not in ("corpus", "pair"):
            dataset.refuse(f"there is no dataset_type '{dataset.raw}'", "corpus or pair")
        else:
            dataset.translated("prompt and completion" if pairs else "template")
    if pairs or any(fields.peek(name) for name in ("pair_format", "target_max_len", "input_col")):
        _pair(fields, out)
    else:
        _corpus(fields, out)
    fields.refuse_rest("pre_process_data")


def _own(kind: Node, fields: Fields, out: DataDraft) -> None:
    """Read a function of the author's that makes token ids."""
    if kind.refuse_placeholder():
        return
    if "script" not in out.code:
        kind.refuse(
            f"there is no pre-processing '{kind.raw}', and no user_script that could hold it",
            "known: text_generation_huggingface_pre_process",
        )
        for part in fields.rest():
            part.no_effect("nothing is read for an unknown pre-processing")
        return
    params: dict[str, Any] = {}
    for part in fields.rest():
        params[part.name] = part.raw
        part.translated(f"code.pre_process_params.{part.name}")
    out.code["pre_process"] = (str(kind.raw), kind)
    out.code["pre_process_params"] = (params, kind)
    out.set("tokens", True, kind, f"code.pre_process = '{kind.raw}'")


def _padding(fields: Fields) -> None:
    fields.ignore(
        {
            "pad_to_max_len": "padding carries no loss; batches are padded to their longest",
            "use_attention_mask": "padding is at the end, where a causal model does not look at it",
            "padding_side": "padding is masked and carries no loss",
            "processing_batch_size": "it changes speed only",
            "batch_size": "the pass's batch size rules",
            "align_labels": "answers are text, not class numbers",
            "model_config_path": "it is known from input_model",
            "padding": "padding carries no loss; batches are padded to their longest",
            "truncation": "sequences.length cuts what is longer",
            "labels_to_filter": "answers are text, not class numbers",
        }
    )


def _corpus(
    fields: Fields,
    out: DataDraft,
) -> None:
    old = any(fields.peek(name) for name in ("corpus_strategy", "source_max_len"))
    _text(fields, out)
    strategy = fields.take("corpus_strategy", "strategy")
    length = fields.take("source_max_len", "max_seq_len", "max_len", "max_length")
    joined = str(strategy.raw if strategy else ("line-by-line" if old else "join")).startswith(
        "join"
    )
    if out.measured:
        _measured(fields, strategy, length, out)
        return
    for node, key, default in (
        (strategy, "strategy", "line-by-line" if old else "join"),
        (length, "length", _LENGTH),
    ):
        value: float | str | None = default
        if node is not None:
            value = node.number() if node is length else node.word()
        if value is not None:
            out.set(("sequences", key), value, node)
    joiner = fields.take("joiner")
    if joiner is not None and joined:
        # Not a placeholder, even if it looks like one: a token such as <s>.
        out.derive(("sequences", "joiner"), joiner.raw)
        joiner.translated(f"sequences.joiner = {joiner.raw!r}")
    elif joiner is not None:
        joiner.no_effect("rows are not joined")
    elif joined:
        # Olive's default was no joiner while the keys were called corpus_*.
        out.set(("sequences", "joiner"), "" if old else "\n\n", None)
    chosen = str(strategy.raw) if strategy is not None else ""
    _each(fields, _SEQUENCES, out)
    if chosen.endswith("random"):
        _each(fields, _DRAWN, out)
    if "sliding" in chosen:
        _each(fields, {"stride": "stride"}, out)
    idle = dict.fromkeys((*_DRAWN, "stride"), "the strategy has no use for it")
    fields.ignore(idle)


def _each(fields: Fields, keys: Mapping[str, str], out: DataDraft) -> None:
    """Write those of ``keys`` that exist into ``sequences``, under their new names."""
    for name, key in keys.items():
        node = fields.take(name)
        if node is not None:
            out.set(("sequences", key), node.raw, node)


def _measured(fields: Fields, strategy: Node | None, length: Node | None, out: DataDraft) -> None:
    """Read what shapes training sequences, of a data set that nothing is trained on."""
    remaining = [
        fields.take(name)
        for name in ("joiner", "random_seed", "random_retries", "stride", "drop_short_sequences")
    ]
    special = fields.take("add_special_tokens")
    for node in (strategy, length, special, *remaining):
        if node is not None:
            node.no_effect("nothing is trained on it: every row is asked by itself")
    limit = fields.take("max_samples")
    if limit is not None:
        first_rows(limit, out)


def _text(
    fields: Fields,
    out: DataDraft,
) -> None:
    """Read where the text of a row comes from: a chat, a function, a template or columns."""
    chat = fields.take("chat_template")
    column = fields.take("message_col")
    function = fields.take("text_formatting_func")
    template = fields.take("text_template")
    columns = fields.take("text_cols", "input_cols", "input_col")
    for name in ("label_cols", "label_col"):
        label = fields.take(name)
        if label is not None:
            label.no_effect("a text generation model learns its text, not a class number")
    out.defaults["loss_on"] = "all"
    if chat is not None and chat.raw and str(chat.raw).lower() != "false":
        if isinstance(chat.raw, str) and chat.raw.lower() != "true":
            out.set("chat_template", chat.raw, chat)
        else:
            chat.translated("messages")
        name = str(column.raw) if column is not None else "messages"
        out.set("messages", name, column)
        _unused((function, template, columns), "chat_template goes first")
        return
    if chat is not None:
        chat.no_effect("false: the text below is used")
    if column is not None:
        column.no_effect("no chat_template is asked for")
    if function is not None:
        out.code["columns"] = ({"text": str(function.raw)}, function)
        out.set("template", "{text}", function, f"code.columns.text = '{function.raw}'")
        _unused((template, columns), "text_formatting_func goes first")
        return
    if template is not None:
        text = template.word()
        if text is not None:
            _template(text, template, out)
        _unused((columns,), "text_template names the columns")
        return
    names = [str(name) for name in columns.raw] if columns and isinstance(columns.raw, list) else []
    if columns is not None and not names:
        names = [str(columns.raw)]
    text = " ".join("{" + name + "}" for name in names or ["text"])
    _template(text, columns, out)


def _unused(nodes: tuple[Node | None, ...], reason: str) -> None:
    for node in nodes:
        if node is not None:
            node.no_effect(reason)


def _template(
    text: str,
    node: Node | None,
    out: DataDraft,
) -> None:
    """Write ``template``, and as the answer to measure by the last column with what follows it."""
    try:
        columns = Template(text).fields
    except TemplateError as error:
        if node is not None:
            node.refuse(str(error), "plain {column} fields only")
        return
    out.set("template", text, node)
    answer = last_field(text)
    if answer is None:
        out.defaults.pop("loss_on", None)
        return
    out.defaults["completion"] = answer
    only, *more = Template(answer).fields
    if out.labelled and not more and answer == "{" + only + "}" and only in columns:
        out.defaults["label"] = only


def last_field(template: str) -> str | None:
    """Return the end of a template that begins with its last field, if another field is before it.

    Where a chat is written out, it is what follows the last mark of an assistant's turn. ``None``
    where there is a single column: a text without question and answer.
    """
    marks = list(_ASSISTANT.finditer(template))
    if marks:
        asked, answer = template[: marks[-1].end()], template[marks[-1].end() :]
        if Template(asked).fields and Template(answer).fields:
            return answer
    pieces = list(string.Formatter().parse(template))
    fields = [at for at, (_, name, _, _) in enumerate(pieces) if name is not None]
    if len({pieces[at][1] for at in fields}) < 2:
        return None
    last = "{" + str(pieces[fields[-1]][1]) + "}"
    if any(pieces[at][1] == pieces[fields[-1]][1] for at in fields[:-1]):
        return None  # the prompt contains the answer
    return template[template.rindex(last) :]


def _pair(
    fields: Fields,
    out: DataDraft,
) -> None:
    form = fields.take("pair_format")
    layout = str(form.raw).lower() if form is not None else "default"
    if layout in _FORMATS:
        assert form is not None  # noqa: S101
        out.set("pair_format", layout, form)
        out.defaults["chat"] = False
    elif layout in ("default", "custom"):
        if form is not None:
            form.translated("prompt and completion")
        for key, side in (("prompt", "input"), ("completion", "output")):
            _side(fields, key, side, layout, out)
        out.defaults["chat"] = False
    elif form is not None and not form.refuse_placeholder():
        form.refuse(
            f"there is no pair_format '{form.raw}'", f"default, custom, {', '.join(_FORMATS)}"
        )
    ignored = fields.take("ignore_source_in_labels")
    if ignored is not None:
        only = ignored.flag()
        if only is not None:
            out.set("loss_on", "completion" if only else "all", ignored)
    source, target = fields.take("source_max_len"), fields.take("target_max_len")
    if out.measured:
        for node in (source, target):
            if node is not None:
                node.no_effect("nothing is trained on it: every row is asked by itself")
        limit = fields.take("max_samples")
        if limit is not None:
            first_rows(limit, out)
        return
    lengths = []
    for node, key in ((source, "prompt_length"), (target, "completion_length")):
        value = node.number() if node is not None else None
        if value is not None:
            out.set(("sequences", key), value, node)
            lengths.append(value)
    if len(lengths) == 2:
        out.set(("sequences", "length"), sum(lengths), None)
    else:
        out.set(("sequences", "length"), 2 * _LENGTH, None)
    _each(fields, _SEQUENCES, out)


def _side(
    fields: Fields,
    key: str,
    side: str,
    layout: str,
    out: DataDraft,
) -> None:
    function = fields.take(f"{side}_formatting_func")
    template = fields.take(f"{side}_template")
    column = fields.take(f"{side}_col")
    if layout == "default":
        _unused((function, template, column), "only pair_format custom reads it")
        out.set(key, "{" + side + "}", None)
    elif function is not None:
        columns, _ = out.code.get("columns", ({}, function))
        out.code["columns"] = ({**columns, side: str(function.raw)}, function)
        out.set(key, "{" + side + "}", function, f"code.columns.{side}")
        _unused((template, column), f"{side}_formatting_func goes first")
    elif template is not None:
        out.set(key, str(template.raw), template)
        _unused((column,), f"{side}_template goes first")
    elif column is not None:
        out.set(key, "{" + str(column.raw) + "}", column)
    else:
        fields.owner.fail(
            f"pair_format custom needs the {side}", f"give {side}_col or {side}_template"
        )
