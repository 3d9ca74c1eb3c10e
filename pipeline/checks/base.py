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
from pipeline.data.refusals import PromptError
from pipeline.process.causes import has_panicked

P = TypeVar("P", bound=Frozen)

USABLE = "usable"
"""Name of the only verdict of a check whose artifact cannot be loaded or run at all."""


@dataclass(frozen=True)
class Outcome:
    """The result of a check: verdicts for the report, and the raw measurements behind them."""

    verdicts: tuple[Verdict, ...]
    evidence: dict[str, JsonValue] = field(default_factory=dict)


class BaseCheck(ABC, Generic[P]):
    """One property of an artifact that is measured and compared with limits."""

    Params: ClassVar[type[Frozen]]
    """Typed, documented parameters and limits."""
    needs: ClassVar[tuple[Role, ...]] = ("artifact",)
    optional_needs: ClassVar[tuple[Role, ...]] = ("model",)
    """Roles in :attr:`needs` that are optional. An ONNX model that the config brings ready-made has
    no ``model``: the build does not know the checkpoint that it was made from."""
    accepts: ClassVar[tuple[Kind, ...]] = ("onnx",)
    """Kinds of artifact that it can judge. For a chain that ends with another, it is left out."""
    sources: ClassVar[tuple[str, ...]] = ()
    """Names of parameters that hold paths of the user's files (:attr:`BasePass.sources`)."""
    runs_by_default: ClassVar[bool] = True
    """Whether it runs by default, without being named in the config."""
    resumes: ClassVar[bool] = False
    """Whether it can continue an interrupted run (:attr:`BasePass.resumes`)."""
    packages: ClassVar[str] = ""
    """The folder in ``images/`` with the packages that it needs beside those of its toolchain:
    :mod:`pipeline.process.packages`. For Quern's own only."""
    uses_data: ClassVar[bool] = False
    heeds_constraint: ClassVar[bool] = False
    """Whether its result depends on the data set's ``constrain``, which is else not shown to it."""
    needs_held_out: ClassVar[bool] = False
    """Whether it needs held-out data."""
    stands_in_for: ClassVar[str] = ""
    """The check in whose place it runs by default where a model is trained and nothing is held out;
    empty for none."""
    uses_device: ClassVar[bool] = False
    """Whether its result depends on the presence of the target's device, which is then in its
    key."""
    repeatable: ClassVar[bool] = True
    """Whether the same artifact always gives the same result. Times and memory do not."""

    @classmethod
    def needs_of(cls, params: P, artifact: Kind = "onnx") -> tuple[Role, ...]:  # noqa: ARG003
        """Return the roles it reads with ``params`` if the artifact is of the given kind."""
        return cls.needs

    @classmethod
    def needs_held_out_of(cls, params: P) -> bool:  # noqa: ARG003
        """Return whether it needs held-out data with ``params``."""
        return cls.needs_held_out

    @classmethod
    def own_pass_of(cls, params: P, role: Role) -> dict[str, JsonValue]:  # noqa: ARG003
        """Return the parameters of the pass of its own that makes ``role``."""
        return {}

    @classmethod
    def export_of(cls, params: P) -> dict[str, JsonValue]:  # noqa: ARG003
        """Return those parameters of the ``float_reference`` pass that this check sets."""
        return {}

    def judge(self, inputs: Inputs, params: P) -> Outcome:
        """Return the outcome of :meth:`run`, or one that says that the artifact cannot be used.

        An artifact that raises :class:`ArtifactError` fails the check, and so does one whose
        tokenizer cannot make a prompt of a row. One that only its device can run
        (:class:`BeyondCpuError`) is unverified.
        """
        try:
            return self.run(inputs, params)
        except BeyondCpuError as error:
            return Outcome((Verdict(name=USABLE, status="unverified", detail=str(error)),))
        except (ArtifactError, PromptError) as error:
            return Outcome((Verdict(name=USABLE, status="failed", detail=str(error)),))
        except BaseException as error:
            if not has_panicked(error):
                raise
            return Outcome((Verdict(name=USABLE, status="failed", detail=f"it panics: {error}"),))

    @abstractmethod
    def run(self, inputs: Inputs, params: P) -> Outcome:
        """Measure and compare with the limits. A missed limit is a failed verdict, no exception.

        Raises :class:`~pipeline.contract.errors.StepError` where it cannot be measured, and
        :class:`ArtifactError` or :class:`BeyondCpuError` as in :meth:`judge`.
        """
