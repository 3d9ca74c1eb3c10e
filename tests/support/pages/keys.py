"""Whether every config key that the pages show is one, with a value that it can have.

A block of TOML is a whole config or a part of one. A part is laid over a small whole config, in the
place of what it stands for there, and read as a build reads it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli
import tomli_w

from pipeline.checks.base import BaseCheck
from pipeline.passes.base import BasePass
from pipeline.run.own_steps import OWN_TYPE
from pipeline.run.registry import check_types, load_check, load_pass, pass_types
from targets.cli.options import PROJECT
from targets.config.json_schema import build_schema, chain_passes
from targets.config.load import load_config
from targets.errors import ConfigError
from targets.target import Target, load_target, target_names
from tests.support.pages.page import Fence, Page
from tests.support.project import make_project
from tests.support.safetensors_files import write_safetensors

if TYPE_CHECKING:
    from jsonschema import Draft7Validator

Table = dict[str, Any]
_TRAINING = tuple(name for name in chain_passes() if load_pass(name).produces == "adapter")
_BUILDING = ("model_builder", "tune")
_SEPARATE = "separate_adapter"
_SNAKE = re.compile(r"^[a-z][a-z0-9]*(_[a-z0-9]+)+$")
_OF_OTHERS = {"set_denormal_as_zero"}
"""Names that are other projects' and that Quern has no use for."""
_HEADER = re.compile(r"^\[\[?([A-Za-z0-9_.-]+)\]\]?$")


def mistakes(pages: Sequence[Page], folder: Path) -> Iterator[str]:
    """Yield what a build would refuse of blocks of TOML, and inline keys that no table has."""
    for page in pages:
        for fence in page.fences:
            if fence.language == "toml":
                place = f"{page.path}:{fence.line}"
                yield from (f"{place}: {problem}" for problem in block_mistakes(fence, folder))
        for span in page.spans:
            yield from (f"{page.path}: `{span}`: {problem}" for problem in _inline_mistakes(span))


def block_mistakes(fence: Fence, folder: Path) -> Iterator[str]:
    """Yield what a build says of a block, completed where it is a part of a config."""
    try:
        part = tomli.loads(fence.text)
    except tomli.TOMLDecodeError as error:
        yield f"is not TOML: {error}"
        return
    project = make_project(folder / "project")
    document = part if {"name", "model"} <= part.keys() else _completed(part, project.config)
    _make_files(document, project.folder)
    config = project.folder / "shown.toml"
    config.write_text(tomli_w.dumps(document), encoding="utf-8")
    targets = [load_target(name) for name in part.get("targets", {}) if name in target_names()]
    try:
        load_config(config, targets or [load_target("cpu")])
    except ConfigError as error:
        yield from (f"{problem.key}: {problem.message}" for problem in error.problems)
    for mistake in _schema().iter_errors(document):
        yield f"{'.'.join(map(str, mistake.path))}: {mistake.message}"


def _completed(part: Table, base: Path) -> Table:
    """Return ``part`` laid over the config ``base``."""
    document = tomli.loads(base.read_text("utf-8"))
    if "onnx" in part.get("model", {}):
        document |= {"model": {}, "passes": {}}
    if "source" in part.get("model", {}):
        document["model"] = {}
    if "adapter" in part.get("model", {}):
        document["passes"].pop("lora")
    if "data" in part:
        document["data"] = {}
        lengths = [spec.get("sequences", {}).get("length", 0) for spec in part["data"].values()]
        document["passes"]["lora"]["max_length"] = max(1024, *lengths)
    document["passes"] = _in_order(document["passes"], part.get("passes", {}))
    return _merged(document, _whole_data(part))


