"""The table of `docs/release.md` names the versions of outside tools that the tests run."""

from __future__ import annotations

import re

import pytest

from targets.cli.options import PROJECT
from tests.support.outside_tools import NPM_PACKAGES, PYTHON_PACKAGES

_TEXT = (PROJECT / "docs" / "release.md").read_text("utf-8")
_SECTION = _TEXT.partition("## Verify it with other tools")[2].partition("\n## ")[0]
_ROWS = dict(re.findall(r"^\| (.+?) \| (.+?) \| .+ \|$", _SECTION, re.MULTILINE))
_OWN_VERSIONS = {
    **{name: version for name, _, version in (it.partition("==") for it in PYTHON_PACKAGES)},
    **{name: version for name, _, version in (it.rpartition("@") for it in NPM_PACKAGES)},
}


def locked(lock: str, package: str) -> str:
    found = re.search(rf"^{package}==(\S+)", (PROJECT / lock).read_text("utf-8"), re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("tool", "version"),
    [
        ("securesystemslib", locked("requirements-release.lock", "securesystemslib")),
        ("in-toto-attestation", locked("requirements-dev.lock", "in-toto-attestation")),
        ("CycloneDX's", locked("requirements-release.lock", "cyclonedx-python-lib")),
        ("CycloneDX's", _OWN_VERSIONS["@cyclonedx/cyclonedx-library"]),
        ("sigstore-js", _OWN_VERSIONS["@sigstore/verify"]),
        ("sigstore-python", _OWN_VERSIONS["sigstore"]),
        ("cyclonedx-editor-validator", _OWN_VERSIONS["cyclonedx-editor-validator"]),
        ("lib4sbom", _OWN_VERSIONS["lib4sbom"]),
        (
            "`huggingface_hub`",
            locked("images/cpu/requirements.linux-amd64.lock", "huggingface-hub"),
        ),
    ],
)
def test_each_version_is_that_of_the_tests(tool: str, version: str) -> None:
    (stated,) = (versions for name, versions in _ROWS.items() if name.startswith(tool))
    assert re.search(rf"(?<![\d.]){re.escape(version)}(?![\d.])", stated)
