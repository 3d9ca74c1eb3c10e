"""What a check is. One module of this package per check, each with one class named ``Check``.

Like passes, check modules import no ML library at their top.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

from pydantic import JsonValue

from pipeline.contract.errors import ArtifactError, BeyondCpuError
from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import Kind
from pipeline.contract.result import Verdict
from pipeline.contract.roles import Role
from pipeline.contract.step import Inputs

P = TypeVar("P", bound=Frozen)

USABLE = "usable"
"""The verdict that stands for a whole check where the artifact could not be used at all."""


@dataclass(frozen=True)
class Outcome:
    """What a check found: verdicts for the report, and the raw measurements behind them."""

    verdicts: tuple[Verdict, ...]
    evidence: dict[str, JsonValue] = field(default_factory=dict)


class BaseCheck(ABC, Generic[P]):
    """One proof about an artifact."""

    Params: ClassVar[type[Frozen]]
    """Typed, documented parameters and limits."""
    needs: ClassVar[tuple[Role, ...]] = ("artifact",)
    does_without: ClassVar[tuple[Role, ...]] = ("model",)
    """Those of :attr:`needs` that may be missing from its inputs: an ONNX model that is there
    already was made from nothing that is here."""
    accepts: ClassVar[tuple[Kind, ...]] = ("onnx",)
    """Kinds of artifact that it can judge; it is left out where the chain ends with another."""
    sources: ClassVar[tuple[str, ...]] = ()
    """Parameters that each are the path of a file or folder of the user's, as of a pass."""
    unasked: ClassVar[bool] = True
    """Whether it runs where the config does not name it."""
    uses_data: ClassVar[bool] = False
    asks_held_out: ClassVar[bool] = False
    """Whether it needs a held-out part of the data."""
    uses_device: ClassVar[bool] = False
    """Whether it finds more where the target's device is: its result then has a key of its own."""
    repeatable: ClassVar[bool] = True
    """Whether it finds the same again in the same bytes; times differ from run to run."""

    @classmethod
    def needs_of(cls, params: P, artifact: Kind = "onnx") -> tuple[Role, ...]:  # noqa: ARG003
        """Return what it reads with ``params``, of an artifact of this kind."""
        return cls.needs

    @classmethod
    def asks_held_out_of(cls, params: P) -> bool:  # noqa: ARG003
        """Return whether it needs a held-out part of the data with ``params``."""
        return cls.asks_held_out

    @classmethod
    def timing_of(cls, params: P) -> dict[str, JsonValue]:  # noqa: ARG003
        """Return the parameters of the ``time_base`` pass behind ``base_timing``."""
        return {}

    @classmethod
    def export_of(cls, params: P) -> dict[str, JsonValue]:  # noqa: ARG003
        """Return parameters of the ``float_reference`` pass that this check decides."""
        return {}

    def judge(self, inputs: Inputs, params: P) -> Outcome:
        """Return :meth:`run`'s outcome; an artifact that cannot even be used fails the check.

        One that only its device can use is unverified where the device is not.
        """
        try:
            return self.run(inputs, params)
        except BeyondCpuError as error:
            return Outcome((Verdict(name=USABLE, status="unverified", detail=str(error)),))
        except ArtifactError as error:
            return Outcome((Verdict(name=USABLE, status="failed", detail=str(error)),))

    @abstractmethod
    def run(self, inputs: Inputs, params: P) -> Outcome:
        """Measure and judge. A missed limit is a failed verdict, not an exception."""
