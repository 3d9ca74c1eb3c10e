"""How tools that make a toolchain end, and what is said of it."""

from __future__ import annotations

import sys

import pytest

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
