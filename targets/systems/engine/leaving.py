"""Keeps a finished step on its engine: a copy in a volume, which is an input of the jobs to come.

The volume of a job has secrets and unfinished files, and goes with it. So a container that can do
nothing else reads it, and says what it has copied.
"""

from __future__ import annotations

import errno
import secrets
from collections.abc import Iterable
from contextlib import suppress

from docker import DockerClient
from docker.errors import APIError
from docker.types import Mount
from pydantic import ValidationError

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.frozen import Frozen
from targets.systems.arrival import CutOff, Refused
from targets.systems.engine.images import output_of
from targets.systems.engine.inputs import (
    INPUT_LABEL,
    VOLUME_LABEL,
    removed,
    whole_name,
    whole_volumes,
)
from targets.systems.engine.link import DROPPED, can_tidy
from targets.systems.tree import digest_of

_TO = "/in"
_COPY = """
import hashlib, json, os, stat, sys
source, target = sys.argv[1:]
unsaid = 0
def copy(path):
    global unsaid
    for name in sorted(os.listdir(os.path.join(source, path))):
        at = os.path.join(path, name)
        mode = os.lstat(os.path.join(source, at)).st_mode
        if stat.S_ISDIR(mode):
            os.mkdir(os.path.join(target, at))
            copy(at)
            continue
        if not stat.S_ISREG(mode):
            raise ValueError(at)
        file = os.open(os.path.join(source, at), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        digest, size = hashlib.sha256(), 0
        with open(file, "rb") as old, open(os.path.join(target, at), "xb") as new:
            while piece := old.read(1 << 22):
                digest.update(piece)
                size += new.write(piece)
                unsaid += len(piece)
                if unsaid > 1 << 28:  # who listens shall not take it for dead
                    print(flush=True)
                    unsaid = 0
        said = {"path": at, "bytes": size, "sha256": digest.hexdigest()}
        print(json.dumps(said), flush=True)
try:
    copy("")
    os.sync()
    print("whole")
except OSError as error:
    print(json.dumps({"errno": error.errno, "why": str(error)}))
except ValueError as error:
    print(json.dumps({"errno": 0, "why": f"neither file nor folder: {error}"}))
"""


class _Failed(Frozen):
    errno: int
    why: str


def kept_copy(
    client: DockerClient, container: str, image: str, python: str, folder: str
) -> tuple[FileDigest, ...] | None:
    """Copy the ``folder`` of ``container`` to a volume, as a tree that is whole; return its files.
    ``None`` if there is no room for it.

    Raises ``Refused`` for what no step leaves, ``CutOff`` and the errors of a connection.
    """
    volume = f"quern-in-{secrets.token_hex(12)}"
    client.api.create_volume(volume, labels={INPUT_LABEL: "copied"})
    try:
        said = output_of(
            client,
            image,
            [python, "-I", "-S", "-c", _COPY, folder, _TO],
            user="0:0",
            volumes_from=[f"{container}:ro"],
            mounts=[Mount(_TO, volume, "volume")],
            cap_add=["DAC_OVERRIDE"],  # some files only their owner may read
        )
        files = copied(said)
        if files is not None:
            digest = tree_digest(files)
            labels = {INPUT_LABEL: digest, VOLUME_LABEL: volume}
            client.api.create_volume(whole_name(digest), labels=labels)
        return files
    finally:
        # One that did not become whole, or that was there already.
        with suppress(APIError, *DROPPED):
            if can_tidy(client) and volume not in whole_volumes(client).values():
                removed(client, volume)


def tree_digest(files: Iterable[FileDigest]) -> str:
    """Return the digest of the tree that :func:`kept_copy` made."""
    return digest_of((file.path, file.sha256) for file in files)


def copied(said: str) -> tuple[FileDigest, ...] | None:
    """Return the files that a container has copied, from what it ``said``; ``None`` if there was no
    room for them. Raises ``Refused`` and ``CutOff``."""
    files: list[FileDigest] = []
    for line in filter(None, map(str.strip, said.split("\n"))):
        if line == "whole":
            return tuple(sorted(files, key=lambda file: file.path))
        with suppress(ValidationError):
            files.append(FileDigest.model_validate_json(line))
            continue
        with suppress(ValidationError):
            failed = _Failed.model_validate_json(line)
            if failed.errno in (errno.ENOSPC, errno.EDQUOT):
                return None
            raise Refused(failed.why)
        raise Refused(f"it cannot be copied there: {line[:200]}")
    raise CutOff
