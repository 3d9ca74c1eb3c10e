"""What the user should know of a plan: decisions that are not usual."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from pipeline.builder.params import ModelBuilderParams
from pipeline.contract.data_spec import DataSpec
from pipeline.contract.errors import StepError
from pipeline.contract.kinds import ARTIFACT_WORDS
from pipeline.contract.schema import TargetTable
from pipeline.evaluation.settings import left_out_note, unmeasured_note
from pipeline.gguf.formats import PLAIN_BITS
from pipeline.onnx.checkpoint import Checkpoint
from targets.config.load import LoadedConfig
from targets.machine import cpu_name
from targets.toolchain.toolchain import Toolchain


def plan_notes(loaded: LoadedConfig, target: str, idle: Sequence[str]) -> Iterator[str]:
    """Yield notes on the plan for ``target``; ``idle`` are the checks that do not apply."""
    config = loaded.config
    if config.model.trust_remote_code:
        yield "trust_remote_code: code that comes with the model will run"
    if config.model.weights == "any":
        yield 'weights = "any": pickled weights may run code when they are loaded'
    yield from _on_gguf(loaded)
    named = config.default_targets
    if named and target not in named:
        yield f"the config is for {', '.join(named)}; {target} was asked for"
    if config.resources.arithmetic == "native":
        yield f"arithmetic = native: the bytes are those of this CPU, {cpu_name()}"
    if config.skip_checks:
        yield f"not checked, as the config has it: {', '.join(config.skip_checks)}"
    yield from _on_quantization(loaded, target)
    yield from _on_ways(loaded, target)
    yield from _on_data(None if loaded.main_data is None else config.data[loaded.main_data])
    yield from _on_artifact(loaded, target, idle)
    yield from filter(None, _on_settings(loaded, target))


def note_on_tools(loaded: LoadedConfig, toolchain: Toolchain) -> Iterator[str]:
    """Yield a note where the runtime of ``toolchain`` shows a model other tools than transformers,
    and the model is asked with some."""
    if loaded.shows_tools and loaded.chains[toolchain.target].artifact_kind == "onnx":
        from targets.planner.tools_form import note_on_form

        yield from note_on_form(toolchain)


def _on_settings(loaded: LoadedConfig, target: str) -> Iterator[str]:
    """Yield notes on generation settings with which no model is asked."""
    folder = loaded.model_folder
    builders = [
        call.params
        for call in loaded.chains[target].passes
        if isinstance(call.params, ModelBuilderParams)
    ]
    for builder in builders:
        yield unmeasured_note(builder.search)
    if builders and folder is not None and loaded.gguf is None:
        with suppress(StepError):  # a broken file is the reading step's to refuse
            yield left_out_note(Checkpoint(folder).generation_config)


def _on_gguf(loaded: LoadedConfig) -> Iterator[str]:
    """Yield that weights from a GGUF file have been quantized before, or may have been."""
    lost = "what that lost is not won back"
    file = loaded.config.model.file
    if file is not None:
        yield f"the weights come from {file}: if they were quantized there, {lost}"
    elif loaded.gguf is not None:
        form = loaded.gguf.main_format
        if form is not None and form.bits < PLAIN_BITS:
            yield f"the weights went through {form.bits} bits once (GGUF, {form.name}): {lost}"


def _on_quantization(loaded: LoadedConfig, target: str) -> Iterator[str]:
    """Yield how weights are quantized if the config leaves that open, and why."""
    overrides = loaded.config.targets.get(target, TargetTable()).passes
    for name, table in loaded.config.passes.items():
        call = next((call for call in loaded.chains[target].passes if call.name == name), None)
        params = None if call is None else call.params
        if not isinstance(params, ModelBuilderParams) or params.precision != "int4":
            continue
        if {"algorithm", "space"} & {*table.params, *overrides.get(name, {})}:
            continue
        if params.algorithm == "k_quant":
            yield (
                f"{name}: int4 by algorithm k_quant, which keeps the answers of small models; "
                "'default' is 2 % smaller and a tenth faster, and cost one of them 4 points more"
            )


def _on_ways(loaded: LoadedConfig, target: str) -> Iterator[str]:
    """Yield among what a pass chooses that leaves out others."""
    choosing = loaded.chains[target].choosing
    if choosing is not None:
        ways = "; ".join(" + ".join(way) or "none of them" for way in choosing.ways)
        yield f"{choosing.name} chooses which passes that quantize are used: {ways}"


def _on_data(data: DataSpec | None) -> Iterator[str]:
    if data is None:
        yield "no data set: quality and generation are not checked"
        return
    if not data.holds_out:
        yield "nothing is held out: quality and generation are not checked"
    if data.chat_template is not None:
        yield "chat_template: the artifact keeps its own chat template; ask it with the data's"


def _on_artifact(loaded: LoadedConfig, target: str, idle: Sequence[str]) -> Iterator[str]:
    """Yield notes on an unusual kind of artifact, and on the checks that do not apply to it."""
    chain = loaded.chains[target]
    apart = f"; these checks do not apply to it: {', '.join(idle)}" if idle else ""
    if chain.artifact_kind != "onnx":
        kind = ARTIFACT_WORDS[chain.artifact_kind]
        yield f"the artifact is {kind}, not {ARTIFACT_WORDS['onnx']}{apart}"
    elif chain.base_kind == "onnx":
        against = (
            "no model is here to hold it against; name the checkpoint it was made from in source"
            if loaded.config.model.source is None
            else "it is held against the checkpoint in source"
        )
        yield f"the base is an ONNX model: {against}{apart}"
    else:
        # Checks that run by default are left out without a note.
        for name in idle:
            if name in loaded.config.checks:
                yield f"there is nothing in this chain that the check '{name}' applies to"
