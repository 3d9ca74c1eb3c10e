"""The locks of Quern's own Python packages on the host.

::

    requirements.lock          packages that ``python -m targets`` imports
    requirements-bench.lock    these, and those of the ``bench`` command
    requirements-azure.lock    those of the first, and those that ask Azure Machine Learning
    requirements-release.lock  those of the first, and of ``release``, ``verify`` and ``push``
    requirements-serve.lock    those of the first, and of the ``serve`` command
    requirements-mlflow.lock   those of the first, and of the ``export-mlflow`` command
    requirements-dev.lock      all but the last, and those of tests, lint and types
    requirements-nox.lock      only nox, for the ``./nox`` launcher
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from targets.atomic import replace_file
from targets.errors import EnvironmentUnable
from targets.toolchain.lock import LockChange
from targets.toolchain.run_tool import ToolFailed
from targets.toolchain.uv import index_environment, uv

_PROJECT = Path(__file__).parents[2]
_PYTHON = "3.10"
"""The oldest Python that runs Quern; the locks are valid for all newer ones too."""

_MAIN_INDEX = ("UV_DEFAULT_INDEX", "SSL_CERT_FILE", "UV_INSECURE_HOST")

_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;]+)", re.MULTILINE)

_HEADER = "# Made by `nox -s lock` from pyproject.toml. Do not edit.\n"


@dataclass(frozen=True)
class HostLock:
    """One lock file, and the part of pyproject.toml that it pins."""

    file: str
    source: tuple[str, ...]
    """uv's arguments that name that part."""
    agrees_with: tuple[str, ...] = ()
    """Locks whose versions this one must share."""


_BENCH = ("--extra", "bench")
_RELEASE = ("--extra", "release")
_AZURE = ("--extra", "azure")
_SERVE = ("--extra", "serve")

HOST_LOCKS = (
    HostLock("requirements.lock", ("pyproject.toml",)),
    HostLock("requirements-bench.lock", ("pyproject.toml", *_BENCH), ("requirements.lock",)),
    HostLock("requirements-azure.lock", ("pyproject.toml", *_AZURE), ("requirements.lock",)),
    HostLock(
        "requirements-release.lock",
        ("pyproject.toml", *_RELEASE),
        ("requirements.lock", "requirements-bench.lock"),
    ),
    HostLock(
        "requirements-serve.lock",
        ("pyproject.toml", *_SERVE),
        ("requirements.lock", "requirements-release.lock"),
    ),
    HostLock(
        "requirements-mlflow.lock",
        ("pyproject.toml", "--extra", "mlflow"),
        ("requirements.lock",),
    ),
    HostLock(
        "requirements-dev.lock",
        ("pyproject.toml", *_BENCH, *_RELEASE, *_SERVE, "--group", "dev"),
        ("requirements-bench.lock", "requirements-release.lock", "requirements-serve.lock"),
    ),
    HostLock("requirements-nox.lock", ("--group", "nox"), ("requirements-dev.lock",)),
)
"""All locks, in the order in which they must be made."""


def lock_host(lock: HostLock, upgrade: bool, project: Path = _PROJECT) -> tuple[LockChange, ...]:
    """Write ``lock`` below ``project`` and return what changed, sorted by name.

    Versions already locked are kept unless ``upgrade``. The file is replaced only when complete.
    Raises ``EnvironmentUnable`` when the requirements cannot be resolved.
    """
    destination = project / lock.file
    before = _versions(destination)
    text = _HEADER + _compile(lock, upgrade, project)
    replace_file(destination, text)
    after = _versions(destination)
    return tuple(
        LockChange(name, before.get(name), after.get(name))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    )


def _compile(lock: HostLock, upgrade: bool, project: Path) -> str:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / lock.file
        if not upgrade and (project / lock.file).exists():
            output.write_bytes((project / lock.file).read_bytes())
        arguments = [
            *("pip", "compile", *lock.source, "--output-file", str(output)),
            *("--directory", str(project), "--universal", "--python-version", _PYTHON),
            *("--generate-hashes", "--no-header", "--quiet"),
            "--no-python-downloads",  # any Python resolves for the oldest one
            *("--no-emit-index-url", "--no-emit-find-links"),
            *(word for other in lock.agrees_with for word in ("--constraints", other)),
            *(["--upgrade"] if upgrade else []),
        ]
        try:
            uv(*arguments, environment=_index())
        except ToolFailed as error:
            raise EnvironmentUnable(
                f"{lock.file} cannot be resolved:\n{error.output.strip()}",
                "check pyproject.toml, and that pip's configured indexes can be reached",
            ) from None
        return output.read_text(encoding="utf-8")


def _index() -> dict[str, str]:
    """Return uv's variables for the user's main index only.

    Local folders and further indexes may lack files whose hashes other machines need.
    """
    return {name: value for name, value in index_environment().items() if name in _MAIN_INDEX}


def _versions(path: Path) -> Mapping[str, str]:
    """Return the locked version per package; several if they differ between Pythons or systems."""
    if not path.exists():
        return {}
    versions: dict[str, list[str]] = {}
    for name, version in _PIN.findall(path.read_text(encoding="utf-8")):
        versions.setdefault(name, []).append(version)
    return {name: ", ".join(several) for name, several in versions.items()}
