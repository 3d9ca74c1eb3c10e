"""Two people who release the same, each in their own place; and a forger's tools."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.dsse import Envelope

from targets.release.archive import write_archive
from targets.release.sums import read_sums, write_sums
from targets.signatures.envelope import PAYLOAD_TYPE, write_envelope
from tests.support.capabilities import program, skip_or_fail
from tests.support.clones import OtherUser, commit_all, project_repository
from tests.support.key_files import private_file, public_file
from tests.support.quick_builds import quick_project

VERSION = "1.2.0"
CARD = """
[card]
description = "Tells tones apart."
license = "MIT"
"""


@dataclass(frozen=True)
class ReleaseWorld:
    """Two people with the same sources, of whom the first one has made a release."""

    folder: Path
    first: OtherUser
    second: OtherUser
    """Another user in another place, with another locale, time zone and umask."""
    private: Path
    public: Path

    @property
    def release(self) -> Path:
        """Return the first one's release."""
        return release_of(self.first)


def release_of(somebody: OtherUser) -> Path:
    return somebody.work / "dist" / "small" / "release" / VERSION


def release_arguments(key: Path) -> tuple[str, ...]:
    return ("release", "--config", "small.toml", "--version", VERSION, "--sign-key", str(key))


def turkish(folder: Path) -> dict[str, str]:
    """Return the variables of a locale that writes numbers and letters in its own way."""
    made = subprocess.run(
        [program("release", "localedef"), "-i", "tr_TR", "-f", "UTF-8", folder / "tr_TR.UTF-8"],
        capture_output=True,
        text=True,
        check=False,
    )
    if not (folder / "tr_TR.UTF-8").is_dir():
        skip_or_fail("release", f"no locale tr_TR, of the package locales ({made.stderr.strip()})")
    return {"LOCPATH": str(folder), "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"}


def make_release_world(folder: Path, cache: Path, environments: Path) -> ReleaseWorld:
    """Let two people clone the same below ``folder``, with the wheels of ``cache``, and the first
    one release it."""
    project = project_repository(folder / "origin" / "quern")
    work = quick_project(folder / "origin" / "work", seed=21)
    work.config.write_text(work.config.read_text() + CARD)
    (work.folder / ".gitignore").write_text("/dist/\n/other/\n")
    commit_all(work.folder)
    other = 12345 if os.getuid() == 0 else os.getuid()
    for name in ("here", "somewhere else/ünder a long name", "locale"):
        (folder / name).mkdir(parents=True)
    first = OtherUser(folder / "here", os.getuid(), {"LANG": "C", "TZ": "UTC"})
    second = OtherUser(
        folder / "somewhere else" / "ünder a long name",
        other,
        {
            **turkish(folder / "locale"),
            "TZ": "Asia/Kathmandu",
            "USER": "other",
            "PYTHONHASHSEED": "7",
        },
        umask=0o077,
    )
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    private = private_file(folder, key)
    private.chmod(0o644)
    first.clone(project, work.folder, cache)
    (first.home / "cache" / "venvs").symlink_to(environments)
    ran = first.run(*release_arguments(private))
    assert ran.code == 0, ran.stdout + ran.stderr
    # With the wheels that a release fetches: who verifies it may have no network.
    second.clone(project, work.folder, first.home / "cache")
    return ReleaseWorld(folder, first, second, private, public_file(folder, key))


def statement_in(release: Path) -> dict[str, Any]:
    members = json.loads((release / "provenance.intoto.jsonl").read_text())
    statement = json.loads(base64.b64decode(members["payload"]))
    assert isinstance(statement, dict)
    return statement


def files_in(release: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in release.iterdir()}


def flipped(content: bytes) -> bytes:
    """Return ``content`` with one bit in its middle flipped."""
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    return bytes(changed)


def forge(release: Path, root: str, changes: Mapping[str, Callable[[bytes], bytes]]) -> None:
    """Change files in an archive, and every digest above them, as a forger would."""
    archive = release / f"{root}.tar"
    files: dict[str, bytes] = {}
    with tarfile.open(archive) as opened:
        for member in opened:
            stream = opened.extractfile(member)
            assert stream is not None
            files[member.name.removeprefix(f"{root}/")] = stream.read()
    for name, change in changes.items():
        files[name] = change(files[name])
    report = json.loads(files["report.json"])
    for file in report["files"]:
        file["sha256"] = hashlib.sha256(files[f"model/{file['path']}"]).hexdigest()
    files["report.json"] = (json.dumps(report, indent=2) + "\n").encode()
    del files["SHA256SUMS"]
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files["SHA256SUMS"] = write_sums(digests)
    before = hashlib.sha256(archive.read_bytes()).hexdigest()
    write_archive(archive, {f"{root}/{name}": content for name, content in files.items()})
    after = hashlib.sha256(archive.read_bytes()).hexdigest()
    sbom = release / "sbom.cdx.json"
    sbom.write_text(sbom.read_text().replace(before, after))
    reseal(release)


def reseal(release: Path, **changes: Any) -> None:
    """Write an unsigned provenance and SHA256SUMS that fit what is in the folder now."""
    statement = statement_in(release)
    listed = read_sums((release / "SHA256SUMS").read_bytes(), "SHA256SUMS")
    digests = {
        name: hashlib.sha256((release / name).read_bytes()).hexdigest()
        for name in listed
        if (release / name).exists()
    }
    for item in (*statement["subject"], *statement["predicate"]["runDetails"]["byproducts"]):
        if "digest" in item:
            item["digest"] = {"sha256": digests[item["name"]]}
    statement["predicate"]["buildDefinition"].update(changes)
    payload = json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()
    line = write_envelope(Envelope(payload, PAYLOAD_TYPE, {}))
    (release / "provenance.intoto.jsonl").write_bytes(line)
    digests["provenance.intoto.jsonl"] = hashlib.sha256(line).hexdigest()
    (release / "SHA256SUMS").write_bytes(write_sums(digests))
