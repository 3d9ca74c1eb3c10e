"""What model hubs read in a model card's front matter: licence, task, library, base model, results.

https://huggingface.co/docs/hub/model-cards#model-card-metadata
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from huggingface_hub import EvalResult, ModelCardData
from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from pydantic import JsonValue

from pipeline.contract.kinds import Kind
from pipeline.contract.schema import HUB_PREFIX, Card
from targets.config.load import LoadedConfig
from targets.errors import ConfigError
from targets.release.released_report import ReleasedReport
from targets.report.report_schema import Report

_LIBRARIES: dict[Kind, str] = {
    "onnx": "onnxruntime-genai",
    "checkpoint": "transformers",
    "adapter": "peft",
}
TASK = "text-generation"
_METRICS = {"accuracy": "accuracy", "exact_match": "exact_match"}
"""Ours, and the names that they have on the hub: https://huggingface.co/metrics"""

_SAME_NAME = frozenset(
    {
        "afl-3.0",
        "apache-2.0",
        "artistic-2.0",
        "bsd-2-clause",
        "bsd-3-clause",
        "bsd-3-clause-clear",
        "bsl-1.0",
        "cc-by-2.0",
        "cc-by-2.5",
        "cc-by-3.0",
        "cc-by-4.0",
        "cc-by-nc-2.0",
        "cc-by-nc-3.0",
        "cc-by-nc-4.0",
        "cc-by-nc-nd-3.0",
        "cc-by-nc-nd-4.0",
        "cc-by-nc-sa-2.0",
        "cc-by-nc-sa-3.0",
        "cc-by-nc-sa-4.0",
        "cc-by-nd-4.0",
        "cc-by-sa-3.0",
        "cc-by-sa-4.0",
        "cc0-1.0",
        "cdla-permissive-1.0",
        "cdla-permissive-2.0",
        "cdla-sharing-1.0",
        "ecl-2.0",
        "epl-1.0",
        "epl-2.0",
        "etalab-2.0",
        "eupl-1.1",
        "isc",
        "lppl-1.3c",
        "mit",
        "mpl-2.0",
        "ms-pl",
        "ncsa",
        "ofl-1.1",
        "osl-3.0",
        "postgresql",
        "unlicense",
        "wtfpl",
        "zlib",
    }
)
"""Licences that the hub's list (https://huggingface.co/docs/hub/repositories-licenses) has under
their SPDX identifiers, in lower case."""

_OTHER_NAMES = {
    "c-uda-1.0": "c-uda",
    "odbl-1.0": "odbl",
    "odc-by-1.0": "odc-by",
    "pddl-1.0": "pddl",
}
"""Those that it has under another name."""

_GNU = re.compile(r"(?P<name>agpl-3\.0|gpl-[23]\.0|lgpl-2\.1|lgpl-3\.0)-(?:only|or-later)")
"""The hub does not tell ``GPL-3.0-only`` from ``GPL-3.0-or-later``; the card's table does."""


def card_data(report: Report | ReleasedReport, card: Card, name: str) -> ModelCardData:
    """Return what the hub reads of the card of the model that it shows as ``name``."""
    entries = hub_metadata(card, report.artifact, report.inputs.model)
    data = next(iter(report.inputs.data), "")
    return ModelCardData(
        **entries,  # type: ignore[arg-type]
        tags=["quern", report.target, report.artifact],
        model_name=name,
        eval_results=list(_results(report.quality, data)) or None,
    )


def shares(quality: Mapping[str, JsonValue]) -> Iterator[tuple[str, float]]:
    """Yield whose answers are right to which share."""
    held = quality.get("constrained")
    found = {
        **{name: quality.get(name) for name in ("base", "tuned", "artifact")},
        "constrained": held.get("value") if isinstance(held, dict) else None,
    }
    yield from ((name, share) for name, share in found.items() if isinstance(share, float))


def hub_metadata(card: Card, artifact: Kind, model: str) -> dict[str, JsonValue]:
    """Return the entries for an artifact that was made from ``model``, as a config names it."""
    entries: dict[str, JsonValue] = {
        **_licence(card.license),
        "library_name": _LIBRARIES[artifact],
        "pipeline_tag": TASK,
    }
    if model.startswith(HUB_PREFIX):
        entries["base_model"] = model.removeprefix(HUB_PREFIX).partition("@")[0]
    return entries


def require_licences(loaded: LoadedConfig) -> None:
    """Raise ``ConfigError`` that names every licence of the card that is no SPDX expression."""
    card = loaded.config.card
    problems = [
        loaded.problem(
            f"'{words}' is no SPDX expression",
            ("card", key),
            "write an identifier of https://spdx.org/licenses, such as Apache-2.0, or "
            "LicenseRef-NAME for a licence that has none",
        )
        for key in ("license", "model_license", "data_license")
        if (words := getattr(card, key)) is not None and _canonical(words) is None
    ]
    if problems:
        raise ConfigError(problems)


def _results(quality: Mapping[str, JsonValue], data: str) -> Iterator[EvalResult]:
    """Yield what was measured on the held-out part of the rows of ``data``: with ``constrain``,
    where there is one."""
    metric = _METRICS.get(str(quality.get("metric")))
    if metric is None or not data:
        return
    for name, share in shares(quality):
        if name in ("artifact", "constrained"):
            yield EvalResult(
                task_type=TASK,
                dataset_type=data,
                dataset_name=f"{data}, held-out part",
                metric_type=metric,
                metric_name=f"{metric}, {'held to a form' if name == 'constrained' else 'free'}",
                metric_value=share,
            )


def _licence(words: str | None) -> dict[str, JsonValue]:
    if not words:
        return {"license": "unknown"}
    expression = _canonical(words) or words
    name = expression.lower()
    gnu = _GNU.fullmatch(name)
    known = name if name in _SAME_NAME else gnu["name"] if gnu else _OTHER_NAMES.get(name)
    if known is not None:
        return {"license": known}
    plain = re.sub(r"[^a-z0-9.]+", "-", name.removeprefix("licenseref-")).strip("-")
    other: dict[str, JsonValue] = {"license": "other", "license_name": plain}
    if " " not in expression and not name.startswith("licenseref-"):
        other["license_link"] = f"https://spdx.org/licenses/{expression}.html"
    return other


def _canonical(words: str) -> str | None:
    """Return an SPDX expression in its canonical form; ``None`` if it is none."""
    try:
        return str(canonicalize_license_expression(words))
    except InvalidLicenseExpression:
        return None
