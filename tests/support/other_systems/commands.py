"""Runs commands of Quern in one process, one after the other: `python -m` with JSON as argument.

It is started as on another system (`site/sitecustomize.py`), and writes how each command ended.
"""

from __future__ import annotations

import json
import sys
import traceback

from click.testing import CliRunner

from targets.cli.main import main
from targets.errors import QuernError


def ended(arguments: list[str]) -> dict[str, object]:
    """Return exit code and messages of one command, and a traceback if it crashed."""
    ran = CliRunner().invoke(main, arguments)
    failure = ran.exception
    if isinstance(failure, QuernError):
        message = f"{failure}\n{failure.hint}"
        return {"code": failure.exit_code, "said": ran.output + message, "crash": ""}
    crashed = failure is not None and not isinstance(failure, SystemExit)
    crash = "".join(traceback.format_exception(failure)) if crashed else ""
    return {"code": ran.exit_code, "said": ran.output, "crash": crash}


if __name__ == "__main__":
    sys.stdout.write(json.dumps([ended(arguments) for arguments in json.loads(sys.argv[1])]))
