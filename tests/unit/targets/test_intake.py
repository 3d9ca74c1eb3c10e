"""What the process of a step leaves is input: each way to reach out of it with that is refused."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.file_digest import FileDigest
from pipeline.contract.plan import OUTPUT_DIR, Step, object_path
from pipeline.contract.result import RESULT_FILE, StepResult, Verdict
from targets.cache import Cache
from targets.errors import PassFailed

KEY, OTHER = "ab" * 32, "cd" * 32
STEP = Step(name="mine", kind="pass", type="mine", target="cpu", toolchain="t", key=KEY, seed=0)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """Return a file outside the cache that only its owner may read."""
    file = tmp_path / "id_ed25519"
    file.write_text("secret")
    file.chmod(0o600)
    return file


def listed(path: str, content: bytes = b"weights") -> FileDigest:
    return FileDigest(path=path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def write(folder: Path, *files: FileDigest, key: str = KEY, **other: Any) -> Path:
    """Leave a result that lists ``files``, and one file; return the output folder."""
    output = folder / key / OUTPUT_DIR
    output.mkdir(parents=True, exist_ok=True)
    (output / "model.bin").write_bytes(b"weights")
    fields = {"name": "mine", "type": "mine", "key": key, "seconds": 1, "peak_rss_bytes": 1}
    result = StepResult.model_validate(
        {**fields, "files": files or (listed("model.bin"),), **other}
    )
    (folder / key / RESULT_FILE).write_text(result.model_dump_json())
    return output


def attack(cache: Cache, leave: Callable[[Path], None]) -> str:
    """Let a process leave something; return why it is refused, and see that nothing is kept."""
    with cache.work_folder() as work:
        folder = cache.begin(work, [STEP], {"runtime": "docker"})
        leave(folder)
        with pytest.raises(PassFailed) as caught:
            cache.finish(folder)
    assert caught.value.exit_code == 5
    assert list(cache.objects.glob("*/*")) == []
    return str(caught.value)


def test_what_a_step_leaves_is_kept_as_it_was_read_here(cache: Cache) -> None:
    with cache.work_folder() as work:
        folder = cache.begin(work, [STEP], {"runtime": "docker"})
        files = (listed("model.bin"), listed("deep/er/x", b"x"))
        output = write(folder, *files, origin={"runtime": "venv", "image": "forged"})
        (output / "deep" / "er").mkdir(parents=True)
        (output / "deep" / "er" / "x").write_bytes(b"x")
        (output / "model.bin").chmod(0o4777)
        (output / "deep").chmod(0o2777)
        cache.finish(folder)
    found = cache.find(KEY)
    assert found is not None
    assert found.result.origin == {"runtime": "docker"}
    assert {file.path for file in found.result.files} == {"model.bin", "deep/er/x"}
    assert stat.S_IMODE((found.output / "model.bin").stat().st_mode) == 0o644
    assert stat.S_IMODE((found.output / "deep").stat().st_mode) == 0o755


def test_the_result_of_a_step_that_was_not_planned_is_not_taken(cache: Cache) -> None:
    with cache.work_folder() as work:
        folder = cache.begin(work, [STEP], {})
        write(folder)
        write(folder, key=OTHER)
        cache.finish(folder)
    assert cache.find(KEY) is not None
    assert cache.find(OTHER) is None


def test_nor_is_that_of_a_killed_driver(cache: Cache) -> None:
    work = cache.root / "work" / "1234"
    work.mkdir(parents=True)
    folder = cache.begin(work, [STEP], {})
    write(folder)
    write(folder, key=OTHER)
    write(work, key=OTHER)
    cache.recover()
    assert cache.find(KEY) is not None
    assert cache.find(OTHER) is None
    assert not work.exists()


def test_a_path_out_of_the_output_changes_no_file(cache: Cache, secret: Path) -> None:
    def leave(folder: Path) -> None:
        write(folder, listed(os.path.relpath(secret, folder / KEY / OUTPUT_DIR), b"secret"))

    assert "its output is not what it listed" in attack(cache, leave)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


@pytest.mark.parametrize("where", ["file", "folder", "output", "step", "result"])
def test_a_link_leads_nowhere(cache: Cache, secret: Path, where: str) -> None:
    def leave(folder: Path) -> None:
        output = write(folder, listed("model.bin"), listed("link", b"secret"))
        if where == "file":
            (output / "link").symlink_to(secret)
        elif where == "folder":
            (output / "link").symlink_to(secret.parent)
        elif where == "output":
            output.rename(folder / "elsewhere")
            output.symlink_to(folder / "elsewhere")
        elif where == "step":
            (folder / KEY).rename(folder / "elsewhere")
            (folder / KEY).symlink_to(folder / "elsewhere")
        else:
            (folder / KEY / RESULT_FILE).rename(folder / "elsewhere")
            (folder / KEY / RESULT_FILE).symlink_to(folder / "elsewhere")

    attack(cache, leave)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_a_hard_link_to_another_file_is_refused(cache: Cache, secret: Path) -> None:
    def leave(folder: Path) -> None:
        output = write(folder, listed("model.bin"), listed("link", b"secret"))
        os.link(secret, output / "link")

    assert "its output holds a link: link" in attack(cache, leave)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_a_pipe_is_not_waited_for(cache: Cache) -> None:
    def leave(folder: Path) -> None:
        os.mkfifo(write(folder) / "pipe")

    assert "neither file nor folder: pipe" in attack(cache, leave)

    def leave_another(folder: Path) -> None:
        write(folder)
        (folder / KEY / RESULT_FILE).unlink()
        os.mkfifo(folder / KEY / RESULT_FILE)

    attack(cache, leave_another)


def test_a_file_that_it_did_not_list_is_not_shipped(cache: Cache) -> None:
    def leave(folder: Path) -> None:
        (write(folder) / "extra.so").write_bytes(b"code")

    assert "its output is not what it listed: extra.so" in attack(cache, leave)

    def leave_beside(folder: Path) -> None:
        write(folder)
        (folder / KEY / "more").mkdir()

    assert "it left 'more' beside its output" in attack(cache, leave_beside)


def test_bytes_that_were_changed_afterwards_are_not_shipped(cache: Cache) -> None:
    def leave(folder: Path) -> None:
        (write(folder) / "model.bin").write_bytes(b"WEIGHTS")

    assert "its output is not what it listed: model.bin" in attack(cache, leave)


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[2Jb", b"\xff".decode(errors="surrogateescape")])
def test_names_that_a_terminal_would_obey_are_refused(cache: Cache, name: str) -> None:
    def leave(folder: Path) -> None:
        (write(folder) / name).write_bytes(b"x")

    message = attack(cache, leave)
    assert "a name that is not text" in message
    assert message.isprintable()


def test_no_depth_of_folders_ends_in_a_traceback_or_stays(cache: Cache) -> None:
    def leave(folder: Path) -> None:
        # Deeper than a path can say, as a process does it that changes into each.
        place = os.open(write(folder), os.O_RDONLY)
        for _ in range(3000):
            os.mkdir("d", dir_fd=place)
            inner = os.open("d", os.O_RDONLY, dir_fd=place)
            os.close(place)
            place = inner
        os.close(place)

    assert "folders within each other" in attack(cache, leave)
    assert list((cache.root / "work").iterdir()) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "lora"),
        ("type", "lora"),
        ("verdicts", (Verdict(name="accuracy", status="passed"),)),
    ],
)
def test_a_pass_says_what_a_pass_may_say(cache: Cache, field: str, value: Any) -> None:
    def leave(folder: Path) -> None:
        write(folder, listed("model.bin"), **{field: value})

    attack(cache, leave)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"name": 1}', "\x00"])
def test_a_result_that_is_none(cache: Cache, text: str) -> None:
    def leave(folder: Path) -> None:
        write(folder)
        (folder / KEY / RESULT_FILE).write_text(text)

    assert "its result cannot be read" in attack(cache, leave)


@pytest.mark.parametrize(
    ("metrics", "why"),
    [
        ('{"a": [' + "{}," * 4_000_000 + "0]}", "more than 4,000,000 values"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": 1e999}', "too large"),
        ('{"a": ' + "9" * 4000 + "}", "4,000 digits"),
        ('{"a": 1, "a": 2}', "occurs twice"),
        ('{"a": "\\ud800"}', "half a character"),
    ],
)
def test_a_result_that_would_break_those_who_read_it(cache: Cache, metrics: str, why: str) -> None:
    def leave(folder: Path) -> None:
        write(folder, metrics={"here": 1})
        file = folder / KEY / RESULT_FILE
        file.write_text(file.read_text().replace('{"here":1}', metrics))

    assert why in attack(cache, leave)


@pytest.mark.parametrize("count", [1, 64])
def test_holes_are_not_read_for_years(cache: Cache, count: int) -> None:
    """A file can claim to be larger than any disk, and take no room."""

    def leave(folder: Path) -> None:
        output = write(folder)
        disk = os.statvfs(output)
        size = 2 * disk.f_blocks * disk.f_frsize // count
        for number in range(count):
            with (output / f"{number:02}.bin").open("wb") as file:
                file.truncate(min(size, 2**43))

    assert "more bytes than its disk has" in attack(cache, leave)


def test_nothing_is_lost_of_what_was_there(cache: Cache) -> None:
    with cache.work_folder() as work:
        folder = cache.begin(work, [STEP], {"runtime": "docker"})
        write(folder)
        cache.finish(folder)
    before = (cache.objects / object_path(KEY) / RESULT_FILE).read_bytes()
    with cache.work_folder() as work, pytest.raises(PassFailed):
        folder = cache.begin(work, [STEP], {"runtime": "venv"})
        write(folder, listed("model.bin", b"other"))
        cache.finish(folder)
    assert (cache.objects / object_path(KEY) / RESULT_FILE).read_bytes() == before
