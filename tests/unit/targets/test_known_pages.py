"""Pages are rendered again when anything changes that they depend on, and else never."""

from __future__ import annotations

from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from targets import known_pages
from targets.digests import Digests
from targets.known_pages import KnownPages

SHOWN = ["report", '{"status": "passed"}']


class World:
    """A copy of Quern of three files, a library, a cache, and a folder with pages."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache, self.place, self.quern = folder / "cache", folder / "dist", folder / "quern"
        self.library = folder / "jinja2" / "__init__.py"
        self.code = [
            self.quern / name for name in ("targets/a/b.py", "pipeline/c.py", "images/d.lock")
        ]
        for file in (self.library, *self.code):
            file.parent.mkdir(parents=True)
            file.write_text("1")
        self.place.mkdir()
        self.rendered = 0
        monkeypatch.setattr(known_pages, "_QUERN", self.quern)
        monkeypatch.setattr(
            known_pages, "find_spec", lambda name: ModuleSpec(name, None, origin=str(self.library))
        )
        self.monkeypatch = monkeypatch
        self.later()

    def later(self) -> None:
        """Have this process begin when its code has been there for long."""
        self.monkeypatch.setattr(known_pages, "_BEGUN_NS", 1 << 63)

    def build(self, shown: list[str] = SHOWN) -> int:
        """Return how many times a build renders."""

        def render() -> dict[str, str]:
            self.rendered += 1
            return {"report.md": f"# {shown[1]}\n", "use/ask.py": "print()\n"}

        self.rendered = 0
        pages = KnownPages(self.cache / "pages", Digests(self.cache / "digests.sqlite"))
        pages.write(self.place, shown, render)
        assert (self.place / "report.md").read_text() == f"# {shown[1]}\n"
        assert (self.place / "use" / "ask.py").read_text() == "print()\n"
        return self.rendered


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_what_is_unchanged_is_rendered_once(world: World) -> None:
    assert [world.build() for _ in range(3)] == [1, 0, 0]


CHANGES: dict[str, Callable[[World], object]] = {
    "a page is edited": lambda world: (world.place / "report.md").write_text("edited"),
    "a page is removed": lambda world: (world.place / "use" / "ask.py").unlink(),
    "a module": lambda world: world.code[0].write_text("2"),
    "a module of the pipeline": lambda world: world.code[1].write_text("2"),
    "a lock": lambda world: world.code[2].write_text("2"),
    "a library": lambda world: world.library.write_text("2"),
    "a new template": lambda world: world.code[0].with_name("new.j2").write_text("1"),
    "a module is removed": lambda world: world.code[1].unlink(),
    "Python": lambda world: world.monkeypatch.setattr("sys.version", "4.0"),
    "its note is damaged": lambda world: note_of(world).write_text("{"),
    "its note is of nothing": lambda world: note_of(world).write_text("{}"),
    "its note is of something else": lambda world: note_of(world).write_text('["report.md"]'),
    "its note is lost": lambda world: note_of(world).unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_is_rendered_again(world: World, change: str) -> None:
    world.build()
    assert world.build() == 0
    CHANGES[change](world)
    assert [world.build(), world.build()] == [1, 0]


def test_what_shows_something_else_is_rendered_again(world: World) -> None:
    other = ["report", '{"status": "failed"}']
    assert [world.build(), world.build(other), world.build(other), world.build()] == [1, 1, 0, 1]


def test_code_that_may_be_newer_than_this_process_makes_no_note(world: World) -> None:
    world.monkeypatch.setattr(known_pages, "_BEGUN_NS", world.code[0].stat().st_ctime_ns)
    assert [world.build(), world.build()] == [1, 1]
    assert not (world.cache / "pages").exists()
    world.later()
    assert [world.build(), world.build()] == [1, 0]


def test_a_link_that_leads_nowhere_makes_no_note(world: World) -> None:
    lock = world.code[0].with_name(".#b.py")  # as Emacs has them
    lock.symlink_to("somebody@somewhere.1")
    assert [world.build(), world.build()] == [1, 1]
    lock.unlink()
    assert [world.build(), world.build()] == [1, 0]


def test_without_a_folder_for_notes_all_is_rendered(world: World) -> None:
    for _ in range(2):
        KnownPages().write(world.place, SHOWN, lambda: {"report.md": "again"})
    assert (world.place / "report.md").read_text() == "again"


def note_of(world: World) -> Path:
    (note,) = (world.cache / "pages").iterdir()
    return note
