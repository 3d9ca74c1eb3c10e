"""The limit of a container is seen under both versions of control groups."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.process.memory import available_memory, room_in_group

LIMITED = {
    "version 2": {
        "memory.max": "4000000\n",
        "memory.current": "3000000\n",
        "memory.stat": "anon 1000000\ninactive_file 500000\nactive_file 7\n",
    },
    "version 1": {
        "memory/memory.limit_in_bytes": "4000000\n",
        "memory/memory.usage_in_bytes": "3000000\n",
        "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 500000\n",
    },
}


@pytest.mark.parametrize("files", LIMITED.values(), ids=LIMITED)
def test_what_is_left_of_the_limit(tmp_path: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert room_in_group(tmp_path) == 1_500_000


def test_no_limit(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    assert room_in_group(tmp_path) is None
    assert room_in_group(tmp_path / "nothing") is None


def test_this_machine_has_memory() -> None:
    room = available_memory()
    assert room is not None
    assert room > 0
