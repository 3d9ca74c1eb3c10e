"""Checks that the artifact is what the model builder makes of the checkpoint, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.builder.params import ModelBuilderParams
from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.adapter_name import SUFFIX
from pipeline.contract.changes import CHANGES, PARTS, Part
from pipeline.contract.frozen import Frozen
from pipeline.contract.result import Verdict
from pipeline.contract.roles import Role
from pipeline.contract.step import Inputs
from pipeline.training.separate_params import SeparateParams

_SETTINGS = "genai_config.json"


class RebuildParams(Frozen):
    """There is nothing to set where the artifact is built here: two builds are the same."""

    built_with: ModelBuilderParams | None = None
    """How the ONNX model in ``onnx`` of ``[model]`` was built from the checkpoint in ``source``:
    parameters of ``model_builder``, such as ``{ precision = "int4" }``. The version of the builder
    must be that of the target."""


class Check(BaseCheck[RebuildParams]):
    """Build the checkpoint again with the artifact's options, and compare: every node with all its
    attributes, every byte of every weight, all settings, the tokenizer and the chat template. An
    adapter that the artifact keeps separate is added again, and compared as well.

    No weight is written, and only a few are in memory at a time. A difference fails even if it has
    no effect in today's runtime. What a pass after the model builder says that it changes (its
    figure ``changes``) is unverified. So is all of a model that was not built here, unless
    ``built_with`` says how it was.
    """

    Params = RebuildParams
    needs: ClassVar[tuple[Role, ...]] = ("artifact", "model", "adapter", "integers", "widths")
    optional_needs: ClassVar[tuple[Role, ...]] = ("model", "adapter", "integers", "widths")

    def run(self, inputs: Inputs, params: RebuildParams) -> Outcome:
        """Build and compare. A graph that cannot be read fails the check."""
        import tempfile

        from pipeline.builder.beside import build_beside
        from pipeline.builder.build import options_of, recorded_as
        from pipeline.builder.options import OPTIONS
        from pipeline.onnx.checkpoint import Checkpoint
        from pipeline.onnx.differences import graph_differences, place_differences
        from pipeline.onnx.genai_config import GenAiConfig
        from pipeline.onnx.graph import OnnxModel
        from pipeline.training.separate_adapter import attach
        from pipeline.verdicts.verdicts import problem_verdict

        folder, recorded = inputs["artifact"], inputs.metrics.get("artifact", {})
        if "model" not in inputs.paths:
            return _unverified("the checkpoint it was made from is not here")
        if OPTIONS not in recorded:
            built = params.built_with
            if built is None:
                return _unverified("it was not built here, and built_with does not say how it was")
            recorded = {
                **recorded,
                **recorded_as(built, options_of(Checkpoint(inputs["model"]), built)),
            }
        try:
            model = OnnxModel(folder / GenAiConfig(folder).filename)
        except ValueError as error:
            return Outcome((problem_verdict("graph_readable", [str(error)], ""),))
        with tempfile.TemporaryDirectory() as scratch:
            out_dir = Path(scratch)
            beside = build_beside(
                inputs["model"],
                out_dir,
                model,
                recorded,
                inputs.report,
                integers=inputs.paths.get("integers"),
                widths=inputs.paths.get("widths"),
            )
            separate = SeparateParams()
            if "adapter" in inputs.paths:
                separate = _separate(recorded)
                attach(out_dir, inputs["model"], inputs["adapter"], separate.name, separate.layers)
            adapter = f"{separate.name}{SUFFIX}"
            graph, texts = OnnxModel(out_dir / beside.file), _names(out_dir)
            differences: Mapping[Part, list[str]] = {
                "graph": graph_differences(model, graph),
                "weights": [*beside.differences, *_texts(folder, out_dir, texts & {adapter})],
                "settings": _texts(folder, out_dir, [_SETTINGS]),
                "tokenizer": _texts(folder, out_dir, texts - {_SETTINGS, beside.file, adapter}),
                "files": [
                    *_strays(_names(folder), texts | {beside.data}),
                    *place_differences(model, beside.data),
                ],
            }
        fine = {
            "graph": f"{len(graph.nodes)} nodes with all their attributes",
            "weights": f"{beside.tensors} tensors, byte for byte",
            "settings": _SETTINGS,
            "tokenizer": "tokenizer and chat template",
            "files": "none is missing, none is there besides, and weights lie where they should",
        }
        changes = recorded.get(CHANGES)
        return Outcome(
            tuple(_judged(part, found, fine[part], changes) for part, found in differences.items())
        )


def _separate(recorded: Mapping[str, JsonValue]) -> SeparateParams:
    """Return how the adapter was added, as the artifact's step recorded it."""
    said = recorded.get("adapter")
    known = SeparateParams.model_fields
    table = said if isinstance(said, dict) else {}
    return SeparateParams.model_validate({key: table[key] for key in known if key in table})


def _judged(part: Part, found: list[str], fine: str, changes: JsonValue) -> Verdict:
    from pipeline.verdicts.verdicts import problem_verdict, unverified

    name = f"same_{part}"
    if found and isinstance(changes, list) and part in changes:
        return unverified(name, "a pass after the model builder says that it changes it")
    return problem_verdict(name, found, f"as the model builder makes it: {fine}")


def _unverified(why: str) -> Outcome:
    from pipeline.verdicts.verdicts import unverified

    return Outcome(tuple(unverified(f"same_{part}", why) for part in PARTS))


def _names(folder: Path) -> set[str]:
    """Return the files below ``folder``, and its folders."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def _texts(folder: Path, rebuilt: Path, names: Iterable[str]) -> list[str]:
    from pipeline.onnx.differences import file_differences

    return [
        difference
        for name in sorted(names)
        if (folder / name).is_file()
        for difference in file_differences(folder / name, rebuilt / name)
    ]


def _strays(found: set[str], wanted: set[str]) -> list[str]:
    return [
        *(f"{name} is missing" for name in sorted(wanted - found)),
        *(f"{name} should not be there" for name in sorted(found - wanted)),
    ]
