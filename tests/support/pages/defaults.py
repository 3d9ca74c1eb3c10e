"""Whether every default that the pages state is the code's.

A default in prose carries a comment right behind it, which no reader sees:
``30 days<!-- default: clean --older-than -->``. It names an option of a command, a key
(``checks.latency.rounds``), an entry of a target's file (``targets/cpu.toml room.installed``) or a
constant (``targets.bench.significance:SMALLEST_RATIO``).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
import tomli
from pydantic import BaseModel

from pipeline.checks import (
    adapted,
    conversion,
    generation,
    latency,
    merging,
    quality,
    quantization,
    script,
)
from pipeline.contract.data_spec import DataSpec, Sequences, Split
from pipeline.contract.schema import BuildConfig
from pipeline.latency.prompts import LENGTHS
from pipeline.run.registry import load_check, load_pass
from pipeline.training import finetune, shapes
from pipeline.tuning import params as tuning
from pipeline.verdicts import byte_limits as amounts
from targets.cli.main import main
from targets.cli.options import PROJECT
from tests.support.pages.page import Page

_MARK = re.compile(r"(?P<before>[^|]{0,100}?)<!-- default: (?P<named>.+?) -->")
_VALUE = re.compile(r"`([^`]+)`|(\d[\d,]*(?:\.\d+)?)")
_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
_NOT_PROSE = {"measured.md", "scale.md", "config.md"}
"""What was so when it was measured; and what is made from the code (:func:`mistakes_of_keys`)."""
_SENTENCE = re.compile(r"(?<=[.;|])\s+")
_NO_STATEMENT = re.compile(r"`[^`]*`|<!--.*?-->|\]\([^)]*\)|\b[A-Z]\w*[- ]\d[\d.]*")
"""Code, comments, links, and names with a number such as Phi-3."""
_STATES = re.compile(r"\bby default\b|\bdefaults?\b(?! of Olive)", re.IGNORECASE)
_MODELS: dict[str, type[BaseModel]] = {
    "data.split": Split,
    "data.sequences": Sequences,
    "data": DataSpec,
    "": BuildConfig,
}


_FLOAT, _FP32 = conversion._FLOAT, conversion._FP32
_WIDE, _NARROW = quantization._BY_BITS[8], quantization._BY_BITS[4]
_UNSET: dict[str, tuple[Any, ...]] = {
    "pass-model_builder.accuracy_level": (4,),  # the model builder's own
    "pass-lora.epochs": (finetune.DEFAULT_STEPS, finetune.FEWEST_EPOCHS, finetune.MOST_EPOCHS),
    "pass-lora.warmup_ratio": (finetune.DEFAULT_WARMUP,),
    "pass-lora.logging_steps": (finetune._LOGS,),
    "pass-lora.modules_to_save": (shapes.SMALL_EMBEDDING / 1e6,),
    "TuneSpace.block_size": tuning._BUILT["block_size"],
    "check-adapted.max_matrix_error": tuple(adapted._FORMATS.values()),
    "check-conversion.max_logits_error": (_FLOAT.error, _FP32.error),
    "check-conversion.max_logits_difference": (_FLOAT.max_error, _FP32.max_error),
    "check-conversion.min_top1_agreement": (_FLOAT.agreement,),
    "check-generation.min_ended": (1, generation._LEAST_ENDED),
    "check-generation.max_new_tokens": (generation._MORE_TOKENS,),
    "check-latency.lengths": LENGTHS,
    "check-latency.max_regression_percent": (latency._REGRESSION_PERCENT,),
    "check-merging.max_merge_error": tuple(merging._ROUNDING.values()),
    "check-quality.max_perplexity_increase": (quality._PERPLEXITY_INCREASE,),
    "check-quantization.max_mean_kl": (_NARROW.mean_kl, _WIDE.mean_kl),
    "check-quantization.max_p99_kl": (_NARROW.p99_kl, _WIDE.p99_kl),
    "check-quantization.min_top1_agreement": (_NARROW.agreement, _WIDE.agreement),
    "check-quantization.max_scale_error": (_NARROW.scale_error, _WIDE.scale_error),
    "check-quantization.max_weight_error": (_NARROW.weight_error, _WIDE.weight_error),
    "check-script.max_new_tokens": (script._LONG_ANSWER,),
    "check-size.max_regression_percent": (amounts._REGRESSION_PERCENT,),
    "check-memory.max_regression_percent": (amounts._REGRESSION_PERCENT,),
}
"""What keys are taken to be where a config leaves them open and their model says ``None``."""


def mistakes_of_keys(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield descriptions of keys that state another default than the code has."""
    for table, definition in schema["$defs"].items():
        for name, key in definition.get("properties", {}).items():
            stated = re.search(r"Default[:,] (.*)", key.get("description", ""))
            numbers = [] if stated is None else _numbers(stated[1])
            if not numbers:
                continue
            expected = _UNSET.get(f"{table}.{name}")
            if expected is None and "default" not in key and numbers:
                expected = _UNSET.get(f"{_shared(table)}.{name}")
            if expected is None:
                value = stated and stated[1]
                yield f"{table}.{name} states a default that nothing compares: {value}"
            elif not set(map(float, expected)) <= set(numbers):
                yield f"{table}.{name} is {expected}, not {numbers}"


