"""Validates the SBOM of a release."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cyclonedx.schema import SchemaVersion

from pipeline.reading.files import decoded
from pipeline.reading.json_text import parse_json

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_LONGEST = 300


def sbom_problems(text: bytes | str) -> list[str]:
    """Return all problems, as ``$.path.of[3].key: message``; empty for a valid SBOM.

    It is validated by the strict CycloneDX schema of its version, and by rules that a schema cannot
    express: references are unique and exist.
    """
    # Its grammar of addresses takes two seconds to load, also where a command ends before.
    from cyclonedx.validation.json import JsonStrictValidator

    try:
        document = parse_json(text if isinstance(text, str) else decoded(text))
    except ValueError as error:
        return [f"$: this is not JSON ({error})"]
    if not isinstance(document, dict):
        return ["$: this is not a JSON object"]
    stated = document.get("specVersion")
    version = next((known for known in SchemaVersion if known.to_version() == stated), None)
    if version is None or version < SchemaVersion.V1_2:
        return [f"$.specVersion: no CycloneDX in JSON has version {stated!r}"]
    errors = JsonStrictValidator(version).validate_str(json.dumps(document), all_errors=True)
    if errors is not None:
        return [_message(error.data) for error in errors]
    return [*_references(document)]


def _message(error: ValidationError) -> str:
    """Return the specific message if the schema has alternatives, not that none of them fits."""
    from jsonschema.exceptions import best_match

    fault = best_match([error]) or error
    message = fault.message
    if len(message) > _LONGEST:
        message = f"{message[: _LONGEST // 2]} ... {message[-_LONGEST // 2 :]}"
    return f"{fault.json_path}: {message}"


def _references(document: dict[str, Any]) -> Iterator[str]:
    known: set[str] = set()
    root = document.get("metadata", {}).get("component", {})
    places = [("$.metadata.component", root)]
    places += [(f"$.components[{i}]", it) for i, it in enumerate(document.get("components", []))]
    for i, formula in enumerate(document.get("formulation", [])):
        place = f"$.formulation[{i}].components"
        places += [(f"{place}[{k}]", it) for k, it in enumerate(formula.get("components", []))]
    for path, component in places:
        ref = component.get("bom-ref")
        if ref in known:
            yield f"{path}.bom-ref: {ref!r} is another component's too"
        if ref is not None:
            known.add(ref)
    for i, entry in enumerate(document.get("dependencies", [])):
        for ref in (entry["ref"], *entry.get("dependsOn", [])):
            if ref not in known:
                yield f"$.dependencies[{i}]: no component is {ref!r}"
