"""Runs a plan and kills its own process on the way: ``killed_run.py PLAN EVENTS COUNT SECONDS``.

The process ends as if the machine had lost power, ``SECONDS`` after ``COUNT`` reports of progress
were written to the file ``EVENTS``, which is its standard output. Each one is written, however
fast they come: a count says where the work is.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from pipeline.__main__ import main
from pipeline.run import reporting


def _kill_after(events: Path, count: int, seconds: float) -> None:
    while events.read_text("utf-8").count('"progress"') < count:
        time.sleep(0.002)
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


plan, events, count, seconds = sys.argv[1:]
sys.argv = ["pipeline", plan]
reporting.PACE = 0.0
threading.Thread(target=_kill_after, args=(Path(events), int(count), float(seconds))).start()
code = main()
os._exit(code)
