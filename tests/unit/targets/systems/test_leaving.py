"""What a container says that has copied a step is believed as little as what comes from there."""

from __future__ import annotations

import json

import pytest

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.plan import Step
from pipeline.contract.result import StepResult
from targets.errors import PassFailed
from targets.intake import take_in_left
from targets.systems.arrival import CutOff, Refused
from targets.systems.engine.leaving import copied

FILE = FileDigest(path="model.bin", bytes=3, sha256="ab" * 32)


def said(*files: FileDigest) -> str:
    return "\n\n".join([*(file.model_dump_json() for file in files), ""])


def test_files_are_listed_in_order() -> None:
    other = FILE.model_copy(update={"path": "a"})
    assert copied(f"{said(FILE, other)}whole\n") == (other, FILE)


def test_what_ends_too_early_is_asked_for_again() -> None:
    for text in ("", said(FILE)):
        with pytest.raises(CutOff):
            copied(text)


def test_no_room_is_no_error() -> None:
    assert copied(said(FILE) + json.dumps({"errno": 28, "why": "no space"})) is None


@pytest.mark.parametrize(
    "line",
    [
        "Traceback (most recent call last):",
        "5",
        "null",
        '["model.bin", 3]',
        '{"path": "a"}',
        '{"path": "a", "bytes": "many", "sha256": "x"}',
        '{"errno": 0, "why": "neither file nor folder: output/pipe"}',
    ],
)
def test_anything_else_is_refused(line: str) -> None:
    with pytest.raises(Refused):
        copied(f"{line}\nwhole\n")


def step(kind: str = "pass") -> Step:
    place = {"type": "merge", "target": "cpu", "toolchain": "t", "key": "cd" * 32, "seed": 0}
    return Step.model_validate({"name": "merge", "kind": kind, **place})


def result(**changes: object) -> bytes:
    found = {"name": "merge", "type": "merge", "key": "cd" * 32, "seconds": 1, "peak_rss_bytes": 1}
    made = StepResult.model_validate({**found, "files": (FILE,), **changes})
    return made.model_dump_json().encode()


def test_a_result_has_the_origin_that_this_machine_knows() -> None:
    written = result(origin={"system": "forged"})
    taken = take_in_left(step(), written, (FILE,), {"system": "box"})
    assert (taken.files, taken.origin) == ((FILE,), {"system": "box"})


@pytest.mark.parametrize(
    "written",
    [
        result(key="ef" * 32),
        result(name="lora"),
        result(verdicts=[{"name": "x", "status": "passed"}]),
        result(files=()),
        result(files=(FILE.model_copy(update={"sha256": "00" * 32}),)),
        b"{",
        b"\xff",
    ],
)
def test_a_result_that_is_not_the_steps_is_refused(written: bytes) -> None:
    with pytest.raises(PassFailed):
        take_in_left(step(), written, (FILE,), {})
