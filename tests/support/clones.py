"""Clones of the project and of a user's repository, used by somebody else, somewhere else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pydantic

from targets.cli.options import PROJECT
from tests.support.capabilities import program
from tests.support.command import CommandResult

PYTHONS = ("/usr/bin/python3.13", "/usr/bin/python3.12", "/usr/bin/python3.11", "/usr/bin/python3")
_PACKAGES = Path(pydantic.__file__).parents[1]
_IGNORED = shutil.ignore_patterns(".nox", ".git", "dist", "__pycache__", ".*_cache", "*.egg-info")
_COMMIT = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
}


def commit_all(folder: Path) -> None:
    """Make ``folder`` a repository with one commit of all that is in it."""
    git = program("repository", "git")
    for arguments in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "-m", "all")):
        environment = {**os.environ, **_COMMIT}
        subprocess.run([git, "-C", folder, *arguments], check=True, env=environment)


def project_repository(folder: Path) -> Path:
    """Return a repository of this project as it is now."""
    shutil.copytree(PROJECT, folder, ignore=_IGNORED)
    commit_all(folder)
    return folder


@dataclass(frozen=True)
class OtherUser:
    """A user of their own, with clones of their own and an environment of their own."""

    home: Path
    uid: int
    environment: Mapping[str, str] = field(default_factory=dict)
    umask: int = 0o022

    @property
    def project(self) -> Path:
        """Return their clone of this project."""
        return self.home / "quern"

    @property
    def work(self) -> Path:
        """Return their clone of the repository with the config."""
        return self.home / "work"

    def clone(self, project: Path, work: Path, cache: Path) -> None:
        """Clone both; give them the wheels of ``cache``, and no results."""
        for source, target in ((project, self.project), (work, self.work)):
            subprocess.run(["git", "clone", "--quiet", source, target], check=True)
        wheels = self.home / "cache" / "wheels"
        wheels.mkdir(parents=True)
        for wheel in (cache / "wheels").glob("*.whl"):
            os.link(wheel, wheels / wheel.name)
        checked = cache / "wheels" / "verified.json"  # as long as a wheel keeps size and time
        if checked.exists():
            shutil.copy(checked, wheels)
        if not all(parent.stat().st_mode & 0o001 for parent in _PACKAGES.parents):
            shutil.copytree(_PACKAGES, self._own_packages)
        if self.uid == os.getuid():
            return
        for path in (self.home, *self.home.rglob("*")):
            if path.suffix != ".whl":
                os.chown(path, self.uid, self.uid, follow_symlinks=False)

    def run(self, *arguments: str, before: tuple[str, ...] = ()) -> CommandResult:
        """Run a command as this user, in their clone of the repository with the config.

        ``before`` is put in front of it.
        """
        done = subprocess.run(
            [*before, *self._identity(), self._python(), "-m", "targets", *arguments],
            cwd=self.work,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "PYTHONPATH": f"{self.project}{os.pathsep}{self._packages}",
                "QUERN_CACHE": str(self.home / "cache"),
                "CI": "true",
                **self.environment,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=850,
            check=False,
            umask=self.umask,
        )
        return CommandResult(done.returncode, done.stdout, done.stderr)

    @property
    def _own_packages(self) -> Path:
        return self.home / "packages"

    @property
    def _packages(self) -> Path:
        """Return where this Python's packages lie: copied where others may not look."""
        return self._own_packages if self._own_packages.exists() else _PACKAGES

    def _identity(self) -> list[str]:
        """Return what to put before a command so that this user runs it, who may use Docker."""
        if self.uid == os.getuid():
            return []
        socket = Path("/var/run/docker.sock").stat().st_gid
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", f"--groups={socket}"]

    def _python(self) -> str:
        """Return an interpreter of this version that the user may run."""
        for candidate in (sys.executable, *PYTHONS):
            version_command = [candidate, "-c", "import sys; print(*sys.version_info[:2])"]
            command = (
                [*self._identity(), *version_command] if Path(candidate).exists() else ["false"]
            )
            process = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
            if process.stdout.split() == [str(part) for part in sys.version_info[:2]]:
                return candidate
        raise AssertionError(f"no Python {sys.version_info[:2]} that another user may run")
