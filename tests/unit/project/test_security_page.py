"""`docs/security.md` says what the tests attack, and how often."""

from __future__ import annotations

import re

from targets.cli.options import PROJECT
from tests.attack.artifact_faults import FAULTS, FILES, GRAPH, SETTINGS, TOKENIZER, WEIGHTS
from tests.attack.inside import SECONDS
from tests.attack.surfaces import SURFACES

TEXT = (PROJECT / "docs" / "security.md").read_text("utf-8")


def test_every_surface_is_listed_with_its_count_and_its_ends() -> None:
    rows = [
        f"| {surface.name} | {surface.count} | {', '.join(map(str, sorted(surface.codes)))} "
        "| `tests/attack/test_attack.py` |"
        for surface in SURFACES
    ]
    assert "\n".join(rows) in TEXT
    assert f"within `{SECONDS} s`" in TEXT


def test_every_fault_of_the_catalogue_is_counted() -> None:
    table = TEXT.partition("| faults of |")[2].partition("\n\n")[0]
    counts = [int(count) for count in re.findall(r"^\| [\w, ]+ \| (\d+) \| all \|", table, re.M)]
    assert counts == [*map(len, (SETTINGS, TOKENIZER, WEIGHTS, GRAPH, FILES, FAULTS))]


def test_every_test_that_is_named_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", TEXT)
    assert named
    assert not [name for name in named if not (PROJECT / name).is_file()]


def test_each_row_is_backed_by_a_test() -> None:
    tables = TEXT.partition("## What was tried")[2]
    rows = [line for line in tables.splitlines() if line.startswith("| ") and "---" not in line]
    without = [row for row in rows if "`tests/" not in row and not row.endswith("| by |")]
    assert not without
