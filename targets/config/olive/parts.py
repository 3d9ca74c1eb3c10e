"""Translates the data sets on which a chain is trained and evaluated, and their splits."""

from __future__ import annotations

from pipeline.contract.data_spec import Split
from targets.config.olive.chains import OlivePass
from targets.config.olive.context import Context
from targets.config.olive.data import translate_data
from targets.config.olive.draft import Draft
from targets.config.olive.evaluators import measured_data
from targets.config.olive.node import Node
from targets.config.olive.sets import OliveDataSet, dummy_prompt, used_set
from targets.config.olive.training import TrainingData
from targets.config.source_map import dotted


def translate_parts(
    trainings: list[tuple[OlivePass, TrainingData]],
    evaluator: Node | None,
    sets: dict[str, OliveDataSet],
    draft: Draft,
    context: Context,
    whole: bool,
) -> None:
    """Write the data sets that a chain uses, and which part of them each step sees. ``whole`` says
    whether Quern has every pass of the chain."""
    measured, classes = measured_data(evaluator, sets) if evaluator else (None, False)
    main: OliveDataSet | None = None
    evaluation: OliveDataSet | None = None
    training: TrainingData | None = None
    for one, named in trainings:
        if named.train is None:
            one.node.fail("train_data_config is missing", "name the data set to train on")
            named.settle("there is nothing to train on")
            continue
        data = used_set(named.train, sets)
        if data is None:
            named.settle("the data to train on are not there")
            continue
        if main is not None and data.name != main.name:
            named.train.refuse(
                f"another pass trains on '{main.name}'", "one build trains on one data set"
            )
            named.settle("another pass says how the data are split")
            continue
        if training is not None:
            named.train.translated(f"data.{data.name}")
            for node, first in (
                (named.evaluation, training.evaluation),
                (named.size, training.size),
                (named.seed, training.seed),
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
        main, training = data, named
        named.train.translated(f"data.{data.name}")
        if named.evaluation is not None:
            evaluation = used_set(named.evaluation, sets)
            if named.size is not None:
                named.size.no_effect("eval_data_config goes first")
    if main is None:
        if measured is not None:
            translate_data(measured, draft, context, True, classes)
            draft.set(
                ("data", measured.name, "split", "eval"), 1.0, None, "1.0: nothing is trained"
            )
    else:
        assert training is not None  # noqa: S101
        translate_data(main, draft, context, False, classes and measured is None)
        for data in (evaluation, measured):
            if data is not None and data.name != main.name:
                translate_data(data, draft, context, True, classes)
        _split(main, training, evaluation, measured, draft)
        length = draft.get(("data", main.name, "sequences", "length"))
        for one, _ in trainings if length is not None else ():
            # The data set's sequences decide; max_length must not be below their length.
            draft.derive(("passes", one.name, "max_length"), length)
    used = {data.name for data in (main, evaluation, measured) if data is not None}
    for data in {data.node.path: data for data in sets.values()}.values():
        if data.name not in used and dummy_prompt(data) is None:
            other = "nothing in this file uses it" if whole else "only what Quern lacks can use it"
            data.node.no_effect(other)


def _split(
    main: OliveDataSet,
    training: TrainingData,
    evaluation: OliveDataSet | None,
    measured: OliveDataSet | None,
    draft: Draft,
) -> None:
    place = ("data", main.name)
    split = (*place, "split")
    held_out = measured or evaluation
    if held_out is not None and held_out.name != main.name:
        draft.derive((*place, "held_out"), held_out.name)
    if evaluation is not None:
        assert training.evaluation is not None  # noqa: S101
        draft.set((*place, "validation_data"), evaluation.name, training.evaluation)
        draft.set((*split, "validation"), 0.0, None)
        if held_out is None or held_out.name == main.name:
            draft.set((*split, "eval"), 0.0, None)
        return
    size = training.size
    if size is None:
        draft.set((*split, "validation"), 0.0, None)
        if held_out is None:
            draft.set((*split, "eval"), 0.0, None, "0.0: no evaluation data is named")
        elif held_out.name == main.name:
            share = Split().eval
            note = f"{share}: what the metrics are measured on is not trained on"
            draft.set((*split, "eval"), share, None, note)
        return
    requested = size.number()
    if requested is None:
        return
    if requested < 0 or (requested >= 1 and requested != int(requested)):
        size.refuse(f"{requested} is neither a share below 1 nor a number of rows")
        return
    key, value = ("eval_count", int(requested)) if requested >= 1 else ("eval", requested)
    note = f"split.{key} = {value}: of the distinct texts, so that none is in both parts"
    draft.set((*split, key), value, size, note)
    draft.derive((*split, "validation"), "eval")
    seed = training.seed
    if requested == 0:
        draft.set((*split, "validation"), 0.0, None)
        return
    if seed is None:
        draft.set((*split, "seed"), 42, None)
    else:
        draft.derive((*split, "seed"), seed.number())
        seed.translated(f"seed of the rows' order and of the split = {seed.raw}")
