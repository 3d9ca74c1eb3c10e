"""What the pages say is so: each kind of statement is held against the code, and faults are planted
into copies of the pages to see each kind of mistake found."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path, PurePosixPath

import pytest
import yaml
from platformdirs.unix import Unix

from targets.cli.options import PROJECT
from targets.config.json_schema import build_schema
from tests.support.pages import attributes, codes, commands, defaults, keys, links, variables
from tests.support.pages.page import Page, read_pages

Find = Callable[[Sequence[Page]], Iterable[str]]
CHECKS: dict[str, Find] = {
    "links": links.mistakes,
    "commands": commands.mistakes,
    "exit codes": codes.mistakes,
    "variables": variables.mistakes,
    "defaults": defaults.mistakes,
    "attributes": attributes.mistakes,
}


@cache
def pages() -> tuple[Page, ...]:
    return read_pages()


@pytest.mark.parametrize("check", CHECKS)
def test_what_the_pages_say_is_so(check: str) -> None:
    assert list(CHECKS[check](pages())) == []


def test_every_key_of_a_config_is_one(tmp_path: Path) -> None:
    assert list(keys.mistakes(pages(), tmp_path)) == []


def test_defaults_that_descriptions_of_keys_state_are_the_codes() -> None:
    assert list(defaults.mistakes_of_keys(build_schema())) == []


def test_a_wrong_default_in_a_description_is_found() -> None:
    schema = build_schema()
    key = schema["$defs"]["check-quantization"]["properties"]["max_mean_kl"]
    key["description"] = key["description"].replace("0.25 for int4", "0.6 for int4")
    (said,) = defaults.mistakes_of_keys(schema)
    assert "max_mean_kl" in said


PLANTED = [
    ("links", "README.md", "(docs/config.md)", "(docs/confg.md)", "docs/confg.md"),
    ("links", "README.md", "(docs/how-to.md#", "(docs/how-to.md#not-", "no such heading"),
    ("links", "docs/design.md", "`targets/cache.py`", "`targets/cash.py`", "targets/cash.py"),
    ("links", "docs/design.md", "`fidelity.py`", "`infidelity.py`", "infidelity.py"),
    ("commands", "README.md", "-s build-cpu\n", "-s build-gpu\n", "no session build-gpu"),
    ("commands", "README.md", "-- --version 1.2.0\n", "-- --verzion 1.2.0\n", "--verzion"),
    ("commands", "docs/how-to.md", "`--runtime venv`", "`--run-time venv`", "--run-time"),
    ("commands", "CONTRIBUTING.md", "-s schema\n", "-s schemas\n", "no session schemas"),
    ("links", "CONTRIBUTING.md", "`pipeline/checks/`", "`pipeline/check/`", "pipeline/check/"),
    ("links", "SECURITY.md", "design.md#containers", "design.md#container", "no such heading"),
    ("exit codes", "CHANGELOG.md", "exit code 2", "exit code 6", "no exit code 6"),
    ("exit codes", "docs/reference.md", "| `5` |", "| `6` |", "no exit code 6"),
    ("exit codes", "docs/reference.md", "| `5` |", "| `6` |", "exit code 5 is in no table"),
    ("exit codes", "docs/how-to.md", "exit code 3", "exit code 7", "no exit code 7"),
    ("variables", "docs/reference.md", "`QUERN_CACHE`", "`QUERN_CASH`", "nothing reads QUERN_CASH"),
    ("variables", "docs/reference.md", "`QUERN_CACHE`", "`QUERN_CASH`", "QUERN_CACHE is read"),
    ("variables", "docs/how-to.md", "`QUERN_CACHE`", "`QUERN_CASH`", "QUERN_CASH"),
    ("defaults", "docs/how-to.md", "30 days<!--", "31 days<!--", "clean --older-than"),
    ("defaults", "docs/how-to.md", "30 %<!--", "20 %<!--", "data.split.eval"),
    ("defaults", "docs/how-to.md", "`all-linear`<!--", "`auto`<!--", "target_modules"),
    ("defaults", "README.md", "\n## More\n", "\nBy default 3 rounds.\n## More\n", "By default"),
    ("attributes", "docs/own-steps.md", "| `measures` |", "| `mesures` |", "measures is missing"),
    ("attributes", "docs/own-steps.md", "| `repeatable` |", "| `again` |", "there is no again"),
]


@pytest.mark.parametrize(("check", "page", "old", "new", "said"), PLANTED)
def test_a_planted_mistake_is_found(check: str, page: str, old: str, new: str, said: str) -> None:
    found = list(CHECKS[check](planted(page, old, new)))
    assert any(said in text for text in found), found


@pytest.mark.parametrize(
    ("page", "old", "new", "said"),
    [
        ("README.md", "min_accuracy =", "min_acuracy =", "min_acuracy"),
        ("README.md", "r = 16", 'r = "many"', "passes.lora.r"),
        ("docs/how-to.md", "[checks.latency]", "[checks.latence]", "latence"),
        ("docs/how-to.md", "min_valid = 0.98", "min_walid = 0.98", "min_walid"),
        ("docs/how-to.md", "`packing = true`", "`packing = 3`", "packing cannot be"),
        ("docs/how-to.md", '`into = "original"`', '`into = "orginal"`', "into cannot be"),
        ("docs/how-to.md", "`held_out`", "`held_outt_part`", "held_outt_part"),
        ("docs/config.md", "```toml\n[checks.size]", "```toml\n[checks.sise]", "sise"),
    ],
)
def test_a_planted_key_is_found(tmp_path: Path, page: str, old: str, new: str, said: str) -> None:
    found = list(keys.mistakes(planted(page, old, new, alone=True), tmp_path))
    assert any(said in text for text in found), found


def planted(path: str, old: str, new: str, *, alone: bool = False) -> tuple[Page, ...]:
    """Return the pages, with ``old``, which must be there, replaced in one; or that one alone."""
    text = page(path).text
    assert old in text
    wrong = Page(PurePosixPath(path), text.replace(old, new))
    return (wrong,) if alone else tuple(wrong if p.path == wrong.path else p for p in pages())


def test_a_variable_that_nobody_tells_of_is_found(tmp_path: Path) -> None:
    module = tmp_path / "reads.py"
    module.write_text('import os\n\n\ndef read() -> str:\n    return os.environ["QUERN_NEW"]\n')
    assert list(variables.read_text(module.read_text(), "json")) == ["QUERN_NEW"]


def test_the_default_place_of_the_cache_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    place = Unix("quern").user_cache_path.relative_to(Path.home())
    assert f"`~/{place}` on Linux" in page("docs/reference.md").text


def page(path: str) -> Page:
    (found,) = (page for page in pages() if page.path == PurePosixPath(path))
    return found


def test_versions_that_pages_name_are_locked() -> None:
    locks = "".join(file.read_text("utf-8") for file in (PROJECT / "images").rglob("*.lock"))
    named = {
        pair
        for page in pages()
        if page.path.name not in ("measured.md", "scale.md", "growth.md", "peers.md")
        for pair in re.findall(r"(onnxruntime[\w-]*)(?:==| )(\d+\.[\d.]*\d)", page.text)
    }
    assert len(named) >= 4
    for name, version in named:
        assert re.search(rf"^{name}(?:\[.*\])?=={re.escape(version)}\b", locks, re.MULTILINE), name


WORKFLOWS = [PROJECT / "docs/examples/github" / name for name in ("build.yml", "release.yml")]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_shown_workflow_calls_what_exists_and_keeps_what_costs_time(file: Path) -> None:
    (job,) = yaml.safe_load(file.read_text("utf-8"))["jobs"].values()
    runs = [step["run"] for step in job["steps"] if "run" in step]
    shown = [command for run in runs for command in commands.commands_in(run)]
    assert len(shown) >= 2
    assert [text for command in shown for text in command.mistakes] == []
    for run in runs:
        subprocess.run(["bash", "-n"], input=run, text=True, check=True)
    (kept,) = (step["with"] for step in job["steps"] if "cache" in step.get("uses", ""))
    cache = job["env"]["QUERN_CACHE"].rpartition("/")[2]
    quern = next(s["with"] for s in job["steps"] if s.get("with", {}).get("repository"))["path"]
    assert kept["path"].split() == [cache, f"{quern}/.nox"]
