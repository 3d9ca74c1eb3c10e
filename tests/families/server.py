"""Runs modules in processes that have the libraries already: run by a toolchain's Python.

Each line of standard input is JSON: ``[OUTPUT, LOG, MODULE, ARGUMENT...]``. ``python -m MODULE``
runs in a fork of this process, which writes to the files ``OUTPUT`` and ``LOG``. The answer is a
line with its exit code, as :func:`os.waitstatus_to_exitcode` has it.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback

import onnxruntime_genai.models.builder  # noqa: F401 - what takes seconds to import
import peft  # noqa: F401
import torch
import transformers.trainer  # noqa: F401

_STDOUT, _STDERR = 1, 2


def run(output: str, log: str, module: str, *arguments: str) -> int:
    """Run ``module`` in a child process; return its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        for number, file in ((_STDOUT, output), (_STDERR, log)):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
        # As in a process of its own: torch was imported before the plan could say it.
        torch.set_num_threads(1)
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    for line in sys.stdin:
        print(run(*json.loads(line)), flush=True)  # noqa: T201
