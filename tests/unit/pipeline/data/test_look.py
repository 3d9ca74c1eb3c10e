"""What is odd about rows is found, with their lines and how many they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import JsonValue

from pipeline.contract.data_files import DataFiles
from pipeline.contract.data_spec import DataSpec
from pipeline.data.chat import Message
from pipeline.data.examples import Example
from pipeline.data.findings import Look
from pipeline.data.look import look
from pipeline.data.parts import load_parts
from pipeline.data.split import Parts


def rows(*texts: tuple[str, str], first: int = 1) -> list[Example]:
    return [
        Example(line, (Message("user", text),), label, label=label)
        for line, (text, label) in enumerate(texts, first)
    ]


def seen(train: list[Example], held_out: list[Example] | None = None) -> Look:
    return look(Parts(train, [], held_out or []))


def test_rows_per_label_and_part() -> None:
    found = seen(rows(("a", "joy"), ("b", "fear"), ("c", "joy")), rows(("d", "joy"), first=4))
    assert found.rows == {"training": 3, "validation": 0, "held-out": 1}
    assert found.labels == {
        "fear": {"training": 1, "validation": 0, "held-out": 0},
        "joy": {"training": 2, "validation": 0, "held-out": 1},
    }
    assert found.findings == ()
    lengths = found.characters["training"]
    assert (lengths.rows, lengths.p50, lengths.longest) == (3, 4, 5)


def test_the_same_text_with_two_labels() -> None:
    found = seen(rows(("It rains", "joy"), ("Sun", "joy"), ("it  RAINS", "fear")))
    assert found.warnings == (
        "2 rows have the text of another row with another label: line 1 (joy), line 3 (fear)",
    )


def test_without_labels_several_answers_are_a_figure() -> None:
    part = [
        Example(line, (Message("user", text),), answer)
        for line, (text, answer) in enumerate((("a", "x"), ("b", "x"), ("A", "y")), 1)
    ]
    found = seen(part)
    assert found.warnings == ()
    assert [str(finding) for finding in found.findings] == [
        "2 rows have the text of another row with another answer: line 1, line 3"
    ]


def test_rows_that_repeat_others_are_a_figure() -> None:
    found = seen(rows(("a", "joy"), ("A ", "joy"), ("b", "joy"), ("a", "joy")))
    assert [str(finding) for finding in found.findings] == ["2 rows repeat others: line 2, line 4"]
    assert found.warnings == ()


def test_answers_that_call_other_tools_are_other_answers() -> None:
    def calls(line: int, name: str) -> Example:
        others: dict[str, JsonValue] = {"tool_calls": [{"function": {"name": name}}]}
        return Example(line, (Message("user", "now"),), "", answer_others=others)

    found = seen([calls(1, "clock"), calls(2, "calendar"), calls(3, "clock")])
    assert [str(finding) for finding in found.findings] == [
        "1 row repeats another: line 3",
        "3 rows have the text of another row with another answer: line 1, line 2, line 3",
    ]
    assert found.characters["training"].longest > len("now")


def test_held_out_rows_one_word_from_a_training_row() -> None:
    train = rows(("my train is late again", "fear"), ("what a day to be here", "joy"))
    held_out = rows(("My bus is late again", "fear"), ("what a day", "joy"), first=3)
    assert seen(train, held_out).warnings == (
        "1 of 2 held-out rows differs from a training row in one word: line 3 and line 1",
    )


def test_a_label_in_its_own_prompt() -> None:
    found = seen(
        rows(
            ("Joy! It is over", "joy"),
            ("tone joy or fear of this", "joy"),
            ("enjoyed", "joy"),
            ("no.", "."),
            ("dread", "fear"),
        )
    )
    assert found.warnings == (
        "1 of 5 rows has its label, and no other, in its own prompt: line 1 (joy)",
    )


def test_pictures_that_the_model_does_not_see() -> None:
    found = seen(rows(("<image>\nwhat is it", "a cat"), ("an <img>", "b")))
    assert found.warnings == (
        "1 row holds what stands for a picture, which the model does not see: line 1 (<image>)",
    )


def test_of_many_rows_the_first_are_named() -> None:
    found = seen(rows(*((f"{n} [IMG]", "x") for n in range(11))))
    assert found.warnings[0].startswith("11 rows hold what stands for a picture")
    assert found.warnings[0].endswith("line 8 ([IMG]) and 3 more")


def test_how_files_were_read(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text('text,label\na,joy\n"Wait,joy\nstop,sad\nand go",sad\nb,sad\nc,joy\n')
    spec: dict[str, Any] = {"path": "x", "prompt": "{text}", "completion": "{label}"}
    found = look(load_parts(DataFiles("d", DataSpec.model_validate(spec), (file,))))
    assert found.notes == (
        "rows.csv: read with cells between commas, quotes as in CSV: a .csv file",
    )
    assert found.warnings == (
        "1 row has a cell that looks like several rows, as if a quotation mark were part of a "
        "text: rows.csv:3",
    )
