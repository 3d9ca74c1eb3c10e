"""dist/ holds whole artifacts only, and a report that says what was seen."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from pydantic import JsonValue
from rich.console import Console

from pipeline.contract.result import Verdict
from pipeline.verdicts.overall import overall
from targets.console.print_summary import print_summary
from targets.digests import Digests
from targets.report.dist import copy_tree, write_dist
from targets.report.report_markdown import to_markdown
from targets.report.report_schema import Report
from tests.support.reports import ACCURACY, SLOW, make_report


def make_artifact(folder: Path, text: str = "graph") -> Path:
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_text(text)
    return folder


def nothing_more(_folder: Path) -> None:
    """Complete a folder that holds all it needs."""


def test_worst_status_wins() -> None:
    assert overall(["passed", "unverified", "failed"]) == "failed"
    assert overall(["passed", "unverified"]) == "unverified"
    assert overall(["passed"]) == "passed"


def test_dist_is_a_copy_and_replaced_whole(tmp_path: Path) -> None:
    digests = Digests(tmp_path / "digests.sqlite")
    first = make_artifact(tmp_path / "first")
    folder = write_dist(tmp_path / "dist", make_report(ACCURACY), first, digests, nothing_more)
    handed_out = folder / "model" / "model.onnx"
    assert handed_out.read_text() == "graph"
    assert handed_out.stat().st_nlink == 1
    assert not handed_out.samefile(first / "model.onnx")
    assert json.loads((folder / "report.json").read_text())["status"] == "passed"

    second = make_artifact(tmp_path / "second", "another graph")
    (second / "more.txt").write_text("x")
    write_dist(tmp_path / "dist", make_report(ACCURACY, SLOW), second, digests, nothing_more)
    assert (folder / "model" / "model.onnx").read_text() == "another graph"
    assert json.loads((folder / "report.json").read_text())["status"] == "failed"
    assert {path.name for path in folder.parent.iterdir()} == {"cpu"}


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_who_may_read_dist_is_as_the_umask_says(tmp_path: Path, umask: int, mode: int) -> None:
    made = make_artifact(tmp_path / "made")
    (made / "model.onnx").chmod(mode)
    before = os.umask(umask)
    try:
        digests = Digests(tmp_path / "digests.sqlite")
        write_dist(tmp_path / "dist", make_report(ACCURACY), made, digests, nothing_more)
    finally:
        os.umask(before)
    found = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "dist").rglob("*")}
    assert len(found) > 4
    assert found == {p: (0o777 if p.is_dir() else 0o666) & ~umask for p in found}


def test_unchanged_artifact_keeps_its_files(tmp_path: Path) -> None:
    digests = Digests(tmp_path / "digests.sqlite")
    artifact = make_artifact(tmp_path / "artifact")
    folder = write_dist(tmp_path / "dist", make_report(ACCURACY), artifact, digests, nothing_more)
    changed_at = (folder / "model" / "model.onnx").stat().st_ctime_ns
    write_dist(tmp_path / "dist", make_report(ACCURACY), artifact, digests, nothing_more)
    assert (folder / "model" / "model.onnx").stat().st_ctime_ns == changed_at


def test_a_file_that_was_changed_in_dist_is_replaced_and_the_cache_keeps_its_own(
    tmp_path: Path,
) -> None:
    digests = Digests(tmp_path / "digests.sqlite")
    artifact = make_artifact(tmp_path / "artifact")
    folder = write_dist(tmp_path / "dist", make_report(ACCURACY), artifact, digests, nothing_more)
    (folder / "model" / "model.onnx").write_text("hparg")
    assert (artifact / "model.onnx").read_text() == "graph"
    write_dist(tmp_path / "dist", make_report(ACCURACY), artifact, digests, nothing_more)
    assert (folder / "model" / "model.onnx").read_text() == "graph"


@pytest.mark.parametrize("by_the_system", [True, False])
def test_all_bytes_are_copied(
    by_the_system: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not by_the_system:
        monkeypatch.delattr(os, "copy_file_range", raising=False)  # as on Windows
    artifact = make_artifact(tmp_path / "artifact", "graph" * 100_000)
    (artifact / "empty.json").touch()
    copy_tree(artifact, tmp_path / "copy")
    copied = {path.name: path.read_text() for path in (tmp_path / "copy").iterdir()}
    assert copied == {"model.onnx": "graph" * 100_000, "empty.json": ""}


def test_markdown_shows_figures_with_limits() -> None:
    text = to_markdown(make_report(ACCURACY, SLOW))
    assert "# tone for cpu: failed" in text
    assert "| accuracy | passed | 93.4 % | ≥ 90.0 % |" in text
    assert "| token_ms | failed | 31.25 ms | ≤ 20 ms | p90 of 64 samples |" in text
    assert "| | 25.0 % | 95.0 % | 93.4 % |" in text
    assert "1 min 01 s" in text


def test_summary_names_accuracy_latency_size_and_place(tmp_path: Path) -> None:
    console = Console(record=True, width=120, file=(tmp_path / "out").open("w"))
    print_summary(console, make_report(ACCURACY, SLOW), Path("dist/tone/cpu"), 1.0)
    shown = console.export_text()
    first, models, *_ = shown.split("\n")[1:]
    assert first == "accuracy 25.0 → 95.0 → 93.4 %, 4.2 MB"
    assert models.strip() == "base, tuned, cpu artifact; 540 held-out samples"
    for part in (
        "31.25 ms",
        "p90 of 64 samples",
        "dist/tone/cpu/model",
        "dist/tone/cpu/report.html",
    ):
        assert part in shown
    assert "accuracy  " not in shown, "it passed, and its limit is none of the config's"


def of_the_config(report: Report, **given: tuple[str, ...]) -> Report:
    """Return ``report`` with checks of which the config sets keys."""
    (one,) = report.passes
    steps = (
        one.model_copy(update={"name": name, "type": name, "kind": "check", "given": keys})
        for name, keys in given.items()
    )
    return report.model_copy(update={"passes": (one, *steps)})


GRAPH = tuple(
    Verdict(name=name, status="passed", value=0, limit=0, relation="==", unit="problems")
    for name in ("packing", "loads")
)
OPEN = Verdict(name="nodes_off_provider", status="unverified", detail="there is no GPU")


def summary(report: Report, width: int = 100, everything: bool = False) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width)
    print_summary(console, report, Path("dist/tone/cpu"), 1.0, everything=everything)
    return [" ".join(line.split()) for line in out.getvalue().splitlines() if line.strip()]


def test_what_failed_comes_first_then_what_is_open_then_the_limits_of_the_config() -> None:
    report = of_the_config(
        make_report(*GRAPH, ACCURACY, OPEN, SLOW),
        graph=(),
        quality=("min_accuracy",),
        provider=(),
        latency=("goals",),
    )
    lines = summary(report)
    marked = [line for line in lines if line[0] in "✓✗?"]
    assert [line.split()[:2] for line in marked] == [
        ["✗", "token_ms"],
        ["?", "nodes_off_provider"],
        ["✓", "accuracy"],
        ["?", "valid?"],
        ["✓", "as"],
        ["✗", "fast"],
    ]
    assert "→ Measure on a quiet machine. Then: fewer bits" in " ".join(lines)
    assert marked[0] == "✗ token_ms 31.25 ms, limit ≤ 20 ms"
    assert marked[1] == "? nodes_off_provider unverified"
    assert marked[2].endswith("≥ 90.0 % set by the config")
    assert marked[3] == "? valid? 2 of 3 proofs hold; unverified: nodes_off_provider"
    assert marked[5] == "✗ fast enough? 0 of 1 proofs hold; failed: token_ms"
    assert lines[-1] == "failed dist/tone/cpu/model in 1.0 s"
    assert "packing" not in " ".join(lines)
    listed = [line.split()[1] for line in summary(report, everything=True) if line[0] == "✓"]
    assert listed[:2] == ["packing", "loads"]


def test_accuracy_says_that_it_falls_back_to_the_likeliest_label() -> None:
    report = make_report(ACCURACY)
    shares = {"base": 0.0, "tuned": 0.949, "artifact": 0.931}
    details: dict[str, JsonValue] = {name: {"greedy": one} for name, one in shares.items()}
    told = report.model_copy(update={"quality": {**report.quality, "details": details}})
    shown = "0.0 → 94.9 → 93.1 % as written: where an answer is none of the labels"
    assert shown in " ".join(summary(told))
    assert shown in to_markdown(told)
    assert "as written" not in " ".join(summary(report))


def trained(**metrics: JsonValue) -> Report:
    report = make_report(ACCURACY)
    lora = report.passes[0].model_copy(
        update={"metrics": {"train_loss_curve": [[1, 2.0]], "tokens_per_second": 9870.4, **metrics}}
    )
    return report.model_copy(update={"passes": (lora,)})


def test_reports_say_how_fast_a_pass_trained_and_in_what_memory(tmp_path: Path) -> None:
    report = trained(
        learnt_tokens_per_second=1240.0, padding=0.274, peak_device_bytes=6_025_117_696
    )
    line = "| lora | 9,870/s | 1,240/s | 27.4 % | 1.2 GB | 6.0 GB |"
    assert line in to_markdown(report)
    console = Console(record=True, width=120, file=(tmp_path / "out").open("w"))
    print_summary(console, report, Path("dist/tone/cpu"), 1.0, everything=True)
    assert "lora  tokens 9,870/s  (peak memory 1.2 GB, of the GPU 6.0 GB)" in console.export_text()


def test_what_a_virtual_environment_made_is_said(tmp_path: Path) -> None:
    report = make_report(ACCURACY)
    (one,) = report.passes
    contained = one.model_copy(update={"runtime": "docker"})
    outside = one.model_copy(update={"name": "merge", "runtime": "venv"})
    for steps, words in (
        ((contained,), None),
        ((outside,), "ade in a virtual environment\n"),
        ((contained, outside), "ade in a virtual environment: merge\n"),
    ):
        found = report.model_copy(update={"passes": steps})
        console = Console(record=True, width=80)
        print_summary(console, found, tmp_path, 1.0)
        for text in (console.export_text(), to_markdown(found).replace("**", "")):
            assert (words or "\n") in text
            assert ("made in a" in text.lower()) == (words is not None)


def test_reports_without_a_gpu_or_a_training_name_none(tmp_path: Path) -> None:
    assert "| lora | 9,870/s | – | – | 1.2 GB | – |" in to_markdown(trained(peak_device_bytes=None))
    console = Console(record=True, width=120, file=(tmp_path / "out").open("w"))
    print_summary(console, trained(), Path("dist/tone/cpu"), 1.0, everything=True)
    assert "(peak memory 1.2 GB)" in console.export_text()
    assert "## Training" not in to_markdown(make_report(ACCURACY))


def test_markdown_says_how_weights_were_rounded_with_data() -> None:
    report = make_report(ACCURACY)
    figures = {"precision": "int4", "error": 0.0451, "nearest_error": 0.0663}
    step = report.passes[0].model_copy(
        update={
            "name": "round",
            "type": "gptq",
            "metrics": {**figures, "matrices": 210, "rows": 256},
        }
    )
    rounded = report.model_copy(update={"passes": (*report.passes, step)})
    line = (
        "- weights: 210 matrices rounded to int4 for 256 rows of the training part; what they give "
        "there changes by 4.5 %, and would by 6.6 % with each weight rounded by itself (medians)\n"
    )
    assert line in to_markdown(rounded)
    assert "- weights:" not in to_markdown(report)


def test_markdown_says_that_weights_were_scaled() -> None:
    report = make_report(ACCURACY)
    figures = {"error": 0.0451, "plain_error": 0.0663, "matrices": 210, "rows": 256}
    step = report.passes[0].model_copy(update={"name": "awq", "type": "awq", "metrics": figures})
    scaled = report.model_copy(update={"passes": (*report.passes, step)})
    line = (
        "- weights: the inputs of 210 matrices scaled for 256 rows of the training part; rounding "
        "changes what they give there by 4.5 %, and would by 6.6 % without (medians)\n"
    )
    assert line in to_markdown(scaled)


def test_markdown_says_what_the_adapter_was_merged_into() -> None:
    report = make_report(ACCURACY)
    merge = report.passes[0].model_copy(
        update={"name": "merge", "metrics": {"into": "dequantized", "dtype": "bfloat16"}}
    )
    merged = report.model_copy(update={"passes": (*report.passes, merge)})
    line = "- adapter: merged into the dequantized base, weights saved as bfloat16\n"
    assert line in to_markdown(merged)
    assert "adapter:" not in to_markdown(report)
