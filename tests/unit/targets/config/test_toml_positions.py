"""Lines of keys in TOML, in every way in which a key can be written."""

from __future__ import annotations

import pytest

from targets.config.source_map import KeyPath
from targets.config.toml_positions import TomlPositions

TEXT = """\
name = "x"
model = { source = "a", weights = "any" }

[data."my data"]
path = "p"
split.eval = 0.3
labels = [
  "joy",  # first
  "sadness",
]

[[steps]]
x = 1
[[steps]]
x = 2
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("name",), 1),
        (("model", "weights"), 2),
        (("data", "my data"), 4),
        (("data", "my data", "path"), 5),
        (("data", "my data", "split", "eval"), 6),
        (("data", "my data", "labels", 1), 9),
        (("steps", 1, "x"), 15),
        (("data", "my data", "missing"), 4),
        (("nowhere",), None),
    ],
)
def test_line_of_key(path: KeyPath, line: int | None) -> None:
    assert TomlPositions(TEXT).line(path) == line
