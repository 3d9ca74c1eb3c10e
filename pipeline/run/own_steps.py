"""The user's own passes and checks: a class in a Python file, written as ``FILE.py:CLASS``.

The class has the interface of the built-in ones. The file is imported where its step runs, and
nowhere else: the host reads its text.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pipeline.checks.base import BaseCheck
from pipeline.contract.errors import StepError
from pipeline.contract.frozen import Frozen
from pipeline.contract.kinds import ARTIFACT_WORDS, Kind, StepKind
from pipeline.contract.roles import Role
from pipeline.contract.suggest import did_you_mean
from pipeline.passes.base import BasePass
from pipeline.scripts.load import load_script
from pipeline.scripts.moved import RENAMED_ATTRIBUTES

OWN_TYPE = r"^.+\.py:[A-Za-z_]\w*$"
"""Regular expression for the type of the user's own pass or check, for the config's JSON schema."""

StepClass = type[BasePass[Any]] | type[BaseCheck[Any]]

_BASES: dict[StepKind, StepClass] = {"pass": BasePass, "check": BaseCheck}
_SIDES = ("host", "target")


class OwnType(NamedTuple):
    """The type of the user's own pass or check."""

    file: str
    """Path of the Python file, as written."""
    name: str
    """Name of the class."""


class OwnStepError(StepError):
    """A class cannot be used as a pass or check; ``problems`` are all the reasons."""

    def __init__(self, problems: Iterable[str], hint: str = "") -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems), hint, "bad_input")


def own_type(text: str) -> OwnType | None:
    """Return file and class that ``text`` names, or ``None`` for the name of a built-in type."""
    if not re.match(OWN_TYPE, text):
        return None
    file, _, name = text.rpartition(":")
    return OwnType(file, name)


def load_own(kind: StepKind, script: Path, name: str) -> StepClass:
    """Return the class ``name`` of the file ``script``, which must be
    :func:`~pipeline.scripts.importable.importable`.

    Raises :class:`OwnStepError` where it cannot be imported, is not there or is no ``kind``, and
    :class:`~pipeline.contract.errors.StepError` where the file cannot be imported.
    """
    module = load_script(script)
    return usable_class(kind, script.name, name, getattr(module, name, None), vars(module))


def usable_class(
    kind: StepKind, file: str, name: str, step_class: object, names: Mapping[str, object]
) -> StepClass:
    """Return ``step_class``, which ``file`` has as ``name``, if it can be planned and run.

    ``names`` is everything that the file has. Raises :class:`OwnStepError` with all the reasons.
    """
    if step_class is None:
        classes = [known for known, value in names.items() if _is_own(kind, value)]
        raise OwnStepError([f"{file} has no class '{name}'"], did_you_mean(name, classes))
    base = _BASES[kind]
    if not (isinstance(step_class, type) and issubclass(step_class, base)):
        message = (
            f"'{name}' is not a {kind}: it does not derive from {base.__module__}.{base.__name__}"
        )
        raise OwnStepError([message])
    problems = [f"'{name}' {problem}" for problem in _problems(step_class)]
    if problems:
        raise OwnStepError(problems)
    return step_class


def _is_own(kind: StepKind, value: object) -> bool:
    base = _BASES[kind]
    return isinstance(value, type) and issubclass(value, base) and value is not base


def _problems(step_class: type) -> Iterator[str]:
    """Yield the reasons why a class cannot be planned and run."""
    if inspect.isabstract(step_class):
        yield "has no method `run`"
    params = getattr(step_class, "Params", None)
    if not (isinstance(params, type) and issubclass(params, Frozen)):
        yield "has no `Params`, a class that derives from pipeline.contract.frozen.Frozen"
        params = None
    for former, name in RENAMED_ATTRIBUTES.items():
        if isinstance(getattr(step_class, former, None), (bool, tuple)):
            yield f"has `{former}`, which is `{name}` now"
    if getattr(step_class, "packages", ""):
        yield "has `packages`, which only built-in passes and checks get"
    if issubclass(step_class, BasePass):
        yield from _pass_problems(step_class, params)
    elif issubclass(step_class, BaseCheck):
        yield from _others("needs", step_class.needs, get_args(Role))
        yield from _others("accepts", step_class.accepts, tuple(ARTIFACT_WORDS))
        yield from _named_like(step_class.sources, get_args(Role))
        if params is not None:
            yield from _others("sources", step_class.sources, tuple(params.model_fields))


def _pass_problems(pass_class: type[BasePass[Any]], params: type[Frozen] | None) -> Iterator[str]:
    produces = getattr(pass_class, "produces", None)
    if produces is None:
        yield f"does not say what it `produces`: one of {', '.join(ARTIFACT_WORDS)}"
    else:
        yield from _others("produces", (produces,), tuple(ARTIFACT_WORDS))
    if not isinstance(pass_class.may_consume, Mapping):
        yield "`may_consume` is not a mapping of roles to kinds"
    else:
        yield from _others("may_consume", pass_class.may_consume.values(), get_args(Kind))
    if isinstance(pass_class.consumes, Mapping):
        yield from _others("consumes", pass_class.consumes.values(), get_args(Kind))
        yield from _named_like(pass_class.sources, tuple(pass_class.consumes))
    else:
        yield "`consumes` is not a mapping of roles to kinds"
    yield from _others("runs_on", (pass_class.runs_on,), _SIDES)
    if params is not None:
        yield from _others("sources", pass_class.sources, tuple(params.model_fields))
    if pass_class.network:
        yield "asks for the network, which only built-in passes get"


def _named_like(sources: object, roles: tuple[str, ...]) -> Iterator[str]:
    for name in sources if isinstance(sources, Iterable) else ():
        if name in roles:
            yield f"has {name!r} in `sources`, which is the name of an input: rename the parameter"


def _others(attribute: str, values: object, known: tuple[str, ...]) -> Iterator[str]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        yield f"has `{attribute}`, which is not a tuple of names"
        return
    for value in values:
        if value not in known:
            allowed = ", ".join(known) or "none"
            yield f"has {value!r} in `{attribute}`, where it can be: {allowed}"
