"""Takes in what the process of a step wrote: nothing that it says is believed.

Names, kinds of files, modes, sizes and digests are read here, through descriptors of the folders
that were looked at, so that no link and no ``..`` leads elsewhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.plan import OUTPUT_DIR, Step
from pipeline.contract.result import RESULT_FILE, StepResult
from pipeline.contract.sha256 import sha256_of_stream
from pipeline.reading.files import UnreadableError, decoded
from pipeline.reading.json_text import parse_json
from targets.errors import PassFailed
from targets.strange_folder import MOST_NAMES, StrangeFolder, TooManyNamesError, settle

_LARGEST_RESULT = 1 << 28
"""Largest ``result.json`` that is read, in bytes: it holds every latency sample and answer."""
_MOST_VALUES = 4_000_000
"""Most values in it. Each takes a hundred bytes of memory, however short it is written."""
_DEEPEST = 32
"""Most folders within each other."""


def take_in(step: Step, written: Path, origin: Mapping[str, str]) -> StepResult:
    """Return the result of ``step`` from the folder ``written`` that its process left.

    Its output is then just what the result lists: regular files with these bytes, which only their
    owner may write and nobody else links to. ``origin`` is where it ran, as this machine knows it.

    Raises ``PassFailed`` where the folder holds anything else.
    """
    try:
        with StrangeFolder.opened(written) as folder:
            beside = sorted({*folder.names()} - {OUTPUT_DIR, RESULT_FILE})
            if beside:
                raise _Refused(f"it left {beside[0]!r} beside its output")
            result = _result(step, folder)
            with folder.folder(OUTPUT_DIR) as output:
                files = tuple(sorted(_digests(output), key=lambda file: file.path))
            folder.settle()
    except _Refused as why:
        raise _not_taken(step, str(why)) from None
    except TooManyNamesError:
        too_many = f"its output has more than {MOST_NAMES:,} files in one folder"
        raise _not_taken(step, too_many) from None
    except (OSError, UnreadableError, ValidationError) as error:
        raise _not_taken(step, f"its result cannot be read: {error}") from None
    _require_as_listed(step, files, result.files)
    return result.model_copy(update={"files": files, "origin": dict(origin)})


def take_in_left(
    step: Step, written: bytes, files: tuple[FileDigest, ...], origin: Mapping[str, str]
) -> StepResult:
    """Return the result of ``step`` from what its process wrote, where the output stays elsewhere:
    ``files`` are those that were found and hashed there.

    Raises ``PassFailed`` where they are not those that the process listed.
    """
    try:
        result = _read(step, decoded(written))
    except _Refused as why:
        raise _not_taken(step, str(why)) from None
    except (UnreadableError, ValidationError) as error:
        raise _not_taken(step, f"its result cannot be read: {error}") from None
    _require_as_listed(step, files, result.files)
    return result.model_copy(update={"files": files, "origin": dict(origin)})


class _Refused(Exception):
    """What the process left is not what a step leaves."""


def _not_taken(step: Step, why: str) -> PassFailed:
    return PassFailed(f"{step.name} broke: {why}", "its result is not kept")


def _result(step: Step, folder: StrangeFolder) -> StepResult:
    with folder.file(RESULT_FILE) as file:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise _Refused(f"its {RESULT_FILE} is no file")
        if os.fstat(file).st_size > _LARGEST_RESULT:
            raise _Refused(f"its {RESULT_FILE} is larger than {_LARGEST_RESULT:,} bytes")
        with os.fdopen(file, "rb", closefd=False) as stream:
            return _read(step, decoded(stream.read(_LARGEST_RESULT)))


def _read(step: Step, text: str) -> StepResult:
    if sum(map(text.count, "[{,")) > _MOST_VALUES:
        raise _Refused(f"its {RESULT_FILE} has more than {_MOST_VALUES:,} values")
    result = StepResult.model_validate(parse_json(text, strict=True))
    if (result.key, result.name, result.type) != (step.key, step.name, step.type):
        raise _Refused("its result is that of another step")
    if step.kind == "pass" and result.verdicts:
        raise _Refused("a pass has no verdicts")
    return result


def _digests(output: StrangeFolder) -> Iterator[FileDigest]:
    """Yield every file below an open folder, after setting its mode."""
    # A hole takes no room, and reading all of its zeros could take years.
    if sum(os.fstat(file).st_size for _, file in _files(output)) > output.disk_bytes():
        raise _Refused("its output claims more bytes than its disk has")
    for path, file in _files(output):
        yield _digest(path, file)


def _files(folder: StrangeFolder, within: str = "", depth: int = 0) -> Iterator[tuple[str, int]]:
    """Yield the path and an open descriptor of every file below an open folder."""
    if depth > _DEEPEST:
        raise _Refused(f"its output has more than {_DEEPEST} folders within each other")
    folder.settle()
    for name in folder.names():
        path = f"{within}{name}"
        if not name.isprintable():
            raise _Refused(f"its output holds a name that is not text: {path!r}")
        mode = folder.mode(name)
        if stat.S_ISDIR(mode):
            with folder.folder(name) as inner:
                yield from _files(inner, f"{path}/", depth + 1)
        elif stat.S_ISREG(mode):
            with folder.file(name) as file:
                yield path, file
        else:
            raise _Refused(f"its output holds what is neither file nor folder: {path}")


def _digest(path: str, file: int) -> FileDigest:
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
        raise _Refused(f"its output holds a link: {path}")
    settle(file)
    with os.fdopen(file, "rb", closefd=False) as stream:
        return FileDigest(path=path, bytes=status.st_size, sha256=sha256_of_stream(stream))


def _require_as_listed(
    step: Step, files: tuple[FileDigest, ...], listed: tuple[FileDigest, ...]
) -> None:
    """Raise ``PassFailed`` where the files are not those that the process listed when it was done:
    something changed them afterwards."""
    differing = sorted({file.path for file in {*files} ^ {*listed}})
    if differing:
        raise _not_taken(step, f"its output is not what it listed: {differing[0]}")
