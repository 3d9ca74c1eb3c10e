"""The host's side stays light: planning imports no ML library and no engine client."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from targets.cli.options import PROJECT
from tests.unit.project import make_project

HEAVY = {"torch", "transformers", "onnxruntime", "onnx", "peft", "numpy", "docker", "tree_sitter"}


def test_a_plan_imports_neither_ml_libraries_nor_the_engine_client(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    program = (
        "import sys\n"
        "from targets.cli.main import main\n"
        f"main(['plan', '--config', {str(project.config)!r}, '--cache', {str(tmp_path)!r}],"
        " standalone_mode=False)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    loaded = set(ran.stdout.splitlines()[-1].split())
    assert not loaded & HEAVY
    assert "pydantic" in loaded
