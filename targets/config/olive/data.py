"""Translates ``data_configs``: each data set that is used becomes ``[data.NAME]``."""

from __future__ import annotations

import json

from pipeline.contract.suggest import did_you_mean
from targets.config.olive.components import BATCH, LOAD, POST, PRE, read_components
from targets.config.olive.context import Context
from targets.config.olive.data_draft import DataDraft
from targets.config.olive.draft import Draft
from targets.config.olive.loading import translate_load
from targets.config.olive.node import Fields, Node
from targets.config.olive.sets import DUMMY, OliveDataSet
from targets.config.olive.text import translate_text

_PLAIN = {"", "datacontainer", "huggingfacecontainer"}
_BATCHES = ("no_auto_batch_dataloader", "default_dataloader", "skip_dataloader")


def translate_data(
    data: OliveDataSet, draft: Draft, context: Context, measured: bool, labelled: bool = False
) -> None:
    """Write ``[data.NAME]``. ``measured`` says that nothing is trained on it.

    ``labelled`` says that a metric needs classes; then the answer is the class if it is a single
    column.
    """
    place = ("data", data.name)
    if draft.get(place) is not None:
        return
    fields = data.node.fields("a data set")
    draft.table(place, data.node)
    name = fields.take("name")
    if name is not None:
        name.honoured()
    kind = fields.take("type")
    if kind is not None and not _container(kind):
        for part in fields.rest():
            part.no_effect("nothing is read of a data set of another type")
        return
    out = DataDraft(data.name, draft, context, measured, labelled)
    for key in ("user_script", "script_dir"):
        out.script(fields.take(key))
    components = read_components(fields)
    own_batches = _batches(components[BATCH])
    translate_load(components[LOAD], data, out, own_batches)
    translate_text(components[PRE], out)
    _post(components[POST])
    _code(out, fields.owner)
    fields.refuse_rest("a data set")
    for key, value in out.defaults.items():
        if out.get(key) is None:
            out.set(key, value, None)


def _container(kind: Node) -> bool:
    if str(kind.raw).strip().lower() in _PLAIN:
        kind.translated("[data]")
        return True
    known = ("HuggingfaceContainer", "DataContainer", "DummyDataContainer")
    if str(kind.raw).strip().lower() in DUMMY:
        kind.refuse("made-up inputs teach nothing and have no right answers", "use real rows")
    elif str(kind.raw).strip().lower() in ("rawdatacontainer", "imagedatacontainer"):
        kind.refuse(f"{kind.raw} holds no text", "use rows of text")
    elif not kind.refuse_placeholder():
        kind.refuse(f"there is no data container '{kind.raw}'", did_you_mean(str(kind.raw), known))
    return False


def _post(fields: Fields) -> None:
    kind = fields.take("type")
    if kind is not None:
        if (
            "text_generation" in str(kind.raw).strip().lower()
            or str(kind.raw).strip().lower() == "skip_post_process_data"
        ):
            kind.no_effect("answers are text; the tokenizer decodes them")
        else:
            kind.refuse(
                "post-processing of a model's raw outputs; Quern judges the text it answers",
                "write a check of your own: docs/own-steps.md",
            )
    fields.ignore(dict.fromkeys(("model_name", "task"), "it is known from input_model"))
    fields.refuse_rest("post_process_data")


def _batches(fields: Fields) -> bool:
    """Read how batches are made; return whether a function of the author's would make them, which
    is refused."""
    kind = fields.take("type")
    own = kind is not None and str(kind.raw).strip().lower() not in _BATCHES
    if kind is not None and own:
        kind.refuse(f"a data loader of one's own, '{kind.raw}'", "the pass makes its batches")
    elif kind is not None:
        kind.no_effect("the pass makes its batches by itself")
    fields.ignore(
        dict.fromkeys(
            (
                "batch_size",
                "shuffle",
                "drop_last",
                "num_workers",
                "fields_no_batch",
                "model_name",
            ),
            "the pass's batch size and order rule",
        )
    )
    fields.refuse_rest("dataloader")
    return own


def _code(out: DataDraft, owner: Node) -> None:
    """Write ``code`` if functions of the script are used; else the script has no effect."""
    used = {"load", "columns", "pre_process"} & out.code.keys()
    for key, (value, node) in out.code.items():
        if used:
            out.set(("code", key), value, node, f"code.{key} = {json.dumps(value)}")
        elif key in ("script", "script_dir"):
            node.no_effect("no function of it is used by this data set")
    if used and "script" not in out.code:
        owner.fail("functions are named, and no user_script that holds them", "give user_script")
