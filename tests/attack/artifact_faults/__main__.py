"""Plants every fault named into a folder of its name."""

from __future__ import annotations

import sys
from pathlib import Path

from . import CHECKPOINT, FAULTS


def main(work: Path, names: list[str]) -> None:
    """Plant each into ``work/NAME/output``."""
    for name in names:
        {**FAULTS, **CHECKPOINT}[name](work / name / "output")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
