"""Every figure stands in one place: on a page that a command wrote, with its day and its commit."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pipeline.checks.quantization import QuantizationParams
from pipeline.contract.data_spec import Split
from pipeline.contract.schema import parse_bytes
from pipeline.process.load import BUSY
from pipeline.statistics.intervals import CONFIDENCE as OF_INTERVALS
from pipeline.statistics.percentiles import CONFIDENCE
from pipeline.tuning.params import TuneParams
from targets.bench.significance import MEMORY_NOISE, SMALLEST_RATIO, WIDEST_RATIO
from targets.cli.options import PROJECT
from targets.target import load_target, target_names
from tests.benchmarks import pages
from tests.benchmarks.pages import GROWTH, MEASURED, PEERS, SCALE, Row, Section
from tests.support.clones import commit_all

MADE = (MEASURED, SCALE, GROWTH, PEERS)
# The reference of keys is made from the code: what stands there are values that it defines.
WRITTEN = [
    page
    for page in (*sorted(PROJECT.glob("*.md")), *sorted((PROJECT / "docs").glob("*.md")))
    if page not in MADE and page.name != "config.md"
]

ORIGIN = re.compile(
    r"Measured by `\./nox -s (?P<session>[\w-]+)(?: -- (?P<options>[^`]+))?` "
    r"on (?P<day>20\d\d-\d\d-\d\d), on (?P<machine>[^`]+ CPUs?, \d+ GiB, \w+), "
    r"at commit (?P<commit>[0-9a-f]{7,40})(?:, with [^`]+)?\."
)
FIGURE = re.compile(
    r"(?<![\w.])\d[\d,.]*"
    r"(?:\s?(?:ms|s|min|h|KB|MB|GB|TB|KiB|MiB|GiB|%|tokens/s)(?![\w/])"
    r"|\s(?:seconds?|minutes?|hours?)\b|\stimes (?=as|the|less|more|longer|slower|faster))"
)
# Another test holds these to the code.
MARKED = re.compile(r"\d[\d,.]*<!-- default: [^>]+ -->")
PLACE = re.compile(r"\]\((?:docs/)?(?:measured|scale|growth|peers)\.md(?:#[\w-]+)?\)")


def defined() -> set[str]:
    """Return what figures on other pages may say because the code defines it, and no measurement:
    levels of confidence, what a bench takes for a change, defaults, the size of toolchains."""
    rooms = [load_target(name).room for name in target_names()]
    sizes = {room.wheels + room.installed for room in rooms} | {room.installed for room in rooms}
    max_export = QuantizationParams().max_export
    export = max_export if isinstance(max_export, int) else parse_bytes(max_export)
    return {
        *(
            f"{100 * share:g} %"
            for share in (CONFIDENCE, OF_INTERVALS, Split().eval, TuneParams().tie)
        ),
        *(f"{100 * ratio:g} %" for ratio in (SMALLEST_RATIO, WIDEST_RATIO, MEMORY_NOISE, BUSY)),
        *(f"{amount:.{digits}f} GB" for amount in sizes for digits in (0, 1)),
        f"{export / 2**30:g} GB",
    }


def sections(text: str) -> Iterator[tuple[str, str]]:
    """Yield heading and body of every section of a page."""
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        heading, _, body = part.partition("\n")
        yield heading, body


def faults_of_origin(text: str) -> list[str]:
    """Return what is wrong with the first lines of a page's sections."""
    faults = []
    for heading, body in sections(text):
        first = body.strip().partition("\n")[0]
        found = ORIGIN.fullmatch(first)
        if found is None:
            faults.append(f"{heading}: no command, day, machine and clean commit: {first[:80]!r}")
            continue
        faults += [f"{heading}: {fault}" for fault in faults_of_command(found)]
        if is_history_here() and not is_in_history(found["commit"]):
            faults.append(f"{heading}: commit {found['commit']} is not in the history")
    return faults


