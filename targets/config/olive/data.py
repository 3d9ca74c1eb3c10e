"""``data_configs``: each data set that something uses becomes ``[data.NAME]``."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.suggest import did_you_mean
from targets.config.olive.components import BATCH, LOAD, POST, PRE, read_components
from targets.config.olive.context import Context
from targets.config.olive.draft import Draft
from targets.config.olive.node import Fields, Node
from targets.config.olive.resource import read_resource
from targets.config.olive.rows import first_rows
from targets.config.olive.secrets import is_secret
from targets.config.olive.text import translate_text
from targets.config.places import dotted

_BUILDERS = {"json": ".json", "csv": ".csv", "parquet": ".parquet", "text": ".txt"}
"""Names that ``datasets.load_dataset`` takes for files of a format."""

_LOADERS = {"huggingface_dataset", "local_dataset", "simple_dataset", "default_load_dataset"}
_DUMMY = {
    "dummydatacontainer": 1,
    "transformersdummydatacontainer": 128,
    "transformerspromptdummydatacontainer": 8,
    "transformerstokendummydatacontainer": 1,
}
"""Containers of made-up inputs, and the prompt tokens Olive gives each by default."""

_KINDS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".ndjson")
_PLAIN = {"", "datacontainer", "huggingfacecontainer"}
_HUB = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
_ROWS = re.compile(r"\d+%?:(\d+%?)?|:\d+%?")
_SPLIT = re.compile(r"^(?P<part>[^\[\]+]+)(\[(?P<rows>[^\[\]]*)\])?$")


@dataclass(frozen=True)
class DataSet:
    """One entry of ``data_configs``, or one written in place."""

    name: str
    node: Node


def read_data_sets(node: Node | None) -> dict[str, DataSet]:
    """Return the data sets of the file by name: a list of tables, or a table of them."""
    if node is None:
        return {}
    found: dict[str, DataSet] = {}
    keyed = isinstance(node.raw, dict)
    entries = list(node.fields("data_configs").rest()) if keyed else node.items()
    taken: set[str] = set()
    for at, entry in enumerate(entries):
        if not isinstance(entry.raw, dict):
            entry.refuse("a data set must be an object", "give name and load_dataset_config")
            continue
        raw = entry.raw
        name = str(raw.get("name") or (entry.name if keyed else f"data-{at}"))
        data = DataSet(unique(_safe(name), taken), entry)
        taken.add(data.name)
        # The oldest files refer to a data set by its key, later ones by its name.
        for key in dict.fromkeys((name, entry.name) if keyed else (name,)):
            if key in found and found[key].node is not entry:
                entry.refuse(f"two data sets are called '{key}'", "names must differ")
            found.setdefault(key, data)
    return found


def used_set(node: Node, sets: dict[str, DataSet]) -> DataSet | None:
    """Return the data set that ``node`` names, or describes in place: then it joins ``sets``."""
    if isinstance(node.raw, dict):
        here = f"written at {dotted(node.path)}"
        if here not in sets:
            name = str(node.raw.get("name") or node.name.removesuffix("_data_config") or "data")
            taken = {data.name for data in sets.values()}
            sets[here] = DataSet(unique(_safe(name), taken), node)
        return sets[here]
    if node.refuse_placeholder():
        return None
    found = sets.get(str(node.raw))
    if found is None:
        node.refuse(
            f"there is no data set '{node.raw}' in data_configs", did_you_mean(str(node.raw), sets)
        )
    return found


def _safe(name: str) -> str:
    """Return ``name`` as the name of a data set of a Quern config."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "data"


