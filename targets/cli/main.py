"""The command group, and the conversion of errors to messages and exit codes."""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from targets.cli.echo import echo, echo_command, echo_error
from targets.console.ci_service import annotation
from targets.errors import ConfigError, EnvironmentUnable, Interrupted, Problem, QuernError
from targets.version import is_clone

_COMMANDS_DIR = Path(__file__).parent / "commands"
_OF_A_CLONE = {"lock", "schema"}
"""Commands that write files of Quern itself."""


class _CommandFiles(click.Group):
    """Commands are the files of ``targets/cli/commands``; only the one called is imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        return sorted(_command_modules())

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _described(name)) for name in self.list_commands(ctx)])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        commands = [CompletionItem(name, help=_described(name)) for name in names]
        return commands + super(click.Group, self).shell_complete(ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        return super().resolve_command(ctx, _without_target(args))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        name = _command_modules().get(cmd_name)
        if name is None:
            return None
        module = importlib.import_module(f"targets.cli.commands.{name}")
        command = module.command
        assert isinstance(command, click.Command)  # noqa: S101
        return command


def _command_modules() -> dict[str, str]:
    """Return the module of each command. `try` is in `try_`, and `export-toolchain` in
    `export_toolchain`, because those are not valid names of modules."""
    stems = (path.stem for path in _COMMANDS_DIR.glob("*.py") if path.stem != "__init__")
    names = {stem.rstrip("_").replace("_", "-"): stem for stem in stems}
    return names if is_clone() else {name: names[name] for name in names.keys() - _OF_A_CLONE}


def _described(command: str) -> str:
    """Return what a command does: the first line of its file, which `nox -l` shows as well."""
    with (_COMMANDS_DIR / f"{_command_modules()[command]}.py").open(encoding="utf-8") as file:
        _, _, described = file.readline().strip().strip('"').partition(": ")
    return described[:1].upper() + described[1:]


def _without_target(words: list[str]) -> list[str]:
    """Return ``build --target NAME`` for ``build-NAME``, as the sessions of nox are called."""
    command, _, target = words[0].partition("-")
    if command not in ("build", "check") or not target:
        return words
    from targets.target import target_names

    if target in target_names():
        return [command, f"--target={target}", *words[1:]]
    return words


def _show_version(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from targets.version import quern_version

        echo(f"quern {quern_version()}")
        context.exit()


@click.group(cls=_CommandFiles, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def main() -> None:
    """Fine-tune a small language model and build proven int4 ONNX artifacts."""


def run(program: str | None = None) -> None:
    """Run the command line and exit with the code of :mod:`targets.errors`.

    ``program`` is what it is called in messages.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal or a file that is not UTF-8 gets what it can show, and escapes for the rest.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        ended = main(prog_name=program, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        failure: QuernError = ConfigError([Problem(error.format_message())])
    except (KeyboardInterrupt, click.Abort) as error:
        failure = Interrupted("interrupted")
        failure.__cause__ = error  # kept, or it would come again (targets/runtimes/interrupts.py)
    except QuernError as error:
        failure = error
    except OSError as error:
        # For example a full disk, a read-only folder, or a file that vanished. Where something is
        # copied or renamed, the second name is that of what would be written.
        file = error.filename2 or error.filename
        place = f": {file}" if file else ""
        failure = EnvironmentUnable(f"{error.strerror or error}{place}", _os_hint(error))
    else:
        # click returns the exit code of a command that has printed its own message.
        sys.exit(ended if isinstance(ended, int) else 0)
    if "--json" in sys.argv:
        from targets.cli.json_output import as_json_error, print_json

        print_json(as_json_error(failure))
    else:
        _show(failure)
    sys.exit(failure.exit_code)


def _os_hint(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space, or choose other folders with --cache and --dist"
    if isinstance(error, PermissionError):
        return "choose folders that you may write with --cache and --dist"
    return ""


def _annotate(problems: Iterable[Problem]) -> None:
    """Have a CI service show problems beside the lines of the sources."""
    for problem in problems:
        line = annotation(problem, os.environ)
        if line:
            echo_command(line)


def _show(failure: QuernError) -> None:
    if isinstance(failure, ConfigError) and failure.problems:
        first, *others = failure.shown
        echo_error(first, failure.hint)
        for problem in others:
            echo(problem, err=True)
        _annotate(failure.problems)
    else:
        echo_error(str(failure), failure.hint)
    if failure.log is not None:
        echo(f"  log: {failure.log}", err=True)
    if isinstance(failure, ConfigError) and len(failure.problems) > 1:
        echo(f"{len(failure.problems)} problems; nothing was run", err=True)
