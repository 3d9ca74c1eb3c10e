"""The version of Quern, and whether this is a clone of it, where nox calls its commands."""

from __future__ import annotations

from pathlib import Path

_PROJECT = Path(__file__).parents[1]


def is_clone() -> bool:
    """Return whether this is a clone of Quern's repository, and not an installed package."""
    return (_PROJECT / "noxfile.py").exists()


def invocation(command: str, arguments: str = "") -> str:
    """Return what one types for a command: a session of nox in a clone, else ``quern COMMAND``."""
    words = ("nox -s", command, arguments and f"-- {arguments}")
    return " ".join(filter(None, words if is_clone() else ("quern", command, arguments)))


def quern_version() -> str:
    """Return the version of Quern: of this checkout, else of the installed package."""
    if is_clone():
        import tomli

        project = _PROJECT / "pyproject.toml"
        return str(tomli.loads(project.read_text(encoding="utf-8"))["project"]["version"])
    from importlib.metadata import version

    return version("quern")