def faults_of_command(found: re.Match[str]) -> Iterator[str]:
    """Yield what is wrong with the command of a first line."""
    module = benchmarks().get(found["session"])
    if module is None:
        yield f"there is no session {found['session']} that measures"
        return
    name = module if hasattr(import_module(module), "parser") else f"{module}.__main__"
    try:
        import_module(name).parser().parse_args(shlex.split(found["options"] or ""))
    except SystemExit:
        yield f"{found['session']} does not know {found['options']}"


def benchmarks() -> dict[str, str]:
    """Return the sessions that run a module of tests/benchmarks, and which."""
    text = (PROJECT / "noxfile.py").read_text("utf-8")
    blocks = text.split("@nox.session")[1:]
    found = {}
    for block in blocks:
        module = re.search(r'(?:module="tests\.benchmarks\.|benchmark\(session, ")([\w.]+)"', block)
        name = re.search(r'\(name="([\w-]+)"\)', block) or re.search(r"def (\w+)\(", block)
        if module and name:
            found[name[1]] = f"tests.benchmarks.{module[1]}"
    return found


def unplaced(text: str) -> list[str]:
    """Return the figures of a page in whose paragraph no link leads to the place of figures."""
    prose = re.sub(r"^```.*?^```|`[^`]+`", "", text, flags=re.MULTILINE | re.DOTALL)
    prose = MARKED.sub("", prose)
    known = defined()
    return [
        figure
        for block in re.split(r"\n\s*\n", prose)
        if not PLACE.search(block)
        for figure in (" ".join(found[0].split()) for found in FIGURE.finditer(block))
        if figure not in known
    ]


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["git", "-C", str(PROJECT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def is_history_here() -> bool:
    """Return whether commits can be looked up: not in an archive, a copy or a shallow clone."""
    if not (PROJECT / ".git").exists():
        return False
    shallow = git("rev-parse", "--is-shallow-repository").stdout.strip()
    commits = git("rev-list", "--count", "HEAD").stdout.strip()
    return shallow == "false" and commits not in ("", "1")


def is_in_history(commit: str) -> bool:
    return git("merge-base", "--is-ancestor", commit, "HEAD").returncode == 0


@pytest.mark.parametrize("page", MADE, ids=lambda page: page.name)
def test_every_section_says_how_it_was_measured(page: Path) -> None:
    text = page.read_text("utf-8")
    assert list(sections(text)), "a page of figures without any"
    assert faults_of_origin(text) == []


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_no_figure_stands_on_another_page_by_itself(page: Path) -> None:
    assert unplaced(page.read_text("utf-8")) == []


def test_the_picture_is_of_the_same_run_as_the_page_or_says_of_which() -> None:
    picture = ElementTree.fromstring(pages.PICTURE.read_bytes())  # noqa: S314 - the project's own
    described = str(picture.findtext("{*}desc"))
    (body,) = (body for _, body in sections(MEASURED.read_text("utf-8")) if "bench-example" in body)
    if "--picture" in described:  # drawn again, since its form changed
        assert faults_of_origin(f"# Page\n\n<!-- part x -->\n## X\n\n{described}\n") == []
    else:
        assert described == body.strip().partition("\n")[0]


def page(
    command: str = "./nox -s bench-driver -- --runs 3",
    day: str = "2026-11-29",
    commit: str | None = None,
) -> str:
    """Return a page with one section."""
    commit = commit or git("rev-parse", "HEAD").stdout.strip() or "0" * 40
    machine = "on AMD EPYC 7763, 2 CPUs, 24 GiB, Linux"
    origin = f"Measured by `{command}` on {day}, {machine}, at commit {commit}."
    return f"# Page\n\n<!-- part driver -->\n## Driver\n\n{origin}\n\n| what |\n"


def test_a_section_that_says_all_has_no_fault() -> None:
    assert faults_of_origin(page()) == []
    assert faults_of_origin(page("./nox -s bench-example")) == []
    assert faults_of_origin(page("./nox -s bench-scale -- --only merge,builder --layers 4")) == []


@pytest.mark.parametrize(
    ("faulty", "fault"),
    [
        (page(commit="46d4dab-dirty"), "no command, day, machine and clean commit"),
        (page(day="yesterday"), "no command, day, machine and clean commit"),
        (page().replace("2 CPUs, 24 GiB, Linux", "a laptop"), "no command, day, machine"),
        (page().replace("Measured by", "Made by"), "no command, day, machine"),
        (page("./nox -s bench-drivers"), "there is no session bench-drivers that measures"),
        (page("./nox -s tests"), "there is no session tests that measures"),
        (page("./nox -s bench-driver -- --rnus 3"), "bench-driver does not know --rnus 3"),
    ],
)
def test_a_section_that_lacks_something_is_found(faulty: str, fault: str) -> None:
    (found,) = faults_of_origin(faulty)
    assert fault in found


@pytest.mark.skipif(not is_history_here(), reason="history tests: this is no whole clone")
def test_a_commit_that_is_not_in_the_history_is_found() -> None:
    (found,) = faults_of_origin(page(commit="0123456789ab"))
    assert found == "Driver: commit 0123456789ab is not in the history"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A token takes 143 ms.", ["143 ms"]),
        ("It is 1.4 times as\nfast.", ["1.4 times"]),
        ("| merge | 96 s | 1.5 GB |", ["96 s", "1.5 GB"]),
        ("Loses 0.3\n% of it, at 7,390 tokens/s.", ["0.3 %", "7,390 tokens/s"]),
        ("A token takes 143 ms ([measured](scale.md#limits)).", []),
        ("A token takes 143 ms.\n\n[Measured](scale.md).", ["143 ms"]),
        ("```toml\ntoken_ms = 5  # 5 ms\n```", []),
        (f"Sure at {100 * CONFIDENCE:g} % confidence, run 20 times, of 1,800 rows.", []),
    ],
)
def test_a_figure_without_its_place_is_found(text: str, found: list[str]) -> None:
    assert unplaced(text) == found


