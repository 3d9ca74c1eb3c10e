"""The store keeps whole results only, notices damage, and lets two builds share a key."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from pipeline.contract.plan import OUTPUT_DIR, object_path
from pipeline.contract.result import RESULT_FILE
from targets.cache import Cache, link_tree, runtime_of
from targets.errors import PassFailed
from tests.support.cached_steps import KEY, a_step, finish_step, write_step

OTHER = multiprocessing.get_context("spawn")
"""Processes of their own: a fork of one with threads, as pytest-xdist's are, may hang."""


def test_finished_step_is_found_and_partial_one_is_not(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.work_folder() as work:
        folder = cache.begin(work, [a_step(), a_step("cd" * 32)], {})
        write_step(folder)
        (folder / ("cd" * 32 + ".partial") / OUTPUT_DIR).mkdir(parents=True)
        (folder / ("cd" * 32 + ".partial") / RESULT_FILE).write_text("{}")
    found = cache.find(KEY)
    assert found is not None
    assert (found.output / "model.bin").read_text() == "weights"
    assert [path.name for path in cache.objects.glob("*/*")] == [KEY]
    assert list((tmp_path / "work").iterdir()) == []


def test_finished_steps_are_kept_when_a_later_one_breaks(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with pytest.raises(RuntimeError), cache.work_folder() as work:
        write_step(cache.begin(work, [a_step()], {}))
        raise RuntimeError
    assert cache.find(KEY) is not None


def test_steps_whose_process_ended_before_them_are_named(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.work_folder() as work:
        folder = cache.begin(work, [a_step()], {})
        with pytest.raises(PassFailed, match="lora broke: its result cannot be read"):
            cache.finish(folder)


@pytest.mark.parametrize("name", ["libcustom.so", "folder/id_rsa"])
def test_what_lies_in_an_output_without_being_of_it_is_damage(tmp_path: Path, name: str) -> None:
    cache = Cache(tmp_path)
    finish_step(cache)
    stray = cache.output(KEY) / name
    stray.parent.mkdir(exist_ok=True)
    stray.write_text("not the step's")
    assert cache.find(KEY) is None
    assert not cache.output(KEY).exists()


def test_a_process_sees_the_steps_that_it_reads_and_no_others(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.work_folder() as work:
        folder = cache.begin(work, [a_step(KEY), a_step("cd" * 32)], {})
        write_step(folder, KEY)
        write_step(folder, "cd" * 32)
        cache.finish(folder)
    with cache.view([KEY]) as seen:
        assert [path.name for path in seen.glob("*/*")] == [KEY]
        assert (seen / object_path(KEY) / OUTPUT_DIR / "model.bin").read_text() == "weights"
    assert cache.find(KEY) is not None


def test_failed_check_is_not_remembered(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    finish_step(cache, failed=True)
    assert cache.find(KEY) is None


def test_the_same_made_in_another_runtime_leaves_the_bytes_where_they_are(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    finish_step(cache)
    file = cache.output(KEY) / "model.bin"
    inode = file.stat().st_ino
    finish_step(cache, runtime="docker")
    found = cache.find(KEY)
    assert found is not None
    assert runtime_of(found.result) == "docker"
    assert file.stat().st_ino == inode


def test_other_bytes_made_in_another_runtime_replace_the_whole(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    finish_step(cache)
    link_tree(cache.output(KEY), tmp_path / "dist")
    finish_step(cache, text="other weights", runtime="docker")
    found = cache.find(KEY)
    assert found is not None
    assert runtime_of(found.result) == "docker"
    assert (found.output / "model.bin").read_text() == "other weights"
    assert (tmp_path / "dist" / "model.bin").read_text() == "weights"
    assert [path.name for path in cache.objects.glob("*/*")] == [KEY]


def test_the_first_of_two_from_the_same_runtime_stays(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for text in ("weights", "other weights"):
        finish_step(cache, text=text)
    assert (cache.output(KEY) / "model.bin").read_text() == "weights"


@pytest.mark.parametrize("damage", ["same length", "longer", "gone", "result"])
def test_damaged_entry_is_removed_and_not_used(tmp_path: Path, damage: str) -> None:
    cache = Cache(tmp_path)
    finish_step(cache)
    file = cache.objects / object_path(KEY) / OUTPUT_DIR / "model.bin"
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.chmod(0o644)
    if damage == "gone":
        file.unlink()
    elif damage == "result":
        (file.parent.parent / RESULT_FILE).write_text("{")
    else:
        file.write_text("WEIGHTS" if damage == "same length" else "weights and more")
        os.utime(file, ns=times)
    assert cache.find(KEY) is None
    assert not (cache.objects / object_path(KEY)).exists()


def test_steps_of_a_killed_driver_are_recovered(tmp_path: Path) -> None:
    child = OTHER.Process(target=_work_and_die, args=(tmp_path,))
    child.start()
    child.join()
    assert child.exitcode == 9
    cache = Cache(tmp_path)
    assert cache.find(KEY) is None
    cache.recover()
    assert cache.find(KEY) is not None
    assert list((tmp_path / "work").iterdir()) == []


def _work_and_die(root: Path) -> None:
    cache = Cache(root)
    with cache.work_folder() as work:
        write_step(cache.begin(work, [a_step()], {}))
        os._exit(9)


def test_work_of_a_running_build_is_left_alone(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.work_folder() as work:
        folder = cache.begin(work, [a_step()], {})
        write_step(folder)
        other = OTHER.Process(target=Cache(tmp_path).recover)
        other.start()
        other.join()
        assert other.exitcode == 0
        assert (folder / KEY).exists()


def test_second_build_of_a_key_waits_for_the_first(tmp_path: Path) -> None:
    told: multiprocessing.Queue[str] = OTHER.Queue()
    with Cache(tmp_path).locked([KEY], lambda _key: None):
        other = OTHER.Process(target=_wait_for_key, args=(tmp_path, told))
        other.start()
        assert told.get(timeout=60) == f"waiting for {KEY}"
        time.sleep(0.2)
        assert told.empty()
    assert told.get(timeout=60) == "working"
    other.join()
    assert other.exitcode == 0


def _wait_for_key(root: Path, told: multiprocessing.Queue[str]) -> None:
    with Cache(root).locked([KEY], lambda key: told.put(f"waiting for {key}")):
        told.put("working")


def test_what_was_found_lately_is_not_unused(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    finish_step(cache)
    folder = cache.objects / object_path(KEY)
    os.utime(folder, (0, 0))
    (old,) = cache.unused_since(time.time() - 60)
    assert (old.key, old.freed > 0) == (KEY, True)
    assert cache.find(KEY) is not None
    assert cache.unused_since(time.time() - 60) == ()


def test_what_an_interrupted_step_left_is_removed_when_nobody_went_on(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for key, age in (("a" * 64, 7200), ("b" * 64, 7200), ("c" * 64, 0)):
        snapshot = cache.unfinished(key) / "checkpoint-3"
        snapshot.mkdir(parents=True)
        (snapshot / "states.pt").write_bytes(b"0" * 1000)
        for path in (snapshot, snapshot.parent):
            os.utime(path, (time.time() - age,) * 2)
    old = cache.unused_since(time.time() - 3600)
    assert sorted((step.name, step.key[0], step.freed) for step in old) == [
        ("(interrupted)", "a", 1000),
        ("(interrupted)", "b", 1000),
    ]
    with cache.in_use(["b" * 64]):
        assert {step.key[0] for step in old if cache.remove(step)} == {"a"}
    assert [folder.name[0] for folder in sorted(cache.root.glob("unfinished/*"))] == ["b", "c"]


def test_what_is_removed_stays_where_it_was_linked(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    finish_step(cache)
    output = cache.output(KEY)
    link_tree(output, tmp_path / "dist")
    (unused,) = cache.unused_since(time.time() + 60)
    with cache.locked([KEY], lambda _key: None):
        other = Cache(tmp_path)
        child = OTHER.Process(target=other.remove, args=(unused,))
        child.start()
        child.join()
        assert child.exitcode == 0
        assert cache.find(KEY) is not None, "it was locked"
    cache.remove(unused)
    assert cache.find(KEY) is None
    assert not output.parent.exists()
    assert (tmp_path / "dist" / "model.bin").is_file()


@pytest.mark.parametrize("kind", ["outlines", "rows", "pages"])
def test_what_was_noted_long_ago_is_removed_and_what_is_read_now_stays(
    kind: str, tmp_path: Path
) -> None:
    cache = Cache(tmp_path)
    notes = getattr(cache, kind)
    for name, age in (("old", 7200), ("new", 60)):
        folder = notes / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        os.utime(folder, (time.time() - age,) * 2)
    cache.remove_notes(time.time() - 10_000)
    assert {path.name for path in notes.iterdir()} == {"old", "new"}
    cache.remove_notes(time.time())
    assert [path.name for path in notes.iterdir()] == ["new"]
