"""`docs/security.md` says what the tests attack, and how often."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter

from targets.cli.options import PROJECT
from targets.runtimes.log import MOST
from tests.attack.artifact_faults import (
    CHECKPOINT,
    FAULTS,
    FILES,
    GRAPH,
    SETTINGS,
    TOKENIZER,
    WEIGHTS,
)
from tests.attack.hostile_steps import HOSTILE_STEPS
from tests.attack.inside import SECONDS
from tests.attack.life_cycle import LIFE_CYCLE
from tests.attack.planting import LACKING
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


def test_all_that_builds_live_through_is_listed_with_its_counts() -> None:
    rows = "\n".join(tried.row() for tried in LIFE_CYCLE)
    assert rows in TEXT


def test_every_hostile_step_is_listed_with_its_end() -> None:
    assert "\n".join(step.row(name) for name, step in HOSTILE_STEPS.items()) in TEXT
    assert f"smaller than `{(MOST >> 20) + 1} MiB`" in TEXT


def test_the_counts_of_the_table_are_those_of_the_tests() -> None:
    files = sorted({tried.by for tried in LIFE_CYCLE})
    collect = ["pytest", "--collect-only", "-q", "-n", "0", "-p", "no:cacheprovider"]
    own = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    for marker in ("slow", "not slow"):
        command = [sys.executable, "-m", *collect, "-m", marker, *files]
        done = subprocess.run(
            command, cwd=PROJECT, env=own, capture_output=True, text=True, check=True
        )
        found = Counter(line.partition("::")[0] for line in done.stdout.splitlines())
        for file in files:
            rows = [tried for tried in LIFE_CYCLE if tried.by == file]
            if marker == "slow":
                assert found[file] == sum(tried.slow for tried in rows)
            else:
                assert found[file] >= sum(tried.always for tried in rows)


def test_every_fault_of_the_catalogue_is_counted() -> None:
    table = TEXT.partition("| faults of |")[2].partition("\n\n")[0]
    counts = [int(count) for count in re.findall(r"^\| [\w, ]+ \| (\d+) \| all \|", table, re.M)]
    assert counts[:-1] == [*map(len, (SETTINGS, TOKENIZER, WEIGHTS, GRAPH, FILES))]
    whole = len(FAULTS.keys() - LACKING)
    assert counts[-1] <= whole, "what was seen in whole builds is part of what is taken through one"
    assert f"takes {whole} through one" in TEXT
    assert f"settings of answers, tokenizer, template | {len(CHECKPOINT)} | all |" in TEXT


def test_every_test_that_is_named_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)`", TEXT)
    assert named
    assert not [name for name in named if not (PROJECT / name).is_file()]


def test_each_row_is_backed_by_a_test() -> None:
    tables = TEXT.partition("## What was tried")[2]
    rows = [line for line in tables.splitlines() if line.startswith("| ") and "---" not in line]
    without = [row for row in rows if "`tests/" not in row and not row.endswith("| by |")]
    assert not without