def unique(name: str, taken: Collection[str]) -> str:
    """Return ``name``, with a number behind it if it is taken."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(text for text in itertools.chain([name], numbered) if text not in taken)


def dummy_prompt(data: DataSet) -> int | None:
    """Return the prompt tokens of a container of made-up inputs; ``None`` for real data."""
    raw = data.node.raw if isinstance(data.node.raw, dict) else {}
    default = _DUMMY.get(str(raw.get("type", "")).lower())
    if default is None:
        return None
    fields = data.node.fields("a data set")
    for name in ("name", "type"):
        part = fields.take(name)
        if part is not None:
            part.translated("prompts of made-up tokens")
    components = read_components(fields)
    load = components[LOAD]
    length = load.take("seq_len")
    shapes = load.take("input_shapes")
    size = default
    if length is not None:
        size = int(length.number() or default)
        if not length.placeholder:
            length.translated("checks.latency.prompt_tokens")
    elif shapes is not None and isinstance(shapes.raw, list) and shapes.raw:
        first = shapes.raw[0]
        last = first[-1] if isinstance(first, list) and first else None
        size = last if isinstance(last, int) else default
        shapes.translated("checks.latency.prompt_tokens")
    for part in [
        *load.rest(),
        *(node for name in (PRE, POST, BATCH) for node in components[name].rest()),
    ]:
        part.no_effect("the runtime makes every input but the prompt by itself")
    fields.refuse_rest("a data set of made-up inputs")
    return max(size, 1)


def translate_data(
    data: DataSet, draft: Draft, context: Context, measured: bool, labelled: bool = False
) -> None:
    """Write ``[data.NAME]``. ``measured`` says that nothing is trained on it.

    ``labelled`` says that a metric needs classes: then the answer is the class, where the answer is
    a column by itself.
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
    code: dict[str, Any] = {}
    for key in ("user_script", "script_dir"):
        _script(fields.take(key), key, code, context)
    components = read_components(fields)
    spec: dict[str, Any] = {}
    _load(components[LOAD], data, place, code, draft, context)
    translate_text(components[PRE], place, spec, code, draft, measured, labelled, context)
    _post(components[POST])
    _batches(components[BATCH])
    _code(place, code, draft, fields.owner)
    fields.refuse_rest("a data set")
    for key, value in spec.items():
        if draft.get((*place, key)) is None:
            draft.set((*place, key), value, None)


def _container(kind: Node) -> bool:
    if str(kind.raw).strip().lower() in _PLAIN:
        kind.translated("[data]")
        return True
    known = ("HuggingfaceContainer", "DataContainer", "DummyDataContainer")
    if str(kind.raw).strip().lower() in _DUMMY:
        kind.refuse("made-up inputs teach nothing and have no right answers", "use real rows")
    elif str(kind.raw).strip().lower() in ("rawdatacontainer", "imagedatacontainer"):
        kind.refuse(f"{kind.raw} holds no text", "use rows of text")
    elif not kind.refuse_placeholder():
        kind.refuse(f"there is no data container '{kind.raw}'", did_you_mean(str(kind.raw), known))
    return False


def _script(node: Node | None, key: str, code: dict[str, Any], context: Context) -> None:
    if node is None or node.refuse_placeholder():
        return
    found = context.find(str(node.raw), context.data_root) or context.find(str(node.raw))
    code[{"user_script": "script"}.get(key, key)] = (found or str(node.raw), node)


def _load(
    fields: Fields,
    data: DataSet,
    place: tuple[str, ...],
    code: dict[str, Any],
    draft: Draft,
    context: Context,
) -> None:
    loader = fields.take("type")
    if loader is not None and str(loader.raw).lower() not in _LOADERS:
        _own_loader(loader, fields, code)
        return
    if loader is not None:
        loader.no_effect("it is what loads rows anyway")
    name = fields.take("data_name", "dataset_name", "path")
    files = fields.take("data_files")
    folder = fields.take("data_dir")
    split = fields.take("split")
    subset = fields.take("subset")
    _ignored(fields)
    filters = fields.take("col_filters")
    if filters is not None:
        draft.set((*place, "where"), filters.raw, filters)
    limit = fields.take("max_samples")
    fields.refuse_rest("load_dataset")
    root = context.data_root
    if folder is not None and not folder.refuse_placeholder():
        folder.translated("path")
        root = (Path(root) / str(folder.raw)).as_posix()
    named = name.word() if name is not None else None
    if files is not None:
        if named is not None and named not in _BUILDERS:
            inside = context.find(named, root)
            if inside is not None and (context.folder / inside).is_dir():
                root = inside
            elif _is_hub(named):
                files.refuse(
                    f"files inside the data set {named} of the hub",
                    "download them and name their paths, or leave data_files out",
                )
        _files(files, split, place, draft, context, root)
        for part in (name, subset):
            if part is not None and not part.placeholder:
                part.no_effect("the files' names say what they hold")
    elif name is None:
        advice = f"give data_name or data_files, or --data {data.name}=PATH"
        data.node.fail("it does not say where its rows are", advice)
    elif named in _BUILDERS and folder is not None:
        name.translated("path")
        paths = _in_folder(context.folder / root, root)
        draft.set((*place, "path"), paths[0] if len(paths) == 1 else paths, folder)
        _rows(split, place, draft, ("train",))
    elif named is not None:
        _named(name, subset, split, place, draft, context, root)
        if folder is not None and draft.get((*place, "source")) is not None:
            folder.refuse(
                f"a folder inside the data set {named} of the hub", "use subset, or download it"
            )
    if limit is not None:
        first_rows(limit, place, draft)


