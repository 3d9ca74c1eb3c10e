"""The SBOM of a release: what is in it, the same bytes every time, and faults that are seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from targets.cli.options import PROJECT
from targets.release.sbom.contents import Release
from targets.release.sbom.validate import sbom_problems
from targets.release.sbom.write_sbom import write_sbom
from targets.release.sbom.write_system import write_system
from tests.support.sbom_release import ARM, CPU, NUMPY, RICH, SYSTEM, release


def written(what: Release | None = None) -> dict[str, Any]:
    """Return the SBOM that is written, as JSON."""
    found: dict[str, Any] = json.loads(write_sbom(what or release()))
    return found


def everything(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is delivered, and what only made it."""
    return [*document["components"], *document["formulation"][0]["components"]]


def named(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [found for found in everything(document) if found["name"] == name]


def facts(component: dict[str, Any]) -> dict[str, str]:
    return {fact["name"]: fact["value"] for fact in component.get("properties", [])}


def parts(document: dict[str, Any], ref: str) -> list[str]:
    (found,) = [
        edge.get("dependsOn", []) for edge in document["dependencies"] if edge["ref"] == ref
    ]
    return list(found)


def test_it_is_good_cyclonedx_that_says_the_time_of_the_commit() -> None:
    text = write_sbom(release())
    document = json.loads(text)
    assert sbom_problems(text) == []
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["timestamp"] == "2026-11-30T06:43:14+00:00"
    assert b"timestamp" not in write_sbom(replace(release(), time=None))
    assert text.endswith(b"\n}\n")
    assert "Zoë Ångström".encode() in text


def test_order_time_zone_locale_and_hash_seed_change_no_byte() -> None:
    program = (
        "import sys\n"
        "from targets.release.sbom.write_sbom import write_sbom\n"
        "from tests.support.sbom_release import release\n"
        "sys.stdout.buffer.write(write_sbom(release(int(sys.argv[1]))))\n"
    )
    settings = [
        {"TZ": "UTC", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "1"},
        {"TZ": "Asia/Tokyo", "LC_ALL": "POSIX", "PYTHONHASHSEED": "2", "PYTHONUTF8": "0",
         "PYTHONCOERCECLOCALE": "0"},
        {"TZ": "America/St_Johns", "LC_ALL": "tr_TR.UTF-8", "PYTHONHASHSEED": "3"},
    ]  # fmt: skip
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program, str(seed)],
            cwd=PROJECT,
            env={**os.environ, **setting},
            capture_output=True,
            check=True,
        ).stdout
        for seed, setting in enumerate(settings)
    }
    assert outputs == {write_sbom(release())}


def test_the_serial_number_is_of_the_content() -> None:
    other = replace(release(), version="1.2.1")
    serial = written()["serialNumber"]
    assert serial == written(release(shuffled=9))["serialNumber"]
    assert serial != written(other)["serialNumber"]
    assert written()["metadata"]["component"]["version"] == "1.2.0"


def test_a_wheel_says_version_hash_licence_and_purl() -> None:
    document = written()
    numpy = next(it for it in named(document, "numpy") if NUMPY.file in facts(it).values())
    assert numpy["type"] == "library"
    assert numpy["version"] == "2.4.6"
    assert numpy["hashes"] == [{"alg": "SHA-256", "content": NUMPY.sha256}]
    assert numpy["purl"] == "pkg:pypi/numpy@2.4.6"
    assert numpy["licenses"] == [
        {"expression": "BSD-3-Clause AND MIT", "acknowledgement": "declared"}
    ]
    (rich,) = named(document, "rich")
    assert rich["licenses"] == [{"license": {"id": "MIT", "acknowledgement": "declared"}}]
    (odd,) = named(document, "odd")
    assert "licenses" not in odd
    assert facts(odd)["quern:licence"] == "not stated"


def test_one_file_is_one_component_and_two_files_are_two() -> None:
    document = written()
    (rich,) = named(document, "rich")
    numpys = named(document, "numpy")
    toolchains = named(document, "quern-toolchain-cpu")
    used = [parts(document, toolchain["bom-ref"]) for toolchain in toolchains]
    assert [rich["bom-ref"] in refs for refs in used] == [True, True]
    assert len({it["bom-ref"] for it in numpys}) == 2
    for it in numpys:
        assert [it["bom-ref"] in refs for refs in used].count(True) == 1


