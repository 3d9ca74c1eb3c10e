"""Writes ``dist/<build>/bench/``: all three files, or none."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from filelock import FileLock

from targets.bench.html import to_html
from targets.bench.markdown import to_markdown
from targets.bench.model import Bench
from targets.bench.read import FILE
from targets.report.dist import swap_in

FOLDER = "bench"
PAGE = "bench.html"
TEXT = "bench.md"


def write_bench(dist: Path, bench: Bench) -> Path:
    """Write ``bench`` as JSON, Markdown and page, in place of an earlier one; return the folder."""
    folder = dist / bench.build / FOLDER
    folder.parent.mkdir(parents=True, exist_ok=True)
    texts = {
        FILE: bench.model_dump_json() + "\n",
        TEXT: to_markdown(bench),
        PAGE: to_html(bench),
    }
    with FileLock(folder.parent / f".{FOLDER}.lock"):
        fresh = folder.with_name(f".{FOLDER}.{uuid.uuid4().hex[:8]}")
        try:
            fresh.mkdir()
            for name, text in texts.items():
                (fresh / name).write_text(text, encoding="utf-8")
            swap_in(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return folder