def _numbers(text: str) -> list[float]:
    plain = re.sub(r"`[^`]*`|\b[a-z]+\d+\b", "", text)
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", plain)]


def _shared(table: str) -> str:
    """Return the table whose keys ``table`` has too."""
    others = ("qlora", "loftq", "loha", "lokr", "full_finetune")
    of_lora = dict.fromkeys((f"pass-{name}" for name in others), "pass-lora")
    of_builder = dict.fromkeys(("pass-tune", "ModelBuilderParams"), "pass-model_builder")
    return {**of_lora, **of_builder}.get(table, table)


def mistakes(pages: Sequence[Page]) -> Iterator[str]:
    """Yield stated defaults that are not the code's, and sentences that state one unmarked."""
    for page in pages:
        if page.path.name in _NOT_PROSE:
            continue
        for sentence in _SENTENCE.split(page.prose.replace("\n", " | ")):
            marks = list(_MARK.finditer(sentence))
            for mark in marks:
                actual = default_of(mark["named"])
                listed = isinstance(actual, tuple)
                stated = _listed(mark["before"]) if listed else _stated(mark["before"])
                if not _same(stated, actual):
                    yield f"{page.path}: {mark['named']} is {actual!r}, not {stated!r}"
            plain = _NO_STATEMENT.sub("", sentence)
            if not marks and _STATES.search(plain) and re.search(r"\d", plain):
                yield f"{page.path}: states a default without a comment that names it: {sentence}"


def _stated(text: str) -> str | float | None:
    """Return the last value before a mark."""
    words = "|".join(_WORDS)
    values = [*re.finditer(rf"{_VALUE.pattern}|\b({words})\b", text)]
    if not values:
        return None
    code, number, word = values[-1].groups()
    if word:
        return float(_WORDS[word])
    return code if code else float(number.replace(",", ""))


def _listed(text: str) -> tuple[str, ...]:
    """Return all code in the parenthesis that a mark ends."""
    return tuple(re.findall(r"`([^`]+)`", text.rpartition("(")[2]))


def _same(stated: object, actual: Any) -> bool:
    if isinstance(stated, float) and isinstance(actual, str):
        return actual.lower().removesuffix("b") == f"{stated:g}g"  # a size in GB
    if isinstance(stated, float) and isinstance(actual, (int, float)):
        return stated in (float(actual), round(100 * float(actual), 9))  # a share, or in percent
    return stated == actual or (stated is not None and str(actual) == str(stated))


def default_of(named: str) -> Any:
    """Return the default that a mark names."""
    if " --" in named:
        name, _, option = named.partition(" ")
        command = main.get_command(click.Context(main), name)
        assert command is not None, named
        return next(p.default for p in command.params if option in p.opts)
    if named.startswith("targets/"):
        file, _, key = named.partition(" ")
        value: Any = tomli.loads((PROJECT / file).read_text("utf-8"))
        for part in key.split("."):
            value = value[part]
        return value
    if ":" in named:
        module, _, name = named.partition(":")
        return getattr(importlib.import_module(module), name)
    table, _, key = named.rpartition(".")
    kind, _, name = table.partition(".")
    if kind in ("passes", "checks"):
        params: type[BaseModel] = (load_pass if kind == "passes" else load_check)(name).Params
    else:
        params = _MODELS[table]
    return params.model_fields[key].get_default(call_default_factory=True)
