"""Runs all examinations in parallel and returns their findings in a fixed order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from targets.doctor import engine, host, network, shared_cache, systems, toolchains
from targets.doctor.finding import RUNTIMES, Finding, Machine
from targets.errors import QuernError

Examination = Callable[[Machine], Iterable[Finding]]

EXAMINATIONS: tuple[Examination, ...] = (
    host.python,
    engine.engine,
    toolchains.absent,
    toolchains.wheels,
    toolchains.environments,
    host.disk,
    host.memory,
    host.cpu,
    host.gpu,
    network.hub,
    shared_cache.shared_cache,
    systems.systems,
)


def examine(
    machine: Machine, examinations: Iterable[Examination] = EXAMINATIONS
) -> tuple[Finding, ...]:
    """Return the findings of all examinations, which run in parallel because they mostly wait."""
    chosen = tuple(examinations)
    with ThreadPoolExecutor(max_workers=len(chosen)) as pool:
        findings_of_each = pool.map(lambda examination: _findings(examination, machine), chosen)
        return tuple(finding for findings in findings_of_each for finding in findings)


def _findings(examination: Examination, machine: Machine) -> tuple[Finding, ...]:
    try:
        return tuple(examination(machine))
    except QuernError as error:
        name = getattr(examination, "__name__", "examination")
        return (Finding("problem", name, str(error), error.hint, blocks=RUNTIMES),)