def _in_order(base: Table, own: Table) -> Table:
    """Return the passes of both: of each kind one, and between merging and building all others. An
    adapter that is kept separate is not merged, and follows building."""
    types = {name: table.get("type", name) for name, table in own.items()}

    def of_kind(kind: Sequence[str]) -> Table:
        passes = {name: own[name] for name, named in types.items() if named in kind}
        return passes or {name: table for name, table in base.items() if name in kind}

    kinds = (*_TRAINING, "merge", *_BUILDING, _SEPARATE)
    others = {n: t for n, t in own.items() if types[n] not in kinds}
    separate = {name: own[name] for name, named in types.items() if named == _SEPARATE}
    if separate:
        return {**of_kind(_TRAINING), **others, **of_kind(_BUILDING), **separate}
    return {**of_kind(_TRAINING), **of_kind(("merge",)), **others, **of_kind(_BUILDING)}


def _whole_data(part: Table) -> Table:
    """Return ``part`` with rows and text for each data set that tells of other things."""
    if not isinstance(part.get("data"), dict):
        return part
    ways = ("prompt", "template", "messages", "pair_format", "tokens")
    data = {}
    for name, spec in part["data"].items():
        joined = str(spec.get("sequences", {}).get("strategy", "")).startswith("join")
        whole = {"loss_on": "all"} if joined else {}
        if not ({"path", "source"} & spec.keys() or spec.get("code", {}).get("load")):
            whole["path"] = "chats.jsonl" if "messages" in spec else "tone.jsonl"
        if not any(way in spec for way in ways):
            whole |= {"prompt": "{phrase}", "completion": "{tone}"}
        data[name] = {**whole, **spec}
    return {**part, "data": data}


def _merged(under: Table, over: Table) -> Table:
    merged = {**under}
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _make_files(document: Table, folder: Path) -> None:
    """Make what the document names: data, scripts, models, keys, an earlier artifact."""
    for key in document.get("cache", {}).get("trust", ()):
        (folder / key).touch()
    model = document["model"]
    if isinstance(model, dict) and "pretrain" in model:
        stories = folder / str(model["pretrain"]["text"])
        if not stories.exists():
            stories.mkdir(parents=True)
            shutil.copy(folder / "story.txt", stories / "story.txt")
    for place in _local_models(model):
        _make_model(folder / place)
    if isinstance(model, dict) and "adapter" in model:
        _make_adapter(folder / model["adapter"])
    for spec in document.get("data", {}).values():
        rows = folder / str(spec.get("path", "tone.jsonl"))
        columns = set(re.findall(r"\{(\w+)\}", json.dumps(spec))) | {spec.get("label")} - {None}
        if spec.get("messages"):
            columns = {spec["messages"]}
        if not rows.exists() and rows.suffix == ".jsonl":
            labels = spec.get("labels") or ["a", "b"]
            lines = (
                json.dumps(
                    {key: _cell(key, number, spec) for key in columns}
                    | {spec.get("label", "_"): label}
                )
                for number in range(40)
                for label in labels
            )
            rows.write_text("\n".join(lines) + "\n", encoding="utf-8")
    examples = PROJECT / "docs" / "examples" / "own-steps"
    shutil.copytree(examples, folder, dirs_exist_ok=True)
    for name in ("rows.py", "metrics.py"):
        functions = "".join(f"def {f}(*a, **k): ...\n" for f in ("as_text", "word_overlap"))
        (folder / name).write_text(functions, encoding="utf-8")
    for check in document.get("checks", {}).values():
        if isinstance(check, dict) and "task_folder" in check:
            (folder / check["task_folder"]).mkdir()
        if isinstance(check, dict) and "baseline" in check:
            _make_artifact(folder / check["baseline"])


def _cell(column: str, number: int, spec: Table) -> object:
    """Return what a row has in a column."""
    if column != spec.get("messages"):
        return f"{column} {number}"
    question = {"role": "user", "content": f"question {number}"}
    return [question, {"role": "assistant", "content": "answer"}]


def _local_models(model: object) -> Iterator[str]:
    source = model if isinstance(model, str) else ""
    if isinstance(model, Mapping):
        source = str(model.get("source", ""))
        if "onnx" in model:
            yield f"onnx:{model['onnx']}"
    if source and ":" not in source:
        yield source


