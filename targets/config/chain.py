"""The passes and checks of a config for one target, with their validated parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from pipeline.builder.quantizer import Quantizer
from pipeline.checks.base import BaseCheck
from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.roles import ROLES, Role
from pipeline.contract.ways import ChoosesWays, Way
from pipeline.passes.base import BasePass
from pipeline.training.layerwise_params import LayerwiseParams

Json = dict[str, JsonValue]

_HELD_OUT = {role for role, source in ROLES.items() if source.held_out}


def kept_base_step(training: str) -> str:
    """Return the name of the step that quantizes the base of the pass ``training``."""
    return f"base-{training}"


@dataclass(frozen=True)
class _Call:
    """A pass or check with its validated parameters."""

    name: str
    type_name: str
    implementation: Any
    params: Frozen

    @cached_property
    def values(self) -> Json:
        """The parameters as they stand in a plan."""
        return self.params.model_dump(mode="json")


@dataclass(frozen=True)
class PassCall(_Call):
    """One pass of the chain, ready to be planned."""

    implementation: type[BasePass[Any]]
    script: Path | None = None
    """The Python file of the user's own pass."""
    network: bool = False
    """Whether this call needs the network although its type does not."""
    hub: bool = False
    """Whether this call gets the hub's token although its type does not."""
    enforced_checks: tuple[str, ...] = ()
    """Names of the checks whose limits it enforces itself."""

    @property
    def merges(self) -> bool:
        """Return whether it merges an adapter into a checkpoint."""
        kinds = self.implementation.consumes.values()
        return "adapter" in kinds and self.implementation.produces == "checkpoint"

    @property
    def keeps_adapter(self) -> bool:
        """Return whether it adds an adapter to an ONNX model that was built without."""
        kinds = set(self.implementation.consumes.values())
        return {"adapter", "onnx"} <= kinds and self.implementation.produces == "onnx"

    @property
    def quantizer(self) -> Quantizer | None:
        """Return what it works for if it prepares how a checkpoint is quantized; else ``None``."""
        makes, params = self.implementation.produces, self.params
        if makes == "widths":
            return Quantizer(makes="widths")
        if not isinstance(params, LayerwiseParams):
            return None
        return Quantizer(
            makes="integers" if makes == "integers" else "checkpoint",
            precision=params.precision,
            block_size=params.block_size,
            symmetric=params.symmetric,
        )

    @property
    def ways(self) -> tuple[Way, ...]:
        """Return the ways among which it chooses, by the passes that each uses; none if it leaves
        out no pass."""
        params = self.params
        return params.ways if isinstance(params, ChoosesWays) and params.asked_ways else ()


@dataclass(frozen=True)
class CheckCall(_Call):
    """One check, ready to be planned."""

    implementation: type[BaseCheck[Any]]
    script: Path | None = None
    """The Python file of the user's own check."""
    own_passes: Mapping[Role, PassCall] = field(default_factory=dict)
    """The passes that make what this check alone reads, with its parameters."""

    def needs(self, artifact: Kind = "onnx") -> tuple[Role, ...]:
        """Return the roles it reads if the artifact is of the given kind."""
        return self.implementation.needs_of(self.params, artifact)

    @property
    def needs_held_out(self) -> bool:
        """Return whether it needs held-out data, or answers to held-out prompts."""
        return self.implementation.needs_held_out_of(self.params) or bool(
            _HELD_OUT & set(self.needs())
        )


@dataclass(frozen=True)
class Chain:
    """Everything that runs for one target, in order."""

    source: PassCall | None
    """The pass that makes the base model; ``None`` for a local checkpoint."""
    fetching: PassCall | None
    """The pass that fetches what :attr:`source` reads, or where that is an ONNX model, the
    checkpoint it was made from; ``None`` where that is a local file, or not named."""
    passes: tuple[PassCall, ...]
    check_passes: Mapping[str, PassCall]
    """The passes that make what checks read (:data:`~pipeline.contract.roles.ROLES`), by type:
    ``evaluate`` only where data is held out, ``float_reference`` where a pass quantizes and the CPU
    provider could run the export, ``adapted_reference`` where something is merged."""
    merging: PassCall | None
    """The pass that merges an adapter with which the chain ends, or that the artifact keeps
    separate, so that it can be evaluated; ``None`` only in an invalid config."""
    checks: tuple[CheckCall, ...]

    @property
    def base_kind(self) -> Kind:
        """Return the kind of the base model."""
        return "checkpoint" if self.source is None else self.source.implementation.produces

    @property
    def choosing(self) -> PassCall | None:
        """Return the pass that chooses among ways, if one does."""
        return next((call for call in self.passes if call.ways), None)

    def quantizers(self, before: PassCall) -> tuple[PassCall, ...]:
        """Return the passes ``before`` another one that prepare how a checkpoint is quantized."""
        earlier = self.passes[: self.passes.index(before)]
        return tuple(call for call in earlier if call.quantizer is not None)

    def in_way(self, way: Way) -> Chain:
        """Return the chain as it is where the model is quantized in ``way``."""
        choosing = self.choosing
        left_out = {call.name for call in self.quantizers(choosing)} if choosing else set()
        left_out -= {*way}
        return replace(self, passes=tuple(c for c in self.passes if c.name not in left_out))

    @property
    def artifact_kind(self) -> Kind:
        """Return the kind of the artifact, with which the chain ends."""
        return self.passes[-1].implementation.produces if self.passes else self.base_kind
