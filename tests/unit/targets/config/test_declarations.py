"""What planning reads of a user's own step: the text of its file, of which nothing runs."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from pipeline.contract.errors import StepError
from pipeline.run.own_steps import OwnType, load_own
from pipeline.scripts.importable import importable
from targets.config.read_own_step import read_own

HEAD = """\
from __future__ import annotations

import enum
import typing as t
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Optional

import pydantic
from pydantic import Field

import pipeline.contract.frozen as frozen
from pipeline.contract.kinds import Kind
from pipeline.passes.base import BasePass
from beside import LIMIT, Base, Words
"""

BESIDE = """\
from pydantic import Field
from pipeline.contract.frozen import Frozen

LIMIT = 7
Words = tuple[str, ...]


class Base(Frozen):
    shared: int = Field(default=LIMIT, ge=0)
"""

STEP = """

class Mine(BasePass[Params]):
    Params = Params
    produces = "checkpoint"

    def run(self, inputs, params, out_dir):
        return {}
"""

PARAMS = """

class Mode(str, enum.Enum):
    FAST = "fast"
    SLOW = "slow"


class Inner(frozen.Frozen):
    depth: "int" = 1


class Params(Base):
    KNOWN: ClassVar[tuple[str, ...]] = ("a", "b")
    share: float = Field(default=-0.5, gt=-1, le=1)
    words: Words = ()
    mode: Mode = Mode.FAST
    width: "Literal[4, 8]" = 4
    name: Optional[str] = None
    kind: Kind = "onnx"
    inner: Inner = Field(default_factory=Inner)
    table: dict[str, list[int] | None] = {"a": [1], "b": None}
    short: Annotated[str, Field(max_length=3)] = "abc"
    file: Path = Path("x")
    positive: pydantic.PositiveInt = LIMIT
    needed: t.Union[int, str]
"""


def written(folder: Path, text: str) -> Path:
    """Write a step of the user's own and what it imports; return its file."""
    folder.mkdir(exist_ok=True)
    (folder / "beside.py").write_text(BESIDE)
    script = folder / "mine.py"
    script.write_text(text)
    return script


def read(script: Path) -> Any:
    return read_own("pass", script, OwnType(script.name, "Mine"))


def imported(script: Path) -> Any:
    with importable(script.parent):
        return load_own("pass", script, "Mine")


def judged(model: type[BaseModel], values: dict[str, object]) -> object:
    """Return what ``model`` makes of ``values``, or the keys that it refuses."""
    try:
        return model.model_validate(values).model_dump(mode="json", exclude={"file"})
    except ValidationError as error:
        return sorted(str(item["loc"][0]) for item in error.errors())


@pytest.mark.parametrize(
    "values",
    [
        {"needed": 1},
        {"needed": "x", "mode": "slow", "width": 8, "words": ["a", "b"], "shared": 0},
        {"needed": 1, "inner": {"depth": 3}, "table": {"c": [2, 3]}},
        {},
        {"needed": 1, "share": -1},
        {"needed": 1, "mode": "faster"},
        {"needed": 1, "width": 5},
        {"needed": 1, "short": "abcd"},
        {"needed": 1, "shared": -1},
        {"needed": 1, "positive": 0},
        {"needed": 1, "kind": "wood"},
        {"needed": 1, "table": {"c": ["x"]}},
        {"needed": 1, "inner": {"deep": 3}},
        {"needed": 1, "KNOWN": ["c"]},
        {"needed": 1, "other": 1},
    ],
)
def test_parameters_are_those_that_python_makes_of_the_file(
    tmp_path: Path, values: dict[str, object]
) -> None:
    script = written(tmp_path, HEAD + PARAMS + STEP)
    text, code = read(script), imported(script)
    assert judged(text.Params, values) == judged(code.Params, values)
    assert text.produces == code.produces


HOSTILE = {
    "at its top": ("open('ran', 'w')\nclass Params(Base):\n    x: int = 1\n", True),
    "a default": ("class Params(Base):\n    x: int = len(str(open('ran', 'w')))\n", True),
    "an annotation": ("class Params(Base):\n    x: \"open('ran', 'w')\" = 1\n", True),
    "text in a type": ("class Params(Base):\n    x: list[\"open('ran', 'w')\"] = []\n", True),
    "an alias of text": (
        "T = \"open('ran', 'w')\"\nclass Params(Base):\n    x: list[T] = []\n",
        True,
    ),
    "a factory": (
        "def made():\n    open('ran', 'w')\n"
        "class Params(Base):\n    x: object = Field(default_factory=made)\n",
        True,
    ),
    "a factory of Python's": (
        "import os\nclass Params(Base):\n    x: object = Field(default_factory=os.abort)\n",
        True,
    ),
    "a factory behind Quern": (
        "import pipeline.process.signals as s\n"
        "class Params(Base):\n    x: object = Field(default_factory=s.os.abort)\n",
        True,
    ),
    "a type that imports": (
        "class Params(Base):\n    x: pydantic.ImportString = 'beside.LIMIT'\n",
        True,
    ),
    "a validator": (
        "class Params(Base):\n    x: int = 1\n"
        "    @pydantic.model_validator(mode='before')\n"
        "    def check(cls, values):\n        open('ran', 'w')\n        return values\n",
        True,
    ),
    "a metaclass": (
        "class M(type):\n    def __new__(*a, **k):\n        open('ran', 'w')\n"
        "class Params(Base, metaclass=M):\n    x: int = 1\n",
        False,
    ),
    "a decorator": (
        "def ran(cls):\n    open('ran', 'w')\n    return cls\n"
        "@ran\nclass Params(Base):\n    x: int = 1\n",
        False,
    ),
    "a hook of its base": (
        "class Evil:\n    def __init_subclass__(cls):\n        open('ran', 'w')\n"
        "class Params(Base, Evil):\n    x: int = 1\n",
        True,
    ),
}


