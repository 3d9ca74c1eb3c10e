"""Reading rows: formats, line numbers, everything that can be broken."""

from pathlib import Path

import pytest

from pipeline.data.load import read_rows, text_of
from pipeline.data.problems import LISTED_PER_KIND


def write(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"phrase": "hé", "n": 1}\n\n{"phrase": "b", "n": 2}\n'),
        ("a.ndjson", '\ufeff{"phrase": "hé", "n": 1}\r\n\r\n{"phrase": "b", "n": 2}'),
        ("a.json", '[{"phrase": "hé", "n": 1},\n\n{"phrase": "b", "n": 2}]\n'),
        ("b.json", '{"phrase": "hé", "n": 1}\n\n{"phrase": "b", "n": 2}\n'),
    ],
)
def test_rows_and_their_lines(tmp_path: Path, name: str, content: str) -> None:
    rows, problems = read_rows(write(tmp_path, name, content))
    assert problems == []
    assert [(row.line, dict(row.values)) for row in rows] == [
        (1, {"phrase": "hé", "n": 1}),
        (3, {"phrase": "b", "n": 2}),
    ]


@pytest.mark.parametrize(("name", "mark"), [("a.csv", ","), ("a.tsv", "\t")])
def test_separated_values(tmp_path: Path, name: str, mark: str) -> None:
    text = f'phrase{mark}tone\r\n"one{mark} two\nlines"{mark}joy\r\n\r\nplain{mark}fear\r\n'
    rows, problems = read_rows(write(tmp_path, name, "\ufeff" + text))
    assert problems == []
    assert [(row.line, dict(row.values)) for row in rows] == [
        (2, {"phrase": f"one{mark} two\nlines", "tone": "joy"}),
        (5, {"phrase": "plain", "tone": "fear"}),
    ]


def test_a_line_separator_inside_a_string_is_no_new_line(tmp_path: Path) -> None:
    rows, problems = read_rows(write(tmp_path, "a.jsonl", '{"a": "x\u2028y"}\n{"a": "z"}\n'))
    assert problems == []
    assert [row.line for row in rows] == [1, 2]


def test_every_broken_line_is_named(tmp_path: Path) -> None:
    content = '{"a": 1}\n{"a": \n[1]\n{"a": 1, "a": 2}\n{"a": NaN}\n"x"\n{"a": 2}\n'
    rows, problems = read_rows(write(tmp_path, "a.jsonl", content))
    assert [row.line for row in rows] == [1, 7]
    assert [problem.line for problem in problems] == [2, 3, 4, 5, 6]
    messages = [problem.message for problem in problems]
    assert "broken JSON" in messages[0]
    assert "an array" in messages[1]
    assert "'a' occurs twice" in messages[2]
    assert "NaN" in messages[3]
    assert "text, not an object" in messages[4]


def test_a_long_list_of_problems_is_cut_and_counted(tmp_path: Path) -> None:
    content = "".join(f"{{broken {index}\n" for index in range(LISTED_PER_KIND + 7))
    rows, problems = read_rows(write(tmp_path, "a.jsonl", content))
    assert rows == []
    assert len(problems) == LISTED_PER_KIND + 1
    assert problems[-1].message.startswith("7 more")


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ('[{"a": 1},\n {"a": }]', 2, "broken JSON"),
        ('[{"a": 1}\n {"a": 2}]', 2, "expected ','"),
        ('[{"a": 1},\n3]', 2, "a number"),
        ('[{"a": 1}]\n]', 2, "after the end"),
        ('[{"a": 1},\n', 2, "broken JSON"),
    ],
)
def test_broken_arrays(tmp_path: Path, content: str, line: int, said: str) -> None:
    rows, problems = read_rows(write(tmp_path, "a.json", content))
    assert len(rows) == 1
    assert [problem.line for problem in problems] == [line]
    assert said in problems[0].message


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ("a,a\n1,2\n", 1, "twice"),
        ("a,\n1,2\n", 1, "without a name"),
        ("a,b\n1,2\n1,2,3\n", 3, "3 fields where the header has 2"),
        ('a,b\n"open,2\n', 2, "broken row"),
    ],
)
def test_broken_tables(tmp_path: Path, content: str, line: int, said: str) -> None:
    _, problems = read_rows(write(tmp_path, "a.csv", content))
    assert [problem.line for problem in problems] == [line]
    assert said in problems[0].message


def test_encodings_that_are_not_utf8(tmp_path: Path) -> None:
    _, problems = read_rows(write(tmp_path, "a.jsonl", b'{"a": "x"}\n{"a": "\xe9"}\n'))
    assert problems[0].line == 2
    assert "0xe9" in problems[0].message
    _, problems = read_rows(write(tmp_path, "b.jsonl", '{"a": 1}'.encode("utf-16")))
    assert "UTF-16" in problems[0].message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "unknown kind" in read_rows(write(tmp_path, "a.parquet", ""))[1][0].message
    assert "cannot be read" in read_rows(tmp_path / "absent.csv")[1][0].message
    assert read_rows(write(tmp_path, "empty.json", "")) == ([], [])


@pytest.mark.parametrize(
    ("value", "text"), [("a", "a"), (1, "1"), (1.5, "1.5"), (True, "true"), (None, "")]
)
def test_values_as_text(value: str | float | None, text: str) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_half_a_character_is_named(tmp_path: Path, name: str) -> None:
    # json.loads makes a lone surrogate of it, which str.encode refuses: hand-computed lines.
    halves = [r'{"a": "x\ud83dy"}', r'{"a": ["\ude00"]}', r'{"a": "\ud83d\ude00", "b": "\u00e9"}']
    text = "\n".join(halves) if name == "a.jsonl" else "[" + ",\n".join(halves) + "]"
    rows, problems = read_rows(write(tmp_path, name, text))
    assert [dict(row.values) for row in rows] == [{"a": "\U0001f600", "b": "é"}]
    assert [(problem.line, problem.message) for problem in problems] == [
        (1, r"the column 'a' holds \ud83d, half of a character"),
        (2, r"the column 'a' holds \ude00, half of a character"),
    ]
