"""Whether the passes of a chain fit together."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from pipeline.builder.params import ModelBuilderParams
from pipeline.checks.rebuild import RebuildParams
from pipeline.contract.data_spec import DataSpec
from pipeline.contract.kinds import ARTIFACT_WORDS, CHOICES, Kind
from pipeline.training.gptq_params import GptqParams
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


def wiring_mistakes(
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
        for kind in call.implementation.may_consume.values():
            if kind not in unused:
                continue
            if kind == "integers":
                yield from _rounding_mistakes(unused.pop(kind), call)
            elif isinstance(call.params, ModelBuilderParams):
                yield from _width_mistakes(unused.pop(kind), call)
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


def _rounding_mistakes(rounding: PassCall, builder: PassCall) -> Iterator[ChainMistake]:
    """Yield why ``builder`` cannot write the integers that ``rounding`` chooses."""
    chosen, built = rounding.params, builder.params
    if not (isinstance(chosen, GptqParams) and isinstance(built, ModelBuilderParams)):
        return
    of_builder = ("passes", builder.name)
    if built.precision != chosen.precision:
        yield ChainMistake(
            f"'{rounding.name}' rounds to {chosen.precision}, and this is {built.precision}",
            (*of_builder, "precision"),
            f'set precision = "{built.precision}" there, or "{chosen.precision}" here',
        )
    elif built.block_size != chosen.block_size:
        yield ChainMistake(
            f"'{rounding.name}' has blocks of {chosen.block_size}, and this of {built.block_size}",
            (*of_builder, "block_size"),
            "give both the same block_size",
        )
    if built.mixes_layers:
        yield ChainMistake(
            f"it keeps some layers in another width than '{rounding.name}' rounds them to",
            (*of_builder, "mixed_precision" if built.mixed_precision else "algorithm"),
            "use algorithm k_quant or k_quant_last",
        )
    if not chosen.symmetric and not built.has_zero_points:
        yield ChainMistake(
            f"'{rounding.name}' chooses zero points, and this stores none",
            (*of_builder, "symmetric"),
            "set symmetric = true there, or symmetric = false here",
        )
    if built.bf16_io:
        yield ChainMistake(
            f"bf16 cannot hold the scales of '{rounding.name}', which are fp16",
            (*of_builder, "bf16_io"),
            "remove one of the two",
        )


def _width_mistakes(choosing: PassCall, builder: PassCall) -> Iterator[ChainMistake]:
    """Yield why ``builder`` cannot keep the matrices in int8 that ``choosing`` chooses."""
    built, path = builder.params, ("passes", builder.name)
    assert isinstance(built, ModelBuilderParams)  # noqa: S101 - only such are asked
    if built.precision != "int4":
        yield ChainMistake(
            f"'{choosing.name}' chooses what is kept in int8, and this is {built.precision}",
            (*path, "precision"),
            'set precision = "int4"',
        )
    elif built.mixes_layers or (built.algorithm or "").endswith("_last") or built.mixed_precision:
        yield ChainMistake(
            f"it chooses widths by itself, and '{choosing.name}' has chosen them",
            (*path, "mixed_precision" if built.mixed_precision else "algorithm"),
            "use algorithm k_quant, rtn or default without mixed_precision",
        )


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
