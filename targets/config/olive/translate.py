"""From an Olive file to Quern configs, one for each flow of passes; every key is accounted for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.spec import Split
from pipeline.suggest import did_you_mean
from targets.config.olive import builder
from targets.config.olive.chains import PASSES, Pass, read_chains, safe_name
from targets.config.olive.context import LOCAL, OWN, Context, nested
from targets.config.olive.data import translate_data
from targets.config.olive.draft import Draft
from targets.config.olive.engine import read_engine, settle_engine
from targets.config.olive.evaluators import evaluator_of, measured_data, translate_evaluator
from targets.config.olive.holes import refuse_holes
from targets.config.olive.known import alternative
from targets.config.olive.ledger import Ledger, leaves
from targets.config.olive.model import translate_model
from targets.config.olive.node import Fields, Node
from targets.config.olive.resource import read_resource
from targets.config.olive.sets import DataSet, dummy_prompt, read_data_sets, used_set
from targets.config.olive.systems import (
    System,
    choose,
    is_local,
    read_azure_client,
    read_systems,
    targets_of,
)
from targets.config.olive.training import KINDS, TrainingData, translate_training
from targets.config.places import Loc, dotted

_BUILDERS = ("modelbuilder", "genaimodelexporter")
_PROMPT = 128
"""Tokens of a made-up prompt, where a file names neither data nor a length: as Olive's own."""


@dataclass(frozen=True)
class Flow:
    """One chain of passes as a Quern config."""

    document: dict[str, Any]
    origin: Callable[[Loc], Loc]
    """Where in the Olive file a key of the document comes from."""


