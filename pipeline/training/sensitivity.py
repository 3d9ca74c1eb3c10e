"""Measures how much rounding each matrix of a model changes what it predicts, all of them at once.

For small changes ``D`` of a matrix, the divergence of the next tokens' distribution from that of
the unchanged model is

    ``KL = E[(<d log p(y) / d W, D>)^2] / 2``

to second order, with tokens ``y`` drawn from the model itself (the Fisher information; Amari,
"Natural Gradient Works Efficiently in Learning", 1998). One backward pass gives this for every
matrix: for an output of inputs ``x`` with gradient ``g``, the inner product is the sum of
``g . (D x)`` over the tokens of a text. So the figures are nats, can be compared between layers
and the output layer, and add up as far as the matrices' errors are independent.

Only one layer has its weights at a time, forwards and backwards. In memory are the hidden states of
all rows before each layer. Where embedding and output layer share their weights, they are rounded
together, and their inner products are added.

An interrupted measurement goes on before the layers that it went back through: what these told, and
the gradients before them, are kept. Hidden states are made again, which takes a third of the time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from pipeline.builder.blockwise import Blockwise
from pipeline.training.calibration import Calibration
from pipeline.training.snapshots import Snapshots, step_of
from pipeline.training.streamed import Unit

_TENSORS = "tensors.safetensors"
_GROUPS = "groups.json"
"""Files of a snapshot: gradients with scores, and the names of the matrices."""

Progress = Callable[[int, int], None]


@dataclass
class Group:
    """Matrices that read the same: the builder may join them, and then they have one width."""

    scores: torch.Tensor
    """The inner product of each row: gradient and what rounding adds to all of them."""
    names: list[str] = field(default_factory=list)
    """Names of their weights in the model."""
    lost: bool = False
    """Whether one of them reads something that cannot be parted by rows, such as an expert."""


class Sensitivity:
    """The measurement on the rows of a calibration."""

    def __init__(
        self,
        model: Any,
        calibration: Calibration,
        method: Blockwise,
        seed: int,
        progress: Progress,
        snapshots: Snapshots,
    ) -> None:
        """``model``, of the calibration, has deferred weights; ``method`` says how they are
        rounded."""
        self._model, self._calibration, self._method = model, calibration, method
        self._progress, self._snapshots = progress, snapshots
        self._drawing = torch.Generator().manual_seed(seed)
        self._gradients: list[torch.Tensor] = []
        """What the predictions change with the hidden states, of each batch."""

    def measure(self) -> dict[tuple[str, ...], float]:
        """Return the divergence in nats per token that rounding costs, of each group of matrices,
        by the names of their weights."""
        batches, layers = self._calibration.batches, self._calibration.layers
        steps = 2 * len(layers) + 1
        before: list[list[torch.Tensor]] = []
        for done, layer in enumerate(layers, start=1):
            before.append([batch.hidden for batch in batches])
            with _with_weights(layer):
                self._calibration.advance(layer)
            self._progress(done, steps)
        snapshot, embedded, back = self._snapshots.latest(), before[0], 0
        if snapshot is not None:
            back = step_of(snapshot)
            del before[len(layers) - back :]
            groups = self._restored(snapshot)
        else:
            with self._calibration.loaded(self._model):
                groups = self._head()
        self._progress(len(layers) + 1 + back, steps)
        for done, layer in enumerate([*reversed(layers)][back:], start=back + 1):
            with _with_weights(layer):
                groups += self._layer(layer, before.pop())
            if done < len(layers) and self._snapshots.due(done):
                self._keep(groups, done)
            self._progress(len(layers) + 1 + done, steps)
        self._add_embedding(groups, embedded)
        tokens = sum(int(batch.there.sum()) for batch in batches)
        return {
            tuple(group.names): float((group.scores**2).sum()) / 2 / tokens
            for group in groups
            if not group.lost
        }

    def _keep(self, groups: Sequence[Group], done: int) -> None:
        """Write what is known after going back through ``done`` layers, if there is room."""
        tensors = {f"gradient.{at}": one for at, one in enumerate(self._gradients)}
        tensors |= {f"scores.{at}": group.scores for at, group in enumerate(groups)}
        if not self._snapshots.has_room(sum(one.nbytes for one in tensors.values())):
            return
        told = [[group.names, group.lost] for group in groups]
        with self._snapshots.new(done) as folder:
            save_file({name: one.contiguous() for name, one in tensors.items()}, folder / _TENSORS)
            (folder / _GROUPS).write_text(json.dumps(told), "utf-8")

    def _restored(self, folder: Path) -> list[Group]:
        """Take over the gradients that :meth:`_keep` wrote; return the groups."""
        tensors = load_file(folder / _TENSORS)
        told = json.loads((folder / _GROUPS).read_text("utf-8"))
        batches = range(len(self._calibration.batches))
        self._gradients = [tensors[f"gradient.{at}"] for at in batches]
        return [
            Group(tensors[f"scores.{at}"], names, lost) for at, (names, lost) in enumerate(told)
        ]

    def _head(self) -> list[Group]:
        """Predict all tokens; return the group of the output layer."""
        output = self._model.get_output_embeddings()
        look = _Look(self._calibration, self._method)
        with look.at([output] if isinstance(output, torch.nn.Linear) else []):
            for rows, batch in zip(self._calibration.rows, self._calibration.batches, strict=True):
                gradient = torch.zeros_like(batch.hidden)
                for row, there in enumerate(batch.there):
                    look.rows = slice(rows.start + row, rows.start + row + 1)
                    some = slice(row, row + 1), slice(0, int(there.sum()))
                    gradient[some] = self._predicted(batch.ids[some], batch.hidden[some])
                self._gradients.append(gradient)
        return look.groups

    def _add_embedding(self, groups: Sequence[Group], embedded: Sequence[torch.Tensor]) -> None:
        """Add to the output layer what rounding changes of ``embedded``, which the first layer
        reads, where the embedding is rounded with it."""
        if not getattr(self._model.config, "tie_word_embeddings", False):
            return
        output, batches = self._model.get_output_embeddings(), self._calibration.batches
        name = f"{self._calibration.names.get(output)}.weight"
        head = next((group for group in groups if name in group.names), None)
        if head is None:
            return
        with self._calibration.loaded(self._model):
            # Some models multiply what they look up by a number.
            first, looked_up = embedded[0], output.weight[batches[0].ids]
            scale = float((first * looked_up).sum() / (looked_up * looked_up).sum())
            change = _change(output, self._method) * scale
        for rows, batch, gradient in zip(
            self._calibration.rows, batches, self._gradients, strict=True
        ):
            head.scores[rows] += (gradient * change[batch.ids]).sum((1, 2))

    def _predicted(self, ids: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Draw the next tokens of one row; return the gradient of their log-probability with
        respect to what the last layer made, ``hidden``."""
        leaf = hidden.detach().requires_grad_()
        with torch.enable_grad(), _answered(self._calibration.layers, leaf):
            logits = self._model(input_ids=ids, use_cache=False).logits
        chances = logits[0].detach().float().softmax(dim=-1)
        drawn = torch.multinomial(chances, 1, generator=self._drawing)
        upstream = (-chances).scatter_add_(1, drawn, torch.ones(drawn.shape))
        (gradient,) = torch.autograd.grad(logits, leaf, upstream[None].to(logits.dtype))
        return gradient

    def _layer(self, layer: torch.nn.Module, hidden: Sequence[torch.Tensor]) -> list[Group]:
        """Return the groups of ``layer``, which has its weights, and go back before it."""
        look = _Look(self._calibration, self._method)
        matrices = [part for part in layer.modules() if isinstance(part, torch.nn.Linear)]
        with look.at(matrices):
            for at, batch in enumerate(self._calibration.batches):
                look.rows = self._calibration.rows[at]
                leaf = hidden[at].detach().requires_grad_()
                with torch.enable_grad():
                    made = self._calibration.run(layer, batch, leaf)
                (self._gradients[at],) = torch.autograd.grad(made, leaf, self._gradients[at])
        return look.groups


