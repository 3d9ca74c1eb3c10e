"""The table that compares Quern with other tools: each cell has its evidence."""

from __future__ import annotations

import re

import pytest

from targets.cli.options import PROJECT

PAGE = PROJECT / "docs" / "compared.md"
TOOLS = ["Quern", "Olive", "cog", "cibuildwheel", "Snakemake", "axolotl"]
LACKED = {
    "Preference tuning (DPO, GRPO)",
    "Trains on several GPUs",
}
"""What Quern does not do."""
HEAD, _, *ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text("utf-8").splitlines()
    if line.startswith("|")
]


def test_the_table_has_its_features_of_six_tools() -> None:
    assert [HEAD[0], *HEAD[1:]] == ["feature", *TOOLS]
    assert len({row[0] for row in ROWS}) == len(ROWS) == 41
    assert {len(row) for row in ROWS} == {7}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_cell_has_its_evidence(row: list[str]) -> None:
    feature, quern, *others = row
    shown = re.fullmatch(r"\[(?:yes|(?:yes|part): [^\]]+)\]\((\.\./tests/\S+\.py)\)", quern)
    assert shown or (quern == "no" and feature in LACKED)
    if shown:
        assert "def test_" in (PAGE.parent / shown[1]).read_text("utf-8")
    for cell in others:
        page = re.fullmatch(r"\[(?:yes|part)(?:: [^\]]+)?\]\(https://github\.com/\S+\)", cell)
        assert cell == "–" or page, cell
        assert "/blob/" not in cell or re.search(r"/blob/[0-9a-f]{40}/", cell), cell
