"""``clean`` lists what it removes by build, and says how long nobody used it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from targets.cache import Cache
from targets.cli.commands.clean import command
from targets.figures import age
from tests.support.cached_steps import a_step, write_step

DAY = 86400


def finish(cache: Cache, key: str, build: str, days: float) -> None:
    """Have ``build`` make a result that was last used so many ``days`` ago."""
    origin = {"runtime": "venv", **({"build": build} if build else {})}
    with cache.work_folder() as work:
        folder = cache.begin(work, [a_step(key)], origin)
        write_step(folder, key)
        cache.finish(folder)
    stamp = time.time() - days * DAY
    (made,) = (path for path in cache.objects.glob("*/*") if path.name == key)
    os.utime(made, (stamp, stamp), follow_symlinks=False)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    cache = Cache(tmp_path / "cache")
    finish(cache, "aa" * 32, "tone", 40)
    finish(cache, "bb" * 32, "support", 34)
    finish(cache, "cc" * 32, "tone", 31)
    finish(cache, "dd" * 32, "tone", 2)
    finish(cache, "ee" * 32, "", 90)
    return cache


def test_results_of_a_build_stand_together_with_their_age(cache: Cache) -> None:
    ran = CliRunner().invoke(command, ["--dry-run", "--cache", str(cache.root)])
    assert ran.exit_code == 0
    lines = ran.output.splitlines()
    titles = [line for line in lines if not line.startswith(" ")][:3]
    assert [title.partition(",")[0] for title in titles] == [
        "of builds that left no name: 1 result",
        "tone: 2 results",
        "support: 1 result",
    ]
    at = lines.index(titles[1])
    assert [line.split()[-5:] for line in lines[at + 1 : at + 3]] == [
        ["B", "unused", "for", "40", "days"],
        ["B", "unused", "for", "31", "days"],
    ]
    assert lines[-1].startswith("4 results would be removed")


def test_programs_get_build_and_age_too(cache: Cache) -> None:
    ran = CliRunner().invoke(command, ["--json", "--cache", str(cache.root)])
    removed = json.loads(ran.output)["removed"]
    assert [(one["build"], one["unused_seconds"] // DAY) for one in removed] == [
        ("", 90),
        ("tone", 40),
        ("support", 34),
        ("tone", 31),
    ]
    assert len(cache.unused_since(2**40)) == 1


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (5, "less than a minute"),
        (119, "1 minute"),
        (7200, "2 hours"),
        (DAY * 1.9, "1 day"),
        (DAY * 400, "400 days"),
    ],
)
def test_ages_in_words(seconds: float, said: str) -> None:
    assert age(seconds) == said