def test_a_section_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / MEASURED.name
    for part, figure in (("driver", "1 s"), ("checks", "2 s"), ("driver", "3 s")):
        section = Section(part, f"The {part}", [Row("time", figure, "<= 2 s", figure == "1 s")])
        pages.write(path, section, f"origin of {figure}")
    found = dict(sections(path.read_text("utf-8")))
    assert list(found) == ["The driver", "The checks"]
    assert "origin of 3 s" in found["The driver"]
    assert "| time | 3 s | <= 2 s | **no** |" in found["The driver"]
    assert path.read_text("utf-8").startswith("# Measured")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project with one commit that takes the place of this one."""
    (tmp_path / "docs").mkdir()
    for place in ("code.py", "docs/measured.md", "docs/scale.md"):
        (tmp_path / place).write_text("as committed\n")
    commit_all(tmp_path)
    monkeypatch.setattr(pages, "PROJECT", tmp_path)
    monkeypatch.setattr(pages, "DOCS", tmp_path / "docs")
    for name in ("MEASURED", "SCALE", "GROWTH", "PEERS", "PICTURE"):
        monkeypatch.setattr(pages, name, tmp_path / "docs" / getattr(pages, name).name)
    return tmp_path


def test_the_commit_is_clean_though_pages_of_figures_were_written(project: Path) -> None:
    (project / "docs" / "measured.md").write_text("newer\n")
    for picture in ("summary.svg", "growth-rows.svg"):
        (project / "docs" / picture).write_text("new\n")
    assert re.fullmatch("[0-9a-f]{12}", pages.commit())
    pages.require_clean(project / "docs" / "scale.md")


@pytest.mark.parametrize("changed", ["code.py", "new.py", "docs/how-to.md"])
def test_figures_of_changed_code_do_not_get_onto_the_pages(
    changed: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / changed).write_text("as nobody else has it\n")
    assert pages.commit().endswith("-dirty")
    with pytest.raises(SystemExit) as ended:
        pages.require_clean(project / "docs" / "measured.md")
    assert ended.value.code == 2
    assert "commit them, or write to another page with --out" in capsys.readouterr().err
    pages.require_clean(project / "elsewhere.md")


def test_without_a_repository_no_commit_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PROJECT", tmp_path)
    for name in ("MEASURED", "SCALE", "GROWTH", "PEERS", "PICTURE"):
        monkeypatch.setattr(pages, name, tmp_path / "docs" / name)
    assert pages.commit() == "unknown-dirty"
