"""Fetches llama.cpp, built, from the package of node-llama-cpp for this platform."""

from __future__ import annotations

import base64
import hashlib
import tarfile
import tempfile
from pathlib import Path

from targets.atomic import replace_folder, sibling_folder
from targets.errors import EnvironmentUnable
from targets.toolchain.platforms import this_machine
from targets.toolchain.run_tool import ToolFailed, run_tool

RELEASE = "llama.cpp v0.5.0"
_PLATFORM = "linux/amd64"
_PACKAGE = "@node-llama-cpp/linux-x64@3.22.1"
_SHA512 = "5uCCDNqWCNfaAm8aR/Uzxbo4HBpKgNF91kCHPepKhgMgV2OAmatoefbOlMihsqCiH2Od35E/eUHQCFbfRBJuOg=="
"""As npm's ``dist.integrity`` has it."""
_LIBRARIES = "package/bins/linux-x64/"


def llama_cpp(cache: Path) -> Path:
    """Return the folder with the libraries, fetched if it is not there.

    Raises ``EnvironmentUnable`` if it cannot be had here.
    """
    if this_machine() != _PLATFORM:
        raise EnvironmentUnable(f"{_PACKAGE} is for {_PLATFORM}, and this is {this_machine()}")
    folder = cache / "rivals" / f"llama-cpp-{hashlib.sha256(_SHA512.encode()).hexdigest()[:12]}"
    if folder.exists():
        return folder
    with tempfile.TemporaryDirectory() as scratch:
        try:
            run_tool(["npm", "pack", "--silent", _PACKAGE], tool="npm", cwd=Path(scratch))
        except ToolFailed as error:
            raise EnvironmentUnable(f"npm has no {_PACKAGE}: {error.last_line()}") from error
        (package,) = Path(scratch).iterdir()
        digest = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
        if digest != _SHA512:
            raise EnvironmentUnable(f"{_PACKAGE} is not the one that is pinned", "nothing is run")
        with sibling_folder(folder) as fresh, tarfile.open(package) as archive:
            for member in archive:
                if member.isfile() and member.name.startswith(_LIBRARIES):
                    member.name = Path(member.name).name
                    archive.extract(member, fresh)
            replace_folder(fresh, folder)
    return folder
