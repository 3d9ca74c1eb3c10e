"""CycloneDX's model card of an artifact, for which the library has no classes.

https://cyclonedx.org/docs/1.6/json/#components_items_modelCard
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from targets.release.sbom.components import NOT_STATED
from targets.release.sbom.contents import ModelFacts


def model_card_json(facts: ModelFacts, data: Mapping[str, str]) -> dict[str, JsonValue]:
    """Return the ``modelCard`` of an artifact; ``data`` has the names of its data sets, by the
    references of their components."""
    parameters: dict[str, JsonValue] = {"task": facts.task}
    data_sets: list[JsonValue] = [_data_set(ref, name) for ref, name in sorted(data.items())]
    if data_sets:
        parameters["datasets"] = data_sets
    card: dict[str, JsonValue] = {"modelParameters": parameters}
    if facts.metrics:
        card["quantitativeAnalysis"] = {
            "performanceMetrics": [
                {"type": metric.name, "value": f"{metric.value:g}", "slice": metric.of}
                for metric in facts.metrics
            ]
        }
    considerations: dict[str, JsonValue] = {}
    if facts.intended_use:
        considerations["useCases"] = [facts.intended_use]
    if facts.limitations:
        considerations["technicalLimitations"] = [facts.limitations]
    if considerations:
        card["considerations"] = considerations
    if facts.quantization:
        card["properties"] = [
            {"name": f"quern:quantization:{name}", "value": value}
            for name, value in facts.quantization
        ]
    return card


def _data_set(ref: str, name: str) -> dict[str, JsonValue]:
    """Return a data set in full: lib4sbom reads nothing of an SBOM with a mere reference here."""
    return {
        "type": "dataset",
        "name": name,
        "classification": NOT_STATED,
        "contents": {"properties": [{"name": "quern:component", "value": ref}]},
    }
