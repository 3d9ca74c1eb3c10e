"""What the benchmark of healthy builds says of a family, and which families it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.result import Status, Verdict
from targets.report.report_schema import Report
from tests.benchmarks import checks, pages
from tests.benchmarks.families import ALL, REST, Runs, chosen, faults, measured
from tests.benchmarks.pages import Section
from tests.families.table import FAMILIES, NAMED
from tests.support.reports import make_report

PHI = NAMED["phi-2"]


def build(mean_kl: float, agreement: float, scale: float, weights: str) -> Report:
    """Return the report of a build: it passes with a divergence of at most 0.75."""
    status: Status = "passed" if mean_kl <= 0.75 else "failed"
    verdicts = (
        Verdict(name="mean_kl", status=status, value=mean_kl, detail="too far"),
        Verdict(name="top1_agreement", status="passed", value=agreement),
        Verdict(name="run_share", status="passed", value=0.01),
        Verdict(name="nodes_without_kernel", status="unverified"),
    )
    figures = {"layers": {"layer 0 o_proj": {"bits": 4, "scale": scale, "error": 0.09}}}
    files = (FileDigest(path="model.onnx.data", bytes=1, sha256=weights),)
    return make_report(*verdicts).model_copy(
        update={"figures": {"quantization": figures}, "files": files}
    )


def test_a_line_has_the_worst_of_all_builds() -> None:
    runs = Runs(PHI, [build(0.02, 0.9, 0.99, "a"), build(0.8, 0.95, 1.005, "b")], 12.4)
    assert runs.row("c0ffee") == (
        "| Phi-2 | 1 of 2 | 0.8 | – | 0.9 | 0.01 | – | – | 1.0 % | 9.0 % | `nodes_without_kernel` "
        "| 12 s "
        "| c0ffee |"
    )
    assert list(faults(runs)) == ["Phi-2, build 1: mean_kl 0.8 too far"]


def test_builds_that_are_one_and_the_same_are_a_fault() -> None:
    runs = Runs(PHI, [build(0.02, 0.9, 1, weights) for weights in "aab"], 0)
    assert list(faults(runs)) == ["Phi-2: 1 artifacts are the same as another one"]


def test_it_goes_on_with_the_families_that_the_page_lacks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    head = Section("families", "Builds", [Runs(PHI, [build(0.02, 0.9, 1, "a")], 1).row("c")])
    pages.write(page, head, "Measured.")
    pages.write(page, Section("other", "Other", ["| x | 1 | – |  |"]), "Measured.")
    (line,) = pages.rows_of(page, "families")
    assert line.startswith("| Phi-2 | 1 of 1 |")
    assert measured(page) == {"Phi-2": line}
    for earlier in ("| Phi-2 | 1 of 1 |", line.replace("| 0.01 |", "| – |")):
        pages.write(page, Section("families", "Builds", [earlier]), "Measured.")
        assert not measured(page), "a line of other checks is measured anew"
    every, rest = chosen(ALL, ()), chosen(REST, [PHI.title])
    assert every.keys() - rest.keys() == {"Phi-2"}
    refused = {family.title for family in FAMILIES if family.result("cpu").word == "refused"}
    assert refused
    assert not refused & every.keys()
    assert chosen("phi-2,lfm2", [PHI.title]).keys() == {"Phi-2", "LFM2"}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("phi-2,phi2,lama-2", "no family is called 'phi2', 'lama-2'; there are phi-3-mini-4k, "),
        ("Phi-2", "no family is called 'Phi-2'"),
        ("", "no family is called ''"),
        ("phi-2,olmo-2", "the plan refuses olmo-2: the model builder cannot build Olmo2ForCausal"),
    ],
)
def test_a_family_that_cannot_be_built_is_an_error(
    names: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        checks.parser().parse_args(["--families", names])
    assert ended.value.code == 2
    assert f"--families: {said}" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("names", [ALL, REST, "phi-2,lfm2"])
def test_families_are_asked_for_by_name(names: str) -> None:
    assert checks.parser().parse_args(["--families", names]).families == names