@dataclass(frozen=True)
class Translation:
    """What an Olive file becomes."""

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
    chains = list(read_chains(root))
    several = len(chains) > 1
    flows = []
    measuring: set[Loc] = set()
    for number, chain in enumerate(chains, start=1):
        draft = Draft(ledger)
        evaluator = _Flow(root, draft, context, system, file).translate(
            chain, number if several else 0
        )
        if evaluator is not None:
            measuring.add(evaluator.path)
        flows.append(Flow(draft.document, draft.origin))
    _unread(root, chains, measuring, ledger)
    refuse_holes(root)
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

    def translate(self, chain: Sequence[Pass], number: int) -> Node | None:
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
        translate_model(root, self._draft, self._context)
        sets = read_data_sets(root.take("data_configs"))
        evaluators = root.take("evaluators")
        evaluator = self._chain(root, chain, sets, engine, evaluators)
        self._systems(root, engine, chain)
        if evaluator is not None:
            translate_evaluator(evaluator, sets, self._draft, self._context)
        self._checks()
        settle_engine(engine)
        auto = root.take("auto_optimizer_config")
        if auto is not None and chain:
            auto.no_effect("the passes of the file are used")
        elif auto is not None:
            auto.refuse("Quern does not choose passes by itself", "write passes")
        for name in ("passes", "pass_flows"):
            root.take(name)  # the chain is what they say
        root.refuse_rest("an Olive file")
        return evaluator

    def _name(self, root: Fields, engine: Fields, number: int) -> None:
        workflow, output = root.take("workflow_id"), engine.take("output_name")
        node = workflow or output
        name = str(node.raw) if node is not None else self._file.stem
        name = safe_name(name) or "olive"
        if number:
            name = f"{name}-{number}"
        self._draft.set(("name",), name[:64], node)
        if workflow is not None and output is not None:
            output.no_effect("workflow_id names the build")

    def _chain(
        self,
        root: Fields,
        chain: Sequence[Pass],
        sets: dict[str, DataSet],
        engine: Fields,
        evaluators: Node | None,
    ) -> Node | None:
        """Translate the passes and the data they use; return the evaluator of the artifact."""
        named = root.take("passes")
        ready = self._draft.get(("model", "onnx")) is not None
        if ready and not chain:
            self._draft.table(("passes",), named)
        elif named is None or not named.raw:
            (root.owner if named is None else named).fail(
                "there are no passes", "Quern does not choose them by itself"
            )
        evaluator = evaluator_of(engine.take("evaluator"), evaluators)
        trainings: list[tuple[Pass, TrainingData]] = []
        hosts = root.peek("systems")
        for at, one in enumerate(chain):
            own = self._pass(one, trainings, hosts)
            found = evaluator_of(own, evaluators)
            if found is None or own is None:
                continue
            if at == len(chain) - 1:
                found, evaluator = evaluator, found
            else:
                own.no_effect("the artifact is measured, not what is between")
            if found is not None:
                found.no_effect("the artifact is measured by another evaluator")
        self._data(trainings, evaluator, sets)
        return evaluator

    def _pass(
        self, one: Pass, trainings: list[tuple[Pass, TrainingData]], systems: Node | None
    ) -> Node | None:
        """Translate one pass; return its evaluator."""
        fields = nested(one.node.fields("a pass"), "config")
        kind = fields.take("type")
        own = fields.take("evaluator")
        fields.ignore(
            {
                "name": "the table's own name is used",
                "disable_search": "every parameter has one value",
                "clean_run_cache": "a changed input has another key: nothing stale is there",
                "output_name": "the build's name is used",
            }
        )
        host = fields.take("host")
        if host is not None:
            known = systems.raw if systems is not None and isinstance(systems.raw, dict) else {}
            if isinstance(host.raw, str) and host.raw not in known and not is_local(host.raw):
                host.refuse(f"there is no system '{host.raw}'", did_you_mean(host.raw, known))
            else:
                host.no_effect("passes run where the build runs; training where a GPU is")
        if kind is None:
            one.node.refuse("a pass needs a type", ", ".join(PASSES))
            return None
        place = ("passes", one.name)
        lower = str(kind.raw).strip().lower()
        if OWN.match(str(kind.raw)):
            self._own_pass(str(kind.raw), kind, fields, place)
        elif lower in KINDS:
            self._typed(kind, KINDS[lower], place)
            trainings.append((one, translate_training(lower, fields, place, self._draft)))
            fields.refuse_rest(str(kind.raw))
        elif lower == "mergeadapterweights":
            self._typed(kind, "merge", place)
            builder.translate_merge(fields, place, self._draft)
            fields.refuse_rest("MergeAdapterWeights")
        elif lower in _BUILDERS:
            self._typed(kind, "model_builder", place)
            builder.translate_builder(fields, place, self._draft)
            builder.remaining_options(fields, place, self._draft)
        elif kind.placeholder:
            kind.refuse(f"the placeholder {kind.placeholder} was left unfilled", "name a pass")
        else:
            kind.refuse(*alternative(str(kind.raw), PASSES))
            for node in fields.rest():
                node.no_effect(f"there is no pass {kind.raw}")
        return own

    def _typed(self, kind: Node, type_name: str, place: tuple[str, ...]) -> None:
        self._draft.table(place, kind)
        if place[-1] != type_name:
            self._draft.set((*place, "type"), type_name, kind)
        else:
            kind.translated(f"[passes.{type_name}]")

    def _own_pass(self, type_name: str, kind: Node, fields: Fields, place: tuple[str, ...]) -> None:
        script, _, name = type_name.rpartition(":")
        found = self._context.find(script) or script
        self._draft.set((*place, "type"), f"{found}:{name}", kind)
        for node in fields.rest():
            self._draft.set((*place, node.name), node.raw, node)

    def _data(
        self,
        trainings: list[tuple[Pass, TrainingData]],
        evaluator: Node | None,
        sets: dict[str, DataSet],
    ) -> None:
        """Translate the data sets that the chain uses, and say how they are split."""
        measured, classes = measured_data(evaluator, sets) if evaluator else (None, False)
        main: DataSet | None = None
        evaluation: DataSet | None = None
        training: TrainingData | None = None
        for one, found in trainings:
            if found.train is None:
                one.node.fail("train_data_config is missing", "name the data set to train on")
                found.settle("there is nothing to train on")
                continue
            data = used_set(found.train, sets)
            if data is None:
                found.settle("the data to train on are not there")
                continue
            if main is not None and data.name != main.name:
                found.train.refuse(
                    f"another pass trains on '{main.name}'", "one build trains on one data set"
                )
                found.settle("another pass says how the data are split")
                continue
            if training is not None:
                found.train.translated(f"data.{data.name}")
                for node, first in (
                    (found.evaluation, training.evaluation),
                    (found.size, training.size),
                    (found.seed, training.seed),
                ):
                    if node is None:
                        continue
                    if first is not None and node.raw == first.raw:
                        node.translated(f"the same as {dotted(first.path)}")
                    else:
                        node.refuse(
                            "another pass splits the same data in another way",
                            "say it alike in both",
                        )
                continue
            main, training = data, found
            found.train.translated(f"data.{data.name}")
            if found.evaluation is not None:
                evaluation = used_set(found.evaluation, sets)
                if found.size is not None:
                    found.size.no_effect("eval_data_config goes first")
        if main is None:
            if measured is not None:
                translate_data(measured, self._draft, self._context, True, classes)
                self._draft.set(
                    ("data", measured.name, "split", "eval"), 1.0, None, "1.0: nothing is trained"
                )
        else:
            assert training is not None  # noqa: S101
            translate_data(main, self._draft, self._context, False, classes and measured is None)
            for data in (evaluation, measured):
                if data is not None and data.name != main.name:
                    translate_data(data, self._draft, self._context, True, classes)
            self._split(main, training, evaluation, measured)
            length = self._draft.get(("data", main.name, "sequences", "length"))
            for one, _ in trainings if length is not None else ():
                # The sequences rule; this limit of the pass must not be below them.
                self._draft.derive(("passes", one.name, "max_length"), length)
        used = {data.name for data in (main, evaluation, measured) if data is not None}
        for data in {data.node.path: data for data in sets.values()}.values():
            if data.name not in used and dummy_prompt(data) is None:
                data.node.no_effect("nothing in this file uses it")

    def _split(
        self,
        main: DataSet,
        training: TrainingData,
        evaluation: DataSet | None,
        measured: DataSet | None,
    ) -> None:
        place = ("data", main.name)
        split = (*place, "split")
        draft = self._draft
        held = measured or evaluation
        if held is not None and held.name != main.name:
            draft.derive((*place, "held_out"), held.name)
        if evaluation is not None:
            assert training.evaluation is not None  # noqa: S101
            draft.set((*place, "validation_data"), evaluation.name, training.evaluation)
            draft.set((*split, "validation"), 0.0, None)
            if held is None or held.name == main.name:
                draft.set((*split, "eval"), 0.0, None)
            return
        size = training.size
        if size is None:
            draft.set((*split, "validation"), 0.0, None)
            if held is None:
                draft.set((*split, "eval"), 0.0, None, "0.0: no evaluation data is named")
            elif held.name == main.name:
                share = Split().eval
                note = f"{share}: what the metrics are measured on is not trained on"
                draft.set((*split, "eval"), share, None, note)
            return
        wanted = size.number()
        if wanted is None:
            return
        if wanted < 0 or (wanted >= 1 and wanted != int(wanted)):
            size.refuse(f"{wanted} is neither a share below 1 nor a number of rows")
            return
        key, value = ("eval_count", int(wanted)) if wanted >= 1 else ("eval", wanted)
        note = f"split.{key} = {value}: of the distinct texts, so that none is in both parts"
        draft.set((*split, key), value, size, note)
        draft.derive((*split, "validation"), "eval")
        seed = training.seed
        if wanted == 0:
            draft.set((*split, "validation"), 0.0, None)
            return
        if seed is None:
            draft.set((*split, "seed"), 42, None)
        else:
            draft.derive((*split, "seed"), seed.number())
            seed.translated(f"seed of the rows' order and of the split = {seed.raw}")

    def _systems(self, root: Fields, engine: Fields, chain: Sequence[Pass]) -> None:
        """Choose host, targets and runtime; the command line's ``--system`` goes first."""
        systems = read_systems(root.take("systems"))
        client = root.take("azureml_client")
        azure = read_azure_client(client) if client is not None else {}
        host_node, target_node = engine.take("host"), engine.take("target")
        host, target = choose(host_node, systems), choose(target_node, systems)
        asked = self._asked
        if asked is not None and asked != LOCAL and asked not in systems:
            said = f"--system {asked}: there is no such system"
            known = (*systems, LOCAL)
            self._root.ledger.fail(("systems",), said, did_you_mean(asked, known))
        local = asked == LOCAL
        where = systems.get(asked) if asked is not None else host
        if where is not None:
            where.use()
        for system in systems.values():
            system.leave()  # of one that is used the ledger keeps what it means
        for remote in (where, target):
            if remote is not None and remote.kind == "azureml" and not local:
                found = {"type": "azureml", "name": remote.name, **azure, **remote.azure}
                self._draft.derive(("system",), found)
                self._draft.origins[("system",)] = remote.node.path
        runs = where or (target if asked is None else None)
        if runs is not None and runs.kind in ("docker", "venv"):
            self._draft.derive(("runtime",), runs.kind)
        self._targets(engine.take("execution_providers"), where or host, target, systems, chain)

    def _targets(
        self,
        providers: Node | None,
        host: System | None,
        target: System | None,
        systems: dict[str, System],
        chain: Sequence[Pass],
    ) -> None:
        runs_on = target or host
        named = providers.items() if providers is not None else []
        listed = [*(runs_on.providers if runs_on else ())]
        for system in (*systems.values(), host, target):
            if system is not None and system is not runs_on:
                for node in system.providers:
                    node.no_effect("the execution provider of the target decides")
        if host is not None and host.devices == ("cpu",):
            self._draft.derive(("host",), "cpu")
        last = chain[-1].node.raw if chain else None
        kind = str(last.get("type", "")).lower() if isinstance(last, dict) else ""
        builds = (
            kind in _BUILDERS
            or bool(OWN.match(kind))
            or "onnx" in self._draft.document.get("model", {})
        )
        if not builds:
            for node in (*named, *listed):
                node.no_effect("the chain ends with weights for PyTorch, which no provider runs")
            return
        if named:
            for node in listed:
                node.no_effect("execution_providers of the engine go first")
        found = targets_of(tuple(named or listed))
        if not found and runs_on is not None and "gpu" in runs_on.devices and not (named or listed):
            found = ("cuda",)
        if found:
            self._draft.derive(("default_targets",), list(found))

    def _checks(self) -> None:
        """Leave out the limits that Quern sets by itself and Olive does not.

        What is held against the merged model stays: that is about the artifact, not the training.
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
                return  # there is no prompt to time, and nobody asks for it
            if draft.get((*timed, "prompt_tokens")) is None:
                draft.set((*timed, "prompt_tokens"), [_PROMPT], None)
        draft.set((*timed, "target_limits"), False, None)

    def _holds_out(self) -> bool:
        """Return whether some rows are held out, to ask the artifact."""
        data = self._draft.document.get("data", {})
        splits = [spec.get("split", {}) for spec in data.values()]
        return any("held_out" in spec for spec in data.values()) or any(
            "eval_count" in split or split.get("eval", 0) > 0 for split in splits
        )


def _unread(
    root: Node, chains: Sequence[Sequence[Pass]], measuring: Collection[Loc], ledger: Ledger
) -> None:
    """Account for what no flow reads; ``measuring`` are the evaluators that one uses."""
    used = {one.node.path for chain in chains for one in chain}
    for path, value in leaves(root.raw, ()):
        if ledger.has(path):
            continue
        node = Node(value, path, ledger)
        if path[0] == "passes" and not any(path[: len(place)] == place for place in used):
            node.no_effect("no flow has this pass")
        elif path[0] == "evaluators" and path[:2] not in measuring:
            node.no_effect("nothing in this file uses this evaluator")
        elif value in ({}, []):
            node.no_effect("it is empty")
        else:
            node.refuse("Quern does not know this key", "remove it, or report that it is missing")
