"""A release is verified with tools that nobody here wrote, as `docs/release.md` shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf.json_format import Parse, ParseDict
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from targets.cli.options import PROJECT
from targets.target import load_target
from targets.toolchain.image import find_image
from targets.toolchain.platforms import this_machine
from tests.support.capabilities import program
from tests.support.key_files import public_file
from tests.support.outside_tools import debian_program, npm_tools, python_tools
from tests.support.release_world import (
    VERSION,
    ReleaseWorld,
    flipped,
    release_arguments,
    statement_in,
)

pytestmark = pytest.mark.engine

# The language of each block, and what runs it.
BLOCKS = {
    "openssl": ("bash", ("bash", "-c")),
    "securesystemslib": ("python", (sys.executable, "-c")),
    "cosign": ("sh", ("sh", "-c")),
}
# The releases of Debian whose cosign is tried: of the generations 2 and 3.
SUITES = {"cosign 2": "trixie", "cosign 3": "sid"}
TOOLS = (
    "openssl",
    "securesystemslib",
    *(pytest.param(it, marks=pytest.mark.slow) for it in SUITES),
)
TARGETS = ("cpu", "cuda", "directml")


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for fetched tools."""
    return tmp_path_factory.mktemp("outside")


@pytest.fixture
def copy(world: ReleaseWorld, tmp_path: Path) -> Path:
    shutil.copy(world.public, tmp_path / "release.pub")
    return Path(shutil.copytree(world.release, tmp_path / VERSION))


@pytest.fixture(scope="module")
def of_all_targets(
    world: ReleaseWorld,
    directml_image: None,  # noqa: ARG001 - it is there before they build
    docker_client: docker.DockerClient,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return a release of all targets, from the world's fine-tune.

    The wheels that make the artifact of cuda are those of cpu, since its own take gigabytes: `nox
    -s tests-cuda` builds with these. So its image is that of cpu by another name.
    """
    first = world.first
    images, toml = first.project / "images", first.project / "targets" / "cuda.toml"
    changed = [toml, *(images / "cuda").glob("requirements.*")]
    before = {file: file.read_bytes() for file in changed}
    config = first.work / "small.toml"
    text = config.read_text()
    named = [word for target in TARGETS for word in ("--target", target)]
    try:
        for file in changed[1:]:
            shutil.copy(images / "cpu" / file.name, file)
        toml.write_text(re.sub(r"(?m)^CUBLAS_WORKSPACE_CONFIG.*\n", "", toml.read_text()))
        config.write_text(f"{text}\n[targets.cuda.checks.latency]\ntarget_limits = true\n")
        with image_of_cpu_as("cuda", docker_client):
            ran = first.run(
                *(*release_arguments(world.private), *named, "--dist", "other"),
                *("--allow-unverified", "--allow-dirty"),
            )
    finally:
        config.write_text(text)
        for file, content in before.items():
            file.write_bytes(content)
    assert ran.code == 0, ran.stdout + ran.stderr
    made = first.work / "other" / "small" / "release" / VERSION
    folder = tmp_path_factory.mktemp("all")
    shutil.copy(world.public, folder / "release.pub")
    moved = Path(shutil.move(made, folder / VERSION))
    shutil.rmtree(first.work / "other")
    archives = {f"small-{VERSION}-{part}.tar" for part in (*TARGETS, "adapter")}
    assert {path.name for path in moved.glob("*.tar")} == archives
    return moved


@contextmanager
def image_of_cpu_as(target: str, client: docker.DockerClient) -> Iterator[None]:
    """Inside, the image of cpu is also that of ``target``: to make the same once more takes minutes
    and gigabytes."""
    found = find_image(client, load_target("cpu").toolchain(this_machine()))
    assert found is not None
    other = f"quern/{target}", found.tag.rpartition(":")[2]
    client.images.get(found.tag).tag(*other)
    try:
        yield
    finally:
        client.images.remove(":".join(other))


def verified(tool: str, release: Path, fetched: Path) -> bool:
    """Return whether the block of ``tool`` accepts ``release``."""
    program("outside tool", "openssl")
    path = os.environ["PATH"]
    name = tool.partition(" ")[0]
    if tool in SUITES:
        path = f"{debian_program(fetched, SUITES[tool], name).parent}{os.pathsep}{path}"
    language, command = BLOCKS[name]
    text = (PROJECT / "docs" / "release.md").read_text("utf-8")
    section = text.partition("## Verify it with other tools")[2].partition("\n## ")[0]
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    environment = {**os.environ, "PATH": path}
    ran = subprocess.run(
        [*command, block], cwd=release, env=environment, capture_output=True, check=False
    )
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


def sign_twice(release: Path, first: bool) -> None:
    """Add somebody else's signature to that of the release: before it, or behind."""
    file = release / "provenance.intoto.jsonl"
    envelope = Envelope.from_dict(json.loads(file.read_text()))
    envelope.sign(CryptoSigner(Ed25519PrivateKey.generate()))
    members = envelope.to_dict()
    if first:
        members["signatures"].reverse()
    file.write_text(json.dumps(members, separators=(",", ":")) + "\n")


@pytest.mark.parametrize("tool", TOOLS)
def test_it_is_verified_signed_once_and_twice(tool: str, copy: Path, fetched: Path) -> None:
    assert verified(tool, copy, fetched)
    sign_twice(copy, first=True)
    assert verified(tool, copy, fetched)


@pytest.mark.parametrize("change", [another_archive, another_key, another_statement])
@pytest.mark.parametrize("tool", TOOLS)
def test_what_was_tampered_with_is_refused(
    tool: str, change: Callable[[Path], None], copy: Path, fetched: Path
) -> None:
    change(copy)
    assert not verified(tool, copy, fetched)


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["openssl", "securesystemslib", *SUITES])
def test_a_release_of_all_targets_is_verified(
    tool: str, of_all_targets: Path, fetched: Path, tmp_path: Path
) -> None:
    shutil.copy(of_all_targets.parent / "release.pub", tmp_path)
    release = Path(shutil.copytree(of_all_targets, tmp_path / VERSION))
    assert verified(tool, release, fetched)
    for first in (False, True):
        sign_twice(release, first)
        assert verified(tool, release, fetched)
    archive = release / f"small-{VERSION}-directml.tar"
    archive.write_bytes(flipped(archive.read_bytes()))
    assert not verified(tool, release, fetched)


