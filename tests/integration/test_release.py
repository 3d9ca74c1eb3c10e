"""Releases: made twice by different people, rebuilt, and tampered with."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.json_format import Parse, ParseDict
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from securesystemslib.dsse import Envelope

from targets.errors import CheckFailed, ConfigError
from targets.release.archive import read_members, write_archive
from targets.release.envelope import PAYLOAD_TYPE, read_envelope, write_envelope
from targets.release.provenance import without_times
from targets.release.read import read_release
from targets.release.signing import trusted_file
from targets.release.statement import parse_statement
from targets.release.sums import read_sums, write_sums
from tests.integration.clones import Somebody, commit_all, project_repository
from tests.integration.test_build import quick_project
from tests.unit.test_release_signing import private_file, public_file

pytestmark = pytest.mark.engine

VERSION = "1.2.0"
CARD = """
[card]
description = "Tells tones apart."
license = "MIT"
"""


@dataclass(frozen=True)
class World:
    """Two people who released the same, each for themselves."""

    folder: Path
    first: Somebody
    second: Somebody
    public: Path

    @property
    def release(self) -> Path:
        """Return the first one's release."""
        return release_of(self.first)


def release_of(somebody: Somebody) -> Path:
    return somebody.work / "dist" / "small" / "release" / VERSION


def release_arguments(key: Path) -> tuple[str, ...]:
    return ("release", "--config", "small.toml", "--version", VERSION, "--sign-key", str(key))


