"""The code of passes and checks of the user's own, as the steps get it.

Steps read a copy in the cache that holds the needed files and no others. What is not in the key is
thus not there for the step either, and an edit during a build does not reach it.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.run.code_digest import CodeDigests, ScriptCode, script_code
from targets.atomic import folder_beside, swap_in


def copied_code(script: Path, package: CodeDigests, cache_root: Path) -> tuple[str, Path]:
    """Return the digest of the code of ``script`` and the folder with its copy.

    The digest also covers what that code imports of ``pipeline``.
    """
    code = script_code(script)
    digest = package.script_digest(code)
    folder = cache_root / "code" / digest
    if not _holds(folder, code):
        _write(folder, code)
    return digest, folder


def _holds(folder: Path, code: ScriptCode) -> bool:
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.py")}
    return there.keys() == code.files.keys() and all(
        path.read_bytes() == code.files[name] for name, path in there.items()
    )


def _write(folder: Path, code: ScriptCode) -> None:
    with folder_beside(folder) as fresh:
        for name, content in code.files.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_bytes(content)
        try:
            swap_in(fresh, folder)
        except OSError:
            # Another build may have written the same at the same time.
            if not _holds(folder, code):
                raise
