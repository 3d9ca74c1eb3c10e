"""Copies the code of the user's own passes and checks into the cache, where the steps read it.

The copy holds only the files that are part of the step's key. So the step cannot use any other
file, and an edit during a build does not affect it.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.run.code_digest import CodeDigests, ScriptCode, script_code
from targets.atomic import replace_folder, sibling_folder


def copied_code(script: Path, package: CodeDigests, cache_root: Path) -> tuple[str, Path]:
    """Return the digest of the code of ``script`` and the folder with its copy.

    The digest also covers the modules of ``pipeline`` that this code imports.
    """
    code = script_code(script)
    digest = package.script_digest(code)
    folder = cache_root / "code" / digest
    if not _holds(folder, code):
        _write(folder, code)
    return digest, folder


def _holds(folder: Path, code: ScriptCode) -> bool:
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.py")}
    return files.keys() == code.files.keys() and all(
        path.read_bytes() == code.files[name] for name, path in files.items()
    )


def _write(folder: Path, code: ScriptCode) -> None:
    with sibling_folder(folder) as fresh:
        for name, content in code.files.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_bytes(content)
        try:
            replace_folder(fresh, folder)
        except OSError:
            # Another build may have written the same at the same time.
            if not _holds(folder, code):
                raise
