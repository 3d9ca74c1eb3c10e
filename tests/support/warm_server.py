"""Runs modules in processes that have the libraries already: run by a toolchain's Python.

Usage: ``python -m tests.support.warm_server PACKAGE...``. The modules of each package are imported
too, for one who will not change them.
Each line of standard input is a JSON object with the fields of :func:`run`. ``python -m MODULE``,
or ``python FILE`` for a name that ends in ``.py``, runs in a fork of this process. The answer is a
line with its exit code, as :func:`os.waitstatus_to_exitcode` has it.
"""

from __future__ import annotations

import gc
import json
import os
import pkgutil
import runpy
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module

import onnxruntime_genai.models.builder  # noqa: F401 - what takes seconds to import
import peft  # noqa: F401
import pydantic  # noqa: F401
import scipy.stats  # noqa: F401
import torch
import transformers.trainer  # noqa: F401
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

_STDIN, _STDOUT, _STDERR = range(3)


def run(
    module: str,
    arguments: Sequence[str],
    output: str,
    log: str,
    threads: int,
    cpus: Sequence[int],
    environment: Mapping[str, str],
) -> int:
    """Run ``module`` in a child process, which writes to the files ``output`` and ``log`` and has
    these CPUs and variables; return its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), _STDIN)
        for number, file in ((_STDOUT, output), (_STDERR, log)):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
        os.sched_setaffinity(0, cpus)
        os.environ.clear()
        os.environ.update(environment)
        # As in a process of its own: torch was imported before the plan could say it.
        torch.set_num_threads(threads)
        sys.argv = [module, *arguments]
        if module.endswith(".py"):
            runpy.run_path(module, run_name="__main__")
        else:
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


def import_all(package: str) -> None:
    """Import the modules of a package, but for the program that it is itself."""
    for module in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
        if not module.name.endswith("__main__"):
            import_module(module.name)


if __name__ == "__main__":
    get_checkpoint_conversion_mapping("llama")  # it compiles a thousand patterns, once
    for name in sys.argv[1:]:
        import_all(name)
    gc.freeze()  # a collection in a child would copy all of this process's memory
    for line in sys.stdin:
        print(run(**json.loads(line)), flush=True)  # noqa: T201
