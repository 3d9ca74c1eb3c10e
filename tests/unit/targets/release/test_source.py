"""What git says of the sources of a release."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from targets.errors import ConfigError
from targets.release.source import Source, require_clean, source_of
from tests.support.capabilities import program


def git(folder: Path, *arguments: str) -> None:
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    command = [program("repository", "git"), "-C", str(folder), *author, *arguments]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "a.toml").write_text("one")
    git(folder, "init")
    git(folder, "add", "--all")
    git(folder, "commit", "-m", "one")
    return folder


def test_a_clean_clone_is_its_commit(repository: Path) -> None:
    source = source_of(repository / "configs")
    assert source.root == repository
    assert len(source.commit) == 40
    assert source.time is not None
    assert source.time.utcoffset() == timedelta(0)
    shown = ["git", "-C", str(repository), "log", "-1", "--format=%ct"]
    assert source.time.timestamp() == int(subprocess.check_output(shown))
    assert not source.dirty
    require_clean([source])


def test_changed_and_unknown_files_make_it_dirty(repository: Path) -> None:
    (repository / "configs" / "a.toml").write_text("two")
    (repository / "ünbekannt.jsonl").write_text("new")
    source = source_of(repository)
    assert source.changed == ("configs/a.toml", "ünbekannt.jsonl")
    with pytest.raises(ConfigError, match=r"configs/a\.toml, ünbekannt\.jsonl.*--allow-dirty"):
        require_clean([source])


def test_outputs_are_no_sources(repository: Path) -> None:
    (repository / "dist" / "tone").mkdir(parents=True)
    (repository / "dist" / "tone" / "model").write_text("made")
    assert source_of(repository).dirty
    assert not source_of(repository, [repository / "dist"]).dirty


@pytest.mark.parametrize("committed", [False, True])
def test_without_a_commit_nobody_finds_it_again(tmp_path: Path, committed: bool) -> None:
    if committed:
        git(tmp_path, "init")
    source = source_of(tmp_path)
    assert source.commit == ""
    assert source.dirty
    with pytest.raises(ConfigError, match="is in no commit"):
        require_clean([source])


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "https://user:secret@example.org:8443/team/repo.git",
            "https://example.org:8443/team/repo.git",
        ),
        ("https://example.org/team/repo.git", "https://example.org/team/repo.git"),
        ("ssh://git@example.org/team/repo", "ssh://example.org/team/repo"),
        ("/home/someone/repo", ""),
        ("file:///home/someone/repo", ""),
    ],
)
def test_a_remote_is_named_without_credentials_and_places(
    repository: Path, url: str, shown: str
) -> None:
    git(repository, "remote", "add", "origin", url)
    assert source_of(repository).remote == shown


def test_all_dirty_sources_are_named_at_once(tmp_path: Path) -> None:
    sources = [Source(tmp_path / "a", ""), Source(tmp_path / "b", "1" * 40, ("x",))]
    with pytest.raises(ConfigError) as caught:
        require_clean(sources)
    assert len(caught.value.problems) == 2
