"""A release is verified with tools that nobody here wrote, as `docs/release.md` shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from targets.cli.options import PROJECT
from tests.support.capabilities import program, skip
from tests.support.key_files import public_file
from tests.support.release_world import VERSION, ReleaseWorld, flipped

pytestmark = pytest.mark.engine

# The language of each block, and what runs it.
TOOLS = {
    "openssl": ("bash", ("bash", "-c")),
    "securesystemslib": ("python", (sys.executable, "-c")),
    "cosign": ("sh", ("sh", "-c")),
}


@pytest.fixture
def copy(world: ReleaseWorld, tmp_path: Path) -> Path:
    shutil.copy(world.public, tmp_path / "release.pub")
    return Path(shutil.copytree(world.release, tmp_path / VERSION))


def verified(tool: str, release: Path) -> bool:
    """Return whether the block of ``tool`` accepts ``release``."""
    if tool == "cosign" and shutil.which(tool) is None:
        skip("outside tool", "no cosign")
    program("outside tool", "openssl")
    language, command = TOOLS[tool]
    text = (PROJECT / "docs" / "release.md").read_text("utf-8")
    section = text.partition("## Verify it with other tools")[2].partition("\n## ")[0]
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    ran = subprocess.run([*command, block], cwd=release, capture_output=True, check=False)
    return ran.returncode == 0


def another_archive(release: Path) -> None:
    archive = release / "small-1.2.0-cpu.tar"
    archive.write_bytes(flipped(archive.read_bytes()))


def another_key(release: Path) -> None:
    public_file(release.parent, Ed25519PrivateKey.generate())


def another_statement(release: Path) -> None:
    file = release / "provenance.intoto.jsonl"
    envelope = Envelope.from_dict(json.loads(file.read_text()))
    envelope.payload = envelope.payload.replace(b'"small"', b'"smalL"')
    file.write_text(json.dumps(envelope.to_dict(), separators=(",", ":")) + "\n")


@pytest.mark.parametrize("tool", TOOLS)
def test_it_is_verified_signed_once_and_twice(tool: str, copy: Path) -> None:
    assert verified(tool, copy)
    file = copy / "provenance.intoto.jsonl"
    envelope = Envelope.from_dict(json.loads(file.read_text()))
    envelope.sign(CryptoSigner(Ed25519PrivateKey.generate()))
    file.write_text(json.dumps(envelope.to_dict(), separators=(",", ":")) + "\n")
    assert verified(tool, copy)


@pytest.mark.parametrize("change", [another_archive, another_key, another_statement])
@pytest.mark.parametrize("tool", TOOLS)
def test_what_was_tampered_with_is_refused(
    tool: str, change: Callable[[Path], None], copy: Path
) -> None:
    change(copy)
    assert not verified(tool, copy)
