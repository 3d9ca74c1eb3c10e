"""Fine-tune small language models and build proven int4 ONNX artifacts.

>>> import quern
>>> plans = quern.plan("quern.toml", targets=["cpu"])
>>> reports = quern.build("quern.toml", targets=["cpu"])
>>> reports[0].status
'passed'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quern.api import (
        BuildPlan,
        CheckFailed,
        ChecksFailed,
        ConfigError,
        EnvironmentUnable,
        Interrupted,
        PassFailed,
        Problem,
        QuernError,
        Report,
        build,
        plan,
    )

__all__ = [
    "BuildPlan",
    "CheckFailed",
    "ChecksFailed",
    "ConfigError",
    "EnvironmentUnable",
    "Interrupted",
    "PassFailed",
    "Problem",
    "QuernError",
    "Report",
    "build",
    "plan",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for: the command line needs none of it."""
    if name not in __all__:
        raise AttributeError(f"module 'quern' has no attribute '{name}'")
    from quern.house import open_house

    open_house()
    from quern import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return __all__
