"""Rows are read once and stay on disk; parts and findings are those of a plain computation."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tracemalloc
import unicodedata
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.data_files import DataFiles
from pipeline.contract.data_spec import DataSpec
from pipeline.data.load import read_file
from pipeline.data.look import look
from pipeline.data.parts import load_parts
from pipeline.data.split import Parts
from pipeline.process.cpus import usable_cpus

WORDS = [
    "alpha",
    "Beta",
    "gämma",
    "delta",
    "joy",
    "ANGER",
    "don't",
    "naïve",
    "one",
    "two",
    "three",
    "four",
    "five",
    "ﬁne",
]
ROOT = Path(__file__).parents[4]
LABELS = ("joy", "anger", "fear")
SEED, EVAL, VALIDATION = 11, 0.3, 0.1


def varied(count: int, seed: int) -> list[dict[str, str]]:
    """Return rows, many of which repeat others, or differ from them in one word."""
    chance = random.Random(seed)  # noqa: S311 - test data
    texts: list[str] = []
    for _ in range(count):
        kind = chance.random()
        words = chance.choice(texts).split(" ") if texts and kind < 0.6 else []
        if not words:
            words = chance.choices(WORDS, k=chance.randint(1, 12))
        elif kind < 0.4:
            at = chance.randrange(len(words))
            words[at : at + chance.randint(0, 1)] = [chance.choice(WORDS)]
        text = " ".join(words)
        texts.append(text.upper() if chance.random() < 0.1 else text)
    return [{"phrase": text, "tone": chance.choice(LABELS)} for text in texts]


def loaded(file: Path, **spec: Any) -> Parts:
    """Return the parts of a file of phrases and their tones."""
    usual = {"path": "x", "prompt": "Tone: {phrase}", "completion": "{tone}", "label": "tone"}
    settings = DataSpec.model_validate({**usual, **spec})
    return load_parts(DataFiles("d", settings, (file,)))


def written(file: Path, rows: list[dict[str, str]]) -> Path:
    text = "".join(json.dumps(row, ensure_ascii=len(row["phrase"]) % 2 > 0) + "\n" for row in rows)
    file.write_text(text, encoding="utf-8")
    return file


def plain_split(rows: list[dict[str, str]]) -> list[set[int]]:
    """Return the lines of each part, as docs/data.md says that texts are drawn."""
    texts = [
        " ".join(unicodedata.normalize("NFKC", f"Tone: {row['phrase']}").casefold().split())
        for row in rows
    ]
    label_of: dict[str, str] = {}
    for text, row in zip(texts, rows, strict=True):
        label_of[text] = min(label_of.get(text, "~"), row["tone"])
    drawn: dict[str, set[str]] = {}
    left = set(label_of)
    for salt, share in (("eval", EVAL), ("validation", VALIDATION)):
        by_label: dict[str, list[str]] = defaultdict(list)
        for text in left:
            by_label[label_of[text]].append(text)
        drawn[salt], due = set(), 0.0
        for label in sorted(by_label):
            some = sorted(
                by_label[label],
                key=lambda text: hashlib.sha256(f"{SEED}\0{salt}\0{text}".encode()).digest(),
            )
            due += share * len(some)
            take = min(round(due), len(some) - 1)
            due -= take
            drawn[salt].update(some[:take])
        left -= drawn[salt]
    parts = (left, drawn["validation"], drawn["eval"])
    return [{at for at, text in enumerate(texts, 1) if text in part} for part in parts]


@pytest.mark.parametrize("seed", range(3))
def test_the_split_is_that_of_sorted_hashes(tmp_path: Path, seed: int) -> None:
    rows = varied(400, seed)
    split = {"seed": SEED, "eval": EVAL, "validation": VALIDATION}
    parts = loaded(written(tmp_path / "rows.jsonl", rows), split=split)
    found = [{one.line for one in part} for part in (parts.train, parts.validation, parts.eval)]
    assert found == plain_split(rows)
    for part in (parts.train, parts.validation, parts.eval):
        assert [one.line for one in part] == sorted(one.line for one in part)
        for one in part:
            row = rows[one.line - 1]
            assert (one.text, one.completion) == (f"Tone: {row['phrase']}", row["tone"])
            assert dict(one.choices) == {label: label for label in LABELS}


def test_findings_are_those_of_comparing_each_with_each(tmp_path: Path) -> None:
    def one_word(ours: list[str], theirs: list[str]) -> bool:
        short, long = sorted((ours, theirs), key=len)
        if len(short) < 4 or len(long) - len(short) > 1 or short == long:
            return False
        begin = next((at for at, word in enumerate(short) if word != long[at]), len(short))
        return short[begin + (len(short) == len(long)) :] == long[begin + 1 :]

    parts = loaded(written(tmp_path / "rows.jsonl", varied(300, 5)))
    words = [
        [
            " ".join(unicodedata.normalize("NFKC", one.text).casefold().split()).split()
            for one in part
        ]
        for part in (parts.train, parts.eval)
    ]
    near = sum(any(one_word(ours, theirs) for theirs in words[0]) for ours in words[1])
    rows = [
        (unicodedata.normalize("NFKC", one.text).casefold(), one.label)
        for part in (parts.train, parts.validation, parts.eval)
        for one in part
    ]
    found = {finding.message.split(":")[0]: finding.count for finding in look(parts).findings}
    assert near > 10
    assert (
        found[f"of {len(parts.eval)} held-out rows differ from a training row in one word"] == near
    )
    assert found["rows repeat others"] == len(rows) - len(set(rows)) > 10


def test_memory_does_not_hold_the_texts(tmp_path: Path) -> None:
    chance = random.Random(1)  # noqa: S311 - test data
    rows = [
        {"phrase": " ".join(chance.choices(WORDS, k=200)), "tone": chance.choice(LABELS)}
        for _ in range(4000)
    ]
    file = written(tmp_path / "rows.jsonl", rows)
    tracemalloc.start()
    try:
        parts = loaded(file)
        look(parts)
        for one in parts.train:
            assert one.prompt
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < file.stat().st_size / 2


def test_a_file_of_which_nothing_can_be_read_is_not_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("no JSON\n" * 5000)
    *listed, last = read_file(file).problems
    assert [problem.line for problem in listed[:20]] == list(range(1, 21))
    assert last.message == "980 more rows that cannot be read"
    assert "nothing after this line" in next(one for one in listed if one.line == 1000).message
    file.write_text("no JSON\n" * 999 + '{"a": 1}\n' + "no JSON\n" * 2001)
    assert read_file(file).problems[-1].message == "2980 more rows that cannot be read"


SIDE_BY_SIDE = """\
import os, sys
from pathlib import Path
from pipeline.contract.data_spec import DataSpec
if sys.argv[2:]:
    os.sched_setaffinity(0, {int(sys.argv[2])})
