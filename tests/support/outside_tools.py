"""Tools that nobody here wrote, in versions of their own: they read and verify our releases."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

from targets.toolchain.debian.mirrors import mirrors
from tests.support.capabilities import program, skip

PYTHON_PACKAGES = ("cyclonedx-editor-validator==1.0.3", "lib4sbom==0.10.4", "sigstore==4.5.1")
NPM_PACKAGES = (
    "@cyclonedx/cyclonedx-library@10.3.0",
    "@sigstore/bundle@4.0.0",
    "@sigstore/core@3.2.1",
    "@sigstore/verify@3.1.1",
    "ajv@8.20.0",
    "ajv-formats@3.0.1",
    "ajv-formats-draft2019@1.6.1",
)
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def debian_program(folder: Path, suite: str, name: str) -> Path:
    """Return the program ``name`` of the package of that name in another release of Debian.

    Whether or not this machine is of that release: apt fetches it, with lists and a state of its
    own in ``folder``, and checks it against Debian's keys. Nothing is installed.
    """
    apt = program("outside tool", "apt-get")
    if not Path(_KEYRING).exists():
        skip("outside tool", f"no {_KEYRING}")
    uris = mirrors(suite).get(suite, ())
    if not uris:
        skip("outside tool", f"apt has no mirror of Debian {suite}")
    found = folder / suite / "usr" / "bin" / name
    if found.exists():
        return found
    root = folder / f"apt-{suite}"
    for part in ("state/lists/partial", "cache/archives/partial"):
        (root / part).mkdir(parents=True, exist_ok=True)
    (root / "status").touch()
    (root / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {uris[0]} {suite} main\n")
    options = {
        "Dir::State": root / "state",
        "Dir::State::status": root / "status",
        "Dir::Cache": root / "cache",
        "Dir::Etc::sourcelist": root / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "",
    }
    given = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    for command in (("update",), ("download", name)):
        ran = subprocess.run(
            [apt, *given, *command], cwd=root, capture_output=True, text=True, check=False
        )
        if ran.returncode:
            skip("outside tool", f"no {name} of Debian {suite}: {ran.stderr.strip()[-200:]}")
    (package,) = root.glob(f"{name}_*.deb")
    unpack = [program("outside tool", "dpkg-deb"), "--extract", str(package), str(folder / suite)]
    subprocess.run(unpack, check=True)
    return found


def python_tools(folder: Path) -> Path:
    """Return the programs of an environment with :data:`PYTHON_PACKAGES`."""
    venv.create(folder, with_pip=True)
    _install([folder / "bin" / "pip", "install", "--quiet", *PYTHON_PACKAGES])
    return folder / "bin"


def npm_tools(folder: Path) -> Path:
    """Return a folder in which node finds :data:`NPM_PACKAGES`."""
    program("outside tool", "node")
    npm = program("outside tool", "npm")
    quiet = ("--silent", "--ignore-scripts", "--no-audit", "--no-fund", "--no-save")
    _install([npm, "install", f"--prefix={folder}", *quiet, *NPM_PACKAGES])
    return folder


def _install(command: list[str | Path]) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        print(ran.stderr, file=sys.stderr)  # noqa: T201 - shown if the test then fails
        skip("outside tool", f"{Path(command[0]).name} cannot install them here")