@pytest.mark.slow
def test_libraries_of_the_locks_read_a_release_of_all_targets(
    of_all_targets: Path, toolchain_python: Path, tmp_path: Path
) -> None:
    subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=of_all_targets, check=True)
    content = statement_in(of_all_targets)
    Statement.copy_from_pb(Parse(json.dumps(content), StatementMessage())).validate()
    ParseDict(content["predicate"], Provenance())
    strict = JsonStrictValidator(SchemaVersion.V1_6)
    assert strict.validate_str((of_all_targets / "sbom.cdx.json").read_text()) is None
    read = "import json, sys; from huggingface_hub import ModelCard; "
    read += "print(json.dumps([ModelCard.load(it).data.to_dict()['tags'] for it in sys.argv[1:]]))"
    cards = []
    for target in TARGETS:
        name = f"small-{VERSION}-{target}"
        subprocess.run(["tar", "xf", of_all_targets / f"{name}.tar"], cwd=tmp_path, check=True)
        cards.append(tmp_path / name / "README.md")
    found = json.loads(subprocess.check_output([toolchain_python, "-c", read, *cards]))
    assert found == [["quern", target, "onnx"] for target in TARGETS]


# What lib4sbom, with which other scanners read, sees in an SBOM; of one it cannot read, nothing.
LIB4SBOM = """
import json, sys
from lib4sbom.parser import SBOMParser

parser = SBOMParser()
parser.parse_file(sys.argv[1])
print(json.dumps([package["name"] for package in parser.get_packages()]))
"""
SIGSTORE = """
import sys
from pathlib import Path
from sigstore.dsse import Envelope, Statement

envelope = Envelope._from_json(Path(sys.argv[1]).read_bytes())
statement = Statement(envelope._inner.payload)
print(len(statement._inner.subjects))
"""


@pytest.mark.slow
def test_readers_in_python_read_all_of_it(of_all_targets: Path, fetched: Path) -> None:
    programs = python_tools(fetched / "python")
    sbom = of_all_targets / "sbom.cdx.json"
    subprocess.run([programs / "cdx-ev", "validate", sbom], check=True)
    found = subprocess.check_output([programs / "python", "-c", LIB4SBOM, sbom])
    names = {f"small-{part}" for part in (*TARGETS, "adapter", "base")}
    assert {*names, "tone", "numpy", "onnxruntime", "onnxruntime-genai"} <= {*json.loads(found)}
    provenance = of_all_targets / "provenance.intoto.jsonl"
    subjects = subprocess.check_output([programs / "python", "-c", SIGSTORE, provenance])
    assert int(subjects) == len(TARGETS) + 1


# Verifies a provenance as npm does with those of its packages, but with a key, and no log.
SIGSTORE_JS = """
const fs = require("fs");
const { bundleFromJSON } = require("@sigstore/bundle");
const { crypto } = require("@sigstore/core");
const { toSignedEntity, Verifier } = require("@sigstore/verify");
const CycloneDX = require("@cyclonedx/cyclonedx-library");

const [folder, keyFile] = process.argv.slice(2);
const bundle = bundleFromJSON({
  mediaType: "application/vnd.dev.sigstore.bundle+json;version=0.2",
  verificationMaterial: { publicKey: { hint: "" }, tlogEntries: [] },
  dsseEnvelope: JSON.parse(fs.readFileSync(`${folder}/provenance.intoto.jsonl`, "utf8")),
});
const key = crypto.createPublicKey(fs.readFileSync(keyFile, "utf8"));
const none = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
const roots = { ...none, publicKey: () => ({ publicKey: key, validFor: () => true }) };
const asked = { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 };
new Verifier(roots, asked).verify(toSignedEntity(bundle));
const strict = new CycloneDX.Validation.JsonStrictValidator(CycloneDX.Spec.Version.v1dot6);
strict.validate(fs.readFileSync(`${folder}/sbom.cdx.json`, "utf8")).then((problem) => {
  if (problem !== null) throw new Error(JSON.stringify(problem));
});
"""


@pytest.mark.slow
def test_readers_in_javascript_verify_it(of_all_targets: Path, fetched: Path) -> None:
    folder = npm_tools(fetched / "npm")
    script = folder / "verify.cjs"
    script.write_text(SIGSTORE_JS)
    key = of_all_targets.parent / "release.pub"
    subprocess.run(["node", script, of_all_targets, key], check=True)
    other = public_file(folder, Ed25519PrivateKey.generate())
    ran = subprocess.run(["node", script, of_all_targets, other], capture_output=True, check=False)
    assert b"signature verification failed" in ran.stderr
