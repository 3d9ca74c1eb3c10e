"""Runs plans in processes that have the libraries already: run by a toolchain's Python.

Each line of standard input is the path of a plan; ``python -m pipeline`` runs it in a fork of this
process. Its events go to ``PLAN.events``, all else that it says to ``PLAN.log``. The answer is a
line with its exit code, as :func:`os.waitstatus_to_exitcode` has it.
"""

from __future__ import annotations

import os
import sys
import traceback

import onnxruntime_genai.models.builder  # noqa: F401 - what takes seconds to import
import peft  # noqa: F401
import torch
import transformers.trainer  # noqa: F401


def run(plan: str) -> int:
    """Run ``plan`` in a child process; return its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        for number, name in ((1, "events"), (2, "log")):
            opened = os.open(f"{plan}.{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(opened, number)
        # As in a process of its own: torch was imported before the plan could say it.
        torch.set_num_threads(1)
        sys.argv = ["pipeline", plan]
        from pipeline.__main__ import main

        code = main()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    for line in sys.stdin:
        print(run(line.strip()), flush=True)  # noqa: T201
