"""Packages that a step has beside those of its toolchain: an input with their wheels."""

from __future__ import annotations

import importlib
import sys
import tempfile
import zipfile
from pathlib import Path

from pipeline.contract.step import Inputs

PACKAGES = "packages"
"""Name of the input: a folder of wheels that the host has checked against their lock."""


def unpack_packages(inputs: Inputs) -> None:
    """Unpack the wheels of ``inputs`` into a temporary folder, for imports of this process. The
    packages of the toolchain come first.

    A wheel is laid out as it is installed, but for what is in its ``.data`` folder, such as scripts
    (https://packaging.python.org/specifications/binary-distribution-format), which is left there.
    """
    folder = tempfile.mkdtemp(prefix="packages-")
    for wheel in sorted(Path(inputs[PACKAGES]).glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)  # pinned by its hash, and zipfile keeps it below the folder
    sys.path.append(folder)
    importlib.invalidate_caches()
