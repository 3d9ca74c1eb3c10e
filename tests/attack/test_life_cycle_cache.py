"""A cache that is damaged in every way that a disk, a user or a killed process can leave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from targets.cache import Cache
from targets.report.dist import copy_tree
from tests.attack.cache_damages import DAMAGES, Damage
from tests.support.cached_steps import KEY, finish_step
from tests.support.mounts import Mounts, mounts

__all__ = ["mounts"]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Return a cache with one finished step."""
    cache = Cache(tmp_path / "cache")
    finish_step(cache)
    assert cache.find(KEY) is not None
    return cache


@pytest.mark.parametrize(
    ("place", "damage"),
    [pytest.param(*one, id=f"{one[1].__name__} as {one[0]}") for one in DAMAGES],
)
def test_a_damaged_cache_mends_itself(cache: Cache, place: str, damage: Damage) -> None:
    """What is damaged is made again, what is not is used: never an error that stays."""
    damage(cache.root / place)

    cache.recover()
    found = cache.find(KEY)
    if found is not None:
        assert (found.output / "model.bin").read_bytes() == b"weights"
        assert [path.name for path in found.output.iterdir()] == ["model.bin"]
    finish_step(cache)

    again = cache.find(KEY)
    assert again is not None
    assert (again.output / "model.bin").read_bytes() == b"weights"
    assert [path.name for path in cache.objects.glob("*/*")] == [KEY]
    for left in ("locks", "work", "in-use", "scratch"):
        assert list((cache.root / left).glob("*")) == []


def test_two_drivers_leave_no_lock(cache: Cache) -> None:
    waited: list[str] = []
    other = Cache(cache.root)
    with cache.locked([KEY, "cd" * 32], waited.append), other.work_folder():
        assert len(list((cache.root / "locks").iterdir())) == 3
    assert list((cache.root / "locks").iterdir()) == []
    assert waited == []


def test_what_a_running_build_uses_is_not_cleaned(cache: Cache) -> None:
    later = 2**40
    with cache.in_use([KEY]):
        (unused,) = cache.unused_since(later)
        assert not Cache(cache.root).remove(unused)
        assert cache.find(KEY) is not None
    assert list((cache.root / "in-use").iterdir()) == []
    assert Cache(cache.root).remove(unused)
    assert cache.find(KEY) is None


def test_what_a_killed_build_used_is_cleaned(cache: Cache) -> None:
    """Its note stays, and the kernel has given its lock back."""
    (cache.root / "in-use").mkdir()
    (cache.root / "in-use" / "0123456789ab.json").write_text(json.dumps([KEY]))
    (unused,) = cache.unused_since(2**40)
    assert cache.remove(unused)
    assert list((cache.root / "in-use").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_read(
    cache: Cache, mounts: Mounts, tmp_path: Path
) -> None:
    only_read = Cache(mounts.read_only(cache.root, tmp_path / "read-only"))
    only_read.recover()
    with only_read.in_use([KEY]):
        found = only_read.find(KEY)
    assert found is not None
    assert only_read.digests.tree(found.output) == cache.digests.tree(cache.output(KEY))


def test_a_full_disk_is_named_by_what_would_be_written(
    cache: Cache, mounts: Mounts, tmp_path: Path
) -> None:
    (cache.output(KEY) / "large.bin").write_bytes(bytes(2**21))
    full = mounts.small(tmp_path / "dist", "1m")
    with pytest.raises(OSError, match="No space left on device") as refused:
        copy_tree(cache.output(KEY), full / "model")
    assert refused.value.filename == str(full / "model" / "large.bin")
