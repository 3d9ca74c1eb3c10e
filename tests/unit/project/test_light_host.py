"""The host's side stays light: planning imports no ML library and no engine client."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from targets.cache import Cache
from targets.cli.options import PROJECT
from tests.support.planning import build
from tests.support.project import make_project

HEAVY = {
    *("torch", "transformers", "onnxruntime", "onnx", "peft", "numpy", "docker", "tree_sitter"),
    *("matplotlib", "scipy"),
    *("cryptography", "cyclonedx", "safetensors", "securesystemslib"),
}


def test_a_plan_imports_no_ml_library_and_asks_an_engine_only_for_what_is_missing(
    tmp_path: Path,
) -> None:
    project = make_project(tmp_path / "project")
    arguments = ("plan", "--config", str(project.config), "--cache", str(tmp_path))
    assert not loaded_by(*arguments, "--runtime", "venv") & HEAVY
    build(project, Cache(tmp_path))
    loaded = loaded_by(*arguments)
    assert not loaded & HEAVY
    assert not loaded & {"requests", "urllib3", "jinja2"}  # no hub is asked, no report is written
    assert "pydantic" in loaded


def test_what_the_bench_draws_with_is_imported_only_where_it_is_used() -> None:
    assert not loaded_by("bench", "--help") & HEAVY


def test_what_releases_are_written_with_is_imported_only_where_it_is_used() -> None:
    assert not loaded_by("release", "--help") & HEAVY
    assert not loaded_by("verify", "--help") & HEAVY


def loaded_by(*arguments: str) -> set[str]:
    """Return the top-level modules that a command has imported when it ends."""
    program = (
        "import sys\n"
        "from targets.cli.main import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(ran.stdout.splitlines()[-1].split())
