"""One training in several processes, each with a GPU of its own, which share every batch (DDP).
They may be of several machines, each of which runs the step.

The step's process starts ``torchrun``, which starts the processes. They train what a single one
would with as many forward passes per step: a step has the same rows, and its gradient is the mean
over them. The first process writes the result, and tells of the progress on its standard output.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from pydantic import JsonValue

from pipeline.contract.errors import StepError
from pipeline.contract.step import Inputs, Reporter
from pipeline.process.environment import is_first_rank, of_ranks, own_gpu
from pipeline.process.machines import Machines, machines
from pipeline.process.parent import end_with_parent
from pipeline.process.streams import reserve_stdout
from pipeline.training.finetune import AnyFinetuneParams, finetune

_HERE = "127.0.0.1"
"""Where the processes meet. (``--standalone`` looks for a name of this machine, and hangs for
minutes where there is no network.)"""
_LOST = re.compile(
    r"connection (closed|reset|refused)|broken pipe|socket|timed? ?out|remote process",
    re.IGNORECASE,
)
"""What libraries say when another process of the training has ended."""
_OTHERS_FIRST, _FIRST_FIRST = 6.0, 3.0
"""Seconds before a machine fails because another one has, so that the cause is seen first; and
before any but the first machine fails, since what is wrong with the step all of them say."""


def train(inputs: Inputs, params: AnyFinetuneParams, out_dir: Path) -> dict[str, JsonValue]:
    """Train in this process or in several; see :func:`pipeline.training.finetune.finetune`.

    Of several machines, the first one returns what the training came to, the others nothing.
    """
    if params.gpus == 1:
        return finetune(inputs, params, out_dir)
    machine = machines(os.environ)
    try:
        return _train_in_ranks(inputs, params, out_dir, machine)
    except StepError as error:
        if machine is not None:
            lost = error.cause == "peer"
            time.sleep(_OTHERS_FIRST if lost else 0 if machine.first else _FIRST_FIRST)
        raise


def _train_in_ranks(
    inputs: Inputs, params: AnyFinetuneParams, out_dir: Path, machine: Machines | None
) -> dict[str, JsonValue]:
    count = 1 if machine is None else machine.count
    if params.gpus % count:
        raise StepError(f"{params.gpus} processes cannot be shared by {count} machines")
    own = params.gpus // count
    with tempfile.TemporaryDirectory(dir=out_dir) as scratch:
        task = Path(scratch) / "task"
        # With as many threads as one would have: PyTorch's sums depend on their number.
        shown = replace(inputs, report=_Silent(), unfinished=None)
        task.write_bytes(pickle.dumps((shown, params, out_dir)))
        with subprocess.Popen(
            [*_torchrun(own, machine), "-m", __name__, str(task), str(own)],
            env=of_ranks(os.environ, own, machine),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        ) as process:
            assert process.stdout is not None  # noqa: S101 - a pipe
            try:
                told = _follow(process.stdout, inputs.report)
                if machine is not None:  # the meeting ends when all of them are done
                    process.wait()
            finally:
                process.terminate()
    if "metrics" in told:
        metrics: dict[str, JsonValue] = told["metrics"]
        return {**metrics, "processes": params.gpus}
    if machine is not None and not machine.first and process.returncode == 0:
        return {}
    failed = told.get("failed", ["a process of the training ended; the log has what it said"])
    raise StepError(*failed)


def _torchrun(processes: int, machine: Machines | None) -> list[str]:
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}"]
    if machine is not None:
        command += [f"--nnodes={machine.count}", f"--node-rank={machine.number}"]
        address, port = machine.address, machine.port
    else:
        with socket.create_server((_HERE, 0)) as free:
            address, port = _HERE, free.getsockname()[1]
    return [*command, f"--master-addr={address}", f"--master-port={port}", "--max-restarts=0"]


def _follow(lines: IO[str], report: Reporter) -> dict[str, Any]:
    """Report what the first process tells; return the last thing, or the first failure."""
    last: dict[str, Any] = {}
    for line in lines:
        with suppress(ValueError):
            told = json.loads(line)
            if "progress" in told:
                done, total, unit, metrics = told["progress"]
                report.progress(done, total, unit, **metrics)
            elif "warn" in told:
                report.warn(told["warn"])
            elif "note" in told:
                report.note(told["note"])
            elif "failed" not in last:
                last = told
    return last


class _Silent:
    """A reporter of nothing."""

    def progress(self, done: int, total: int, unit: str = "steps", **metrics: float) -> None:
        pass

    def warn(self, message: str) -> None:
        pass

    def note(self, message: str) -> None:
        pass

    def text(self, text: str) -> None:
        pass


class _Told(_Silent):
    """A reporter that writes lines, for :func:`_follow`."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def tell(self, **what: object) -> None:
        """Write one line."""
        self._stream.write(json.dumps(what) + "\n")
        self._stream.flush()

    def progress(self, done: int, total: int, unit: str = "steps", **metrics: float) -> None:
        self.tell(progress=[done, total, unit, metrics])

    def warn(self, message: str) -> None:
        self.tell(warn=message)

    def note(self, message: str) -> None:
        self.tell(note=message)


def main(task: Path, processes: int) -> int:
    """Be one of the ``processes`` of this machine; return the exit code."""
    # torchrun gives each a session of its own, which whoever ends the step does not reach.
    end_with_parent(os.getppid(), "SIGKILL")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    told = _Told(reserve_stdout())
    inputs, params, out_dir = pickle.loads(task.read_bytes())  # noqa: S301 - our own
    try:
        _take_gpu(processes)
        report = told if is_first_rank(os.environ) else _Silent()
        metrics = finetune(replace(inputs, report=report), params, out_dir)
    except StepError as error:
        told.tell(failed=[str(error), error.hint, error.cause])
        return 1
    except Exception as error:
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        if machines(os.environ) is not None and _LOST.search(message):
            message = "another machine of the training ended; the log has what each of them said"
            told.tell(failed=[message, "finished steps are kept: run again", "peer"])
        else:
            told.tell(failed=[message])
        return 1
    if is_first_rank(os.environ):
        told.tell(metrics=metrics)
    return 0


def _take_gpu(processes: int) -> None:
    """Use the GPU of this process from now on. Raises :class:`StepError` if there are too few."""
    import torch

    if not torch.cuda.is_available():
        return
    count = torch.cuda.device_count()
    if count < processes:
        raise StepError(
            f"the training asks for {processes} GPUs of this machine, and sees {count}",
            "lower gpus, or train where there are as many",
            "bad_input",
        )
    torch.cuda.set_device(own_gpu(os.environ))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
