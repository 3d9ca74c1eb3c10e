"""Finished steps in a cache, without any process that ran them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.plan import OUTPUT_DIR, Step
from pipeline.contract.result import RESULT_FILE, StepResult, Verdict
from targets.cache import Cache

KEY = "ab" * 32


def a_step(key: str = KEY) -> Step:
    return Step(
        name="lora", kind="check", type="lora", target="cpu", toolchain="t", key=key, seed=0
    )


def write_step(folder: Path, key: str = KEY, text: str = "weights", failed: bool = False) -> None:
    """Leave a finished step in the folder of a process, as the chain does."""
    output = folder / key / OUTPUT_DIR
    output.mkdir(parents=True)
    (output / "model.bin").write_text(text)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    verdicts = (Verdict(name="x", status="failed"),) if failed else ()
    result = StepResult(
        name="lora",
        type="lora",
        key=key,
        seconds=1,
        peak_rss_bytes=1,
        verdicts=verdicts,
        files=(FileDigest(path="model.bin", bytes=len(text), sha256=sha256),),
    )
    (folder / key / RESULT_FILE).write_text(result.model_dump_json())


def finish_step(
    cache: Cache, text: str = "weights", failed: bool = False, runtime: str = "venv"
) -> None:
    """Have a process run the one step."""
    with cache.work_folder() as work:
        folder = cache.begin(work, [a_step()], {"runtime": runtime})
        write_step(folder, text=text, failed=failed)
        cache.finish(folder)
