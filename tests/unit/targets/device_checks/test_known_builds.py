"""Whether files are those of a build on this machine: its cache says so, not the folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.plan import OUTPUT_DIR, PathRef, SourceInput, Step
from pipeline.contract.result import RESULT_FILE, StepResult
from targets.cache import Cache
from targets.device_checks.parcel import Parcel
from targets.device_checks.run_checks import is_of_a_build_here

KEY = "ab" * 32


def digest(text: str) -> FileDigest:
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return FileDigest(path="model.bin", bytes=len(text), sha256=sha256)


def a_step(name: str, **inputs: SourceInput) -> Step:
    return Step(
        name=name,
        kind="check" if inputs else "pass",
        type=name,
        target="cpu",
        toolchain="t",
        key=KEY,
        seed=0,
        inputs=dict(inputs),
    )


def parcel(key: str) -> Parcel:
    artifact = SourceInput(ref=PathRef(root="artifact"), digest=key)
    return Parcel(build="tone", target="cpu", files=(), steps=(a_step("graph", artifact=artifact),))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Return a cache in which a build has left its artifact."""
    cache = Cache(tmp_path / "cache")
    step = a_step("model_builder")
    with cache.work_folder() as work:
        folder = cache.begin(work, [step], {}) / KEY
        (folder / OUTPUT_DIR).mkdir(parents=True)
        (folder / OUTPUT_DIR / "model.bin").write_text("weights")
        done = StepResult(
            name=step.name,
            type=step.type,
            key=KEY,
            seconds=1,
            peak_rss_bytes=1,
            files=(digest("weights"),),
        )
        (folder / RESULT_FILE).write_text(done.model_dump_json())
        cache.finish(folder.parent)
    return cache


def test_what_was_built_here_is_known(cache: Cache) -> None:
    assert is_of_a_build_here(parcel(KEY), (digest("weights"),), cache)


def test_other_bytes_are_not_whatever_the_folder_says_they_are(cache: Cache) -> None:
    assert not is_of_a_build_here(parcel(KEY), (digest("forged"),), cache)
    assert not is_of_a_build_here(parcel("cd" * 32), (digest("weights"),), cache)


def test_what_is_no_key_is_not_looked_for(cache: Cache, tmp_path: Path) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / RESULT_FILE).write_text("{}")
    assert not is_of_a_build_here(parcel("../../../beside"), (digest("weights"),), cache)
    assert (beside / RESULT_FILE).exists()