def test_the_same_file_under_another_name_does_not_depend_on_order() -> None:
    renamed = replace(RICH, file="rich-15.0.0-py2.py3-none-any.whl")
    first, second = release().artifacts
    one = (replace(CPU, wheels=(RICH,)), replace(ARM, wheels=(renamed,)))
    both = [
        replace(release(), artifacts=(replace(first, toolchains=order), second))
        for order in (one, one[::-1])
    ]
    assert write_sbom(both[0]) == write_sbom(both[1])


def test_debian_packages_are_found_by_what_scanners_look_for() -> None:
    text = write_system(SYSTEM)
    assert sbom_problems(text) == []
    document = json.loads(text)
    libc, bash = sorted(document["components"], key=lambda it: it["name"], reverse=True)
    debian = document["metadata"]["component"]
    assert libc["purl"] == (
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12&upstream=glibc"
    )
    assert bash["purl"].endswith("&upstream=bash%405.2.15-2")
    assert bash["supplier"] == {"name": "Matthias"}
    assert (debian["type"], debian["version"]) == ("operating-system", "12")
    assert "timestamp" not in document["metadata"]
    assert write_system(replace(SYSTEM, packages=SYSTEM.packages[::-1])) == text


def test_a_python_that_is_no_package_is_named() -> None:
    document = json.loads(write_system(replace(SYSTEM, python="3.11.9")))
    (python,) = (it for it in document["components"] if it["name"] == "python")
    assert python["purl"] == "pkg:generic/python@3.11.9"


def test_a_toolchain_is_the_same_in_every_runtime() -> None:
    document = written()
    for toolchain in named(document, "quern-toolchain-cpu"):
        assert toolchain["type"] == "platform"
        assert facts(toolchain).keys() == {"quern:platform", "quern:python"}
        refs = parts(document, toolchain["bom-ref"])
        assert refs
        assert all(ref.startswith("wheel/") for ref in refs)


def test_models_and_data_are_components_and_what_the_artifacts_are_made_of() -> None:
    document = written()
    (model,), (base,) = named(document, "tone-cpu"), named(document, "Org/Small")
    (adapter,), (data,) = named(document, "tone-adapter"), named(document, "tone")
    (held_out,) = named(document, "tone-test")
    assert {it["type"] for it in (model, base, adapter)} == {"machine-learning-model"}
    assert {it["type"] for it in (data, held_out)} == {"data"}
    assert model["hashes"] == [{"alg": "SHA-256", "content": "d" * 64}]
    assert facts(model)["quern:target"] == "cpu"
    assert base["purl"] == f"pkg:huggingface/Org/Small@{'0' * 40}"
    assert base["licenses"][0]["license"]["id"] == "Apache-2.0"
    assert facts(held_out) == {"quern:digest": "8" * 64, "quern:licence": "not stated"}
    made_of = set(parts(document, model["bom-ref"]))
    assert {it["bom-ref"] for it in (base, adapter, data, held_out)} < made_of
    (toolchain,) = [
        it
        for it in named(document, "quern-toolchain-cpu")
        if facts(it)["quern:platform"] == CPU.platform
    ]
    assert facts(model)["quern:made-with"] == toolchain["bom-ref"]
    root = document["metadata"]["component"]["bom-ref"]
    assert model["bom-ref"] in parts(document, root)


def test_a_scanner_sees_what_runs_the_model_and_not_what_made_it() -> None:
    document = written()
    seen = {it["name"] for it in document["components"] if it["type"] == "library"}
    assert seen == {"numpy"}
    made_with = {it["name"] for it in document["formulation"][0]["components"]}
    assert made_with >= {"torch", "rich", "odd", "quern-toolchain-cpu"}
    assert "numpy" not in made_with


def test_everything_says_what_ntia_asks_for() -> None:
    """https://www.ntia.gov/report/2021/minimum-elements-software-bill-materials-sbom"""
    document = written()
    assert document["metadata"]["timestamp"]
    assert document["metadata"]["authors"] == [{"name": "Ann"}]
    for component in (document["metadata"]["component"], *everything(document)):
        assert component["supplier"]["name"], component
        assert component["name"], component
        assert component["version"], component
        assert component["bom-ref"], component
    refs = {edge["ref"] for edge in document["dependencies"]}
    assert document["metadata"]["component"]["bom-ref"] in refs


