"""Names of releases: what is a version."""

from __future__ import annotations

import pytest

from targets.errors import ConfigError
from targets.release.layout import require_version


@pytest.mark.parametrize("version", ["1", "1.2.0", "2.0.0-rc.1", "2026_11+b", "1" * 64])
def test_versions(version: str) -> None:
    require_version(version)


@pytest.mark.parametrize("version", ["", "v1", "../1.0", "1.0/2", "1..0", "1.0 beta", "1" * 65])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(ConfigError, match="is not a version"):
        require_version(version)
