"""The host's side stays light: a command imports what it needs, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from targets.cache import Cache
from targets.cli.options import PROJECT
from tests.support.planning import build
from tests.support.project import make_project
from tests.support.stand_builds import Stand, World

HEAVY = {
    *("torch", "transformers", "onnxruntime", "onnx", "peft", "numpy", "docker", "tree_sitter"),
    *("matplotlib", "scipy"),
    *("cryptography", "cyclonedx", "safetensors", "securesystemslib"),
}
HUB = {"requests", "urllib3"}
LATER = {
    *("jinja2", "psutil", "packaging", "xml", "tarfile"),
    *("targets.build", "targets.remote", "targets.report.compose_report"),
    *("targets.systems.engine", "targets.systems.job_notes", "targets.toolchain.download"),
    "pipeline.training.lycoris_params",  # of a pass that the config has not
    *("pipeline.data.look", "pipeline.data.survey", "pipeline.data.tokenize"),  # of rows unread
    *(
        "pipeline.data.load",
        "pipeline.data.examples",
        "pipeline.onnx.graph",
        "pipeline.gguf.header",
    ),
    *("pipeline.tuning", "multiprocessing"),
}
"""What a plan or a build of finished steps has no use for."""
NO_REPORT = {"filelock", "pipeline.contract.events", "targets.report.report_schema"}
"""What a plan has no use for, and a build has."""
SMALL = {"pydantic", "rich", "sqlite3", "filelock", "tomli_w", "targets.cache", "pipeline.contract"}
"""What help and version have no use for."""


def test_a_plan_imports_no_ml_library_and_asks_an_engine_only_for_what_is_missing(
    tmp_path: Path,
) -> None:
    project = make_project(tmp_path / "project")
    arguments = ("plan", "--config", str(project.config), "--cache", str(tmp_path))
    assert not loaded_by(*arguments, "--runtime", "venv") & HEAVY
    build(project, Cache(tmp_path))
    loaded = loaded_by(*arguments)
    assert not loaded & (HEAVY | HUB | LATER | NO_REPORT)
    assert "pydantic" in loaded


def test_a_build_that_has_nothing_to_do_renders_no_page(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.build(Stand("venv"))
    paths = {"config": world.project.config, "cache": world.cache.root, "dist": world.dist}
    words = ("build", *(f"--{name}={path}" for name, path in paths.items()))
    loaded_by(*words)  # its report says that all steps are cached
    _until_code_is_settled()
    loaded_by(*words)
    loaded = loaded_by(*words)
    assert not loaded & (HEAVY | HUB | LATER - {"targets.build", "targets.report.compose_report"})
    assert "targets.build" in loaded
    (world.dist / "small" / "cpu" / "report.md").unlink()
    assert "jinja2" in loaded_by(*words)


@pytest.mark.parametrize(
    "words", [("jobs",), ("clean", "--dry-run"), ("doctor", "--help"), ("plan", "--help")]
)
def test_commands_about_results_import_no_ml_library(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    cache = () if "--help" in words else ("--cache", str(tmp_path))
    # The doctor asks the engine.
    asked = {"docker", "requests", "urllib3"} if words[0] == "doctor" else set()
    assert not loaded_by(*words, *cache) & ((HEAVY | HUB | {"jinja2"}) - asked)


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_help_and_version_import_nothing_that_takes_time(word: str) -> None:
    loaded = loaded_by(word)
    assert not loaded & (HEAVY | HUB | LATER | SMALL)
    assert "click" in loaded


@pytest.mark.parametrize("command", ["bench", "release", "verify"])
def test_what_some_commands_alone_use_is_imported_where_it_is_used(command: str) -> None:
    assert not loaded_by(command, "--help") & (HEAVY | HUB)


def _until_code_is_settled() -> None:
    """Wait until no file of Quern was changed just now: of one that was, no page is known."""
    folders = (PROJECT / name for name in ("targets", "pipeline", "images"))
    changed = max(file.stat().st_ctime for folder in folders for file in folder.rglob("*"))
    time.sleep(max(0.0, changed + 6 - time.time()))


def loaded_by(*arguments: str) -> set[str]:
    """Return the modules that a command has imported when it ends."""
    program = (
        "import sys\n"
        "from targets.cli.main import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "print(*sorted(sys.modules))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(ran.stdout.splitlines()[-1].split())
