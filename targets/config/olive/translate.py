"""Translates an Olive file into Quern configs, one for each flow, and accounts for every key."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.contract.suggest import did_you_mean
from targets.config.olive import builder, rounding, rtn, widths
from targets.config.olive.chains import BUILDERS, EXTRACT, PASSES, OlivePass, read_chains, safe_name
from targets.config.olive.context import OWN, Context, nested
from targets.config.olive.draft import Draft
from targets.config.olive.engine import read_engine, settle_engine
from targets.config.olive.evaluators import evaluator_of, translate_evaluator
from targets.config.olive.input_model import translate_model
from targets.config.olive.known import alternative
from targets.config.olive.ledger import Ledger, leaves
from targets.config.olive.node import Fields, Node
from targets.config.olive.parts import translate_parts
from targets.config.olive.placeholders import refuse_placeholders
from targets.config.olive.placement import translate_placement
from targets.config.olive.resource import read_resource
from targets.config.olive.search import (
    Strategy,
    idle_strategy,
    read_strategy,
    refuse_strategy,
    translate_strategy,
)
from targets.config.olive.sets import OliveDataSet, read_data_sets
from targets.config.olive.systems import is_local
from targets.config.olive.training import KINDS, TrainingData, translate_training
from targets.config.source_map import KeyPath

_BUILT = ("model_builder", "tune")

_PROMPT = 128
"""Tokens of a made-up prompt, where a file names neither data nor a length: as Olive's own."""


_NO_PASSES = {
    False: "Quern does not choose them by itself",
    True: "with a ModelBuilder, its artifact is measured, and the model that it is made from",
}
"""What to do about it, by whether the file wants something measured."""


@dataclass(frozen=True)
class Flow:
    """One chain of passes as a Quern config."""

    document: dict[str, Any]
    origin: Callable[[KeyPath], KeyPath]
    """Function from a key of the document to the key of the Olive file that it comes from."""
    without_target: bool = False
    """Whether the file asks for hardware alone that no target runs on."""


@dataclass(frozen=True)
class Translation:
    """The translation of an Olive file: its flows, and the ledger of its keys."""

    flows: tuple[Flow, ...]
    ledger: Ledger


def translate(raw: object, file: Path, context: Context, system: str | None) -> Translation:
    """Return the configs that the value of an Olive file stands for.

    ``system`` is the one that the command line asks for. What cannot be built is refused in the
    ledger; the rest is translated all the same, so that all problems are found at once.
    """
    ledger = Ledger()
    root = Node(raw, (), ledger)
    if not isinstance(raw, dict):
        root.refuse("the file holds no object")
        return Translation((), ledger)
    if "input_model" not in raw and "passes" not in raw:
        root.fail("this is no config of Olive's: it has neither input_model nor passes")
        return Translation((), ledger)
    chains = list(read_chains(root))
    several = len(chains) > 1
    flows = []
    measuring: set[KeyPath] = set()
    for number, chain in enumerate(chains, start=1):
        draft = Draft(ledger)
        evaluator = _Flow(root, draft, context, system, file).translate(
            chain, number if several else 0
        )
        if evaluator is not None:
            measuring.add(evaluator.path)
        flows.append(Flow(draft.document, draft.origin, draft.without_target))
    _unread(root, chains, measuring, ledger)
    refuse_placeholders(root)
    ledger.order(raw)
    return Translation(tuple(flows), ledger)


