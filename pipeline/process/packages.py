"""Packages that a step has beside those of its toolchain: an input with their wheels."""

from __future__ import annotations

import importlib
import sys
import tempfile
import zipfile
from fnmatch import fnmatchcase
from pathlib import Path

from pipeline.contract.step import Inputs

PACKAGES = "packages"
"""Name of the input: a folder of wheels that the host has checked against their lock."""


def unpack_packages(inputs: Inputs, without: str = "") -> None:
    """Unpack the wheels of ``inputs`` into a temporary folder, for imports of this process. The
    packages of the toolchain come first. Files that match the pattern ``without`` are left out.

    A wheel is laid out as it is installed, but for what is in its ``.data`` folder, such as scripts
    (https://packaging.python.org/specifications/binary-distribution-format), which is left there.
    """
    folder = tempfile.mkdtemp(prefix="packages-")
    for wheel in sorted(Path(inputs[PACKAGES]).glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            wanted = [name for name in archive.namelist() if not fnmatchcase(name, without)]
            archive.extractall(folder, wanted)
    sys.path.append(folder)
    importlib.invalidate_caches()
