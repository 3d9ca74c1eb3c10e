"""Text that others wrote: a terminal and a CI service must find nothing in it to act upon."""

from __future__ import annotations

import io
import json
import re
import unicodedata
from pathlib import Path

import pytest

from pipeline.contract.events import Event, Noted, StepFailed, StepStarted, Text, Warned
from targets.cli import json_output
from targets.cli.main import run
from targets.console.plain_view import Folding, PlainView
from targets.console.safe_console import SafeConsole
from targets.errors import Problem
from targets.foreign_text import Streamed, harmless, one_line, visible
from targets.runtimes.event_reader import EventReader
from targets.runtimes.log import opened_log
from tests.support.project import Project, make_project

HOSTILE = (
    "\x1b[2J\x1b]0;title\x07",
    "\x9b31m",
    "fine\n::error file=a,line=1::no",
    "fine\r::error::no",
    "fine\u2028::error::no",
    "fine\u0085::error::no",
    "\n \t ::set-output name=a::b",
    "\n##[error]no",
    "\n##vso[task.complete result=Failed;]no",
    "fine ##[command]no",
    "\b\b\b\bpassed",
    "\u202egnp.exe",
    "\u2066x\u2069",
    "\ud800",
    "\U000e0041",
    "\n✓ quality",
    "::::error::",
    "[red]x[/]",
)


def acted_upon(text: str) -> list[str]:
    """Return what terminals and runners act upon in ``text``, as their documentation says it."""
    found = [sign for sign in text if unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp")]
    turned = [sign for sign in text if unicodedata.bidirectional(sign) in _TURNING]
    lines = [line for line in text.splitlines() if line.strip().startswith("::")]
    anywhere = re.findall(r"##\[|##vso\[", text)
    return [*(sign for sign in found if sign not in "\n\t"), *turned, *lines, *anywhere]


_TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_is_left_to_act_upon(text: str) -> None:
    assert acted_upon(harmless(text)) == []
    assert harmless(harmless(text)) == harmless(text)
    assert "\n" not in one_line(text)
    assert json.loads(_as_json(text)) == {"text": text}
    assert acted_upon(_as_json(text)) == []


def _as_json(text: str) -> str:
    """Return the line that ``--json`` prints; lone surrogates cannot be in any document."""
    return json_output.json_text({"text": text}) if text != "\ud800" else json.dumps({"text": text})


@pytest.mark.parametrize(
    "text", ["plain", "a: b", "std::vector", "ä ✓ 日本", "tab\there", "two\nlines"]
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert harmless(text) == visible(text) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_a_process_cannot_write_lines_of_its_own(text: str, tmp_path: Path) -> None:
    """Its events come as JSON, and its steps have the names that it gives them."""
    out = io.StringIO()
    view = PlainView(SafeConsole(file=out, width=200), Folding("::group::{name}", "::endgroup::"))
    sent: list[Event] = [
        StepStarted(step=text),
        Warned(step=text, message=text),
        Noted(step=text, message=text),
        StepFailed(step=text, cause="error", message=text),
    ]
    with opened_log(tmp_path / "log") as log:
        reader = EventReader(view.event, log, [text])
        for event in sent:
            data = json.dumps(event.model_dump(mode="json"), ensure_ascii=True)
            reader.feed(f"{data}\n".encode())
    if text == "\ud800":
        assert (tmp_path / "log").read_bytes()  # no JSON
        return
    lines = out.getvalue().splitlines()
    starts = ("", "warning: ", "::group::", "note: ", "::endgroup::", "✗ ")
    assert [line.startswith(start) for line, start in zip(lines, starts, strict=True)] == [True] * 6
    for line, start in zip(lines, starts, strict=True):
        assert acted_upon(f"-{line.removeprefix(start)}") == []
    assert reader.failure is not None
    assert "\n" not in reader.failure.message


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("text", [*HOSTILE[:-1], "::error::x", "a" * 300 + " ##[error]", "\n" * 9])
def test_what_comes_in_pieces_is_no_command_together(text: str, size: int, tmp_path: Path) -> None:
    out = io.StringIO()
    view = PlainView(SafeConsole(file=out, width=200))
    text = text.replace("\ud800", "")
    with opened_log(tmp_path / "log") as log:
        reader = EventReader(view.event, log, ["try"])
        for start in range(0, len(text), size):
            piece = Text(step="try", text=text[start : start + size])
            reader.feed(f"{piece.model_dump_json()}\n".encode())
    assert acted_upon(out.getvalue()) == []
    plain = re.sub(r"[^a-z ]", "", text)
    assert len(out.getvalue()) >= len(plain)


def test_other_text_in_pieces_stays_as_it_is() -> None:
    streamed = Streamed()
    text = "std::vector is a:b, # ## [x]\n  : no\n" * 9
    assert "".join(streamed.piece(sign) for sign in text) == text


def test_what_is_streamed_is_shown_and_not_obeyed() -> None:
    out = io.StringIO()
    view = PlainView(SafeConsole(file=out, width=200))
    for text in HOSTILE:
        view.event(Text(step="try", text=text))
    assert acted_upon(out.getvalue()) == []


def test_a_console_has_its_own_styles() -> None:
    out = io.StringIO()
    console = SafeConsole(file=out, width=80, force_terminal=True, color_system="standard")
    console.print("[red]no[/] \x1b[31m", highlight=False)
    assert out.getvalue() == "\x1b[31mno\x1b[0m \\x1b[31m\n"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_problem_is_one_line(text: str) -> None:
    said = str(Problem(text, Path(f"/a/{text}".replace("\ud800", "")), 3, text, text))
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("command", ["plan", "plan --json"])
def test_names_of_columns_keys_and_files_are_shown_harmless(
    tmp_path: Path,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project: Project = make_project(tmp_path / "a\n::error::b\x1b[2J")
    name = "col\n::error::x\x1b[2J"
    rows = [json.dumps({name: "x", "other\x9b": "y"}) for _ in range(3)]
    (project.folder / "rows.jsonl").write_text("\n".join(rows))
    text = project.config.read_text()
    key = json.dumps("key\n::error::y\x1b[0m")
    project.config.write_text(f"{text}\n[passes.{key}]\ntype = {key}\n")
    project.edit("tone.jsonl", "rows.jsonl")
    arguments = ["quern", *command.split(), "--config", str(project.config)]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert acted_upon(said.out) == []
    assert acted_upon(said.err) == []
    assert "error::y" in said.out + said.err


def test_there_is_no_other_way_out() -> None:
    """Whatever is shown goes through the console, ``echo`` or JSON."""
    ways = {"safe_console.py", "echo.py", "json_output.py"}
    # What runs in a container of a system says to the driver what it copied.
    ways |= {"leaving.py"}
    # What a login machine is asked, its Python prints to the driver.
    ways |= {"environment.py"}
    sources = Path(__file__).parents[3].joinpath("targets").rglob("*.py")
    writes = re.compile(
        r"\bclick\.s?echo\(|(?<![\w.])print\(|[^\w]Console\(|sys\.std(?:out|err)\.w"
    )
    others = {path.name for path in sources if writes.search(path.read_text("utf-8"))} - ways
    assert others == set()