def _own_loader(loader: Node, fields: Fields, code: dict[str, Any]) -> None:
    if loader.refuse_placeholder():
        return
    if "script" not in code:
        loader.refuse(
            f"there is no loader '{loader.raw}', and no user_script that could hold it",
            did_you_mean(str(loader.raw), _LOADERS),
        )
        for part in fields.rest():
            part.no_effect("nothing is read for an unknown loader")
        return
    params: dict[str, Any] = {}
    for part in fields.rest():
        if is_secret(part.name) and isinstance(part.raw, str):
            part.no_effect("HF_TOKEN of the environment is used: no file holds secrets")
        else:
            params[part.name] = part.raw
            part.translated(f"code.load_params.{part.name}")
    code["load"] = (str(loader.raw), loader)
    code["load_params"] = (params, loader)
    # Olive's scripts load what they like from where they like.
    code["network"] = (True, loader)


def _ignored(fields: Fields) -> None:
    fields.ignore(
        {
            "trust_remote_code": "scripts of data sets are not run by today's datasets library",
            "token": "HF_TOKEN of the environment is used: no file holds secrets",
            "use_auth_token": "HF_TOKEN of the environment is used: no file holds secrets",
            "cache_dir": "the step's own folder is used",
            "keep_in_memory": "it changes speed only",
            "num_proc": "it changes speed only",
            "streaming": "it changes speed only",
            "model_name": "the base model is known from input_model",
            "task": "the task is known from input_model",
            "batch_size": "the pass's batch size rules",
        }
    )


def _named(
    name: Node,
    subset: Node | None,
    split: Node | None,
    place: tuple[str, ...],
    draft: Draft,
    context: Context,
    root: str,
) -> None:
    """Read rows by ``data_name`` alone: a file or folder here, else a data set of the hub."""
    text = str(name.raw)
    if text in _BUILDERS:
        name.refuse(f"'{text}' is a format, and data_files is missing", "give data_files")
        return
    found = context.find(text, root)
    if found is None and not _is_hub(text):
        found = text  # no name of the hub: the loader says that there is no such file
    if found is not None:
        paths = _in_folder(context.folder / found, found)
        draft.set((*place, "path"), paths[0] if len(paths) == 1 else paths, name)
        _rows(split, place, draft, ())
        if subset is not None:
            subset.refuse("files have no subset", "remove it")
        return
    draft.set((*place, "source"), f"hf:{text}", name)
    if subset is not None:
        draft.set((*place, "subset"), str(subset.raw), subset)
    _part(split, place, draft)


def _part(split: Node | None, place: tuple[str, ...], draft: Draft) -> None:
    """Write which part of a hub's data set is read, and which rows of it."""
    if split is None:
        draft.set((*place, "part"), "validation", None)
        return
    if split.refuse_placeholder():
        return
    match = _SPLIT.match(str(split.raw).strip())
    rows = match["rows"] if match else None
    if match is None or rows is None or not _ROWS.fullmatch(rows):
        draft.set((*place, "part"), str(split.raw), split)
        return
    draft.set((*place, "part"), match["part"], split)
    draft.set((*place, "rows"), rows, split, f"part = '{match['part']}', rows = '{rows}'")


def _is_hub(text: str) -> bool:
    """Return whether ``text`` may be the name of a data set of the hub: no path, no file."""
    return _HUB.match(text) is not None and Path(text).suffix.lower() not in (*_KINDS, ".txt")


