"""The command group, and how every failure becomes a message and an exit code."""

from __future__ import annotations

import errno
import importlib
import json
import sys
from pathlib import Path

import click

from targets.errors import ConfigError, EnvironmentUnable, Interrupted, QuernError

_COMMANDS_DIR = Path(__file__).parent / "commands"


class _CommandFiles(click.Group):
    """Commands are the files of ``targets/cli/commands``; only the one called is imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        return sorted(_command_modules())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        name = _command_modules().get(cmd_name)
        if name is None:
            return None
        module = importlib.import_module(f"targets.cli.commands.{name}")
        command = module.command
        assert isinstance(command, click.Command)  # noqa: S101
        return command


def _command_modules() -> dict[str, str]:
    """Return the module of each command: `try` is in `try_`, `export-toolchain` in
    `export_toolchain`, since a module can be called neither."""
    stems = (path.stem for path in _COMMANDS_DIR.glob("*.py") if path.stem != "__init__")
    return {stem.rstrip("_").replace("_", "-"): stem for stem in stems}


@click.group(cls=_CommandFiles, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Fine-tune a small language model and build proven int4 ONNX artifacts."""


def run() -> None:
    """Run the command line and exit with the code of :mod:`targets.errors`."""
    as_json = "--json" in sys.argv
    try:
        # What `Context.exit` was called with comes back from here; nothing does otherwise.
        sys.exit(main(standalone_mode=False))
    except click.ClickException as error:
        _show_error(error.format_message(), "", None, as_json, 2)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        _show_error("interrupted", "", None, as_json, Interrupted.exit_code)
        sys.exit(Interrupted.exit_code)
    except QuernError as error:
        _report_failure(error, as_json)
        sys.exit(error.exit_code)
    except OSError as error:
        # Not ours to foresee: a full disk, a folder that may not be written, a vanished file.
        place = f": {error.filename}" if error.filename else ""
        unable = EnvironmentUnable(f"{error.strerror or error}{place}", _os_hint(error))
        _report_failure(unable, as_json)
        sys.exit(unable.exit_code)


def _os_hint(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space, or choose other folders with --cache and --dist"
    if isinstance(error, PermissionError):
        return "choose folders that you may write with --cache and --dist"
    return ""


def _report_failure(error: QuernError, as_json: bool) -> None:
    if isinstance(error, ConfigError) and as_json:
        problems = [
            {
                "message": problem.message,
                "file": str(problem.file) if problem.file else None,
                "line": problem.line,
                "key": problem.key,
                "suggestion": problem.suggestion,
            }
            for problem in error.problems
        ]
        click.echo(json.dumps({"exit_code": error.exit_code, "problems": problems}, indent=2))
        return
    _show_error(str(error), error.hint, error.log, as_json, error.exit_code)
    if isinstance(error, ConfigError) and len(error.problems) > 1:
        click.echo(f"{len(error.problems)} problems; nothing was run", err=True)


def _show_error(message: str, hint: str, log: Path | None, as_json: bool, code: int) -> None:
    if as_json:
        entry = {
            "exit_code": code,
            "error": message,
            "hint": hint,
            "log": str(log) if log else None,
        }
        click.echo(json.dumps(entry, indent=2))
        return
    click.echo(f"{click.style('error:', fg='red')} {message}", err=True)
    if hint:
        click.echo(f"  → {hint}", err=True)
    if log is not None:
        click.echo(f"  log: {log}", err=True)
