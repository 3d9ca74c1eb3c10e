"""Data files of every kind."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.attack.configs import plan
from tests.attack.hostile import as_json, hostile
from tests.attack.inside import Ended
from tests.attack.surface import Surface
from tests.support.project import TONES, make_project

_ROWS = [{"phrase": f"phrase {number}", "tone": TONES[number % 4]} for number in range(12)]
_CHATS = [
    {
        "phrase": [
            {"role": "user", "content": f"question {number}"},
            {"role": "assistant", "content": "answer"},
        ],
        "tone": "joy",
    }
    for number in range(6)
]
_PARQUET = b"PAR1" + b"\0" * 40 + (32).to_bytes(4, "little") + b"PAR1"


def _lines(tree: Any) -> bytes:
    rows = tree if isinstance(tree, list) else [tree]
    return b"".join(as_json(row) + b"\n" for row in rows)


def _separated(mark: str) -> Any:
    def write(tree: Any) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text, delimiter=mark, quoting=csv.QUOTE_MINIMAL, escapechar="\\")
        rows = [row for row in tree if isinstance(row, dict)] if isinstance(tree, list) else []
        writer.writerow(["phrase", "tone"])
        writer.writerows([_cell(cell) for cell in row.values()] for row in rows)
        return text.getvalue().encode("utf-8", "replace")

    return write


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _named(suffix: str, contents: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[str, bytes]]:
    return contents.map(lambda content: (suffix, content))


def _either(write: Any) -> st.SearchStrategy[bytes]:
    trees: Sequence[Any] = (_ROWS, _CHATS)
    return st.one_of([hostile(tree, write) for tree in trees])


def _meet(given: tuple[str, bytes, str], folder: Path) -> Ended:
    suffix, content, text = given
    project = make_project(folder)
    (folder / f"rows{suffix}").write_bytes(content)
    project.edit('"tone.jsonl"', f'"rows{suffix}"')
    if text:
        project.edit('prompt = "{phrase}"\ncompletion = "{tone}"\n', f"{text}\n")
    return plan(project.config)


_TEXTS = ("", 'messages = "phrase"', 'template = "{phrase}: {tone}"', "tokens = true")
"""What a data set reads of its rows."""

DATA = Surface(
    "data files",
    st.builds(
        lambda named, text: (*named, text),
        st.one_of(
            _named(".jsonl", _either(_lines)),
            _named(".json", _either(as_json)),
            _named(".csv", _either(_separated(","))),
            _named(".tsv", _either(_separated("\t"))),
            _named(".parquet", hostile(_ROWS, lambda _: _PARQUET)),
        ),
        st.sampled_from(_TEXTS),
    ),
    _meet,
    count=250,
)
