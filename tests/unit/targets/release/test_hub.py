"""What model hubs read in a card's front matter."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.contract.schema import Card
from targets.config.load import load_config
from targets.errors import ConfigError
from targets.release.hub import hub_metadata, require_licences
from targets.target import load_target
from tests.support.quick_builds import quick_project


@pytest.mark.parametrize(
    ("stated", "entries"),
    [
        (None, {"license": "unknown"}),
        ("MIT", {"license": "mit"}),
        ("apache-2.0", {"license": "apache-2.0"}),
        ("GPL-3.0-only", {"license": "gpl-3.0"}),
        ("LGPL-2.1-or-later", {"license": "lgpl-2.1"}),
        ("ODbL-1.0", {"license": "odbl"}),
        (
            "blueoak-1.0.0",
            {
                "license": "other",
                "license_name": "blueoak-1.0.0",
                "license_link": "https://spdx.org/licenses/BlueOak-1.0.0.html",
            },
        ),
        (
            "MIT AND Apache-2.0",
            {"license": "other", "license_name": "mit-and-apache-2.0"},
        ),
        ("LicenseRef-Our-Own", {"license": "other", "license_name": "our-own"}),
    ],
)
def test_licences_are_those_of_the_hubs_list(stated: str | None, entries: dict[str, str]) -> None:
    found = hub_metadata(Card(license=stated), "onnx", "tiny")
    assert {name: found[name] for name in found if name.startswith("license")} == entries
    assert found["pipeline_tag"] == "text-generation"
    assert "base_model" not in found


def test_the_library_is_that_of_the_artifact() -> None:
    libraries = {
        kind: hub_metadata(Card(), kind, f"hf:team/base@{'0' * 40}")["library_name"]
        for kind in ("onnx", "checkpoint", "adapter")
    }
    assert libraries == {
        "onnx": "onnxruntime-genai",
        "checkpoint": "transformers",
        "adapter": "peft",
    }
    assert hub_metadata(Card(), "onnx", f"hf:team/base@{'0' * 40}")["base_model"] == "team/base"


def test_what_is_no_spdx_is_refused_all_at_once(tmp_path: Path) -> None:
    config = quick_project(tmp_path).config
    text = config.read_text()
    card = "[card]\nlicense = 'MIT'\nmodel_license = 'mine, all mine'\ndata_license = 'GPL'\n"
    config.write_text(f"{text}\n{card}")
    loaded = load_config(config, [load_target("cpu")])
    with pytest.raises(ConfigError) as refused:
        require_licences(loaded)
    first, second = str(refused.value).splitlines()
    line = text.count("\n") + 4
    assert f"{config}:{line}: card.model_license: 'mine, all mine' is no SPDX" in first
    assert "card.data_license: 'GPL' is no SPDX" in second
