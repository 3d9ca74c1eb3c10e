"""Passes and checks of a user's own, as files."""

from __future__ import annotations

from pathlib import Path

from tests.support.project import Project

SCALE = """\
from pipeline.contract.frozen import Frozen
from pipeline.passes.base import BasePass
from helper import factor


class ScaleParams(Frozen):
    by: float = 2


class Scale(BasePass[ScaleParams]):
    Params = ScaleParams
    consumes = {"model": "checkpoint"}
    produces = "checkpoint"

    def run(self, inputs, params, out_dir):
        import torch
        from tools.deep import depth
        return {"factor": factor * params.by}


class Threads(BasePass[ScaleParams]):
    Params = ScaleParams
    consumes = {"model": "onnx"}
    produces = "onnx"
    runs_on = "target"

    def run(self, inputs, params, out_dir):
        return {}
"""

CHECK = """\
from pipeline.checks.base import BaseCheck
from pipeline.contract.frozen import Frozen


class PoliteParams(Frozen):
    words: tuple[str, ...]


class Polite(BaseCheck[PoliteParams]):
    Params = PoliteParams

    def run(self, inputs, params):
        raise NotImplementedError


class Any(Polite):
    accepts = ("onnx", "checkpoint", "adapter")
    needs = ("artifact", "tuned_answers")
"""

TABLES = """
[passes.scale]
type = "my_pass.py:Scale"
by = 3

[passes.model_builder]

[checks.polite]
type = "checks/mine.py:Polite"
words = ["no"]
"""


def add_own_steps(project: Project) -> None:
    """Put a pass before the model builder, and a check."""
    folder = project.folder
    (folder / "tools").mkdir()
    (folder / "checks").mkdir()
    files = {
        "my_pass.py": SCALE,
        "helper.py": "from pipeline.contract.schema import HUB_PREFIX\nfactor = 2\n",
        "tools/__init__.py": "",
        "tools/deep.py": "from . import deeper\ndepth = 1\n",
        "tools/deeper.py": "",
        "unrelated.py": "",
        "checks/mine.py": CHECK,
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    project.edit("\n[passes.model_builder]\n", TABLES)


def own(folder: Path) -> set[str]:
    """Return the files below ``folder``."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
