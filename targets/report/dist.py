"""Writes ``dist/<build>/<target>/``, completely or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO

from pipeline.contract.kinds import ARTIFACT_WORDS
from pipeline.reading.files import UnreadableError
from pipeline.reading.model_file import read_model
from targets.atomic import naming, remove_leftovers, replace_file, replace_folder, sibling_folder
from targets.cache import CachedStep
from targets.digests import Digests
from targets.errors import ConfigError, Problem
from targets.known_pages import KnownPages
from targets.locks import locked
from targets.report.report_schema import Report

MODEL_DIR = "model"
REPORT_FILE = "report.json"
MARKDOWN_FILE = "report.md"
HTML_FILE = "report.html"


def write_dist(
    dist: Path,
    report: Report,
    artifact: CachedStep | Path,
    digests: Digests,
    complete: Callable[[Path], None],
    pages: KnownPages | None = None,
) -> Path:
    """Write the artifact and its report to ``dist/<build>/<target>`` and return that folder.

    ``complete`` writes further files into it; ``pages`` knows which are there. The folder is made
    beside its final place and then renamed; an existing artifact with the same bytes is kept.
    """
    folder = dist / report.build / report.target
    folder.parent.mkdir(parents=True, exist_ok=True)
    source = artifact.output if isinstance(artifact, CachedStep) else artifact
    with locked(folder.parent / f".{report.target}.lock"):
        remove_leftovers(folder)
        if _is_same(folder / MODEL_DIR, source, digests):
            complete(folder)
            _write_reports(folder, report, pages or KnownPages())
            return folder
        with sibling_folder(folder) as fresh:
            copy_tree(source, fresh / MODEL_DIR)
            for file in report.files:
                if (source / file.path).exists():
                    digests.remember(source / file.path, file.sha256)
                    digests.remember(fresh / MODEL_DIR / file.path, file.sha256)
            complete(fresh)
            _write_reports(fresh, report, pages or KnownPages())
            replace_folder(fresh, folder)
    return folder


def read_report(folder: Path) -> Report:
    """Return the report in ``folder``. Raises ``ConfigError`` if there is none."""
    file = folder / REPORT_FILE
    try:
        return read_model(file, Report)
    except (OSError, UnreadableError) as error:
        advice = "give the folder that a build made, as dist/tone/cuda"
        problem = f"cannot be read: {error}"
        raise ConfigError([Problem(problem, file, suggestion=advice)]) from None


def require_onnx(report: Report, folder: Path, doing: str) -> None:
    """Raise ``ConfigError`` if the artifact in ``folder`` is not an ONNX model."""
    if report.artifact != "onnx":
        problem = f"holds {ARTIFACT_WORDS[report.artifact]}; {doing} needs {ARTIFACT_WORDS['onnx']}"
        advice = "end the chain with model_builder"
        raise ConfigError([Problem(problem, folder / MODEL_DIR, suggestion=advice)])


def write_checked(folder: Path, report: Report, name: str, text: str) -> None:
    """Write the result of checks into ``folder`` as the file ``name``, together with ``report``."""
    with locked(folder.parent / f".{report.target}.lock"):
        replace_file(folder / name, text)
        _write_reports(folder, report, KnownPages())


def copy_tree(source: Path, destination: Path) -> None:
    """Copy all files of ``source``. On file systems that can, a copy shares its blocks.

    They are no hard links: ``onnx.load`` refuses those
    (https://github.com/onnx/onnx/pull/7717).
    """
    for file in sorted(source.rglob("*")):
        target = destination / file.relative_to(source)
        if file.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy(file, target)


def _copy(source: Path, destination: Path) -> None:
    """Copy bytes, not the mode: that is as the caller's umask has it."""
    with source.open("rb") as reader, destination.open("wb") as writer:
        if not _shared(reader, writer):
            writer.seek(writer.truncate(0))
            reader.seek(0)
            with naming(destination):
                shutil.copyfileobj(reader, writer)
                writer.flush()


def _shared(reader: IO[bytes], writer: IO[bytes]) -> bool:
    """Copy by `copy_file_range(2)`, which XFS and Btrfs do without copying; return whether that
    is possible on this system and between these folders."""
    if not hasattr(os, "copy_file_range"):
        return False
    try:
        while os.copy_file_range(reader.fileno(), writer.fileno(), 1 << 30):
            pass
    except OSError:
        return False
    return True


def _is_same(model: Path, source: Path, digests: Digests) -> bool:
    """Return whether ``model`` has exactly the files of ``source``, with the same bytes."""
    source_files = {path.relative_to(source): path for path in source.rglob("*") if path.is_file()}
    model_files = {path.relative_to(model): path for path in model.rglob("*") if path.is_file()}
    return source_files.keys() == model_files.keys() and (
        digests.files(source_files.values())
        == digests.files(model_files[name] for name in source_files)
    )


def _write_reports(folder: Path, report: Report, pages: KnownPages) -> None:
    text = report.model_dump_json(indent=2) + "\n"
    replace_file(folder / REPORT_FILE, text)

    def render() -> dict[str, str]:
        # Who renders nothing need not wait for the library of templates.
        from targets.report.report_html import to_html
        from targets.report.report_markdown import to_markdown

        return {MARKDOWN_FILE: to_markdown(report), HTML_FILE: to_html(report)}

    pages.write(folder, ["report", text], render)
