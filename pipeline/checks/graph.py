"""Checks that the model folder is complete, consistent, loads, and has the required precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue

from pipeline.checks._rotary import MAX_ERROR, rotary_verdict
from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.errors import BeyondCpuError, StepError
from pipeline.contract.frozen import Frozen
from pipeline.contract.result import Verdict
from pipeline.contract.roles import Role
from pipeline.contract.step import Inputs

_NO_MODEL = "transformers cannot make the model of the config: {}"
_WIDTHS = {"int4": 4, "int8": 8}
_MIXING = {"rtn_last", "k_quant_last", "k_quant_mixed", "k_quant_linear"}


class GraphParams(Frozen):
    """Required precision. By default, that of the ``model_builder`` pass."""

    precision: Literal["int4", "int8", "fp16", "bf16", "fp32"] | None = None
    """Type of the linear layers' weights. Default: the pass's."""
    min_quantized_share: float = Field(default=1.0, ge=0, le=1)
    """Smallest share of the linear layers' weights that must be quantized, not counting nodes that
    the pass excludes."""
    max_rotary_error: float = Field(default=MAX_ERROR, gt=0)
    """Largest difference of a cosine or sine in the graph's tables of rotary positions from those
    that the checkpoint's config gives."""


class Check(BaseCheck[GraphParams]):
    """Prove that the model folder is complete and consistent, and that it loads."""

    Params = GraphParams
    needs: ClassVar[tuple[Role, ...]] = ("artifact", "model", "widths")
    optional_needs: ClassVar[tuple[Role, ...]] = ("model", "widths")
    uses_device: ClassVar[bool] = True

    def run(self, inputs: Inputs, params: GraphParams) -> Outcome:
        """Examine the folder. Broken files are failed verdicts, not exceptions."""
        from pipeline.onnx.genai_config import GenAiConfig
        from pipeline.onnx.graph import OnnxModel
        from pipeline.verdicts.verdicts import problem_verdict

        folder = inputs["artifact"]
        try:
            config = GenAiConfig(folder)
            model = OnnxModel(folder / config.filename)
        except ValueError as error:
            return Outcome((problem_verdict("graph_readable", [str(error)], ""),))
        return _Examination(inputs, params, config, model).outcome()


