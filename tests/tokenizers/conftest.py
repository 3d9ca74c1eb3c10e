"""What the tests of fetched tokenizers share: a warm runtime, and where packages are kept."""

from __future__ import annotations

from tests.families.conftest import runtime
from tests.integration.conftest import cache_dir, toolchain_python, warm_runtime

__all__ = ["cache_dir", "runtime", "toolchain_python", "warm_runtime"]
