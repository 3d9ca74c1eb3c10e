"""Whether every session and every option that the pages show exists."""

from __future__ import annotations

import importlib.util
import io
import re
import runpy
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock, patch
from warnings import catch_warnings, simplefilter

import click
import nox
import nox.registry

from targets.cli.main import main
from targets.cli.options import PROJECT
from tests.support.pages.page import Page, Section

_NOX = re.compile(r"(?:^|[\s:;(])(?:\S*/)?nox\s+(?:-f\s+\S+\s+)?-s\s+(?P<rest>[^\n#`]+)")
_MODULE = re.compile(r"(?:^|\s)python -m targets (?P<rest>[a-z][^\n#`]*)")


@cache
def noxfile() -> ModuleType:
    """Return the module ``noxfile.py``, whose sessions nox then knows."""
    handler = signal.getsignal(signal.SIGTERM)
    spec = importlib.util.spec_from_file_location("quern_noxfile", PROJECT / "noxfile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    signal.signal(signal.SIGTERM, handler)
    vars(module)["python_with"] = lambda *_: "python"
    return module


@cache
def sessions() -> Mapping[str, tuple[str, ...]]:
    """Return the nox sessions by name, and the Python command line that each runs first."""
    noxfile()
    commands = {}
    for name, run in nox.registry.get().items():
        session = MagicMock(posargs=[], invoked_from=str(Path.cwd()))
        run(session)
        commands[name] = session.run.call_args_list[0].args
    return commands


def options_of(session: str) -> frozenset[str] | None:
    """Return the long options of what a session runs; ``None`` for those of other projects."""
    _, *line = sessions()[session]
    module, *arguments = line[line.index("-m") + 1 :]
    if module == "targets":
        return command_options(arguments[0])
    return _module_options(module) if module.startswith("tests.") else None


@cache
def _module_options(module: str) -> frozenset[str]:
    """Return the options in the help of `python -m MODULE`. It runs in this process: a new one for
    each would import anew what most of them share."""
    shown = io.StringIO()
    with (
        patch.object(sys, "argv", [module, "--help"]),
        redirect_stdout(shown),
        catch_warnings(),
        suppress(SystemExit),
    ):
        simplefilter("ignore")  # tests may have imported it before
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    return frozenset(re.findall(r"(?<![\w-])--[a-z][\w-]*", shown.getvalue()))


@cache
def command_options(name: str) -> frozenset[str]:
    """Return the long options of a command."""
    command = main.get_command(click.Context(main), name)
    assert command is not None, name
    options = {text for parameter in command.params for text in parameter.opts}
    return frozenset({text for text in options if text.startswith("--")} | {"--help"})


@cache
def _all_options() -> frozenset[str]:
    by_session = [options_of(session) for session in sessions()]
    return frozenset().union(*(options for options in by_session if options is not None))


def mistakes(pages: Sequence[Page]) -> Iterator[str]:
    """Yield sessions and commands that do not exist, and options of no command shown with them."""
    for page in pages:
        about: frozenset[str] = frozenset()
        for section in page.sections:
            shown, problems = _in_section(section)
            about = about or shown  # what a page begins with is what all of it is about
            yield from (f"{page.path}: {text}" for text in problems)
            known = shown | about if shown else _all_options()
            for span in (span for span in section.spans if span.startswith("--")):
                for text in _unknown(f"{section.heading}: {span}", _words(span), known):
                    yield f"{page.path}: {text}"


def _in_section(section: Section) -> tuple[frozenset[str], list[str]]:
    """Return the options of all commands shown in ``section``, and what is wrong with these."""
    shown: frozenset[str] = frozenset()
    problems: list[str] = []
    for text in (*(fence.text for fence in section.fences), *section.spans):
        for command in commands_in(text):
            shown |= command.options
            problems += command.mistakes
    return shown, problems


@dataclass(frozen=True)
class Shown:
    """A call of nox, or of Quern without nox, as a page shows it."""

    options: frozenset[str]
    """What it could have been given."""
    mistakes: tuple[str, ...]


def commands_in(text: str) -> Iterator[Shown]:
    """Yield the calls that stand in a text."""
    for match in _NOX.finditer(text.replace("\\\n", " ")):
        call, words = match[0].strip(), _words(match["rest"])
        names = words[: words.index("--")] if "--" in words else words
        for name in names:
            if name in _PLACEHOLDERS:
                continue
            if name not in sessions():
                yield Shown(frozenset(), (f"{call}: there is no session {name}",))
                continue
            options = options_of(name)
            wrong = () if options is None else _unknown(call, words[len(names) :], options)
            yield Shown(options or frozenset(), tuple(wrong))
    for match in _MODULE.finditer(text):
        call, (name, *words) = match[0].strip(), _words(match["rest"])
        if main.get_command(click.Context(main), name) is None:
            yield Shown(frozenset(), (f"{call}: there is no command {name}",))
        else:
            options = command_options(name)
            yield Shown(options, tuple(_unknown(call, words, options)))


_PLACEHOLDERS = {"…", "...", "check-TARGET", "build-TARGET", "SESSION"}


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _unknown(shown: str, words: Sequence[str], options: frozenset[str]) -> Iterator[str]:
    for word in words:
        option = word.partition("=")[0]
        if option.startswith("--") and option != "--" and option not in options:
            yield f"{shown}: {option} is no option of it"
