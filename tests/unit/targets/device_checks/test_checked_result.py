"""What a report becomes when the result of checks on another machine is taken in."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.kinds import StepKind
from pipeline.contract.plan import PathRef, SourceInput, Step, StepInput
from pipeline.contract.result import Status, StepResult
from targets.device_checks.checked_result import CheckedResult, merge_into_report, read_checked
from targets.device_checks.parcel import FOLDER, Parcel, pack, unpack
from targets.errors import ConfigError
from targets.planner.build_plan import BuildPlan, PlannedStep
from targets.report.compose_report import figures_of, verdicts_of
from targets.report.report_schema import (
    CheckedReport,
    CheckVerdict,
    InputsReport,
    Report,
    ToolchainReport,
)
from targets.runtimes.runtime import Mount

FILES = (FileDigest(path="model.onnx", bytes=3, sha256="a" * 64),)
FILE = Path("checked.json")


def verdict(name: str, status: Status, check: str = "graph") -> CheckVerdict:
    return CheckVerdict(name=name, status=status, check=check)


def report(*checks: CheckVerdict) -> Report:
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
    *checks: CheckVerdict, device: str = "a GPU", files: tuple[FileDigest, ...] = FILES
) -> CheckedResult:
    where = CheckedReport(device=device, system="", runtime="venv", toolchain="", at="")
    return CheckedResult(build="tone", target="cuda", files=files, where=where, checks=checks)


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
    taken = merge_into_report(report(verdict("x", built)), checked(verdict("x", found)), FILE)
    assert (taken.checks[0].status, taken.status) == (now, now)


@pytest.mark.parametrize("found", ["unverified", None])
def test_what_did_not_run_where_the_build_is_not_known_says_so(found: Status | None) -> None:
    there = (
        () if found is None else (verdict("x", found).model_copy(update={"detail": "no model"}),)
    )
    built = report(verdict("x", "passed"), verdict("y", "passed"))
    away = merge_into_report(built, checked(*there, verdict("y", "passed")), FILE, believed=False)
    assert (away.status, away.checks[1].status) == ("unverified", "passed")
    why = "its check did not run here" if found is None else "no model"
    assert away.checks[0].detail == f"passed where it was built, not here: {why}"
    # Where it was built, what was proven then is proven.
    home = merge_into_report(away, checked(*there, verdict("y", "passed")), FILE)
    assert home.status == "passed"


def test_a_folder_from_which_checks_were_taken_out_is_not_passed() -> None:
    """Whoever forged its digests has forged the list of its checks and their limits as well."""
    forged = report(verdict("loads", "passed"))
    away = merge_into_report(forged, checked(verdict("loads", "passed")), FILE, believed=False)
    assert away.status == "unverified"
    assert [item.name for item in away.checks] == ["loads", "known_build"]
    home = merge_into_report(away, checked(verdict("loads", "passed")), FILE)
    assert (home.status, len(home.checks)) == ("passed", 1)


def test_what_stood_in_for_a_check_goes_and_what_was_proven_stays() -> None:
    before = report(
        verdict("usable", "unverified", "conversion"), verdict("checkpoint", "passed", "merging")
    )
    ran = verdict("logits_error", "passed", "conversion")
    after = merge_into_report(before, checked(ran), FILE)
    assert [item.name for item in after.checks] == ["checkpoint", "logits_error"]
    without = merge_into_report(before, checked(ran, device=""), FILE)
    assert without.status == "unverified"


@pytest.mark.parametrize("gives", ["a verdict", "figures alone"])
def test_what_stood_in_for_a_check_with_a_name_of_its_own_goes_too(gives: str) -> None:
    result = checked(*([verdict("rouge.l", "passed", "rouge")] if gives == "a verdict" else []))
    if gives == "figures alone":
        result = result.model_copy(update={"figures": {"rouge": {"l": 0.5}}})
    after = merge_into_report(report(verdict("rouge.usable", "unverified", "rouge")), result, FILE)
    assert "rouge.usable" not in [item.name for item in after.checks]


def test_what_stood_in_for_a_check_stays_where_that_did_not_run() -> None:
    before = report(verdict("usable", "failed", "generation"), verdict("same", "unverified"))
    after = merge_into_report(before, checked(verdict("same", "passed")), FILE)
    assert [(item.check, item.status) for item in after.checks] == [
        ("generation", "failed"),
        ("graph", "passed"),
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_a_verdict_is_not_taken_for_that_of_another_check(order: int) -> None:
    """Both give one with the same name: what one proves, the other may disprove."""
    built = report(verdict("same", "unverified", "graph"), verdict("same", "unverified", "own"))
    there = [verdict("same", "failed", "graph"), verdict("same", "passed", "own")][::order]
    taken = merge_into_report(built, checked(*there), FILE)
    assert {item.check: item.status for item in taken.checks} == {
        "graph": "failed",
        "own": "passed",
    }
    assert taken.status == "failed"
    # What only one of them did there proves nothing of the other.
    alone = merge_into_report(built, checked(verdict("same", "passed", "own")), FILE)
    assert {item.check: item.status for item in alone.checks} == {
        "graph": "unverified",
        "own": "passed",
    }


def test_the_same_name_given_twice_by_one_check_is_matched_in_its_order() -> None:
    built = report(verdict("bytes", "unverified", "memory"), verdict("bytes", "failed", "memory"))
    there = [verdict("bytes", status, "memory") for status in ("passed", "failed", "passed")]
    taken = merge_into_report(built, checked(*there), FILE)
    assert [item.status for item in taken.checks] == ["passed", "failed", "passed"]


def test_what_the_device_takes_is_not_said_to_be_what_the_artifact_takes() -> None:
    """`memory` and `size` both give `bytes`; only the first waits for the device."""
    results = [
        done("memory", "memory", verdicts=(verdict("bytes", "unverified"),)),
        done("size", "size", verdicts=(verdict("bytes", "passed"),)),
    ]
    there = (verdict("bytes", "unverified", "memory"), verdict("bytes", "passed", "size"))
    taken = merge_into_report(report(*verdicts_of(results)), checked(*there), FILE)
    assert [(item.check, item.status) for item in taken.checks] == [
        ("memory", "unverified"),
        ("size", "passed"),
    ]
    assert taken.status == "unverified"


@pytest.mark.parametrize("nobodys", ["the report of tone", "this result"])
def test_verdicts_of_nobody_knows_which_check_are_not_merged(nobodys: str) -> None:
    known, unknown = verdict("x", "unverified"), verdict("x", "unverified", check="")
    here, there = (unknown, known) if nobodys == "the report of tone" else (known, unknown)
    with pytest.raises(ConfigError, match=f"{nobodys} does not say which check gave 'x'"):
        merge_into_report(report(here), checked(there), FILE)


def test_a_result_that_lacks_a_check_proves_nothing_of_it() -> None:
    before = report(
        verdict("token_ms", "unverified", "latency"), verdict("usable", "unverified", "memory")
    )
    after = merge_into_report(before, checked(), FILE)
    assert after.status == "unverified"
    assert [item.name for item in after.checks] == ["token_ms", "usable"]


def test_a_second_result_replaces_the_first() -> None:
    first = merge_into_report(
        report(verdict("x", "unverified")), checked(verdict("x", "failed")), FILE
    )
    assert merge_into_report(first, checked(verdict("x", "passed")), FILE).status == "passed"


@pytest.mark.parametrize("files", [(), (FILES[0].model_copy(update={"sha256": "b" * 64}),)])
def test_other_bytes_are_refused(files: tuple[FileDigest, ...]) -> None:
    with pytest.raises(ConfigError, match=r"other bytes \(model.onnx\)"):
        merge_into_report(report(), checked(files=files), FILE)


@pytest.mark.parametrize("text", ["", "{}", '{"schema_version": 2}'])
def test_what_is_no_result_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "checked.json").write_text(text)
    with pytest.raises(ConfigError, match="is not a result of checks"):
        read_checked(tmp_path / "checked.json")


def key(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def step(name: str, kind: StepKind, type_name: str, **inputs: StepInput | SourceInput) -> Step:
    return Step(
        name=name,
        kind=kind,
        type=type_name,
        target="cuda",
        toolchain="t",
        key=key(name),
        seed=0,
        inputs=dict(inputs),
    )


def done(name: str, type_name: str, **more: Any) -> StepResult:
    return StepResult(name=name, type=type_name, key=key(name), seconds=0, peak_rss_bytes=0, **more)


def test_what_checks_read_travels_with_the_artifact(tmp_path: Path) -> None:
    script, helpers = tmp_path / "metrics.py", tmp_path / "helpers"
    script.write_text("x = 1")
    helpers.mkdir()
    (helpers / "helper.py").write_text("y = 2")
    made = {name: StepInput(step=name, key=key(name)) for name in ("build", "time-a", "time-b")}
    for name in made:
        (tmp_path / "steps" / name).mkdir(parents=True)
        (tmp_path / "steps" / name / "timings.json").write_text(name)
    steps = (
        step("build", "pass", "model_builder"),
        *(
            step(
                f"fast-{n}",
                "check",
                "latency",
                artifact=made["build"],
                base_timing=made[f"time-{n}"],
            )
            for n in "ab"
        ),
        step(
            "rouge",
            "check",
            "script",
            artifact=made["build"],
            script=SourceInput(ref=PathRef(root="rouge.script", path="metrics.py"), digest="s"),
            script_dir=SourceInput(ref=PathRef(root="rouge.script_dir"), digest="d"),
        ),
    )
    plan = BuildPlan(
        build="tone",
        target="cuda",
        steps=tuple(PlannedStep(one, None, "") for one in steps),
        mounts=(Mount("rouge.script", script), Mount("rouge.script_dir", helpers)),
        artifact="build",
    )
    results = {name: done(name, "x", metrics={"device": name}) for name in made}
    pack(tmp_path / "dist", plan, results, lambda source: tmp_path / "steps" / source.step)
    script.write_text("x = 3")

    inputs = {one.name: one.inputs for one in unpack(tmp_path / "dist").steps}
    found = {}
    for name, roles in inputs.items():
        for role, source in roles.items():
            assert isinstance(source, SourceInput)
            found[name, role] = tmp_path / "dist" / FOLDER / source.ref.path
    assert found["rouge", "script"].read_text() == "x = 1"
    assert (found["rouge", "script_dir"] / "helper.py").read_text() == "y = 2"
    for name in "ab":
        place = found[f"fast-{name}", "base_timing"]
        assert (place / "timings.json").read_text() == f"time-{name}"


def test_a_check_under_a_name_of_its_own_tells_its_verdicts_and_figures_apart() -> None:
    both = [
        done(
            name, "script", verdicts=(verdict("same", "passed"),), evidence={"figures": {"same": n}}
        )
        for n, name in enumerate(("script", "rouge"))
    ]
    assert [item.name for item in verdicts_of(both)] == ["same", "rouge.same"]
    assert [(item.check, item.name_in_check) for item in verdicts_of(both)] == [
        ("script", "same"),
        ("rouge", "same"),
    ]
    assert report(*verdicts_of(both)).distinct_names == ("same", "rouge.same")
    twice = [done(name, name, verdicts=(verdict("same", "passed"),)) for name in ("graph", "own")]
    assert report(*verdicts_of(twice)).distinct_names == ("graph.same", "own.same")
    assert figures_of([*both, done("graph", "graph")]) == {
        "script": {"same": 0},
        "rouge": {"same": 1},
    }


def forged(**changes: Any) -> Step:
    artifact = SourceInput(ref=PathRef(root="artifact"), digest=key("build"))
    return step("graph", "check", "graph", artifact=artifact).model_copy(update=changes)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([forged(kind="pass")], "graph is no check"),
        ([forged(), forged()], "or stands twice"),
        ([forged(key="../../../beside")], "the key of graph is none"),
        ([forged(key="/etc")], "the key of graph is none"),
        ([forged(inputs={"artifact": StepInput(step="x", key=key("x"))})], "outside of the folder"),
        (
            [forged(code=SourceInput(ref=PathRef(root="checks", path="../x"), digest="d"))],
            "outside",
        ),
        (
            [forged(code=SourceInput(ref=PathRef(root="checks", path="/etc"), digest="d"))],
            "outside",
        ),
    ],
)
def test_steps_that_no_build_writes_are_refused(
    tmp_path: Path, steps: list[Step], said: str
) -> None:
    (tmp_path / FOLDER).mkdir()
    parcel = Parcel(build="tone", target="cuda", files=(), steps=tuple(steps))
    (tmp_path / FOLDER / "checks.json").write_text(parcel.model_dump_json())
    with pytest.raises(ConfigError, match=said):
        unpack(tmp_path)