def _make_model(place: Path) -> None:
    """Make a folder that a config may name as a model, as far as the host looks into it."""
    name = str(place)
    if "onnx:" in name:
        _make_artifact(Path(name.replace("onnx:", "")))
        return
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.json").write_text(json.dumps({"model_type": "phi3"}), encoding="utf-8")
    (place / "tokenizer.json").write_text("{}", encoding="utf-8")
    write_safetensors(place / "model.safetensors", {"weights": [[1.0]]})


def _make_adapter(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    (place / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}), encoding="utf-8")
    write_safetensors(place / "adapter_model.safetensors", {"base_model.model.weights": [[1.0]]})


def _make_artifact(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    config = {"model": {"decoder": {"filename": "model.onnx"}}}
    (place / "genai_config.json").write_text(json.dumps(config), encoding="utf-8")
    (place / "model.onnx").write_bytes(b"")
    (place / "tokenizer.json").write_text("{}", encoding="utf-8")


@cache
def _schema() -> Draft7Validator:
    from jsonschema import Draft7Validator

    return Draft7Validator(_built())


@cache
def _built() -> Table:
    return build_schema()


@cache
def known_keys() -> Mapping[str, tuple[Draft7Validator, ...]]:
    """Return every key of any table of a config, and what its values must be there."""
    from jsonschema import Draft7Validator

    schema = _built()
    by_key: dict[str, list[Draft7Validator]] = {}
    for table in (schema, *schema["$defs"].values()):
        for name, key in table.get("properties", {}).items():
            described = {**key, "$defs": schema["$defs"]}
            by_key.setdefault(name, []).append(Draft7Validator(described))
    return {name: tuple(validators) for name, validators in by_key.items()}


def _inline_mistakes(span: str) -> Iterator[str]:
    header = _HEADER.match(span)
    if header is not None:
        yield from _header_mistakes(header[1].split("."))
        return
    assigned = re.match(r"^([a-z_][a-z0-9_.]*) = (.+)$", span)
    if assigned is not None:
        name = assigned[1].rpartition(".")[2]
        yield from _value_mistakes(name, assigned[2])
    elif _SNAKE.match(span) and span not in _words_of_the_sources() | _OF_OTHERS:
        yield "no such name is in the sources"


def _value_mistakes(name: str, text: str) -> Iterator[str]:
    keys = known_keys()
    if hasattr(BasePass, name) or hasattr(BaseCheck, name):
        return  # an attribute of a pass or check of one's own
    if name not in keys:
        yield f"no table has the key {name}"
        return
    try:
        value = tomli.loads(f"it = {text}")["it"]
    except tomli.TOMLDecodeError:
        if "..." not in text and "PATH" not in text:
            yield "is not TOML"
        return
    own = name == "type" and isinstance(value, str) and re.match(OWN_TYPE, value)
    if not own and not any(validator.is_valid(value) for validator in keys[name]):
        yield f"{name} cannot be {value!r}"


def _header_mistakes(parts: Sequence[str]) -> Iterator[str]:
    schema = _built()
    first, *rest = parts
    if first not in {*schema["properties"], "goals", *Target.model_fields}:
        yield f"there is no table {first}"
    elif first == "passes" and rest and rest[0] not in (*pass_types(), "NAME"):
        yield f"there is no pass {rest[0]}"
    elif first == "checks" and rest and rest[0] not in (*check_types(), "NAME"):
        yield f"there is no check {rest[0]}"
    elif first == "targets" and rest and rest[0] not in (*target_names(), "NAME"):
        yield f"there is no target {rest[0]}"
    elif first == "data" and len(rest) > 1 and rest[1] not in known_keys():
        yield f"data sets have no {rest[1]}"


@cache
def _words_of_the_sources() -> frozenset[str]:
    """Return every name in Quern's code, and in what it is given and writes."""
    files = [PROJECT / "noxfile.py"]
    for folder in ("targets", "pipeline", "tests/benchmarks", "tests/integration", "images"):
        files += (PROJECT / folder).rglob("*.py")
        files += (PROJECT / folder).rglob("*.json")
    texts = (file.read_text("utf-8") for file in files)
    checks = {name for check in check_types() for name in vars(load_check(check))}
    return frozenset(checks.union(*(re.findall(r"[a-z0-9_]+", text) for text in texts)))
