"""``python -m pipeline PLAN``: run a plan. Events on standard output, everything else on error.

``--root NAME=PATH`` says where a root of the plan is, where only the process itself can know.

Exit code 0 when every step finished, 1 after a ``failed`` event, 2 when the plan is unreadable.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from pydantic import ValidationError

from pipeline.contract.plan import Plan
from pipeline.process.environment import prepare, take_secrets
from pipeline.process.signals import exit_promptly_on_signal
from pipeline.process.streams import reserve_stdout
from pipeline.run.chain import WORK_ROOT, run_plan
from pipeline.run.reporting import EventWriter
from pipeline.run.store import PARTIAL

_OBJECTS = 100_000
"""Number of new objects that starts a garbage collection. Importing ML libraries creates millions
of objects and no garbage: with Python's default of 700, collecting takes a sixth of that time."""


def main() -> int:
    """Run the plan named on the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline", description="Run a plan.")
    parser.add_argument("plan", type=Path, help="JSON file of a pipeline.contract.plan.Plan")
    parser.add_argument(
        "--variables", type=Path, help="JSON file of variables to add to the environment"
    )
    parser.add_argument(
        "--root",
        action="append",
        default=[],
        type=_root,
        metavar="NAME=PATH",
        help="path of a root in this process, in place of the plan's; repeatable",
    )
    arguments = parser.parse_args()
    exit_promptly_on_signal()
    gc.set_threshold(_OBJECTS)
    try:
        if arguments.variables is not None:
            os.environ.update(json.loads(arguments.variables.read_text("utf-8")))
        written = Plan.model_validate_json(arguments.plan.read_text("utf-8"))
        plan = written.model_copy(update={"roots": {**written.roots, **dict(arguments.root)}})
        work = Path(plan.roots[WORK_ROOT])
    except (OSError, ValidationError) as error:
        print(f"cannot read the plan {arguments.plan}: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyError:
        print(f"the plan names no '{WORK_ROOT}' root", file=sys.stderr)  # noqa: T201
        return 2
    secrets = take_secrets()
    with reserve_stdout() as stream:
        scratch = work / f"scratch{PARTIAL}"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        network = any(step.network for step in plan.steps)
        prepare(os.environ, plan.threads, network, scratch)
        tempfile.tempdir = str(scratch)
        try:
            worked = run_plan(plan, EventWriter(stream), secrets)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    # Python collects garbage when it ends, and would look through all that the libraries made.
    gc.freeze()
    return 0 if worked else 1


def _root(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=PATH")
    return name, path


if __name__ == "__main__":
    sys.exit(main())