from pipeline.data import side_by_side
from pipeline.data.survey import survey
side_by_side._PART, file = 500, Path(sys.argv[1])
spec = DataSpec(path="x", prompt="{phrase}", completion="{tone}", label="tone")
several = side_by_side.read_side_by_side([file], spec)
print(several is not None)
found = survey([file], spec)
for problem in found.problems:
    print(problem.line, problem.message)
print(found.checked.labels, [row.line for row in found.rows])
print([found.checked.facts.ranks["eval"].of(at).hex() for at in range(len(found.checked.facts))])
print([found.checked.facts.label(at) for at in range(len(found.checked.facts))])
if not found.problems:
    print(*map(list, found.checked.divided))
"""


@pytest.mark.parametrize("broken", [None, 3, 390])
def test_several_processes_find_what_one_finds(tmp_path: Path, broken: int | None) -> None:
    rows = varied(400, 9)
    if broken is not None:
        rows[broken]["tone"] = ""
    file = written(tmp_path / "rows.jsonl", rows)
    file.write_text(file.read_text("utf-8").replace("\n", "\n\n", 7), encoding="utf-8")

    def found(*cpu: str) -> list[str]:
        command = [sys.executable, "-c", SIDE_BY_SIDE, str(file), *cpu]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return ran.stdout.splitlines()

    several, *shown = found()
    if usable_cpus() > 1:
        assert several == str(broken is None)
    alone, *shown_by_one = found(str(min(os.sched_getaffinity(0))))
    assert alone == "False"
    assert shown == shown_by_one
    assert (broken is not None) == any("'tone' is empty" in line for line in shown)


STOPPED = """
import os, sys, time
from pathlib import Path
from pipeline.contract.data_spec import DataSpec
from pipeline.data import side_by_side
from targets.runtimes.interrupts import heeding_first_signal

def read(*_):
    os.write(1, b"reads\\n")
    time.sleep(60)

side_by_side._PART, side_by_side._read, side_by_side.usable_cpus = 50, read, lambda: 2
with heeding_first_signal():
    side_by_side.read_side_by_side([Path(sys.argv[1])], DataSpec(path="x", template="{phrase}"))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_who_read_without_a_word(tmp_path: Path, number: int) -> None:
    file = written(tmp_path / "rows.jsonl", varied(40, 9))
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(file)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["reads\n"] * 2
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=30)  # no copy holds the streams any more
    assert (process.returncode, errors) == (130, "")
