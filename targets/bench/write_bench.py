"""Writes the three files in ``dist/<build>/bench/``, or none."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from targets.atomic import remove_leftovers, replace_folder, sibling_folder
from targets.bench.bench_html import to_html
from targets.bench.bench_markdown import to_markdown
from targets.bench.bench_schema import Bench
from targets.bench.read_bench import FILE

FOLDER = "bench"
PAGE = "bench.html"
TEXT = "bench.md"


def write_bench(dist: Path, bench: Bench) -> Path:
    """Write ``bench`` as JSON, Markdown and HTML, replacing an earlier one; return the folder."""
    folder = dist / bench.build / FOLDER
    folder.parent.mkdir(parents=True, exist_ok=True)
    texts = {
        FILE: bench.model_dump_json() + "\n",
        TEXT: to_markdown(bench),
        PAGE: to_html(bench),
    }
    with FileLock(folder.parent / f".{FOLDER}.lock"):
        remove_leftovers(folder)
        with sibling_folder(folder) as fresh:
            for name, text in texts.items():
                (fresh / name).write_text(text, encoding="utf-8")
            replace_folder(fresh, folder)
    return folder
