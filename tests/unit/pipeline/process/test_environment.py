"""What libraries find in the environment of a process, also of one that somebody else started."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.process.environment import prepare


@pytest.mark.parametrize(
    ("before", "seen"),
    [({}, "0"), ({"CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2"}, "GPU-1"),
     ({"CUDA_VISIBLE_DEVICES": "3"}, "3"), ({"CUDA_VISIBLE_DEVICES": ""}, "")],
)  # fmt: skip
def test_of_several_gpus_one_is_seen(before: dict[str, str], seen: str, tmp_path: Path) -> None:
    environ = dict(before)
    prepare(environ, threads=1, network=False, scratch=tmp_path)
    assert environ["CUDA_VISIBLE_DEVICES"] == seen
