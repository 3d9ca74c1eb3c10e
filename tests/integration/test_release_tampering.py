"""Releases that somebody has tampered with: each is refused with its reason."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from targets.errors import CheckFailed, ConfigError
from targets.release.read_release import read_release
from targets.release.rebuilt import (
    Surroundings,
    add_rebuilt,
    rebuilt_statement,
    require_rebuilt,
)
from targets.release.statement import BUILD_TYPE, SCHEMA, Statement
from targets.signatures.signing import trusted_file
from tests.support.key_files import public_file
from tests.support.release_world import (
    VERSION,
    ReleaseWorld,
    files_in,
    flipped,
    forge,
    reseal,
    statement_in,
)

pytestmark = pytest.mark.engine

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


@pytest.fixture
def copy(world: ReleaseWorld, tmp_path: Path) -> Path:
    return Path(shutil.copytree(world.release, tmp_path / VERSION))


def test_a_flipped_bit_in_any_file_is_seen(world: ReleaseWorld, copy: Path) -> None:
    chance = random.Random(0)  # noqa: S311 - not for secrets
    statement = read_release(copy).statement
    for name, whole in files_in(copy).items():
        places = {0, len(whole) // 2, len(whole) - 1, *chance.choices(range(len(whole)), k=20)}
        for offset in places:
            content = bytearray(whole)
            content[offset] ^= 1 << chance.randrange(8)
            (copy / name).write_bytes(content)
            with pytest.raises(CheckFailed):
                read_release(copy)
            try:
                found = read_release(copy, trusted_file(world.public))
            except CheckFailed:
                continue
            # What is signed is as it was: the flip is in the name of the key, or in the digest of
            # the provenance, for which its signature stands.
            assert name in ("provenance.intoto.jsonl", "SHA256SUMS")
            assert found.statement == statement
        (copy / name).write_bytes(whole)
    read_release(copy, trusted_file(world.public))


def test_the_command_ends_with_3_and_writes_nothing(world: ReleaseWorld, copy: Path) -> None:
    archive = copy / "small-1.2.0-cpu.tar"
    content = bytearray(archive.read_bytes())
    content[2000] ^= 1
    archive.write_bytes(content)
    before = sorted(path for path in (world.first.home / "cache").rglob("*"))
    for more in ((), ("--quick",), ("--json",)):
        ran = world.first.run("verify", str(copy), *more)
        assert ran.code == 3
        said = ran.stdout if more == ("--json",) else ran.stderr
        assert "small-1.2.0-cpu.tar is not the file that provenance.intoto.jsonl is about" in said
    assert sorted(path for path in (world.first.home / "cache").rglob("*")) == before


@pytest.mark.parametrize(
    "name", ["small-1.2.0-cpu.tar", "small-1.2.0-adapter.tar", "sbom.cdx.json", "SHA256SUMS"]
)
def test_missing_and_strange_files_are_named(copy: Path, name: str) -> None:
    (copy / name).rename(copy / f"other-{name}")
    with pytest.raises(
        CheckFailed, match=rf"other-{name} belongs to no release\n.*{name} is missing"
    ):
        read_release(copy)


def a_link(release: Path) -> None:
    (release / "more").symlink_to("/etc/passwd")


def an_archive_elsewhere(release: Path) -> None:
    archive = release / "small-1.2.0-cpu.tar"
    archive.rename(release.parent / archive.name)
    archive.symlink_to(release.parent / archive.name)


def an_empty_folder(release: Path) -> None:
    (release / "more").mkdir()


def a_pipe(release: Path) -> None:
    os.mkfifo(release / "more")


def a_provenance_that_is_a_pipe(release: Path) -> None:
    (release / "provenance.intoto.jsonl").unlink()
    os.mkfifo(release / "provenance.intoto.jsonl")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (a_link, "a link"),
        (an_archive_elsewhere, "a link"),
        (an_empty_folder, "a folder"),
        (a_pipe, "no file"),
        (a_provenance_that_is_a_pipe, "no file"),
    ],
)
def test_a_release_has_files_alone(
    world: ReleaseWorld, copy: Path, change: Callable[[Path], None], kind: str
) -> None:
    change(copy)
    with pytest.raises(CheckFailed, match=f"is {kind}: a release has files alone"):
        read_release(copy, trusted_file(world.public))


def test_another_signature_is_added_and_each_key_verifies_it(
    world: ReleaseWorld, copy: Path, tmp_path: Path
) -> None:
    """By the library of in-toto, with and without the name of the key, however it is laid out."""
    file = copy / "provenance.intoto.jsonl"
    key = Ed25519PrivateKey.generate()
    envelope = Envelope.from_dict(json.loads(file.read_text()))
    envelope.sign(CryptoSigner(key))
    members = envelope.to_dict()
    members["signatures"][1]["keyid"] = ""
    for content in (members, {**members, "signatures": members["signatures"][::-1]}):
        file.write_text(json.dumps(content, indent=2))
        for public in (world.public, public_file(tmp_path, key, "other.pub")):
            assert len(read_release(copy, trusted_file(public)).envelope.signatures) == 2
        with pytest.raises(CheckFailed, match="or was signed again: verify it with the key"):
            read_release(copy)
    del members["signatures"][1]["keyid"]
    file.write_text(json.dumps(members))
    read_release(copy, trusted_file(public_file(tmp_path, key, "other.pub")))


def rebuilt_statement_of(release: Path) -> Statement:
    now = datetime.now(timezone.utc)
    around = Surroundings("docker", {"cpu": "3.11"}, ())
    return rebuilt_statement(read_release(release).statement, around, False, now, now)


def test_who_rebuilt_it_is_believed_for_these_archives_alone(
    world: ReleaseWorld, copy: Path, tmp_path: Path
) -> None:
    file = copy / "rebuilt.intoto.jsonl"
    owner, public = trusted_file(world.public), public_file(tmp_path, KEY, "other.pub")
    other = trusted_file(public)
    stated = rebuilt_statement_of(copy)
    assert stated.subject == read_release(copy).statement.subject
    add_rebuilt(copy, stated, CryptoSigner(Ed25519PrivateKey.generate()))
    with pytest.raises(CheckFailed, match=r"the key other\.pub does not say that it was rebuilt"):
        require_rebuilt(read_release(copy, owner).rebuilt, owner, other, copy)
    add_rebuilt(copy, stated, CryptoSigner(KEY))
    found = read_release(copy, owner)
    assert len(found.rebuilt) == 2
    assert not require_rebuilt(found.rebuilt, owner, other, copy).trained_elsewhere
    with pytest.raises(CheckFailed, match="released it, which is no second build"):
        require_rebuilt(found.rebuilt, owner, owner, copy)
    with pytest.raises(ConfigError, match="unless it is known who released it"):
        require_rebuilt(found.rebuilt, None, other, copy)
    whole = file.read_bytes()
    renamed = (stated.subject[0].model_copy(update={"name": "else.tar"}), *stated.subject[1:])
    for line, problem in (
        (b"[" * 200_000, "is not as it was written"),
        (b"{}", "is not as it was written"),
        ((copy / "provenance.intoto.jsonl").read_bytes(), "no provenance of a rebuild"),
    ):
        file.write_bytes(whole + line)
        with pytest.raises(CheckFailed, match=problem):
            read_release(copy)
    file.write_bytes(whole)
    add_rebuilt(copy, stated.model_copy(update={"subject": renamed}), CryptoSigner(KEY))
    with pytest.raises(CheckFailed, match="about other archives"):
        read_release(copy)


def test_swapped_archives_are_seen_even_when_resealed(copy: Path) -> None:
    cpu, adapter = copy / "small-1.2.0-cpu.tar", copy / "small-1.2.0-adapter.tar"
    content = cpu.read_bytes()
    cpu.write_bytes(adapter.read_bytes())
    adapter.write_bytes(content)
    with pytest.raises(CheckFailed, match=r"small-1\.2\.0-cpu\.tar is not the file"):
        read_release(copy)
    reseal(copy)
    with pytest.raises(CheckFailed, match=r"is not in the folder small-1\.2\.0-"):
        read_release(copy)


def test_a_provenance_of_another_release_is_refused(world: ReleaseWorld, copy: Path) -> None:
    """Whether it is of another version, or of the same name and other bytes."""
    whole = (copy / "provenance.intoto.jsonl").read_bytes()
    reseal(copy, externalParameters={**asked(copy), "version": "1.3.0"})
    with pytest.raises(
        CheckFailed, match=r"small-1\.2\.0-cpu\.tar is not an archive of small 1\.3\.0"
    ):
        read_release(copy)
    (copy / "provenance.intoto.jsonl").write_bytes(whole)
    forge(copy, "small-1.2.0-cpu", {"model/model.onnx.data": flipped})
    (copy / "provenance.intoto.jsonl").write_bytes(whole)
    with pytest.raises(
        CheckFailed, match=r"cpu\.tar is not the file that provenance\.intoto\.jsonl"
    ):
        read_release(copy, trusted_file(world.public))


def asked(release: Path) -> dict[str, Any]:
    definition = statement_in(release)["predicate"]["buildDefinition"]
    return dict(definition["externalParameters"])


def test_an_edited_sbom_is_refused(copy: Path) -> None:
    sbom = copy / "sbom.cdx.json"
    whole = json.loads(sbom.read_text())
    edited = {**whole, "components": [{**whole["components"][0], "type": "malware"}]}
    sbom.write_text(json.dumps(edited))
    with pytest.raises(CheckFailed, match=r"sbom\.cdx\.json is not the file"):
        read_release(copy)
    reseal(copy)
    with pytest.raises(CheckFailed, match=r"sbom\.cdx\.json: .*malware"):
        read_release(copy)
    sbom.write_text(json.dumps({**whole, "components": [], "dependencies": []}))
    reseal(copy)
    with pytest.raises(CheckFailed, match=r"sbom\.cdx\.json: "):
        read_release(copy)


def test_an_archive_that_climbs_out_is_refused_though_all_digests_fit(
    world: ReleaseWorld, copy: Path, tmp_path: Path
) -> None:
    archive = copy / "small-1.2.0-adapter.tar"
    with tarfile.open(archive, "a") as opened:
        info = tarfile.TarInfo("small-1.2.0-adapter/../../../evil")
        opened.addfile(info)
    reseal(copy)
    sbom = copy / "sbom.cdx.json"
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert digest not in sbom.read_text()
    before = sorted(tmp_path.rglob("*"))
    ran = world.first.run("verify", str(copy), "--from-adapter")
    assert ran.code == 3
    assert "climbs out of the folder" in ran.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_release_of_a_newer_quern_is_not_judged(world: ReleaseWorld, copy: Path) -> None:
    reseal(copy, buildType=of_schema(SCHEMA + 1), futureField=1)
    with pytest.raises(ConfigError, match=rf"a newer Quern \(release schema {SCHEMA + 1}; "):
        read_release(copy)
    ran = world.first.run("verify", str(copy), "--quick")
    assert ran.code == 2
    reseal(copy, buildType="urn:somebody:else")
    with pytest.raises(CheckFailed):
        read_release(copy)


def of_schema(number: int) -> str:
    return BUILD_TYPE.replace(f"v{SCHEMA}", f"v{number}")


def test_a_release_of_an_older_quern_is_proven_in_part_and_says_what_rebuilds_it(
    world: ReleaseWorld, copy: Path
) -> None:
    reseal(copy, buildType=of_schema(2))
    quick = world.first.run("verify", str(copy), "--quick")
    assert quick.code == 0, quick.stderr
    whole = world.first.run("verify", str(copy))
    assert whole.code == 2, whole.stdout
    said = " ".join(whole.stderr.split())
    shown = ["git", "-C", str(world.first.project), "rev-parse", "HEAD"]
    commit = subprocess.check_output(shown, text=True).strip()
    assert f"was made by an older Quern (release schema 2; this one makes {SCHEMA})" in said
    assert f"use Quern 0.1.0 at commit {commit}; --quick and --rebuilt-by prove it here" in said
    assert "pretrain" not in whole.stdout
    reseal(copy, buildType=of_schema(1))
    with pytest.raises(ConfigError, match=r"an older Quern \(release schema 1; "):
        read_release(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"externalParameters": {}},
        {"internalParameters": {"threads": "many"}},
        {"resolvedDependencies": "none"},
    ],
)
def test_a_provenance_that_lacks_what_a_rebuild_needs_is_refused(
    copy: Path, changes: dict[str, Any]
) -> None:
    reseal(copy, **changes)
    with pytest.raises(CheckFailed, match="no provenance of a release"):
        read_release(copy)


def test_a_build_that_names_a_place_is_refused(copy: Path) -> None:
    reseal(copy, externalParameters={**asked(copy), "build": "../../evil"})
    with pytest.raises(CheckFailed, match=r"externalParameters\.build"):
        read_release(copy)
