"""Plants faults of the catalogue into copies of what a step made."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.attack import artifact_faults
from tests.support import plans

LACKING = {
    *("bias_gone", "bias_rolled", "bias_skipped", "other_branch", "query_norm_for_keys"),
    "link_beside",
}
"""Faults for which the tests' model, a Phi-3, has no parts, and one that no step may leave."""

MEANT: Mapping[str, str] = {
    **dict.fromkeys(artifact_faults.SETTINGS, "same_settings"),
    **dict.fromkeys(artifact_faults.TOKENIZER, "same_tokenizer"),
    **dict.fromkeys(artifact_faults.WEIGHTS, "same_weights"),
    **dict.fromkeys(artifact_faults.GRAPH, "same_graph"),
    **dict.fromkeys(artifact_faults.FILES, "same_files"),
    **dict.fromkeys(
        ("broken_graph", "settings_are_no_json", "settings_in_utf16", "settings_twice"),
        "graph_readable",
    ),
    **dict.fromkeys(
        ("data_gone", "data_truncated", "offset_beyond", "offset_twice", "outside", "overlap"),
        "same_weights",
    ),
    **dict.fromkeys(("offsets_of_two_layers", "prepacked"), "same_weights"),
    "earlier_template": "same_files",
    "settings_in_codes": "loads",
}
"""Fault -> the verdict that names it: that of its part, or else another."""


def plant(python: Path, work: Path, made: str, *faults: str) -> None:
    """Copy the step ``made`` in ``work`` under the name of each fault, and plant that into it."""
    for fault in faults:
        shutil.copytree(work / made, work / fault)
    subprocess.run(
        [str(python), "-m", artifact_faults.__name__, str(work), *faults],
        cwd=plans.ROOT,
        env={**os.environ, "PYTHONPATH": str(plans.ROOT)},
        check=True,
    )


def copy_catalogue(project: Path) -> None:
    """Copy the passes that plant faults, and the catalogue, beside the configs of a project."""
    shutil.copy(plans.HERE / "planted.py", project)
    catalogue = Path(str(artifact_faults.__file__)).parent
    left_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(catalogue, project / catalogue.name, ignore=left_out)
