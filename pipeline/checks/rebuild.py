"""Checks that the artifact is what the model builder makes of the checkpoint, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import JsonValue

from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.changes import CHANGES, PARTS, Part
from pipeline.contract.frozen import Frozen
from pipeline.contract.result import Verdict
from pipeline.contract.roles import Role
from pipeline.contract.step import Inputs

_SETTINGS = "genai_config.json"


class RebuildParams(Frozen):
    """There is nothing to set: two builds of the same are the same."""


class Check(BaseCheck[RebuildParams]):
    """Build the checkpoint again with the artifact's options, and compare: every node with all its
    attributes, every byte of every weight, all settings, the tokenizer and the chat template.

    No weight is written, and only a few are in memory at a time. A difference fails even if it has
    no effect in today's runtime. What a pass after the model builder says that it changes (its
    figure ``changes``) is unverified.
    """

    Params = RebuildParams
    needs: ClassVar[tuple[Role, ...]] = ("artifact", "model")
    optional_needs: ClassVar[tuple[Role, ...]] = ()

    def run(self, inputs: Inputs, params: RebuildParams) -> Outcome:  # noqa: ARG002
        """Build and compare. A graph that cannot be read fails the check."""
        import tempfile

        from pipeline.builder.beside import OPTIONS, build_beside
        from pipeline.onnx.differences import graph_differences, place_differences
        from pipeline.onnx.genai_config import GenAiConfig
        from pipeline.onnx.graph import OnnxModel
        from pipeline.verdicts.verdicts import problem_verdict

        folder, recorded = inputs["artifact"], inputs.metrics.get("artifact", {})
        if "model" not in inputs.paths:
            return _unverified("the checkpoint it was made from is not here")
        if OPTIONS not in recorded:
            return _unverified("it was not made by the model builder")
        try:
            model = OnnxModel(folder / GenAiConfig(folder).filename)
        except ValueError as error:
            return Outcome((problem_verdict("graph_readable", [str(error)], ""),))
        with tempfile.TemporaryDirectory() as scratch:
            out_dir = Path(scratch)
            beside = build_beside(inputs["model"], out_dir, model, recorded, inputs.report)
            graph, texts = OnnxModel(out_dir / beside.file), _names(out_dir)
            differences: Mapping[Part, list[str]] = {
                "graph": graph_differences(model, graph),
                "weights": beside.differences,
                "settings": _texts(folder, out_dir, [_SETTINGS]),
                "tokenizer": _texts(folder, out_dir, texts - {_SETTINGS, beside.file}),
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
