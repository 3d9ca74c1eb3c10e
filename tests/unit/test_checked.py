"""What a report becomes when the result of checks on another machine is taken in."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.result import FileDigest, Status, Verdict
from targets.checked.result import Checked, accept, read_checked
from targets.errors import ConfigError
from targets.report.model import CheckedReport, InputsReport, Report, ToolchainReport

FILES = (FileDigest(path="model.onnx", bytes=3, sha256="a" * 64),)
FILE = Path("checked.json")


def verdict(name: str, status: Status) -> Verdict:
    return Verdict(name=name, status=status)


def report(*checks: Verdict) -> Report:
    return Report(
        build="tone",
        target="cuda",
        status="unverified",
        quern="0",
        inputs=InputsReport(config="", model=""),
        toolchain=ToolchainReport(digest="", runtime="docker"),
        passes=(),
        checks=checks,
        files=FILES,
    )


def checked(
    *checks: Verdict, device: str = "a GPU", files: tuple[FileDigest, ...] = FILES
) -> Checked:
    where = CheckedReport(device=device, system="", runtime="venv", toolchain="", at="")
    return Checked(build="tone", target="cuda", files=files, where=where, checks=checks)


@pytest.mark.parametrize(
    ("built", "found", "now"),
    [
        ("unverified", "passed", "passed"),
        ("unverified", "failed", "failed"),
        ("unverified", "unverified", "unverified"),
        ("passed", "failed", "failed"),
        ("failed", "passed", "failed"),
        ("passed", "unverified", "passed"),
    ],
)
def test_one_verdict(built: Status, found: Status, now: Status) -> None:
    taken = accept(report(verdict("x", built)), checked(verdict("x", found)), FILE)
    assert (taken.checks[0].status, taken.status) == (now, now)


def test_what_stood_in_for_a_check_goes_and_what_was_proven_stays() -> None:
    before = report(verdict("usable", "unverified"), verdict("checkpoint", "passed"))
    after = accept(before, checked(verdict("logits_error", "passed")), FILE)
    assert [item.name for item in after.checks] == ["checkpoint", "logits_error"]
    without = accept(before, checked(verdict("logits_error", "passed"), device=""), FILE)
    assert without.status == "unverified"


def test_a_result_that_lacks_a_check_proves_nothing_of_it() -> None:
    before = report(verdict("token_ms", "unverified"), verdict("usable", "unverified"))
    after = accept(before, checked(), FILE)
    assert after.status == "unverified"
    assert [item.name for item in after.checks] == ["token_ms"]


def test_a_second_result_replaces_the_first() -> None:
    first = accept(report(verdict("x", "unverified")), checked(verdict("x", "failed")), FILE)
    assert accept(first, checked(verdict("x", "passed")), FILE).status == "passed"


@pytest.mark.parametrize("files", [(), (FILES[0].model_copy(update={"sha256": "b" * 64}),)])
def test_other_bytes_are_refused(files: tuple[FileDigest, ...]) -> None:
    with pytest.raises(ConfigError, match=r"other bytes \(model.onnx\)"):
        accept(report(), checked(files=files), FILE)


@pytest.mark.parametrize("text", ["", "{}", '{"schema_version": 2}'])
def test_what_is_no_result_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "checked.json").write_text(text)
    with pytest.raises(ConfigError, match="is no result of checks"):
        read_checked(tmp_path / "checked.json")
