from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from pipeline.scripts.importable import importable
from pipeline.scripts.load import find_object, load_script


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, source in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return folder


def test_two_scripts_may_call_their_helpers_the_same(tmp_path: Path) -> None:
    source = "import helper\ndef f():\n    from deep.down.late import N\n    return helper.N + N\n"
    found = []
    for name in ("one", "two"):
        files = {"helper.py": f"N = {name!r}", "deep/down/late.py": f"N = ' late {name}'"}
        folder = write(tmp_path / name, {**files, "metrics.py": source})
        with importable(folder):
            found.append(find_object(load_script(folder / "metrics.py"), "f")())
        assert not {"helper", "deep", "deep.down.late"} & sys.modules.keys()
        assert not list(folder.rglob("__pycache__"))
    assert found == ["one late one", "two late two"]


def test_modules_of_others_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = ModuleType("helper")
    monkeypatch.setitem(sys.modules, "helper", theirs)
    folder = write(tmp_path, {"helper.py": "N = 1", "json/data.txt": "", "pipeline.py": ""})
    before = sys.modules["json"], sys.modules["pipeline"]
    with importable(folder):
        import helper  # type: ignore[import-not-found]

        assert helper.N == 1
        assert (sys.modules["json"], sys.modules["pipeline"]) == before
    assert sys.modules["helper"] is theirs
    assert str(folder) not in sys.path


def test_only_the_files_that_are_named_stand_in_for_others(tmp_path: Path) -> None:
    folder = write(tmp_path, {"helper.py": "", "json.py": ""})
    json = sys.modules["json"]
    with importable(folder, ["helper.py"]):
        assert sys.modules["json"] is json


def test_without_a_folder_nothing_changes() -> None:
    before = list(sys.path)
    with importable(None):
        assert sys.path == before
