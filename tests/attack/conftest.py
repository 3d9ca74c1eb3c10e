"""What attacks on whole builds share with the tests of whole builds."""

from __future__ import annotations

from tests.integration.conftest import (
    cache_dir,
    docker_client,
    pytest_collection_modifyitems,
    quern,
    toolchain_python,
)

__all__ = [
    "cache_dir",
    "docker_client",
    "pytest_collection_modifyitems",
    "quern",
    "toolchain_python",
]
