"""Runs a model layer by layer on rows of the training part, to see what its matrices multiply.

Only one layer has its weights at a time. The rows of a batch are padded at their end, where no
token can see it, and what a layer is called with besides the hidden states (positions, masks) is
recorded from the model's own code, run with layers that do nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from pipeline.contract.errors import StepError
from pipeline.training.streamed import Unit, layers_of, parts_of_model

_AT_ONCE = 1 << 12
"""Tokens that are run at once."""


@dataclass
class Batch:
    """Rows that are run together."""

    ids: torch.Tensor
    """Their tokens: [rows, tokens]."""
    hidden: torch.Tensor
    """What the next layer reads: [rows, tokens, width]."""
    there: torch.Tensor
    """Which of the tokens are no padding: [rows, tokens]."""
    calls: list[tuple[Sequence[Any], Mapping[str, Any]]] = field(default_factory=list)
    """Other arguments of each layer."""


@dataclass
class Seen:
    """A matrix of a layer, and what it multiplied."""

    module: torch.nn.Linear
    inputs: _Sum


@dataclass
class _Sum:
    """Sum of the products of inputs with each other, ``X^T X``, in fp64."""

    newest: torch.Tensor | None = None
    """The tensor that was added last: matrices that read the same share a sum."""
    total: torch.Tensor | None = None
    whole: bool = True
    """Whether all inputs could be told from padding."""

    def add(self, inputs: torch.Tensor, there: torch.Tensor) -> None:
        """Add ``inputs`` [..., width], where ``there`` is no padding."""
        self.newest = inputs
        flat = inputs.reshape(-1, inputs.shape[-1])
        if len(flat) != there.numel():
            self.whole = False
            return
        rows = flat[there.reshape(-1)].float()
        product = torch.mm(rows.t(), rows).double()
        self.total = product if self.total is None else self.total.add_(product)


class Calibration:
    """A model, whose layers are run one after the other on the same rows."""

    def __init__(self, model: Any, rows: Sequence[Sequence[int]]) -> None:
        """``model`` has deferred weights; ``rows`` are token ids."""
        self._model = model
        self.names = {module: name for name, module in model.named_modules()}
        """Names of the model's parts."""
        self.layers = layers_of(model)
        self.batches: list[Batch] = []
        if not self.layers:
            raise StepError("the model has no layers that can be run one by one", cause="bad_input")
        with self.loaded(model.base_model):
            inner = model.base_model
            self.batches = [_prepared(inner, self.layers, batch) for batch in _batches(rows)]

    @property
    def rows(self) -> list[slice]:
        """Return which of all rows each batch has, in the order of the batches."""
        found: list[slice] = []
        for batch in self.batches:
            first = found[-1].stop if found else 0
            found.append(slice(first, first + len(batch.ids)))
        return found

    @contextmanager
    def loaded(self, whole: torch.nn.Module) -> Iterator[None]:
        """Inside, what of ``whole`` is no layer has its weights."""
        others = [Unit(part) for part in parts_of_model(whole) if part not in set(self.layers)]
        for unit in others:
            unit.load()
        try:
            yield
        finally:
            for unit in others:
                unit.forget()

    def module_of(self, name: str) -> torch.nn.Module:
        """Return the part of the model with the weight ``name``."""
        module: torch.nn.Module = self._model.get_submodule(name.removesuffix(".weight"))
        return module

    def seen(self, layer: torch.nn.Module) -> dict[str, Seen]:
        """Run ``layer``, which has its weights; return its matrices by the names of their weights,
        with what they multiplied. Those that had no input are left out."""
        found: dict[str, Seen] = {}
        sums: list[_Sum] = []
        there = [self.batches[0].there]

        def look(module: torch.nn.Linear, arguments: tuple[torch.Tensor, ...]) -> None:
            (inputs, *_) = arguments
            name = f"{self.names[module]}.weight"
            if name not in found:
                shared = next((known for known in sums if known.newest is inputs), None)
                if shared is None:
                    sums.append(shared := _Sum())
                    shared.add(inputs, there[0])
                found[name] = Seen(module, shared)
            elif found[name].inputs.newest is not inputs:
                found[name].inputs.add(inputs, there[0])

        hooks = [
            module.register_forward_pre_hook(look)
            for module in layer.modules()
            if isinstance(module, torch.nn.Linear)
        ]
        try:
            for batch in self.batches:
                there[0] = batch.there
                self._seen(layer, batch)
        finally:
            for hook in hooks:
                hook.remove()
        for known in sums:
            known.newest = None
        return {
            name: seen
            for name, seen in found.items()
            if seen.inputs.whole and seen.inputs.total is not None
        }

    def advance(self, layer: torch.nn.Module) -> None:
        """Run ``layer``, which has its weights, for what the next one reads."""
        for batch in self.batches:
            batch.hidden = self._seen(layer, batch)

    def _seen(self, layer: torch.nn.Module, batch: Batch) -> torch.Tensor:
        with torch.no_grad():
            return self.run(layer, batch, batch.hidden)

    def run(self, layer: torch.nn.Module, batch: Batch, hidden: torch.Tensor) -> torch.Tensor:
        """Return what ``layer``, which has its weights, makes of ``hidden`` states of a batch."""
        arguments, named = batch.calls[self.layers.index(layer)]
        result = layer(hidden, *arguments, **named)
        made: torch.Tensor = result[0] if isinstance(result, tuple) else result
        return made


def _batches(rows: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
    """Yield rows of similar length, as many as can be run at once."""
    batch: list[Sequence[int]] = []
    for row in sorted(rows, key=len):
        if batch and (len(batch) + 1) * len(row) > _AT_ONCE:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _prepared(inner: Any, layers: Sequence[Any], rows: Sequence[Sequence[int]]) -> Batch:
    """Return ``rows`` as the first of ``layers`` reads them."""
    ids = torch.zeros((len(rows), max(map(len, rows))), dtype=torch.long)
    there = torch.zeros(ids.shape, dtype=torch.bool)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = torch.tensor(list(row))
        there[at, : len(row)] = True
    batch = Batch(ids, torch.empty(0), there)
    with _recording(layers, batch), torch.no_grad():
        inner(input_ids=ids, use_cache=False)
    if len(batch.calls) != len(layers):
        raise StepError(
            "the model does not run each of its layers once", "use it without gptq", "bad_input"
        )
    return batch


@contextmanager
def _recording(layers: Sequence[Any], batch: Batch) -> Iterator[None]:
    """Inside, ``layers`` do nothing, and ``batch`` gets what they are called with."""

    def forward(hidden_states: torch.Tensor, *arguments: Any, **named: Any) -> torch.Tensor:
        if not batch.calls:
            batch.hidden = hidden_states
        batch.calls.append((arguments, named))
        return hidden_states

    for layer in layers:
        layer.forward = forward
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
