"""Trained results from an archive, put into an empty cache; and archives that must not be."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.plan import Step
from targets.cache import Cache
from targets.errors import CheckFailed, ConfigError
from targets.planner.build_plan import BuildPlan, PlannedStep
from targets.release.archive import write_archive
from targets.release.seed import seed_results

KEY = "ab" * 32
WEIGHTS = b"weights"


def plan(*types: str) -> BuildPlan:
    steps = [
        Step(
            name=name,
            kind="pass",
            type=name,
            target="cpu",
            toolchain="t",
            key=KEY if number == 0 else f"{number:064}",
            seed=0,
        )
        for number, name in enumerate(types)
    ]
    planned = tuple(PlannedStep(step, None, "") for step in steps)
    return BuildPlan("tone", "cpu", planned, (), "lora")


def archive(place: Path, **changes: Any) -> Path:
    """Write an adapter archive whose index is changed."""
    step = {
        "folder": "lora-abababab",
        "name": "lora",
        "type": "lora",
        "key": KEY,
        "files": [
            {
                "path": "adapter_model.safetensors",
                "bytes": len(WEIGHTS),
                "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
            }
        ],
        **changes,
    }
    root = "tone-1.2.0-adapter"
    path = place / f"{root}.tar"
    index = json.dumps({"schema_version": 1, "steps": [step]}).encode()
    weights = f"{root}/lora-abababab/adapter_model.safetensors"
    write_archive(path, {f"{root}/trained.json": index, weights: WEIGHTS})
    return path


def everything(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


@pytest.mark.parametrize("as_release", [False, True])
def test_what_was_trained_becomes_the_result_of_its_step(tmp_path: Path, as_release: bool) -> None:
    path = archive(tmp_path)
    cache = Cache(tmp_path / "cache")
    assert (
        seed_results(path.parent if as_release else path, [plan("lora", "merge")], cache) == "lora"
    )
    found = cache.find(KEY)
    assert found is not None
    assert (found.output / "adapter_model.safetensors").read_bytes() == WEIGHTS


def test_a_folder_that_peft_saved_stands_for_the_training(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(WEIGHTS)
    cache = Cache(tmp_path / "cache")
    assert seed_results(folder, [plan("lora")], cache) == "lora"
    assert cache.find(KEY) is not None
    with pytest.raises(ConfigError, match="cannot stand for 0 trainings"):
        seed_results(folder, [plan("pretrain")], cache)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"folder": "../../evil"}, "climbs out"),
        ({"files": [{"path": "../../../evil", "bytes": 4, "sha256": "0" * 64}]}, "climbs out"),
        ({"files": [{"path": "/etc/passwd", "bytes": 4, "sha256": "0" * 64}]}, "climbs out"),
        (
            {"files": [{"path": "adapter_model.safetensors", "bytes": 7, "sha256": "0" * 64}]},
            "is not what trained.json says",
        ),
        ({"files": [{"path": "other", "bytes": 7, "sha256": "0" * 64}]}, "is not what"),
        ({"schema": 1}, "cannot be used"),
    ],
)
def test_an_index_that_lies_is_refused_and_nothing_is_kept(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    path = archive(tmp_path, **changes)
    cache = Cache(tmp_path / "deep" / "er" / "cache")
    with pytest.raises(CheckFailed, match=reason):
        seed_results(path, [plan("lora")], cache)
    assert cache.find(KEY) is None
    assert everything(tmp_path) - everything(tmp_path / "deep" / "er" / "cache") == {path}
    assert not any("evil" in str(found) for found in everything(tmp_path))


def test_what_was_trained_from_other_inputs_does_not_fit(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with pytest.raises(ConfigError, match="was trained from other inputs than lora here"):
        seed_results(archive(tmp_path, key="cd" * 32), [plan("lora")], cache)
    with pytest.raises(ConfigError, match="trains nothing"):
        seed_results(archive(tmp_path), [plan("merge")], cache)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no adapter"):
        seed_results(tmp_path / "empty", [plan("lora")], cache)
