"""Translates ``host``, ``target`` and ``execution_providers`` into host target and targets."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.contract.suggest import did_you_mean
from targets.config.olive.chains import EXTRACT, TORCH, OlivePass
from targets.config.olive.draft import Draft
from targets.config.olive.node import Fields, Node
from targets.config.olive.systems import (
    OliveSystem,
    choose,
    read_azure_client,
    read_systems,
    system_names,
    targets_of,
)
from targets.config.olive.training import KINDS
from targets.target import DEFAULT_TARGET, LOCAL, load_target, target_names

_MAX_HOURS = 24
"""Olive's files do not limit a job. Where a config of Quern is made of one, this can be changed."""


def translate_placement(
    root: Fields, engine: Fields, chain: Sequence[OlivePass], requested: str | None, draft: Draft
) -> None:
    """Write host, targets and runtime; ``requested`` (``--system``) overrides the file."""
    listed = root.take("systems")
    names = system_names(listed)
    client = root.take("azureml_client")
    azure = read_azure_client(client) if client is not None else {}
    host_node, target_node = engine.take("host"), engine.take("target")
    named = {str(node.raw) for node in (host_node, target_node) if node is not None}
    systems = read_systems(listed, named if requested is None else {*named, requested})
    host, target = choose(host_node, systems, names), choose(target_node, systems, names)
    if requested is not None and requested != LOCAL and requested not in names:
        message = f"--system {requested}: there is no such system"
        draft.ledger.fail(("systems",), message, did_you_mean(requested, (*names, LOCAL)))
    chosen = systems.get(requested) if requested is not None else host
    kinds = _kinds(chain)
    trains = any(kind in KINDS for kind in kinds)
    if target is not None:
        target.check_on(alone=chosen is None)
    for system in (host, chosen):
        if system is not None and system is not target:
            system.train_on(trains)
    if chosen is not None and chosen is target:
        chosen.train_on(trains)  # what it means for the training goes first
    runs = chosen or (target if requested is None else None)
    if runs is not None and runs.kind == "azureml":
        _azure_system(runs, azure, draft)
    if runs is not None and runs.kind in ("docker", "venv"):
        draft.derive(("runtime",), runs.kind)
    for one in (*systems.values(), host, target):
        if one is not None and one.kind == "engine":
            _write_system(one, draft)
    if runs is not None and runs.kind == "engine":
        draft.derive(("host",), runs.name)
    providers = engine.take("execution_providers")
    _targets(providers, chosen or host, target, systems, kinds, draft)


def _kinds(chain: Sequence[OlivePass]) -> list[str]:
    """Return the types of the passes, in lower case."""
    tables = [one.node.raw for one in chain if isinstance(one.node.raw, dict)]
    return [str(table.get("type", "")).strip().lower() for table in tables]


def _azure_system(system: OliveSystem, client: dict[str, object], draft: Draft) -> None:
    """Write ``[systems.NAME]``, and that the steps run there."""
    table = {"type": "azureml", **client, **system.azure, "max_hours": _MAX_HOURS}
    if not table.pop("hf_token", False):
        table.pop("keyvault", None)
    if system.devices == ("cpu",):
        table["trains"] = DEFAULT_TARGET
    place = ("systems", system.name)
    draft.derive(place, table)
    draft.origins[place] = system.node.path
    draft.ledger.default(
        f"systems.{system.name}.max_hours",
        f"{_MAX_HOURS}: the service ends a job after so many hours, which limits its cost",
    )
    draft.derive(("host",), system.name)


def _write_system(system: OliveSystem, draft: Draft) -> None:
    """Write the table of another machine's engine."""
    table = dict(system.engine)
    if "gpu" in system.devices and _for_gpus():
        table.setdefault("trains", _for_gpus()[0])
    place = ("systems", system.name)
    draft.derive(place, table)
    draft.origins[place] = system.node.path


def _for_gpus() -> tuple[str, ...]:
    """Return the target for GPUs that can train, if there is one."""
    return tuple(name for name in target_names() if load_target(name).trains)[:1]


def _targets(
    providers: Node | None,
    host: OliveSystem | None,
    target: OliveSystem | None,
    systems: dict[str, OliveSystem],
    kinds: Sequence[str],
    draft: Draft,
) -> None:
    runs_on = target or host
    named = providers.items() if providers is not None else []
    listed = [*(runs_on.providers if runs_on else ())]
    for system in (*systems.values(), host, target):
        if system is not None and system is not runs_on:
            for node in system.providers:
                node.no_effect("the execution provider of the target decides")
    if host is not None and host.kind not in ("azureml", "engine") and host.devices == ("cpu",):
        draft.derive(("host",), DEFAULT_TARGET)
    kind = next((each for each in reversed(kinds) if each != EXTRACT), "")
    # A pass that Quern lacks may make anything: what it should run on is judged as well.
    builds = (bool(kinds) and kind not in TORCH) or "onnx" in draft.document.get("model", {})
    if not builds:
        for node in (*named, *listed):
            node.no_effect("the chain ends with weights for PyTorch, which no provider runs")
        return
    if named:
        for node in listed:
            node.no_effect("execution_providers of the engine go first")
    asked = tuple(named or listed)
    targets = targets_of(asked)
    devices = runs_on.devices if runs_on is not None and not asked else ()
    draft.without_target = not targets and (bool(asked) or "npu" in devices)
    if not targets and "gpu" in devices:
        targets = _for_gpus()
    if targets:
        draft.derive(("default_targets",), list(targets))
