"""Processes of a toolchain that need not import its libraries: forks of one that has them."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from pipeline.process.exit_codes import describe_exit

THREADS = 2
_ROOT = Path(__file__).resolve().parents[2]


class WarmProcess:
    """A process that has imported a toolchain's libraries, and runs modules in forks of itself."""

    def __init__(
        self, python: Path, environment: Mapping[str, str], threads: int, packages: Sequence[str]
    ) -> None:
        """Start it; libraries read ``environment`` and the number of threads when they are
        imported. It also imports the modules of our own ``packages``, which then may not change."""
        counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        self._threads = threads
        self._environment = {
            **environment,
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "TORCHDYNAMO_DISABLE": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            **dict.fromkeys(counts, str(threads)),
        }
        self._process = subprocess.Popen(
            [str(python), "-m", "tests.support.warm_server", *packages],
            cwd=_ROOT,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(
        self,
        module: str,
        arguments: Sequence[str],
        output: Path,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """Run ``python -m module``, or a file that ends in ``.py``, to its end.

        Return its exit code, a negative one for a signal. It writes to the files ``output`` and
        ``log``, has the CPUs of this process, and its own variables if some are given.
        """
        asked = {
            "module": module,
            "arguments": list(arguments),
            "output": str(output),
            "log": str(log),
            "threads": self._threads,
            "cpus": sorted(os.sched_getaffinity(0)),
            "environment": dict(self._environment if environment is None else environment),
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@cache
def warm_process(python: Path) -> WarmProcess:
    """Return the one of this interpreter; it ends with this process."""
    return WarmProcess(python, os.environ, THREADS, ())


def warm_output(python: Path, module: str, *arguments: str | Path) -> str:
    """Return what ``python -m module``, or a file that ends in ``.py``, prints. It must work."""
    with tempfile.TemporaryDirectory() as folder:
        output, log = Path(folder) / "output", Path(folder) / "log"
        code = warm_process(python).run(module, [*map(str, arguments)], output, log, os.environ)
        assert code == 0, f"{describe_exit(code)}\n{log.read_text('utf-8')[-3000:]}"
        return output.read_text("utf-8")


def warm_code(python: Path, code: str, *arguments: str | Path) -> str:
    """Return what ``python -c code`` prints. It must work."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "code.py"
        file.write_text(code, "utf-8")
        return warm_output(python, str(file), *arguments)
