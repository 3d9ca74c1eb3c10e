"""Translates ``load_dataset_config``: the source of a data set's rows, and their selection."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pipeline.contract.suggest import did_you_mean
from targets.config.olive.context import Context
from targets.config.olive.data_draft import DataDraft
from targets.config.olive.node import Fields, Node
from targets.config.olive.resource import read_resource
from targets.config.olive.row_limit import first_rows
from targets.config.olive.secrets import is_secret
from targets.config.olive.sets import OliveDataSet

_BUILDERS = {"json": ".json", "csv": ".csv", "parquet": ".parquet", "text": ".txt"}
"""Names that ``datasets.load_dataset`` takes for files of a format."""

_LOADERS = {"huggingface_dataset", "local_dataset", "simple_dataset", "default_load_dataset"}

_KINDS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".ndjson")
_HUB = re.compile(r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")
_ROWS = re.compile(r"\d+%?:(\d+%?)?|:\d+%?")
_SPLIT = re.compile(r"^(?P<part>[^\[\]+]+)(\[(?P<rows>[^\[\]]*)\])?$")


def translate_load(
    fields: Fields,
    data: OliveDataSet,
    out: DataDraft,
    own_batches: bool,
) -> None:
    """Write the source of the rows of ``[data.NAME]``, and their selection.

    A loader of the author's goes into :attr:`DataDraft.code`. ``own_batches`` says that a function
    of the author's makes the batches, and so perhaps the rows.
    """
    loader = fields.take("type")
    if loader is not None and str(loader.raw).lower() not in _LOADERS:
        _own_loader(loader, fields, out)
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
        out.set("where", filters.raw, filters)
    limit = fields.take("max_samples")
    fields.refuse_rest("load_dataset")
    root = out.context.data_root
    if folder is not None and not folder.refuse_placeholder():
        folder.translated("path")
        root = (Path(root) / str(folder.raw)).as_posix()
    named = name.word() if name is not None else None
    if files is not None:
        if named is not None and named not in _BUILDERS:
            inside = out.context.find(named, root)
            if inside is not None and (out.context.folder / inside).is_dir():
                root = inside
            elif _is_hub(named):
                files.refuse(
                    f"files inside the data set {named} of the hub",
                    "download them and name their paths, or leave data_files out",
                )
        _files(files, split, root, out)
        for part in (name, subset):
            if part is not None and not part.placeholder:
                part.no_effect("the files' names say what they hold")
    elif name is None and own_batches:
        return
    elif name is None:
        advice = f"give data_name or data_files, or --data {data.name}=PATH"
        data.node.fail("it does not say where its rows are", advice)
    elif named in _BUILDERS and folder is not None:
        name.translated("path")
        paths = _in_folder(out.context.folder / root, root)
        out.set("path", paths[0] if len(paths) == 1 else paths, folder)
        _rows(split, ("train",), out)
    elif named is not None:
        _named(name, subset, split, root, out)
        if folder is not None and out.get("source") is not None:
            folder.refuse(
                f"a folder inside the data set {named} of the hub", "use subset, or download it"
            )
    if limit is not None:
        first_rows(limit, out)


def _own_loader(loader: Node, fields: Fields, out: DataDraft) -> None:
    if loader.refuse_placeholder():
        return
    if "script" not in out.code:
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
            part.translated("code.hub: HF_TOKEN of the environment, as no file holds secrets")
            out.code["hub"] = (True, loader)
        else:
            params[part.name] = part.raw
            part.translated(f"code.load_params.{part.name}")
    out.code["load"] = (str(loader.raw), loader)
    out.code["load_params"] = (params, loader)
    # Olive's scripts may load from anywhere, the hub included.
    out.code["network"] = (True, loader)


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
    root: str,
    out: DataDraft,
) -> None:
    """Read rows by ``data_name`` alone: a file or folder here, else a data set of the hub."""
    text = str(name.raw)
    if text in _BUILDERS:
        name.refuse(f"'{text}' is a format, and data_files is missing", "give data_files")
        return
    path = out.context.find(text, root)
    if path is None and not _is_hub(text):
        path = text  # not a hub name: the loader reports the missing file
    if path is not None:
        paths = _in_folder(out.context.folder / path, path)
        out.set("path", paths[0] if len(paths) == 1 else paths, name)
        _rows(split, (), out)
        if subset is not None:
            subset.refuse("files have no subset", "remove it")
        return
    out.set("source", f"hf:{text}", name)
    if subset is not None:
        out.set("subset", str(subset.raw), subset)
    _part(split, out)


def _part(split: Node | None, out: DataDraft) -> None:
    """Write which part of a hub's data set is read, and which rows of it."""
    if split is None:
        out.set("part", "validation", None)
        return
    if split.refuse_placeholder():
        return
    match = _SPLIT.match(str(split.raw).strip())
    rows = match["rows"] if match else None
    if match is None or rows is None or not _ROWS.fullmatch(rows):
        out.set("part", str(split.raw), split)
        return
    out.set("part", match["part"], split)
    out.set("rows", rows, split, f"part = '{match['part']}', rows = '{rows}'")


