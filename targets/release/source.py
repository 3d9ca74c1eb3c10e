"""The git repositories from which a release is made."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from pipeline.process.exit_codes import describe_exit
from targets.errors import ConfigError, EnvironmentUnable, Problem

_NO_REPOSITORY = "not a git repository"


@dataclass(frozen=True)
class Source:
    """A folder of sources at one commit."""

    root: Path
    """Top folder of the repository; the folder itself if it is in none."""
    commit: str
    """The commit; empty if there is no repository or no commit yet."""
    changed: tuple[str, ...] = ()
    """Files that are changed or untracked."""
    remote: str = ""
    """URL of the repository, without credentials; empty if other machines cannot reach it."""
    time: datetime | None = None
    """Time of the commit, in UTC."""

    @property
    def dirty(self) -> bool:
        """Return whether there are uncommitted changes, or no commit at all."""
        return not self.commit or bool(self.changed)


def source_of(folder: Path, outputs: Iterable[Path] = ()) -> Source:
    """Return the repository of ``folder``; files in ``outputs`` do not count as changes.

    Raises ``EnvironmentUnable`` if git is not installed or fails.
    """
    try:
        root = Path(_git(folder, "rev-parse", "--show-toplevel").strip())
    except _NotInRepositoryError:
        return Source(folder, "")
    try:
        commit = _git(root, "rev-parse", "--verify", "--quiet", "HEAD").strip()
    except EnvironmentUnable:
        return Source(root, "")  # nothing is committed yet
    inside = [path.resolve().relative_to(root) for path in outputs if _below(path, root)]
    left_out = [f":(exclude){path.as_posix()}" for path in inside]
    listing = _git(root, "status", "--porcelain", "-z", "--no-renames", "--", ".", *left_out)
    changed = tuple(sorted(entry[3:] for entry in listing.split("\0") if entry))
    seconds = int(_git(root, "show", "--no-patch", "--format=%ct", commit))
    time = datetime.fromtimestamp(seconds, timezone.utc)
    return Source(root, commit, changed, _remote(root), time)


def require_clean(sources: Iterable[Source]) -> None:
    """Raise ``ConfigError`` if a repository has uncommitted changes or no commit."""
    problems = []
    for source in sources:
        if not source.commit:
            advice = "commit the config and its data, or use --allow-dirty"
            problems.append(Problem("is in no commit of git", source.root, suggestion=advice))
        elif source.changed:
            few = ", ".join(source.changed[:5])
            more = len(source.changed) - 5
            problems.append(
                Problem(
                    f"differs from its commit: {few}{f' and {more} more' if more > 0 else ''}",
                    source.root,
                    suggestion="commit, or use --allow-dirty, which the release then says",
                )
            )
    if problems:
        raise ConfigError(problems)


class _NotInRepositoryError(Exception):
    """The folder is in no repository."""


def _git(folder: Path, *arguments: str) -> str:
    try:
        process = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            env={**os.environ, "LC_ALL": "C"},  # its messages are parsed
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
        )
    except OSError as error:
        raise EnvironmentUnable(
            f"cannot start git: {error.strerror}",
            "install git: a release says which commit it was made from",
        ) from None
    if process.returncode == 0:
        return process.stdout
    if _NO_REPOSITORY in process.stderr:
        raise _NotInRepositoryError
    message = process.stderr.strip() or describe_exit(process.returncode)
    raise EnvironmentUnable(f"git {arguments[0]} in {folder} ended with: {message}")


def _below(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())


def _remote(root: Path) -> str:
    try:
        url = _git(root, "remote", "get-url", "origin").strip()
    except EnvironmentUnable:
        return ""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "ssh", "git") or not parts.hostname:
        return ""  # a folder of this machine, or a form that only ssh reads
    host = parts.hostname if parts.port is None else f"{parts.hostname}:{parts.port}"
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
