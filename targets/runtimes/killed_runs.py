"""Removes what runs left whose driver was killed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from targets.errors import EnvironmentUnable
from targets.runtimes.driver import orphaned_folders, remove_orphaned_folders


def remove_killed_runs(cache: Path) -> None:
    """Remove the folders of such runs, and their containers, which have ended by themselves.

    An engine is asked only if there is such a folder. Where none answers, the next step that runs
    in a container removes them.
    """
    runs = cache / "runs"
    if not orphaned_folders(runs):
        return
    _remove_containers()
    remove_orphaned_folders(runs)


def _remove_containers() -> None:
    # Imported on use, as in select.py.
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    from targets.runtimes.docker import remove_orphans
    from targets.toolchain.engine import connect

    with suppress(EnvironmentUnable, DockerException, RequestException):
        remove_orphans(connect())