def _is_hub(text: str) -> bool:
    """Return whether ``text`` may be the name of a data set of the hub: no path, no file."""
    return _HUB.match(text) is not None and Path(text).suffix.lower() not in (*_KINDS, ".txt")


def _in_folder(path: Path, shown: str) -> list[str]:
    if not path.is_dir():
        return [shown]
    files = [f"{shown}/{item.name}" for item in sorted(path.iterdir()) if item.suffix in _KINDS]
    return files or [shown]


def _files(
    node: Node,
    split: Node | None,
    root: str,
    out: DataDraft,
) -> None:
    """Read ``data_files``: a path, a pattern, several, a table of them by part, or a resource."""
    part_names: tuple[str, ...] = ("train",)
    if isinstance(node.raw, dict) and "type" not in node.raw:
        part_names = tuple(node.raw)
        if split is not None:
            parts = _parts(split, part_names)
        else:
            # Olive's default is "validation"; where there is one part it can mean no other.
            parts = ["validation"] if "validation" in part_names else list(part_names[:1])
            if len(part_names) > 1 and "validation" not in part_names:
                node.refuse("which of its parts is read is not said", 'add "split"')
        chosen = []
        for entry in node.fields("data_files").rest():
            if entry.name in parts:
                chosen += entry.items()
            else:
                entry.no_effect(f"the split is {' and '.join(parts)}")
    else:
        chosen = node.items() if not isinstance(node.raw, dict) else [node]
    _rows(split, part_names, out)
    paths: list[str] = []
    named: Node | None = None
    for entry in chosen:
        resource = read_resource(entry)
        if resource is not None:
            paths += _paths(resource.place, root, out.context)
            named = named or resource.node
            resource.node.translated("path")
    if named is not None:
        out.set("path", paths[0] if len(paths) == 1 else paths, named)


def _paths(text: str, root: str, context: Context) -> list[str]:
    """Return the files that ``text`` means; one that is not there is left to the loader."""
    if any(sign in text for sign in "*?["):
        matches = sorted((context.folder / root).glob(text)) if not Path(text).is_absolute() else []
        if matches:
            return [path.relative_to(context.folder).as_posix() for path in matches]
    return [context.find(text, root) or context.find(text) or text]


def _parts(split: Node, part_names: tuple[str, ...]) -> list[str]:
    parts = []
    for piece in str(split.raw).split("+"):
        match = _SPLIT.match(piece.strip())
        part = match["part"] if match else piece
        if part not in part_names:
            split.refuse(f"data_files has no part '{part}'", did_you_mean(part, part_names))
        parts.append(part)
    return parts


def _rows(split: Node | None, part_names: tuple[str, ...], out: DataDraft) -> None:
    """Read the slice of ``"train[:1000]"``; of files all rows are one part."""
    if split is None or split.refuse_placeholder():
        return
    match = _SPLIT.match(str(split.raw).strip())
    if match is None:
        if "+" in str(split.raw) and "[" not in str(split.raw):
            split.translated("path")
        else:
            split.refuse(f"'{split.raw}' is not a split", "write for example train[:1000]")
        return
    if part_names and match["part"] not in part_names and match["part"] != "all":
        split.refuse(
            f"files have no part '{match['part']}'", did_you_mean(match["part"], part_names)
        )
        return
    if match["rows"] is None:
        split.no_effect("all rows of the file are read")
        return
    rows = match["rows"]
    if not _ROWS.fullmatch(rows):
        split.refuse(f"'{rows}' is not a slice that Quern reads", "write for example train[:1000]")
        return
    out.set("rows", rows, split)