def _in_folder(path: Path, shown: str) -> list[str]:
    if not path.is_dir():
        return [shown]
    found = [f"{shown}/{item.name}" for item in sorted(path.iterdir()) if item.suffix in _KINDS]
    return found or [shown]


def _files(
    node: Node,
    split: Node | None,
    place: tuple[str, ...],
    draft: Draft,
    context: Context,
    root: str,
) -> None:
    """Read ``data_files``: a path, a pattern, several, a table of them by part, or a resource."""
    there: tuple[str, ...] = ("train",)
    if isinstance(node.raw, dict) and "type" not in node.raw:
        there = tuple(node.raw)
        if split is not None:
            wanted = _parts(split, there)
        else:
            # Olive's default is "validation"; where there is one part it can mean no other.
            wanted = ["validation"] if "validation" in there else list(there[:1])
            if len(there) > 1 and "validation" not in there:
                node.refuse("which of its parts is read is not said", 'add "split"')
        chosen = []
        for entry in node.fields("data_files").rest():
            if entry.name in wanted:
                chosen += entry.items()
            else:
                entry.no_effect(f"the split is {' and '.join(wanted)}")
    else:
        chosen = node.items() if not isinstance(node.raw, dict) else [node]
    _rows(split, place, draft, there)
    paths: list[str] = []
    named: Node | None = None
    for entry in chosen:
        resource = read_resource(entry)
        if resource is not None:
            paths += _paths(resource.place, context, root)
            named = named or resource.node
            resource.node.translated("path")
    if named is not None:
        draft.set((*place, "path"), paths[0] if len(paths) == 1 else paths, named)


def _paths(text: str, context: Context, root: str) -> list[str]:
    """Return the files that ``text`` means; one that is not there is left to the loader."""
    if any(sign in text for sign in "*?["):
        found = sorted((context.folder / root).glob(text)) if not Path(text).is_absolute() else []
        if found:
            return [path.relative_to(context.folder).as_posix() for path in found]
    return [context.find(text, root) or context.find(text) or text]


def _parts(split: Node, there: tuple[str, ...]) -> list[str]:
    found = []
    for piece in str(split.raw).split("+"):
        match = _SPLIT.match(piece.strip())
        part = match["part"] if match else piece
        if part not in there:
            split.refuse(f"data_files has no part '{part}'", did_you_mean(part, there))
        found.append(part)
    return found


def _rows(split: Node | None, place: tuple[str, ...], draft: Draft, there: tuple[str, ...]) -> None:
    """Read the slice of ``"train[:1000]"``; of files all rows are one part."""
    if split is None or split.refuse_placeholder():
        return
    match = _SPLIT.match(str(split.raw).strip())
    if match is None:
        if "+" in str(split.raw) and "[" not in str(split.raw):
            split.translated("path")
        else:
            split.refuse(f"'{split.raw}' is no split", "write for example train[:1000]")
        return
    if there and match["part"] not in there and match["part"] != "all":
        split.refuse(f"files have no part '{match['part']}'", did_you_mean(match["part"], there))
        return
    if match["rows"] is None:
        split.no_effect("all rows of the file are read")
        return
    rows = match["rows"]
    if not _ROWS.fullmatch(rows):
        split.refuse(f"'{rows}' is no slice that Quern reads", "write for example train[:1000]")
        return
    draft.set((*place, "rows"), rows, split)


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


def _batches(fields: Fields) -> None:
    kind = fields.take("type")
    if kind is not None:
        if str(kind.raw).strip().lower() in (
            "no_auto_batch_dataloader",
            "default_dataloader",
            "skip_dataloader",
        ):
            kind.no_effect("the pass makes its batches by itself")
        else:
            kind.refuse(f"a data loader of one's own, '{kind.raw}'", "the pass makes its batches")
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


def _code(place: tuple[str, ...], code: dict[str, Any], draft: Draft, owner: Node) -> None:
    """Write ``code`` where functions of the script are used; else the script has no effect."""
    used = {"load", "columns", "pre_process"} & code.keys()
    for key, (value, node) in code.items():
        if used:
            draft.set((*place, "code", key), value, node, f"code.{key} = {json.dumps(value)}")
        elif key in ("script", "script_dir"):
            node.no_effect("no function of it is used by this data set")
    if used and "script" not in code:
        owner.fail("functions are named, and no user_script that holds them", "give user_script")
