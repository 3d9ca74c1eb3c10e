"""What one sees in a data set: findings in its rows, and their lengths."""

from __future__ import annotations

from pipeline.contract.frozen import Frozen


class Finding(Frozen):
    """Rows that may not be what was meant."""

    message: str
    count: int
    warns: bool = True
    """Whether it should be looked at; otherwise it is a figure."""

    def __str__(self) -> str:
        return f"{self.count} {self.message}"


class Lengths(Frozen):
    """Lengths of rows, prompt and answer: percentiles, and the longest."""

    rows: int
    p50: int
    p90: int
    p99: int
    longest: int


class Look(Frozen):
    """What one sees in a data set."""

    rows: dict[str, int]
    """Number of rows per part."""
    labels: dict[str, dict[str, int]]
    """Number of rows per label and part; empty if there are no labels."""
    characters: dict[str, Lengths]
    """Lengths per part in characters, which need no tokenizer; empty for rows of token ids."""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    """How files were read."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the findings that should be looked at, in words."""
        return tuple(str(finding) for finding in self.findings if finding.warns)
