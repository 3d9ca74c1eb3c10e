"""How tools that make a toolchain end, and what is said of it."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

from targets.cli.options import PROJECT
from targets.errors import EnvironmentUnable
from targets.toolchain.run_tool import ToolFailed, run_tool


def python(code: str) -> str:
    return run_tool([sys.executable, "-c", code], tool="pip")


def test_an_exit_code_is_the_callers_to_judge() -> None:
    with pytest.raises(ToolFailed, match="pip ended with exit code 3") as caught:
        python("import sys; print('why'); sys.exit(3)")
    assert caught.value.last_line() == "why"


def test_a_signal_is_named() -> None:
    with pytest.raises(EnvironmentUnable, match=r"pip broke: ended by SIGILL") as caught:
        python("import os; print('last words', flush=True); os.kill(os.getpid(), 4)")
    assert caught.value.hint == "last words"


SCRIPT = "from targets.toolchain.run_tool import run_tool; run_tool(['sleep', '60'], tool='sleep')"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's kernel ends them")
def test_a_tool_ends_with_a_driver_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=PROJECT) as driver:
        own = psutil.Process(driver.pid)
        end = time.monotonic() + 30
        while not (tools := own.children()):
            assert time.monotonic() < end
            time.sleep(0.05)
        driver.kill()
    gone, left = psutil.wait_procs(tools, timeout=5)
    assert gone
    assert not left