def test_an_artifact_has_a_model_card() -> None:
    document = written()
    (model,), (base,) = named(document, "tone-cpu"), named(document, "Org/Small")
    data = [*named(document, "tone"), *named(document, "tone-test")]
    card = model["modelCard"]
    assert card["modelParameters"]["task"] == "text-generation"
    named_data = card["modelParameters"]["datasets"]
    assert {it["name"] for it in named_data} == {"tone", "tone-test"}
    # What the standard leaves open, and lib4sbom, which other scanners read with, asks for.
    assert {(it["type"], it["classification"]) for it in named_data} == {("dataset", "not stated")}
    refs = [facts(it["contents"])["quern:component"] for it in named_data]
    assert refs == sorted(it["bom-ref"] for it in data)
    assert card["quantitativeAnalysis"]["performanceMetrics"] == [
        {"type": "accuracy", "value": "0.25", "slice": "base"},
        {"type": "accuracy", "value": "0.9", "slice": "artifact"},
    ]
    assert card["considerations"] == {
        "useCases": ["Tickets."],
        "technicalLimitations": ["English only."],
    }
    assert facts(card) == {
        "quern:quantization:precision": "int4",
        "quern:quantization:block_size": "32",
    }
    assert "modelCard" not in base


def test_a_wheel_that_pypi_lacks_says_who_has_it() -> None:
    (torch,) = named(written(), "torch")
    # As https://github.com/package-url/purl-spec says for pypi.
    assert torch["purl"] == (
        "pkg:pypi/torch@2.13.0%2Bcpu?repository_url=https://download.pytorch.org/whl/cpu"
    )


def test_what_is_not_known_of_a_wheel_is_not_said() -> None:
    """An empty entry would mean that it depends on nothing."""
    document = written()
    assert not [it for it in document["dependencies"] if it["ref"].startswith(("wheel/", "deb/"))]


def a_wrong_type(document: dict[str, Any]) -> None:
    document["components"][3]["type"] = "libary"


def a_missing_name(document: dict[str, Any]) -> None:
    del document["components"][2]["name"]


def an_unknown_key(document: dict[str, Any]) -> None:
    document["components"][1]["mood"] = "good"


def an_unknown_key_at_the_top(document: dict[str, Any]) -> None:
    document["mood"] = "good"


def a_short_hash(document: dict[str, Any]) -> None:
    (wheel,) = named(document, "rich")
    wheel["hashes"][0]["content"] = "12"


def an_unknown_licence(document: dict[str, Any]) -> None:
    (wheel,) = named(document, "rich")
    wheel["licenses"][0]["license"]["id"] = "MTI"


def a_random_serial(document: dict[str, Any]) -> None:
    document["serialNumber"] = "1234"


def a_version_to_come(document: dict[str, Any]) -> None:
    document["specVersion"] = "9.9"


def another_format(document: dict[str, Any]) -> None:
    document["bomFormat"] = "SPDX"


def two_of_one_reference(document: dict[str, Any]) -> None:
    document["components"][5]["bom-ref"] = document["components"][4]["bom-ref"]


def an_edge_to_nowhere(document: dict[str, Any]) -> None:
    document["dependencies"][0]["dependsOn"] = ["wheel/gone"]


@pytest.mark.parametrize(
    ("plant", "path", "words"),
    [
        (a_wrong_type, "$.components[3].type", "libary"),
        (a_missing_name, "$.components[2]", "'name' is a required property"),
        (an_unknown_key, "$.components[1]", "'mood' was unexpected"),
        (an_unknown_key_at_the_top, "$", "'mood' was unexpected"),
        (a_short_hash, ".hashes[0].content", "'12'"),
        (an_unknown_licence, ".licenses[0].license.id", "MTI"),
        (a_random_serial, "$.serialNumber", "1234"),
        (a_version_to_come, "$.specVersion", "9.9"),
        (another_format, "$.bomFormat", "SPDX"),
        (two_of_one_reference, "$.components[5].bom-ref", "another component"),
        (an_edge_to_nowhere, "$.dependencies[0]", "wheel/gone"),
    ],
)
def test_a_planted_fault_is_found_at_its_path(
    plant: Callable[[dict[str, Any]], None], path: str, words: str
) -> None:
    document = written()
    plant(document)
    problems = sbom_problems(json.dumps(document))
    assert any(path in it.partition(": ")[0] and words in it for it in problems), problems
    assert all(len(it) < 500 for it in problems)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe\xfa", b"[" * 100_000, b"{}"])
def test_what_is_no_sbom_at_all_is_a_problem_and_no_crash(text: bytes) -> None:
    assert len(sbom_problems(text)) == 1
