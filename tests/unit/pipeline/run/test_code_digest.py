"""A pass's digest follows its own code and what it imports, and nothing else."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import pytest

import pipeline
from pipeline.run.code_digest import CodeDigests, code_digest, imported_names, running_code
from pipeline.run.registry import check_types, load_pass, pass_types, step_module

FILES = {
    "pipeline/__init__.py": "",
    "pipeline/contract/__init__.py": "",
    "pipeline/contract/frozen.py": "class Frozen: ...\n",
    "pipeline/shared.py": "from pipeline.contract.frozen import Frozen\n",
    "pipeline/other.py": "",
    "pipeline/passes/__init__.py": "",
    "pipeline/passes/base.py": "from ..contract.frozen import Frozen\n",
    "pipeline/passes/one.py": (
        "from .base import BasePass\nimport os\n\n"
        "def run():\n    if os.name:\n        try:\n            from pipeline import shared\n"
        "        except ImportError:\n            import pipeline.training.deep\n"
    ),
    "pipeline/passes/two.py": "from pipeline.passes.base import BasePass\n",
    "pipeline/training/__init__.py": "",
    "pipeline/training/deep.py": "from . import sibling\n",
    "pipeline/training/sibling.py": "import pipeline.passes.one\n",
    "pipeline/checks/__init__.py": "",
    "pipeline/checks/quality.py": "from pipeline.other import x\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


def names(root: Path, module: str) -> set[str]:
    return {path.relative_to(root).as_posix() for path in CodeDigests(root).files(module)}


def test_all_kinds_of_imports_are_followed(root: Path) -> None:
    assert names(root, "pipeline.passes.one") == {
        "pipeline/__init__.py",
        "pipeline/contract/__init__.py",
        "pipeline/contract/frozen.py",
        "pipeline/shared.py",
        "pipeline/passes/__init__.py",
        "pipeline/passes/base.py",
        "pipeline/passes/one.py",
        "pipeline/training/__init__.py",
        "pipeline/training/deep.py",
        "pipeline/training/sibling.py",
    }


@pytest.mark.parametrize(
    ("changed", "moves"),
    [
        ("pipeline/passes/one.py", True),
        ("pipeline/contract/frozen.py", True),
        ("pipeline/training/sibling.py", True),
        ("pipeline/training/__init__.py", True),
        ("pipeline/checks/quality.py", False),
        ("pipeline/passes/two.py", False),
        ("pipeline/other.py", False),
    ],
)
def test_only_what_is_imported_moves_the_digest(root: Path, changed: str, moves: bool) -> None:
    before = CodeDigests(root).digest("pipeline.passes.one")
    (root / changed).write_text((root / changed).read_text("utf-8") + "x = 1\n", "utf-8")
    assert (CodeDigests(root).digest("pipeline.passes.one") != before) is moves


def test_the_place_of_the_code_does_not_matter(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("elsewhere")
    for name, text in FILES.items():
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).write_text(text, "utf-8")
    one, two = (CodeDigests(place).digest("pipeline.passes.one") for place in (root, other))
    assert one == two


def test_forms_of_imports() -> None:
    text = (
        "import pipeline.a as x, pipeline.b  # and pipeline.c\n"
        "from pipeline.d import (\n    e,  # f\n    g as h,\n)\n"
        "from .. import i\nfrom .j.k import l, \\\n    m\n"
        "def f():\n\timport pipeline.n\n\t# import pipeline.o\n"
    )
    assert set(imported_names(text, ("pipeline", "p"))) == by_ast(text, ("pipeline", "p"))


def test_imports_of_this_package_are_those_that_python_sees() -> None:
    package = Path(pipeline.__file__).parent
    for path in package.rglob("*.py"):
        parts = path.relative_to(package.parent).parts[:-1]
        source = path.read_text("utf-8")
        assert set(imported_names(source, parts)) == by_ast(source, parts), path


def test_code_that_runs_is_what_python_reads() -> None:
    package = Path(pipeline.__file__).parent
    for path in package.rglob("*.py"):
        source = path.read_text("utf-8")
        assert tokens(running_code(source)) == tokens(source, lines_not_run(source)), path


def tokens(source: str, without: frozenset[int] = frozenset()) -> list[str]:
    """Return the tokens that ``tokenize`` finds, but for comments and those that begin in lines
    ``without``."""
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    return [
        token.string
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in layout and token.start[0] not in without
    ]


def lines_not_run(source: str) -> frozenset[int]:
    """Return the lines of docstrings and of what stands under ``if TYPE_CHECKING``."""
    found: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str())) | ast.If(test=ast.Name("TYPE_CHECKING")):
                assert node.end_lineno is not None
                found.update(range(node.lineno, node.end_lineno + 1))
    return frozenset(found)


@pytest.mark.parametrize(
    ("changed", "moves"),
    [
        ('"""Another text."""\nx = 1\n', False),
        ("x = 1  # a comment\n", False),
        ("# a comment\n\nx = 1\n\n\n", False),
        ('x = 1\n"""Says what it is."""\n', False),
        ("if TYPE_CHECKING:\n    import pipeline.other\nx = 1\n", False),
        ("x = 2\n", True),
        ("x = 1; y = 1\n", True),
        ("if x:\n    x = 1\n", True),
        ('x = 1\n"""""".upper()\n', True),
        ("if TYPE_CHECKING:\n    import os\nelse:\n    x = 1\n", True),
    ],
)
def test_only_what_runs_moves_the_digest(tmp_path: Path, changed: str, moves: bool) -> None:
    file = tmp_path / "pipeline" / "one.py"
    file.parent.mkdir()
    (file.parent / "__init__.py").touch()
    (file.parent / "other.py").touch()
    file.write_text('"""A text."""\nx = 1\n', "utf-8")
    before = CodeDigests(tmp_path).digest("pipeline.one")
    file.write_text(changed, "utf-8")
    assert (CodeDigests(tmp_path).digest("pipeline.one") != before) is moves


def test_what_looks_like_a_comment_in_a_string_counts() -> None:
    one, two = (running_code(f"x = 'a # {text}'\n") for text in ("b", "c"))
    assert one != two


ALL_OF_TRAINING = {"lora", "qlora", "loha", "lokr", "loftq", "full_finetune"}
ROUNDING = {"awq", "gptq", "mixed_precision"}
PREPARING = ALL_OF_TRAINING | ROUNDING | {"render_rows", "tokenize"}
ASKING = {"evaluate", "float_reference", "reference", "time_base"}


SERVING = {"serve"}
"""Of no build: what it does is kept nowhere."""


@pytest.mark.parametrize(
    ("module", "retrained"),
    [
        # What plans, reads configs, keeps results and reports: nothing is made again.
        ("contract/plan.py", set()),
        ("contract/result.py", {"time_base", "tune"}),
        ("contract/events.py", set()),
        ("contract/schema.py", {"tune"}),
        ("run/chain.py", set()),
        ("run/registry.py", set()),
        ("run/store.py", set()),
        # Checks retrain nothing; tuning keeps the limits of two of them.
        ("checks/quality.py", {"tune"}),
        ("checks/quantization.py", {"tune"}),
        ("checks/latency.py", set()),
        ("checks/graph.py", set()),
        ("verdicts/verdicts.py", {"tune"}),
        # Data: what trains on rows, and what asks about them.
        ("data/split.py", PREPARING | ASKING | {"tune"}),
        ("data/tokenize.py", PREPARING | ASKING | {"generate", "read", "tune"}),
        ("data/sequences.py", PREPARING - ROUNDING),
        ("data/hub.py", {"fetch_rows", "rows"}),
        ("contract/data_spec.py", PREPARING | ASKING | {"generate", "read", "rows", "tune"}),
        # The parts of a build.
        ("training/finetune.py", ALL_OF_TRAINING),
        ("training/four_bit_base.py", ALL_OF_TRAINING | {"quantize_base"}),
        ("training/pretraining.py", {"pretrain"}),
        ("training/merging.py", {"adapted_reference", "merge", "merged_builder"}),
        ("builder/matrices.py", {"float_reference", "merged_builder", "model_builder", "tune"}),
        ("latency/interleaved.py", set()),
    ],
)
def test_a_change_of_a_module_makes_these_again(module: str, retrained: set[str]) -> None:
    digests = CodeDigests()
    package = Path(pipeline.__file__).parent
    assert (package / module).is_file()
    moved = {
        name
        for name in pass_types()
        if package / module in digests.files(step_module("pass", name))
    }
    assert moved - SERVING == retrained


@pytest.mark.parametrize("name", ["pretrain", "fetch", "merge", "import_onnx", "quantize_base"])
def test_what_needs_no_rows_reads_no_module_of_data(name: str) -> None:
    folders = {path.parent.name for path in CodeDigests().files(step_module("pass", name))}
    assert "data" not in folders
    assert "checks" not in folders


def by_ast(source: str, package: tuple[str, ...]) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *(node.module.split(".") if node.module else ())))
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


def test_an_unknown_module_is_an_error(root: Path) -> None:
    with pytest.raises(ModuleNotFoundError):
        CodeDigests(root).digest("pipeline.passes.three")


def test_real_passes_do_not_depend_on_checks() -> None:
    digests = CodeDigests()
    for name in pass_types():
        files = digests.files(step_module("pass", name))
        used = {path.stem for path in files if path.parent.name == "checks"}
        used = {module for module in used if not module.startswith("_")}  # parts of a check
        # One that keeps the limits of checks depends on those, and on what all of them share.
        enforced = load_pass(name).enforces
        assert used <= ({"__init__", "base", "goals", *enforced} if enforced else set()), name
    assert code_digest(step_module("pass", pass_types()[0]))


def test_real_checks_depend_on_what_they_measure_with() -> None:
    digests = CodeDigests()
    for name in check_types():
        files = {path.name for path in digests.files(step_module("check", name))}
        assert {f"{name}.py", "base.py"} <= files
        # A size is that of the files; merges, scaled weights and readings are judged by figures
        # that are there, and what is built again is compared byte by byte.
        others = {"size", "merging", "scaling", "general", "rebuild"}
        assert "session.py" in files or name in others
