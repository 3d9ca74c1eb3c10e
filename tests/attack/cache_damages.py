"""Every way in which a disk, a user or a killed process can leave a cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from pipeline.contract.plan import OUTPUT_DIR, object_path
from pipeline.contract.result import RESULT_FILE
from tests.support.cached_steps import KEY

Damage = Callable[[Path], None]
"""Does something to a file or folder."""


def nothing_there(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def a_folder(path: Path) -> None:
    nothing_there(path)
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "file").write_text("x")


def a_file(path: Path) -> None:
    nothing_there(path)
    path.write_text("x")


def an_empty_file(path: Path) -> None:
    nothing_there(path)
    path.touch()


def garbage(path: Path) -> None:
    nothing_there(path)
    path.write_bytes(bytes(range(256)) * 64)


def a_link_to_nothing(path: Path) -> None:
    nothing_there(path)
    path.symlink_to("/nowhere")


def a_link_to_itself(path: Path) -> None:
    nothing_there(path)
    path.symlink_to(path.name)


def a_pipe(path: Path) -> None:
    nothing_there(path)
    os.mkfifo(path)


def half(path: Path) -> None:
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole[: len(whole) // 2])


def one_more(path: Path) -> None:
    (path / "more.txt").write_text("x")


ENTRY = object_path(KEY)
DAMAGES: list[tuple[str, Damage]] = [
    *(
        (f"objects/{ENTRY}/{OUTPUT_DIR}/model.bin", damage)
        for damage in (
            *(nothing_there, a_folder, an_empty_file, garbage, half),
            *(a_link_to_nothing, a_link_to_itself, a_pipe),
        )
    ),
    *(
        (f"objects/{ENTRY}/{RESULT_FILE}", damage)
        for damage in (
            nothing_there,
            a_folder,
            an_empty_file,
            garbage,
            half,
            a_link_to_itself,
            a_pipe,
        )
    ),
    *(
        (f"objects/{ENTRY}/{OUTPUT_DIR}", damage)
        for damage in (nothing_there, a_file, a_link_to_nothing, one_more)
    ),
    *((f"objects/{ENTRY}", damage) for damage in (nothing_there, a_file, a_link_to_nothing)),
    *((f"objects/{KEY[:2]}", damage) for damage in (nothing_there, a_file)),
    ("objects", nothing_there),
    *(("digests.sqlite", damage) for damage in (nothing_there, a_folder, an_empty_file, garbage)),
    *(("digests.sqlite", damage) for damage in (half,)),
    ("locks", nothing_there),
    ("work", nothing_there),
]