def turkish(folder: Path) -> dict[str, str]:
    """Return the variables of a locale that writes numbers and letters in its own way."""
    made = subprocess.run(
        ["localedef", "-i", "tr_TR", "-f", "UTF-8", folder / "tr_TR.UTF-8"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (folder / "tr_TR.UTF-8").is_dir(), f"install the package locales: {made.stderr}"
    return {"LOCPATH": str(folder), "LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"}


@pytest.fixture(scope="module")
def world(
    cache_dir: Path, toolchain_python: Path, docker_client: docker.DockerClient
) -> Iterator[World]:
    assert docker_client.ping()
    # Other users must be able to reach it, unlike the folders of pytest.
    folder = Path(tempfile.mkdtemp(prefix="quern-release-"))
    try:
        folder.chmod(0o755)
        project = project_repository(folder / "origin" / "quern")
        work = quick_project(folder / "origin" / "work", seed=21)
        work.config.write_text(work.config.read_text() + CARD)
        commit_all(work.folder)
        other = 12345 if os.getuid() == 0 else os.getuid()
        for name in ("here", "somewhere else/ünder a long name", "locale"):
            (folder / name).mkdir(parents=True)
        first = Somebody(folder / "here", os.getuid(), {"LANG": "C", "TZ": "UTC"})
        second = Somebody(
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
        for somebody in (first, second):
            somebody.clone(project, work.folder, cache_dir)
            if somebody is first:
                environments = toolchain_python.parents[2]
                (somebody.home / "cache" / "venvs").symlink_to(environments)
            ran = somebody.run(*release_arguments(private))
            assert ran.code == 0, ran.stdout + ran.stderr
        yield World(folder, first, second, public_file(folder, key))
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def copy(world: World, tmp_path: Path) -> Path:
    return Path(shutil.copytree(world.release, tmp_path / VERSION))


def statement_in(release: Path) -> dict[str, Any]:
    members = json.loads((release / "provenance.intoto.jsonl").read_text())
    found = json.loads(base64.b64decode(members["payload"]))
    assert isinstance(found, dict)
    return found


def files_in(release: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in release.iterdir()}


def test_two_people_release_the_same_bytes(world: World) -> None:
    ours, theirs = files_in(world.release), files_in(release_of(world.second))
    assert (
        ours.keys()
        == theirs.keys()
        == {
            "SHA256SUMS",
            "provenance.intoto.jsonl",
            "sbom.cdx.json",
            "small-1.2.0-adapter.tar",
            "small-1.2.0-cpu.tar",
        }
    )
    for name in ours.keys() - {"provenance.intoto.jsonl"}:
        assert ours[name] == theirs[name], name
    statements = [
        without_times(parse_statement(read_envelope(files[name], Path(name)).payload, Path(name)))
        for files in (ours, theirs)
        for name in ["provenance.intoto.jsonl"]
    ]
    assert statements[0] == statements[1]
    assert statement_in(world.release) != statement_in(release_of(world.second))  # the times
    trained = [
        json.loads((somebody.work / "dist/small/cpu/report.json").read_text())["passes"]
        for somebody in (world.first, world.second)
    ]
    assert not any(step["cached"] for report in trained for step in report)
    if os.getuid() == 0:
        assert release_of(world.second).stat().st_uid != world.release.stat().st_uid
    assert stat.S_IMODE(release_of(world.second).stat().st_mode) == 0o700


def test_nothing_in_it_names_place_or_person(world: World) -> None:
    texts = [world.folder.name, "somewhere else", "Kathmandu"]
    if len(os.uname().nodename) > 5:  # a shorter one may be there by chance
        texts.append(os.uname().nodename)
    for name, content in files_in(release_of(world.second)).items():
        if name.endswith(".jsonl"):
            content = base64.b64decode(json.loads(content)["payload"])
        for text in texts:
            assert text.encode() not in content, (name, text)


def test_what_is_in_it(world: World) -> None:
    sums = (world.release / "SHA256SUMS").read_text().splitlines()
    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=world.release, check=False)
    assert done.returncode == 0
    assert len(sums) == 3
    with tarfile.open(world.release / "small-1.2.0-cpu.tar") as archive:
        names = archive.getnames()
        card = archive.extractfile("small-1.2.0-cpu/MODEL_CARD.md")
        assert card is not None
        text = card.read().decode()
    assert "small-1.2.0-cpu/model/model.onnx" in names
    assert "license: mit" in text
    assert "Tells tones apart." in text
    assert "licence not stated: base model, data" in text
    statement = statement_in(world.release)
    definition = statement["predicate"]["buildDefinition"]
    inputs = {item["name"]: item for item in definition["resolvedDependencies"]}
    assert inputs.keys() == {
        *("source", "quern", "config", "data.tone.0", "pretrain.text", "lock/cpu"),
        *("base-image/cpu", "trained/lora", "trained/pretrain"),
    }
    data = hashlib.sha256((world.first.work / "tone.jsonl").read_bytes()).hexdigest()
    assert inputs["data.tone.0"]["digest"] == {"sha256": data}
    assert inputs["source"]["annotations"] == {"dirty": False}
    assert definition["internalParameters"]["runtime"] == "docker"
    assert definition["internalParameters"]["machine"]["cpu"]


def test_an_independent_library_reads_the_provenance(world: World) -> None:
    content = statement_in(world.release)
    Statement.copy_from_pb(Parse(json.dumps(content), StatementMessage())).validate()
    predicate = ParseDict(content["predicate"], Provenance())
    assert predicate.build_definition.build_type == "urn:quern:release:v1"
    assert predicate.run_details.metadata.started_on.seconds > 0
    assert len(predicate.build_definition.resolved_dependencies) == 9


def test_verified_by_rebuilding_it_with_the_public_key(world: World) -> None:
    ran = world.second.run("verify", str(world.release), "--key", str(world.public), "--json")
    assert ran.code == 0, ran.stdout + ran.stderr
    found = json.loads(ran.stdout)
    assert found["same"] is True
    assert found["trained_again"] is True
    assert found["signed_by"] == "the key release.pub"
    assert len(found["compared"]) == 4
    assert found["left_out"] == {}


def test_rebuilt_from_the_adapter_in_another_runtime(world: World) -> None:
    ran = world.first.run(
        *("verify", str(world.release), "--from-adapter", "--runtime", "venv", "--json")
    )
    assert ran.code == 0, ran.stdout + ran.stderr
    found = json.loads(ran.stdout)
    assert found["same"] is True
    assert found["trained_again"] is False
    assert found["left_out"].keys() == {"sbom.cdx.json"}


def test_other_inputs_are_named_before_anything_runs(world: World) -> None:
    data = world.first.work / "tone.jsonl"
    before = data.read_text()
    try:
        data.write_text(before.replace("number 7", "number seven", 1))
        ran = world.first.run("verify", str(world.release))
    finally:
        data.write_text(before)
    assert ran.code == 2
    assert "data.tone.0 (tone.jsonl) is not what the release was made from" in ran.stderr
    assert "source at commit" in ran.stderr
    assert "pretrain" not in ran.stdout


def test_a_rebuild_with_other_bytes_is_shown_by_tensor(world: World, tmp_path: Path) -> None:
    released = Path(shutil.copytree(world.release, tmp_path / "forged"))
    root = "small-1.2.0-cpu"
    forge(released, root, "model/model.onnx.data", at=1000)
    ran = world.first.run("verify", str(released), "--from-adapter", "--quick")
    assert ran.code == 0, ran.stdout + ran.stderr  # whoever can write all of it can seal it again
    ran = world.first.run("verify", str(released), "--from-adapter")
    assert ran.code == 3, ran.stdout + ran.stderr
    assert "model.onnx.data" in ran.stdout
    assert "4-bit values" in ran.stdout or "values differ" in ran.stdout
    ran = world.first.run("verify", str(released), "--quick", "--key", str(world.public))
    assert ran.code == 3
    assert "is not signed" in ran.stderr


def forge(release: Path, root: str, name: str, at: int) -> None:
    """Change one byte of a file in an archive, and every digest above it, as a forger would."""
    archive = release / f"{root}.tar"
    files: dict[str, Path | bytes] = {}
    with tarfile.open(archive) as opened:
        for member in opened:
            stream = opened.extractfile(member)
            assert stream is not None
            files[member.name] = stream.read()
    content = bytearray(files[f"{root}/{name}"])  # type: ignore[arg-type]
    content[at] ^= 1
    files[f"{root}/{name}"] = bytes(content)
    report = json.loads(files[f"{root}/report.json"])  # type: ignore[arg-type]
    for file in report["files"]:
        if f"model/{file['path']}" == name:
            file["sha256"] = hashlib.sha256(content).hexdigest()
    files[f"{root}/report.json"] = (json.dumps(report, indent=2) + "\n").encode()
    del files[f"{root}/SHA256SUMS"]
    digests = {
        path.removeprefix(f"{root}/"): hashlib.sha256(found).hexdigest()
        for path, found in files.items()
        if isinstance(found, bytes)
    }
    files[f"{root}/SHA256SUMS"] = write_sums(digests)
    before = hashlib.sha256(archive.read_bytes()).hexdigest()
    write_archive(archive, files)
    after = hashlib.sha256(archive.read_bytes()).hexdigest()
    sbom = release / "sbom.cdx.json"
    sbom.write_text(sbom.read_text().replace(before, after))
    reseal(release)


def reseal(release: Path, **changes: Any) -> None:
    """Write SHA256SUMS and an unsigned provenance that fit what is in the folder now."""
    statement = statement_in(release)
    listed = read_sums((release / "SHA256SUMS").read_bytes(), "SHA256SUMS")
    digests = {
        name: hashlib.sha256((release / name).read_bytes()).hexdigest()
        for name in listed
        if (release / name).exists()
    }
    (release / "SHA256SUMS").write_bytes(write_sums(digests))
    digests["SHA256SUMS"] = hashlib.sha256((release / "SHA256SUMS").read_bytes()).hexdigest()
    for item in (*statement["subject"], *statement["predicate"]["runDetails"]["byproducts"]):
        if "digest" in item:
            item["digest"] = {"sha256": digests[item["name"]]}
    statement["predicate"]["buildDefinition"].update(changes)
    payload = json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()
    line = write_envelope(Envelope(payload, PAYLOAD_TYPE, {}))
    (release / "provenance.intoto.jsonl").write_bytes(line)


def test_a_flipped_bit_in_any_file_is_seen(world: World, copy: Path) -> None:
    chance = random.Random(0)  # noqa: S311 - not for secrets
    for name, whole in files_in(copy).items():
        places = {0, len(whole) // 2, len(whole) - 1, *chance.choices(range(len(whole)), k=20)}
        for offset in places:
            content = bytearray(whole)
            content[offset] ^= 1 << chance.randrange(8)
            (copy / name).write_bytes(content)
            with pytest.raises(CheckFailed):
                read_release(copy, trusted_file(world.public))
            with pytest.raises(CheckFailed):
                read_release(copy)
        (copy / name).write_bytes(whole)
    read_release(copy, trusted_file(world.public))


def test_the_command_ends_with_3_and_writes_nothing(world: World, copy: Path) -> None:
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


def test_a_provenance_of_another_release_is_refused(world: World, copy: Path) -> None:
    config = world.first.work / "small.toml"
    ran = world.first.run(
        *("release", "--config", str(config), "--version", "1.3.0", "--from-adapter", str(copy))
    )
    assert ran.code == 0, ran.stdout + ran.stderr
    other = world.release.parent / "1.3.0"
    assert statement_in(other)["predicate"]["buildDefinition"]["externalParameters"][
        "trainedElsewhere"
    ]
    shutil.copy(other / "provenance.intoto.jsonl", copy / "provenance.intoto.jsonl")
    with pytest.raises(CheckFailed, match=r"small-1\.3\.0-cpu\.tar is missing"):
        read_release(copy)


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
    world: World, copy: Path, tmp_path: Path
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


def test_a_release_of_a_newer_quern_is_not_judged(world: World, copy: Path) -> None:
    reseal(copy, buildType="urn:quern:release:v2", futureField=1)
    with pytest.raises(
        ConfigError, match=r"made by a newer Quern \(release schema 2; this one knows 1\)"
    ):
        read_release(copy)
    ran = world.first.run("verify", str(copy), "--quick")
    assert ran.code == 2
    reseal(copy, buildType="urn:somebody:else")
    with pytest.raises(CheckFailed):
        read_release(copy)


def test_a_version_stands_for_one_set_of_bytes(world: World) -> None:
    private = world.folder / "release.key"
    before = files_in(world.release)
    again = world.first.run(*release_arguments(private), "--json")
    assert again.code == 0, again.stderr
    assert json.loads(again.stdout)["new"] is False
    assert files_in(world.release) == before
    config = world.first.work / "small.toml"
    text = config.read_text()
    try:
        config.write_text(text.replace('license = "MIT"', 'license = "Apache-2.0"'))
        dirty = world.first.run(*release_arguments(private))
        assert dirty.code == 2
        assert "differs from its commit: small.toml" in dirty.stderr
        other = world.first.run(*release_arguments(private), "--allow-dirty")
    finally:
        config.write_text(text)
    assert other.code == 3, other.stderr
    assert "is released already, with other bytes" in other.stderr
    assert "Apache-2.0" in other.stderr
    assert files_in(world.release) == before
    assert not [
        path
        for path in world.release.parent.iterdir()
        if path.name.startswith(".1.2.0.") and path.is_dir()
    ]


def test_what_failed_or_is_unverified_is_not_released(world: World) -> None:
    config = world.first.work / "small.toml"
    text = config.read_text()
    arguments = ("release", "--config", "small.toml", "--allow-dirty")
    try:
        config.write_text(text.replace("rounds = 3", "rounds = 3\ntoken_ms = 0.0001"))
        failed = world.first.run(*arguments, "--version", "2.0.0")
    finally:
        config.write_text(text)
    assert failed.code == 3, failed.stderr
    assert "nothing is released, because a check failed: cpu: token_ms" in failed.stderr
    directml = ("release", "--config", "small.toml", "--target", "directml", "--version", "2.0.0")
    refused = world.first.run(*directml)
    assert refused.code == 3, refused.stderr
    assert "directml is unverified" in refused.stderr
    assert not (world.release.parent / "2.0.0").exists()
    allowed = world.first.run(*directml, "--allow-unverified")
    assert allowed.code == 0, allowed.stderr
    released = world.release.parent / "2.0.0"
    definition = statement_in(released)["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["allowUnverified"] is True
    assert definition["internalParameters"]["unverified"]["directml"]
    with tarfile.open(released / "small-2.0.0-directml.tar") as archive:
        card = archive.extractfile("small-2.0.0-directml/MODEL_CARD.md")
        assert card is not None
        assert "unverified: latency: DirectML runs on Windows only" in card.read().decode()
    ran = world.first.run("verify", str(released), "--from-adapter")
    assert ran.code == 0, ran.stdout + ran.stderr
    assert "directml is unverified" in ran.stdout


def test_a_lock_that_does_not_match_is_refused(world: World) -> None:
    requirements = world.first.project / "images" / "cpu" / "requirements.in"
    text = requirements.read_text()
    try:
        requirements.write_text(text.replace("peft\n", "peft>=99\n"))
        ran = world.first.run(
            *("release", "--config", "small.toml", "--version", "3.0.0", "--allow-dirty")
        )
    finally:
        requirements.write_text(text)
    assert ran.code == 4, ran.stderr
    assert "requirements.in of cpu asks for peft>=99" in ran.stderr
    assert "nox -s lock" in ran.stderr


@pytest.mark.parametrize("version", ["", "v1", "../1.0", "1.0/2", "1..0", "1.0 beta", "1" * 65])
def test_what_is_no_version_is_refused(world: World, version: str) -> None:
    ran = world.first.run("release", "--version", version)
    assert ran.code == 2
    assert f"'{version}' is no version" in ran.stderr


def test_members_of_the_archives_are_all_listed(world: World) -> None:
    members = read_members(world.release / "small-1.2.0-cpu.tar")
    assert {member.path.partition("/")[0] for member in members} == {"small-1.2.0-cpu"}
