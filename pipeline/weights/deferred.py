"""Deferred tensors: computed when they are needed, and not kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch.utils._pytree import tree_leaves, tree_map

ComputedTensors = dict[int, Any]
"""Results computed so far, by the ``id`` of the deferred tensor."""


class NotDeferrable(NotImplementedError):
    """What is done to a deferred tensor cannot be put off."""


class Deferred(torch.Tensor):  # type: ignore[misc] # torch is not there where types are checked
    """A tensor with a shape and a type, but without memory: it stands for a computation.

    An operation on it is recorded and returns another deferred tensor; :meth:`computed` runs the
    recorded operations. So a model of such tensors can be split and joined like any other, and is
    never in memory as a whole. In-place operations raise ``NotImplementedError``.
    """

    like: torch.Tensor
    """A tensor on the meta device with the same shape and type."""
    _sources: Sequence[Deferred]
    """Those that it is computed from; none if it comes from elsewhere, like a file."""
    _make: Callable[[ComputedTensors], torch.Tensor]

    @classmethod
    def of(cls, like: torch.Tensor, make: Callable[[], torch.Tensor]) -> Deferred:
        """Return a deferred tensor that ``make`` computes.

        ``like`` is a tensor on the meta device with the shape and type of its result.
        """
        return cls._of(like, lambda _made: make())

    @classmethod
    def _of(
        cls,
        like: torch.Tensor,
        make: Callable[[ComputedTensors], torch.Tensor],
        sources: Sequence[Deferred] = (),
    ) -> Deferred:
        tensor: Deferred = torch.Tensor._make_wrapper_subclass(
            cls,
            like.shape,
            strides=like.stride(),
            storage_offset=like.storage_offset(),
            dtype=like.dtype,
            device="cpu",
            requires_grad=False,
        )
        tensor.like = like
        tensor._sources = sources
        tensor._make = make
        return tensor

    def computed(self) -> torch.Tensor:
        """Return the real tensor, computed anew at each call."""
        return self._computed({})

    def origins(self) -> list[Deferred]:
        """Return the tensors that come from elsewhere and that it is computed from, each once."""
        found: dict[int, Deferred] = {}
        waiting, seen = [self], set[int]()
        while waiting:
            tensor = waiting.pop()
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            if tensor._sources:
                waiting.extend(tensor._sources)
            else:
                found[id(tensor)] = tensor
        return list(found.values())

    def computed_from(self, values: Mapping[int, torch.Tensor]) -> torch.Tensor:
        """Return the real tensor as it is with other ``values`` of its origins, by their ``id``."""
        return self._computed(dict(values))

    def _computed(self, made: ComputedTensors) -> torch.Tensor:
        # Several parts of one tensor may be joined again: the tensor is computed once.
        if id(self) not in made:
            made[id(self)] = self._make(made)
        tensor: torch.Tensor = made[id(self)]
        return tensor

    def numpy(self, *, force: bool = False) -> NoReturn:  # noqa: ARG002
        """Raise :class:`NotDeferrable`: an array has its numbers."""
        raise NotDeferrable("a deferred tensor cannot be seen as an array")

    def tolist(self) -> NoReturn:
        """Raise :class:`NotDeferrable`: a list has its numbers."""
        raise NotDeferrable("a deferred tensor cannot be seen as a list")

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"Deferred(shape={tuple(self.shape)}, dtype={self.dtype})"

    @classmethod
    def __torch_dispatch__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        arguments = (tuple(args), dict(kwargs or {}))
        sources = [value for value in tree_leaves(arguments) if isinstance(value, cls)]
        if func._schema.is_mutable:  # type: ignore[attr-defined]
            raise NotDeferrable(f"a deferred tensor cannot be changed in place: {func}")

        def run(made: ComputedTensors) -> Any:
            real, named = tree_map(
                lambda value: value._computed(made) if isinstance(value, cls) else value, arguments
            )
            return func(*real, **named)

        meta, named = tree_map(
            lambda value: value.like if isinstance(value, cls) else value, arguments
        )
        if "device" in named:
            named["device"] = "meta"
        try:
            like = func(*meta, **named)
        except (NotImplementedError, RuntimeError):
            return run({})  # its result depends on the values
        if isinstance(like, torch.Tensor):
            return cls._of(like, run, sources)
        if isinstance(like, list | tuple) and all(isinstance(part, torch.Tensor) for part in like):
            return type(like)(
                cls._of(part, _part(run, at), sources) for at, part in enumerate(like)
            )
        return run({})


def computed(value: Any) -> Any:
    """Return the real tensor of a deferred one, and any other value unchanged."""
    return value.computed() if isinstance(value, Deferred) else value


def _part(
    run: Callable[[ComputedTensors], Any], at: int
) -> Callable[[ComputedTensors], torch.Tensor]:
    def make(made: ComputedTensors) -> torch.Tensor:
        # All parts come from one call.
        if id(run) not in made:
            made[id(run)] = run(made)
        part: torch.Tensor = made[id(run)][at]
        return part

    return make