class _Examination:
    """The examination of one model folder. Each part relies on the results of earlier ones."""

    def __init__(self, inputs: Inputs, params: GraphParams, config: Any, model: Any) -> None:
        from pipeline.onnx.checkpoint import Checkpoint

        self._inputs = inputs
        self._params = params
        self._config = config
        self._model = model
        self._asked: Mapping[str, JsonValue] = inputs.metrics.get("artifact", {})
        self._checkpoint = Checkpoint(inputs["model"]) if "model" in inputs.paths else None
        self._verdicts: list[Verdict] = []

    def outcome(self) -> Outcome:
        from pipeline.onnx import alone, consistency, integrity, quantized

        model, config = self._model, self._config
        layers = quantized.linear_layers(model)
        is_complete = self._judge(
            "external_data",
            lambda: integrity.external_data(model) + integrity.stray_files(model),
            f"{len(model.initializers)} initializers inside their files",
        )
        sound = self._judge(
            "graph_structure",
            lambda: integrity.structure(model) + integrity.unused_weights(model, config.logits),
            f"{len(model.nodes)} nodes in order, all weights in use",
        )
        self._precision(layers)
        self._widths()
        self._judge("packing", lambda: quantized.packing(model), f"{len(layers)} linear layers")
        if is_complete:
            self._judge("finite_weights", lambda: quantized.value_problems(model), "all finite")
        self._judge(
            "genai_config",
            lambda: (
                consistency.config_and_graph(config, model) + consistency.search_settings(config)
            ),
            f"{config.layers} layers, vocabulary {config.vocabulary}, context {config.context}",
        )
        checkpoint = self._checkpoint
        if checkpoint is not None:
            self._judge(
                "checkpoint",
                lambda: (
                    consistency.config_and_checkpoint(config, checkpoint)
                    + consistency.answers_of_checkpoint(config, checkpoint, self._search_asked())
                    + quantized.weight_count_problems(layers, checkpoint.linear_weights)
                ),
                f"{checkpoint.linear_weights} linear weights, as in the checkpoint",
            )
            self._attributes(checkpoint.folder)
        elif is_complete and sound:
            self._judge(
                "fits_together",
                lambda: alone.folder_problems(config, model),
                "layers, caches, positions and files",
            )
        self._rotary()
        self._loading(is_complete and sound)
        widths: dict[str, JsonValue] = {}
        for layer in layers:
            widths[str(layer.bits)] = int(str(widths.get(str(layer.bits), 0))) + 1
        return Outcome(tuple(self._verdicts), {"linear_layers_by_bits": widths})

    def _judge(self, name: str, find: Callable[[], list[str]], fine: str) -> bool:
        from pipeline.verdicts.verdicts import problem_verdict

        try:
            problems = find()
        except StepError as error:
            problems = [str(error)]
        except (ValueError, KeyError, IndexError, TypeError, OSError) as error:
            problems = [f"cannot be judged: {error!r}"]
        self._verdicts.append(problem_verdict(name, problems, fine))
        return not problems

    def _precision(self, layers: list[Any]) -> None:
        from pipeline.onnx.quantized import quantized_share
        from pipeline.verdicts.verdicts import limit_verdict, summarize_problems, unverified

        precision = self._params.precision or self._asked.get("precision")
        if precision is None:
            why = "no precision asked for and none recorded"
            self._verdicts.append(unverified("quantized_share", why))
            return
        if precision not in _WIDTHS:
            if any(layer.bits < 16 for layer in layers):
                quantized = [layer.node for layer in layers if layer.bits < 16]
                self._judge("precision", lambda: [f"{name} is quantized" for name in quantized], "")
            return
        mixing = (
            self._asked.get("algorithm") in _MIXING
            or bool(self._asked.get("mixed_precision"))
            or "widths" in self._inputs.paths
        )
        bits = frozenset({4, 8}) if mixing else frozenset({_WIDTHS[str(precision)]})
        names = self._asked.get("nodes_to_exclude")
        excluded = (
            frozenset(str(name) for name in names) if isinstance(names, list) else frozenset()
        )
        share = quantized_share(layers, bits, excluded)
        detail = f"{precision}: {summarize_problems(share.left) or f'all of {share.total} weights'}"
        verdict = limit_verdict(
            "quantized_share", share.value, ">=", self._params.min_quantized_share, detail=detail
        )
        if verdict is not None:
            self._verdicts.append(verdict)

    def _widths(self) -> None:
        """Compare the width of each matrix with the one that a pass chose."""
        from pipeline.onnx.chosen_widths import width_problems
        from pipeline.weights.widths import Widths

        if self._checkpoint is None or "widths" not in self._inputs.paths:
            return
        checkpoint, folder = self._checkpoint, self._inputs["widths"]
        chosen = Widths.load(folder)
        self._judge(
            "chosen_widths",
            lambda: width_problems(self._model, checkpoint, chosen),
            f"{len(chosen.int8)} of {len(chosen.bits)} weights in int8, as chosen",
        )

    def _search_asked(self) -> Mapping[str, JsonValue]:
        """Return the search options that the pass was asked to write."""
        search = self._asked.get("search")
        return search if isinstance(search, dict) else {}

    def _attributes(self, checkpoint: Path) -> None:
        """Compare attributes of attention and norms with what the checkpoint's config gives."""
        from pipeline.onnx.attributes import attribute_problems
        from pipeline.training.architecture import architecture_of
        from pipeline.verdicts.verdicts import unverified

        try:
            wanted = architecture_of(checkpoint)
        except Exception as error:  # whatever transformers' code for a model raises
            self._verdicts.append(unverified("attributes", _NO_MODEL.format(error)))
            return
        self._judge(
            "attributes",
            lambda: attribute_problems(self._model, wanted),
            "scales, caps and windows of attention, epsilons of norms",
        )

    def _rotary(self) -> None:
        """Compare the tables of rotary positions with those that the checkpoint's config gives."""
        from pipeline.training.logits import rotary_tables_of_config
        from pipeline.verdicts.verdicts import unverified

        if self._checkpoint is None:
            return
        try:
            tables = rotary_tables_of_config(self._checkpoint.folder)
        except Exception as error:  # whatever transformers' code for a model raises
            self._verdicts.append(unverified("rotary_table", _NO_MODEL.format(error)))
            return
        self._verdicts.append(rotary_verdict(self._model, tables, self._params.max_rotary_error))

    def _loading(self, is_complete: bool) -> None:
        """Load the folder if it is ``is_complete``: the runtime may crash on a broken graph."""
        from pipeline.onnx.alone import chat_problems
        from pipeline.onnx.session import Session
        from pipeline.onnx.tokenizers import tokenizer_problems
        from pipeline.verdicts.verdicts import unverified

        if not is_complete:
            why = "not tried: the graph or its data is not whole"
            self._verdicts += [unverified("loads", why), unverified("tokenizer", why)]
            return
        sessions: list[Session] = []

        def load() -> list[str]:
            session = Session(
                self._inputs["artifact"], self._inputs.threads, cpu=bool(self._inputs.absent_device)
            )
            sessions.append(session)
            return session.first_step_problems()

        try:
            loads = self._judge("loads", load, "loads and computes finite logits")
        except BeyondCpuError as error:
            self._verdicts += [unverified("loads", str(error)), unverified("tokenizer", str(error))]
            return
        if not loads:
            self._verdicts.append(unverified("tokenizer", "not tried: the model does not load"))
            return
        of = "transformers makes of its files" if self._checkpoint is None else "the checkpoint's"
        self._judge(
            "tokenizer",
            lambda: tokenizer_problems(
                self._inputs["artifact"],
                self._config,
                sessions[0],
                self._inputs.paths.get("model"),
            ),
            f"same ids and chat text as {of}",
        )
        if self._checkpoint is None:
            self._judge(
                "chat",
                lambda: chat_problems(self._inputs["artifact"], self._config, sessions[0]),
                "a chat is shown as it was said, and answers end",
            )