class _Look:
    """Looks at what matrices read, and at the gradients of what they make."""

    def __init__(self, calibration: Calibration, method: Blockwise) -> None:
        self._names, self._method = calibration.names, method
        self._total = calibration.rows[-1].stop
        self.rows = slice(0, 0)
        """The rows that are run now."""
        self.groups: list[Group] = []
        self.errors: dict[torch.nn.Linear, torch.Tensor] = {}
        """What rounding adds to each matrix."""
        self._of: dict[torch.nn.Linear, Group] = {}
        self._newest: dict[int, torch.Tensor] = {}
        """What a group read last, by its ``id``."""

    @contextmanager
    def at(self, matrices: Sequence[torch.nn.Linear]) -> Iterator[None]:
        """Inside, look at ``matrices``."""
        hooks = [matrix.register_forward_hook(self._ran) for matrix in matrices]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _ran(self, matrix: torch.nn.Linear, read: tuple[Any, ...], made: torch.Tensor) -> None:
        inputs = read[0]
        group = self._of.get(matrix) or self._joined(matrix, inputs)
        self._newest[id(group)] = inputs
        if inputs.dim() != 3 or not made.requires_grad:
            group.lost = True
            return
        if matrix not in self.errors:
            self.errors[matrix] = _change(matrix, self._method)
        changed = inputs.detach() @ self.errors[matrix].T
        scores = group.scores[self.rows]

        def add(gradient: torch.Tensor) -> None:
            scores.add_((gradient * changed).sum((1, 2)))

        made.register_hook(add)

    def _joined(self, matrix: torch.nn.Linear, inputs: torch.Tensor) -> Group:
        """Return the group of those that read ``inputs``, with ``matrix``."""
        same = [one for one in self.groups if self._newest[id(one)] is inputs]
        group = same[0] if same else Group(torch.zeros(self._total, dtype=torch.float64))
        if not same:
            self.groups.append(group)
        group.names.append(f"{self._names[matrix]}.weight")
        self._of[matrix] = group
        return group


def _change(matrix: torch.nn.Linear, method: Blockwise) -> torch.Tensor:
    """Return what rounding adds to a matrix."""
    weight = matrix.weight.detach()
    return torch.from_numpy(method.rounded(weight.T)).T - weight


@contextmanager
def _with_weights(layer: torch.nn.Module) -> Iterator[None]:
    unit = Unit(layer)
    unit.load()
    try:
        yield
    finally:
        unit.forget()


@contextmanager
def _answered(layers: Sequence[Any], hidden: torch.Tensor) -> Iterator[None]:
    """Inside, ``layers`` do nothing, and the last of them makes ``hidden``."""
    for layer in layers:
        layer.forward = lambda *_arguments, **_named: hidden
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward
