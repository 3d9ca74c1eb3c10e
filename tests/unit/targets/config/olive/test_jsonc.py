"""JSON as people write configs in it: values and positions."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.reading.json_text import JsonError
from targets.config.olive.jsonc import parse
from targets.config.olive.olive_positions import JsonPositions, YamlPositions
from targets.config.olive.read_olive import read_olive
from targets.errors import ConfigError

TEXT = """\
{
    // a comment with "quotes" and { braces
    "a": [1, 2, /* inner */ 3,],
    "url": "http://not.a/comment", # not at the beginning of a line: part of nothing
    "b": {
        "c": "x, }",
    },
}
"""


def test_comments_and_trailing_commas_are_passed_over() -> None:
    text = TEXT.replace(" # not at the beginning of a line: part of nothing", "")
    assert parse(text) == {
        "a": [1, 2, 3],
        "url": "http://not.a/comment",
        "b": {"c": "x, }"},
    }


def test_a_hash_begins_a_comment_only_at_the_beginning_of_a_line() -> None:
    assert parse('# head\n{"a": "# no"}') == {"a": "# no"}
    with pytest.raises(JsonError) as caught:
        parse(TEXT)
    assert caught.value.line == 4


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('{"a": 1,, "b": 2}', 1, 9),
        ('{\n  "a": <size>\n}', 2, 8),
        ('{\n  "a": [1, 2\n}', 3, 1),
        ('{\n  // a comment, which moves nothing\n  "a" 1\n}', 3, 7),
        ("", 1, 1),
    ],
)
def test_broken_json_names_line_and_column(text: str, line: int, column: int) -> None:
    with pytest.raises(JsonError) as caught:
        parse(text)
    assert (caught.value.line, caught.value.column) == (line, column)


def test_a_key_that_stands_twice_is_found_where_it_stands() -> None:
    text = '{\n  "a": {"type": 1},\n  "b": {\n    "type": 2,\n    "x": 1,\n    "type": 3\n  }\n}'
    with pytest.raises(JsonError, match="'type' stands twice") as caught:
        parse(text)
    assert (caught.value.line, caught.value.column) == (6, 5)


def test_lines_are_those_of_the_file_with_its_comments() -> None:
    places = JsonPositions(TEXT.replace(" # not at the beginning of a line: part of nothing", ""))
    assert places.line(("a", 2)) == 3
    assert places.line(("b", "c")) == 6
    assert places.line(("b", "missing")) == 5
    assert places.line(("nowhere",)) is None


@pytest.mark.timeout(30)  # what it guards against takes hours
def test_a_comma_before_a_thousand_comments_costs_no_more_than_others() -> None:
    comments = "// one\n/* two */\n" * 20_000
    assert parse(f'{{"a": [1, {comments} 2, {comments}]}}') == {"a": [1, 2]}


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_has_not_are_refused(constant: str) -> None:
    with pytest.raises(JsonError, match="not JSON"):
        parse(f'{{"a": {constant}}}')


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\na: 2\n", 2, "stands twice"),
        ("a: 1\n2: x\n", None, ""),
        ("a: .inf\n", 1, "not a JSON number"),
        ("a: &x [*x]\n", 1, "too much"),
        ("a: !!set {x}\n", 1, "no like in JSON"),
    ],
)
def test_yaml_is_held_to_what_json_can_say(
    tmp_path: Path, text: str, line: int | None, said: str
) -> None:
    file = tmp_path / "config.yaml"
    if line is None:
        assert read_olive(file, text)[0] == {"a": 1, "2": "x"}
        return
    with pytest.raises(ConfigError) as caught:
        read_olive(file, text)
    (problem,) = caught.value.problems
    assert problem.line == line
    assert said in problem.message


def test_a_date_of_yaml_is_the_text_that_is_written(tmp_path: Path) -> None:
    assert read_olive(tmp_path / "c.yml", "revision: 2024-01-02\n")[0] == {"revision": "2024-01-02"}


def test_half_a_character_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="half a character"):
        read_olive(tmp_path / "c.json", '{"a": "\\ud800"}')


def test_lines_of_yaml() -> None:
    places = YamlPositions("a:\n  - x: 1\n  - y:\n      z: 2\n")
    assert places.line(("a", 1, "y", "z")) == 4
    assert places.line(("a", 0)) == 2
