"""OpenVINO GenAI's environment: hash-locked, apart from every toolchain.

``python -m tests.benchmarks.peers.environments`` locks the newest packages that its requirements
allow.
"""

from __future__ import annotations

import sys
from pathlib import Path

from targets.toolchain.lock import lock
from targets.toolchain.platforms import this_machine
from targets.toolchain.toolchain import Toolchain
from tests.benchmarks.scale.environments import PYTHON

_OVERRIDES = "torchvision; python_version < '3'\n"
"""Language models need no pictures, and the one that fits a torch for CPUs alone is on an index of
PyTorch's own."""


def openvino() -> Toolchain:
    """Return OpenVINO GenAI and what it needs, as its users install it."""
    return Toolchain("openvino", this_machine(), PYTHON, Path(__file__).parent / "openvino", {})


if __name__ == "__main__":
    command = "python -m tests.benchmarks.peers.environments"
    for change in lock(openvino(), upgrade=True, command=command, overrides=_OVERRIDES):
        sys.stdout.write(f"{change}\n")
