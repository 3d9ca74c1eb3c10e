"""Whether the passes of a chain fit together."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from pipeline.builder.params import ModelBuilderParams
from pipeline.builder.quantizer import misfits
from pipeline.checks.rebuild import RebuildParams
from pipeline.contract.data_spec import DataSpec
from pipeline.contract.kinds import ARTIFACT_WORDS, CHOICES, Kind
from pipeline.contract.suggest import did_you_mean
from pipeline.contract.ways import PASSES, ChoosesWays
from targets.config.chain import Chain, PassCall
from targets.config.source_map import KeyPath

IMPORT_ADAPTER = "import_adapter"
"""Name and type of the pass that takes over the adapter of ``[model]``, before those of the config.
"""


class ChainMistake(NamedTuple):
    """Something wrong with a chain."""

    message: str
    path: KeyPath
    suggestion: str = ""


def chain_mistakes(
    chain: Chain, data: DataSpec | None, reserved: AbstractSet[str]
) -> Iterator[ChainMistake]:
    """Yield what is wrong with a chain, each once, in whichever of its ways it is."""
    choosing = chain.choosing
    if choosing is None:
        yield from _wiring_mistakes(chain, data, reserved)
        return
    mistakes = [*_way_mistakes(choosing, chain)]
    for way in choosing.ways:
        mistakes += _wiring_mistakes(chain.in_way(way), data, reserved)
    yield from dict.fromkeys(mistakes)


def _way_mistakes(choosing: PassCall, chain: Chain) -> Iterator[ChainMistake]:
    """Yield where the ways name other passes than those before that quantize."""
    params, every = choosing.params, {call.name: call for call in chain.passes}
    assert isinstance(params, ChoosesWays)  # noqa: S101 - no other pass has ways
    path = ("passes", choosing.name, "space", PASSES)
    able = [call.name for call in chain.quantizers(choosing)]
    asked = dict.fromkeys(name for names in params.asked_ways for name in names)
    for name in asked:
        if name not in every:
            yield ChainMistake(
                f"this config has no pass '{name}'", path, did_you_mean(name, able or every)
            )
        elif name not in able:
            yield ChainMistake(
                f"'{name}' cannot be left out",
                path,
                "of the passes before it that can: " + (", ".join(able) or "there is none"),
            )
    for name in able:
        if name not in asked:
            message = f"no build uses it: it is in no value of {'.'.join(path)}"
            yield ChainMistake(message, ("passes", name), "name it there, or remove it")
    if len({frozenset(names) for names in params.asked_ways}) < len(params.asked_ways):
        yield ChainMistake("two of its values name the same passes", path, "remove one")


def _wiring_mistakes(
    chain: Chain, data: DataSpec | None, reserved: AbstractSet[str]
) -> Iterator[ChainMistake]:
    """Yield what is wrong: passes that do not find what they consume, that work in vain or need
    data that is not there, and names that stand for two steps or are ``reserved``."""
    made = {chain.base_kind}
    if not chain.passes and chain.base_kind != "onnx":
        yield ChainMistake("nothing would be made", ("passes",), "add model_builder")
    unused: dict[Kind, PassCall] = {}
    for call in chain.passes:
        path = ("passes", call.name)
        if _needs_data(call) and data is None:
            yield ChainMistake("needs a data set", path, "add [data.NAME]")
        elif data is not None and _trains(call) and not data.trains:
            yield ChainMistake("there is nothing to train on: all is held out", path, "lower eval")
        for role, kind in call.implementation.consumes.items():
            if kind not in made:
                yield ChainMistake(f"no pass before it makes its {role} (of kind {kind})", path)
            if call.keeps_adapter and kind == "adapter":
                yield from _separation_mistakes(call, unused.get("adapter"), chain)
            unused.pop(kind, None)
        if call.implementation.keeps_function:
            yield from _scaling_mistakes(call, unused.get("adapter"), chain)
        for kind in call.implementation.may_consume.values():
            if kind not in unused:
                continue
            if isinstance(call.params, ModelBuilderParams):
                yield from _misfits(unused.pop(kind), call, chain)
            elif kind == "integers":
                unused.pop(kind)
        produces = call.implementation.produces
        added = call.implementation.added_by_planner and call.name != IMPORT_ADAPTER
        for choice in CHOICES if produces == "checkpoint" else ():
            if choice in unused:
                yield _unused_output(unused.pop(choice), chain)
        if produces not in (*ARTIFACT_WORDS, *CHOICES) or added:
            yield ChainMistake("no pass for a chain: it runs by itself where it is needed", path)
            continue
        if produces in unused:
            yield _unused_output(unused[produces], chain)
        made.add(produces)
        unused[produces] = call
    for kind, call in unused.items():
        if call is chain.passes[-1] and kind in CHOICES:
            yield ChainMistake(
                f"{kind} alone are no artifact", ("passes", call.name), "add model_builder"
            )
        elif call is not chain.passes[-1]:
            yield _unused_output(call, chain)
    own = {call.name for check in chain.checks for call in check.own_passes.values()}
    for table, calls in (("passes", chain.passes), ("checks", chain.checks)):
        for name in (own | reserved) & {call.name for call in calls}:
            yield ChainMistake("this name is used by a built-in step", (table, name))
    for check in chain.checks if chain.base_kind != "onnx" else ():
        if isinstance(check.params, RebuildParams) and check.params.built_with is not None:
            message = "is of an ONNX model that [model] names; here it is known"
            yield ChainMistake(message, ("checks", check.name, "built_with"), "remove it")
    for name in {call.name for call in chain.passes} & {call.name for call in chain.checks}:
        yield ChainMistake("a pass has the same name", ("checks", name))


def _scaling_mistakes(
    scaling: PassCall, trained: PassCall | None, chain: Chain
) -> Iterator[ChainMistake]:
    """Yield why ``scaling`` weights is not of use where it stands."""
    path = ("passes", scaling.name)
    if trained is not None:
        yield ChainMistake(
            f"the adapter made by '{trained.name}' is for the weights as they are",
            path,
            "put merge before it",
        )
        return
    for following in chain.passes[chain.passes.index(scaling) + 1 :]:
        if following.implementation.produces in ("checkpoint", "adapter"):
            message = f"'{following.name}' changes the weights after they were scaled"
            yield ChainMistake(message, path, f"put it after '{following.name}'")
            return
        if isinstance(following.params, ModelBuilderParams):
            yield from _misfits(scaling, following, chain)
            return


def _misfits(before: PassCall, builder: PassCall, chain: Chain) -> Iterator[ChainMistake]:
    """Yield why ``builder`` cannot follow the pass ``before``; of a search, why no build can."""
    quantizer, built = before.quantizer, builder.params
    if quantizer is None or not isinstance(built, ModelBuilderParams):
        return
    if isinstance(built, ChoosesWays) and built.has_build_in(
        tuple(call.name for call in chain.quantizers(builder))
    ):
        return
    for misfit in misfits(before.name, quantizer, built):
        yield ChainMistake(misfit.message, ("passes", builder.name, misfit.key), misfit.advice)


def _separation_mistakes(
    call: PassCall, trained: PassCall | None, chain: Chain
) -> Iterator[ChainMistake]:
    """Yield why the adapter that was ``trained`` before ``call`` cannot be kept separate."""
    path = ("passes", call.name)
    if trained is None:
        yield ChainMistake("no adapter is left before it: it is merged", path, "remove merge")
    elif reason := _only_merged(trained):
        advice = "put merge before model_builder instead"
        yield ChainMistake(
            f"what '{trained.name}' makes can only be merged: {reason}", path, advice
        )
    for other in chain.passes:
        if other.implementation.enforces:
            message = f"'{other.name}' would hold the model without the adapter to the limits"
            yield ChainMistake(message, path, "use model_builder")


def _only_merged(trained: PassCall) -> str:
    """Return why an adapter is more than products of two matrices over the base as it is."""
    values = trained.values
    if trained.type_name in ("loha", "lokr"):
        return f"it is of the kind {trained.type_name}"
    if trained.type_name == "loftq":
        return "it makes up for what quantizing lost of the base that it was trained on"
    if values.get("use_dora"):
        return "use_dora"
    if values.get("modules_to_save"):
        return "modules_to_save"
    return "bias" if values.get("bias", "none") != "none" else ""


def _unused_output(call: PassCall, chain: Chain) -> ChainMistake:
    """Return that what a pass makes is neither used nor the artifact."""
    produces = call.implementation.produces
    following = chain.passes[chain.passes.index(call) + 1]
    advice = f"the artifact is what the last pass makes: put '{call.name}' there"
    if produces == "adapter":
        advice = f"add merge before {following.name}"
        if following.implementation.produces == "onnx":
            advice += f", or separate_adapter after {following.name}"
    if produces in CHOICES:
        message = f"the {produces} made by '{call.name}' are not used by any later pass"
        return ChainMistake(message, ("passes", call.name), "put it before model_builder")
    product = ARTIFACT_WORDS[produces].partition(" ")[2]
    message = f"the {product} made by '{call.name}' is not used by any later pass"
    return ChainMistake(message, ("passes", call.name), advice)


def _needs_data(call: PassCall) -> bool:
    return call.implementation.uses_data and not call.implementation.data_optional


def _trains(call: PassCall) -> bool:
    return _needs_data(call) and call.implementation.trains
