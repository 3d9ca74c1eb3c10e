"""The table of `docs/data.md` says which label an answer counts as."""

from __future__ import annotations

import re

from pipeline.data.examples import Example
from pipeline.evaluation.scores import label_of
from targets.cli.options import PROJECT


def test_the_table_of_answers_is_so() -> None:
    text = (PROJECT / "docs" / "data.md").read_text(encoding="utf-8")
    table = text.partition("| labels | answer | counts as |\n")[2].partition("\n\n")[0]
    rows = [
        [re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split("|")]
        for line in table.splitlines()[1:]
    ]
    assert len(rows) == 5
    for labels, (answer,), counts_as in rows:
        example = Example(1, (), "", choices={label: label for label in labels})
        assert label_of(answer, example) == (counts_as[0] if counts_as else None), answer