@pytest.mark.parametrize("where", HOSTILE)
def test_nothing_of_the_file_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    text, readable = HOSTILE[where]
    script = written(tmp_path / "project", HEAD + text + STEP)
    monkeypatch.chdir(tmp_path)
    try:
        params = read(script).Params
        params.model_validate({})
        params.model_validate({"x": 1})
    except StepError as refused:
        assert not readable, refused
        assert "mine.py:" in str(refused)
    except ValidationError:
        pass
    assert not (tmp_path / "ran").exists()


HOOKS = {
    "a hook for classes below": (
        "class Above(BasePass):\n    __init_subclass__ = called\n"
        "class Below(Above): ...\nclass Params(Base): ...\n"
    ),
    "a hook of pydantic": (
        "class Kind:\n    __get_pydantic_core_schema__ = called\n"
        "    __get_validators__ = called\n"
        "class Params(Base):\n    x: Kind = 1\n"
    ),
    "a generator of names": (
        "class Params(Base):\n    model_config = dict(alias_generator=called)\n    x: int = 1\n"
    ),
    "an argument of a class": "class Params(Base, alias_generator=called):\n    x: int = 1\n",
    "a function as default": "class Params(Base):\n    x: object = called\n",
    "a factory of Quern's": (
        "class Params(Base):\n    x: object = Field(default_factory=called)\n"
    ),
    "a function behind others": (
        "class Params(Base):\n    x: object = Field(default=[{'x': (called,)}])\n"
    ),
    "the kind of an enum": (
        "class Mode(Called, enum.Enum):\n    a = 'x'\nclass Params(Base):\n    x: Mode = Mode.a\n"
    ),
    "a hook of an enum": (
        "class Mode(enum.Enum):\n    _missing_ = called\n    a = 'x'\n"
        "class Params(Base):\n    x: Mode = 'y'\n"
    ),
    "an index": "class Params(Base):\n    x: table['y'] = 1\n",
}


@pytest.mark.parametrize("where", HOOKS)
def test_nothing_of_quern_is_called_for_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Its functions are in reach by import, and would be a way to run something."""
    calls: list[object] = []

    class Called(str):
        def __new__(cls, *given: object) -> Called:
            calls.append(given)
            return super().__new__(cls)

    def called(*given: object) -> str:
        calls.append(given)
        return "x"

    for name, value in {"called": called, "Called": Called, "table": {}}.items():
        monkeypatch.setattr("pipeline.contract.suggest." + name, value, raising=False)
    head = HEAD + "from pipeline.contract.suggest import called, Called, table\n"
    with suppress(StepError, ValidationError):
        params = read(written(tmp_path, head + HOOKS[where] + STEP)).Params
        params.model_validate({}).model_dump(mode="json")
        params.model_validate({"x": "x"}).model_dump(mode="json")
    assert calls == []


def test_what_is_computed_is_left_to_the_toolchain(tmp_path: Path) -> None:
    text = "class Params(Base):\n    x: int = 2 ** 10\n    y: int = 1\n"
    params = read(written(tmp_path, HEAD + text + STEP)).Params
    assert params().model_dump() == {"shared": 7, "y": 1}
    assert params(x=3).model_dump() == {"shared": 7, "x": 3, "y": 1}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("    runs_on = 'ho' + 'st'", "computes `runs_on` (mine.py:"),
        ("    consumes = dict(zip(['model'], ['onnx']))", "computes `consumes` (mine.py:"),
        ("    def sources(self): ...", "computes `sources` (mine.py:"),
        ("    produces = helper()", "computes `produces`"),
    ],
)
def test_what_the_plan_needs_has_to_stand_there(tmp_path: Path, line: str, said: str) -> None:
    text = "class Params(Base):\n    x: int = 1\n"
    step = STEP.replace("\n    def run", f"{line}\n\n    def run")
    with pytest.raises(StepError) as refused:
        read(written(tmp_path, HEAD + text + step))
    assert said in str(refused.value)
    assert "write a constant" in refused.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "(" * 150 + "1" + ")" * 150,
        "x = " + "-" * 60_000 + "1",
        "x = " + "[" * 90 + "]" * 90 + "\n" + "a" * 2**20,
        "Params = Params",
        "class Params(Params): ...",
        "from mine import Params",
        "\0",
    ],
)
def test_any_text_is_read_or_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(StepError):
        read(written(tmp_path, HEAD + text + STEP))