class _Flow:
    """Translates one chain."""

    def __init__(
        self, root: Node, draft: Draft, context: Context, system: str | None, file: Path
    ) -> None:
        self._root = root
        self._draft = draft
        self._context = context
        self._asked = system
        self._file = file
        self._whole = True
        """Whether Quern has every pass so far."""
        self._rtn: rtn.Rounding | None = None
        """The pass so far whose work ModelBuilder is to do."""
        self._buildable = True
        """Whether the model is one that ModelBuilder takes, as far as the file says."""

    def translate(self, chain: Sequence[OlivePass], number: int) -> Node | None:
        """Write the config of the chain; return the evaluator that measures its artifact."""
        root = self._root.fields("the file")
        root.ignore(
            dict.fromkeys(
                ("$schema", "verbose", "workflow_host"), "it says nothing about the build"
            )
        )
        data_root = root.take("data_root")
        place = read_resource(data_root) if data_root is not None else None
        if place is not None:
            self._context = Context(self._context.folder, place.place)
            place.node.translated("the folder of the data sets' paths")
        engine = read_engine(root)
        self._name(root, engine, number)
        self._buildable = translate_model(root, self._draft, self._context)
        sets = read_data_sets(root.take("data_configs"))
        evaluators = root.take("evaluators")
        strategy = read_strategy(engine.take("search_strategy"))
        evaluator = self._chain(root, chain, sets, engine, evaluators, strategy)
        translate_placement(root, engine, chain, self._asked, self._draft)
        if evaluator is not None:
            translate_evaluator(evaluator, sets, self._draft, self._context)
        self._checks()
        settle_engine(engine, self._holds_out())
        auto = root.take("auto_optimizer_config")
        if auto is not None and chain:
            auto.no_effect("the passes of the file are used")
        elif auto is not None:
            auto.refuse("Quern does not choose passes by itself", "write passes")
        for name in ("passes", "pass_flows"):
            root.take(name)  # their meaning is recorded by the chain
        root.refuse_rest("an Olive file")
        return evaluator

    def _name(self, root: Fields, engine: Fields, number: int) -> None:
        workflow, output = root.take("workflow_id"), engine.take("output_name")
        node = workflow or output
        # Many repositories have a folder for each model, and call every file in it the same.
        named = self._file.absolute().parent.name if self._file.stem == "config" else ""
        name = str(node.raw) if node is not None else named or self._file.stem
        name = safe_name(name) or "olive"
        if number:
            name = f"{name[:60]}-{number}"
        self._draft.set(("name",), name[:64], node)
        if workflow is not None and output is not None:
            output.no_effect("workflow_id names the build")

    def _chain(
        self,
        root: Fields,
        chain: Sequence[OlivePass],
        sets: dict[str, OliveDataSet],
        engine: Fields,
        evaluators: Node | None,
        strategy: Strategy | None,
    ) -> Node | None:
        """Translate the passes and the data they use; return the evaluator of the artifact."""
        named = root.take("passes")
        measures = engine.peek("evaluator") is not None
        ready = self._draft.get(("model", "onnx")) is not None
        if ready and not chain:
            self._draft.table(("passes",), named)
        elif named is None or not named.raw:
            (root.owner if named is None else named).fail(
                "there are no passes", _NO_PASSES[measures]
            )
        evaluator = evaluator_of(engine.take("evaluator"), evaluators)
        trainings: list[tuple[OlivePass, TrainingData]] = []
        hosts = root.peek("systems")
        for at, one in enumerate(chain):
            searched = strategy if at == len(chain) - 1 else None
            named_evaluator = self._pass(one, trainings, hosts, searched)
            own_evaluator = evaluator_of(named_evaluator, evaluators)
            if own_evaluator is None or named_evaluator is None:
                continue
            if at == len(chain) - 1:
                own_evaluator, evaluator = evaluator, own_evaluator
            else:
                named_evaluator.no_effect("the artifact is measured, not what is between")
            if own_evaluator is not None:
                own_evaluator.no_effect("the artifact is measured by another evaluator")
        if self._rtn is not None and not self._is_built():
            self._rtn.kind.refuse(*alternative("Rtn", PASSES, self._buildable))
        if strategy is not None:
            self._search(strategy, chain, evaluator)
        translate_parts(trainings, evaluator, sets, self._draft, self._context, self._whole)
        return evaluator

    def _search(
        self, strategy: Strategy, chain: Sequence[OlivePass], evaluator: Node | None
    ) -> None:
        """Translate a search: over the parameters of the builder that ends the chain."""
        place = ("passes", chain[-1].name) if chain else ()
        made = self._draft.get(place) if place else None
        if made is not None and "space" in made:
            translate_strategy(strategy, place, evaluator, self._draft)
        elif made is not None and made.get("type", chain[-1].name) == "model_builder":
            idle_strategy(strategy, "ModelBuilder has nothing here that is searched over")
        else:
            refuse_strategy(strategy)

    def _pass(
        self,
        one: OlivePass,
        trainings: list[tuple[OlivePass, TrainingData]],
        systems: Node | None,
        strategy: Strategy | None,
    ) -> Node | None:
        """Translate one pass, with the search over its parameters; return its evaluator."""
        fields = nested(one.node.fields("a pass"), "config")
        kind = fields.take("type")
        evaluator = fields.take("evaluator")
        fields.ignore(
            {
                "name": "the table's own name is used",
                "clean_run_cache": "a changed input has another key: nothing stale is there",
                "output_name": "the build's name is used",
            }
        )
        alone = fields.take("disable_search")
        if alone is not None and alone.flag() and strategy is not None:
            alone.honoured()
            strategy = None
        elif alone is not None:
            alone.no_effect("every parameter has one value")
        host = fields.take("host")
        if host is not None:
            known = systems.raw if systems is not None and isinstance(systems.raw, dict) else {}
            if isinstance(host.raw, str) and host.raw not in known and not is_local(host.raw):
                host.refuse(f"there is no system '{host.raw}'", did_you_mean(host.raw, known))
            else:
                host.no_effect("passes run where the build runs; training where a GPU is")
        if kind is None:
            one.node.refuse("a pass needs a type", ", ".join(PASSES))
            self._whole = False
            return None
        place = ("passes", one.name)
        lower = str(kind.raw).strip().lower()
        if OWN.match(str(kind.raw)):
            self._own_pass(str(kind.raw), kind, fields, place)
        elif lower in KINDS:
            self._typed(kind, KINDS[lower], place)
            trainings.append((one, translate_training(lower, fields, place, self._draft)))
            fields.refuse_rest(str(kind.raw))
        elif lower in rounding.KINDS and not self._is_built():
            self._typed(kind, "gptq", place)
            named = rounding.translate_gptq(lower, fields, place, self._draft)
            if named is not None:
                trainings.append((one, named))
            elif not trainings:
                rounding.without_data(place, self._draft)
            fields.refuse_rest(str(kind.raw))
        elif lower == widths.SELECTIVE and not self._is_built():
            self._typed(kind, "mixed_precision", place)
            widths.translate_widths(fields, place, self._draft)
        elif lower == rtn.RTN and not self._is_built():
            self._rtn = rtn.read_rtn(kind, fields)
        elif lower == builder.SURGERIES and self._is_built() and builder.ties_only(fields):
            builder.translate_ties(kind, fields, self._built, self._draft)
        elif lower == "mergeadapterweights":
            self._typed(kind, "merge", place)
            builder.translate_merge(fields, place, self._draft)
            fields.refuse_rest("MergeAdapterWeights")
        elif lower in BUILDERS:
            searched = strategy is not None and builder.searches(fields)
            self._typed(kind, "tune" if searched else "model_builder", place)
            builder.translate_builder(fields, place, self._draft, searched, self._whole)
            builder.remaining_options(fields, place, self._draft)
            rounding.settle_builder(place, self._draft)
            if self._rtn is not None:
                rtn.settle_builder(self._rtn, place, self._draft)
        elif lower == EXTRACT and not self._holds_adapter():
            kind.no_effect("no adapter is left at this point that could be extracted")
            for node in fields.rest():
                node.no_effect("nothing is extracted")
        elif lower == EXTRACT and self._is_built():
            self._typed(kind, "separate_adapter", place)
            builder.translate_extract(fields, place, self._draft)
        elif lower == EXTRACT:
            self._whole = False
            builder.refuse_extract(kind, fields, [one.node for one, _ in trainings])
        elif kind.placeholder:
            kind.refuse(f"the placeholder {kind.placeholder} was left unfilled", "name a pass")
            self._whole = False
            for node in fields.rest():
                node.no_effect("nobody knows yet which pass it belongs to")
        else:
            self._whole = False
            kind.refuse(*alternative(str(kind.raw), PASSES, self._buildable))
            for node in fields.rest():
                node.no_effect(f"there is no pass {kind.raw}")
        return evaluator

    def _holds_adapter(self) -> bool:
        """Return whether the passes so far leave an adapter that is not merged."""
        has_adapter = self._draft.get(("model", "adapter")) is not None
        for name, table in self._draft.document.get("passes", {}).items():
            type_name = table.get("type", name)
            if type_name in KINDS.values():
                has_adapter = True
            elif type_name in ("merge", "separate_adapter"):
                has_adapter = False
        return has_adapter

    def _is_built(self) -> bool:
        """Return whether a pass so far makes an ONNX model."""
        return bool(self._built)

    @property
    def _built(self) -> KeyPath:
        """Return the key of the pass so far that makes an ONNX model; empty for none."""
        tables = self._draft.document.get("passes", {}).items()
        made = (name for name, table in tables if table.get("type", name) in _BUILT)
        return next((("passes", name) for name in made), ())

    def _typed(self, kind: Node, type_name: str, place: tuple[str, ...]) -> None:
        self._draft.table(place, kind)
        if place[-1] != type_name:
            self._draft.set((*place, "type"), type_name, kind)
        else:
            kind.translated(f"[passes.{type_name}]")

    def _own_pass(self, type_name: str, kind: Node, fields: Fields, place: tuple[str, ...]) -> None:
        script, _, name = type_name.rpartition(":")
        path = self._context.find(script) or script
        self._draft.set((*place, "type"), f"{path}:{name}", kind)
        for node in fields.rest():
            self._draft.set((*place, node.name), node.raw, node)

    def _checks(self) -> None:
        """Turn off the default limits of Quern that Olive does not have.

        Comparisons with the merged model remain, because they are about the artifact and not about
        the training.
        """
        draft = self._draft
        if self._holds_out():
            for key in ("min_ended", "max_degenerate", "max_broken"):
                draft.set(("checks", "generation", key), "as_tuned", None)
            draft.set(("checks", "quality", "max_perplexity_increase"), 0.5, None)
            if any(spec.get("label") for spec in draft.document["data"].values()):
                draft.set(("checks", "quality", "min_valid"), 0.0, None)
        timed = ("checks", "latency")
        if not draft.document.get("data"):
            if draft.get(timed) is None:
                return  # there is no prompt to time, and no metric asks for latency
            if draft.get((*timed, "prompt_tokens")) is None:
                draft.set((*timed, "prompt_tokens"), [_PROMPT], None)
        draft.set((*timed, "target_limits"), False, None)

    def _holds_out(self) -> bool:
        """Return whether there is held-out data for evaluating the artifact."""
        data = self._draft.document.get("data", {})
        splits = [spec.get("split", {}) for spec in data.values()]
        return any("held_out" in spec for spec in data.values()) or any(
            "eval_count" in split or split.get("eval", 0) > 0 for split in splits
        )


def _unread(
    root: Node,
    chains: Sequence[Sequence[OlivePass]],
    measuring: Collection[KeyPath],
    ledger: Ledger,
) -> None:
    """Account for keys that no flow reads; ``measuring`` are the evaluators that are used."""
    used = {one.node.path for chain in chains for one in chain}
    for path, value in leaves(root.raw, ()):
        if ledger.has(path):
            continue
        node = Node(value, path, ledger)
        if path[:1] == ("passes",) and not any(path[: len(place)] == place for place in used):
            node.no_effect("no flow has this pass")
        elif path[:1] == ("evaluators",) and path[:2] not in measuring:
            node.no_effect("nothing in this file uses this evaluator")
        elif value in ({}, []):
            node.no_effect("it is empty")
        else:
            node.refuse("Quern does not know this key", "remove it, or report that it is missing")
