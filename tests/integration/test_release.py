"""Releases: made twice by different people, and rebuilt."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.json_format import Parse, ParseDict
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.resource_descriptor_pb2 import ResourceDescriptor as DescriptorMessage
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from targets.errors import EnvironmentUnable
from targets.place import place_of
from targets.release import layout
from targets.release.archive import read_members
from targets.release.compare_releases import compare_releases
from targets.release.provenance import without_times
from targets.release.read_release import read_release
from targets.release.rebuild import require_same_platform
from targets.release.statement import parse_statement
from targets.signatures.envelope import read_envelope
from targets.signatures.signing import trusted_file
from targets.target import load_target
from tests.support.clocks import SteppingClock
from tests.support.command import CommandResult
from tests.support.key_files import private_file, public_file
from tests.support.release_world import (
    VERSION,
    ReleaseWorld,
    files_in,
    flipped,
    forge,
    release_arguments,
    release_of,
    reseal,
    statement_in,
)

pytestmark = pytest.mark.engine


TELLS = {"provenance.intoto.jsonl", "SHA256SUMS"}
"""Files that tell of when and where a release was made: one by its digest of the other."""
FILES = {*TELLS, "sbom.cdx.json", "small-1.2.0-adapter.tar", "small-1.2.0-cpu.tar"}


@dataclass(frozen=True)
class Rebuilt:
    """How the second one rebuilt the release of the first one, without network."""

    ran: CommandResult
    folder: Path
    """What they made: all but a provenance."""


@pytest.fixture(scope="module")
def rebuilt(world: ReleaseWorld, no_network: tuple[str, ...]) -> Rebuilt:
    kept = world.second.home / "rebuilt"
    ran = world.second.run(
        *("verify", str(world.release), "--key", str(world.public), "--json"),
        *("--keep", str(kept)),
        before=no_network,
    )
    return Rebuilt(ran, kept)


@pytest.fixture(scope="module")
def second_release(world: ReleaseWorld) -> Path:
    """Let the second one make the same release, and return it."""
    ran = world.second.run(*release_arguments(world.private))
    assert ran.code == 0, ran.stdout + ran.stderr
    return release_of(world.second)


def differing(one: Path, other: Path) -> set[str]:
    """Return the names of the files that differ."""
    ours, theirs = files_in(one), files_in(other)
    return {name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}


def test_verified_by_rebuilding_it_without_network(world: ReleaseWorld, rebuilt: Rebuilt) -> None:
    """By another user, in another place, with another locale, time zone and umask."""
    assert rebuilt.ran.code == 0, rebuilt.ran.stdout + rebuilt.ran.stderr
    found = json.loads(rebuilt.ran.stdout)
    cpu = statement_in(world.release)["predicate"]["buildDefinition"]["internalParameters"]
    before = f"trained on {cpu['machine']['cpu']}, as this machine is: it can make the same bytes"
    assert before in " ".join(rebuilt.ran.stderr.split())
    assert found["same"] is True
    assert found["trained_again"] is True
    assert found["signed_by"] == "the key release.pub"
    assert len(found["compared"]) == 4
    assert files_in(world.release).keys() == FILES
    assert differing(world.release, rebuilt.folder) == TELLS
    if os.getuid() == 0:
        assert rebuilt.folder.stat().st_uid != world.release.stat().st_uid
    assert stat.S_IMODE(rebuilt.folder.stat().st_mode) == 0o700


@pytest.mark.slow
def test_two_people_release_the_same_bytes(world: ReleaseWorld, second_release: Path) -> None:
    assert differing(world.release, second_release) == TELLS
    assert files_in(second_release).keys() == FILES
    statements = [
        without_times(parse_statement(read_envelope(file.read_bytes(), file).payload, file))
        for file in (release / layout.PROVENANCE for release in (world.release, second_release))
    ]
    assert statements[0] == statements[1]
    assert statement_in(world.release) != statement_in(second_release)  # the times
    trained = [
        json.loads((somebody.work / "dist/small/cpu/report.json").read_text())["passes"]
        for somebody in (world.first, world.second)
    ]
    assert not any(step["cached"] for report in trained for step in report)
    if os.getuid() == 0:
        assert second_release.stat().st_uid != world.release.stat().st_uid
    assert stat.S_IMODE(second_release.stat().st_mode) == 0o700
    assert not named_in(second_release, world)


def test_nothing_in_it_names_place_or_person(world: ReleaseWorld, rebuilt: Rebuilt) -> None:
    assert not named_in(world.release, world)
    assert not named_in(rebuilt.folder, world)


def named_in(release: Path, world: ReleaseWorld) -> list[tuple[str, str]]:
    """Return the files that name a place or a person, with what they name."""
    texts = [world.folder.name, "somewhere else", "Kathmandu"]
    if len(os.uname().nodename) > 5:  # a shorter one may be there by chance
        texts.append(os.uname().nodename)
    contents = files_in(release)
    for name in contents.keys() & {layout.PROVENANCE}:
        contents[name] = base64.b64decode(json.loads(contents[name])["payload"])
    return [
        (name, text)
        for name, content in contents.items()
        for text in texts
        if text.encode() in content
    ]


def test_what_is_in_it(world: ReleaseWorld) -> None:
    sums = (world.release / "SHA256SUMS").read_text().splitlines()
    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=world.release, check=False)
    assert done.returncode == 0
    assert len(sums) == 4
    with tarfile.open(world.release / "small-1.2.0-cpu.tar") as archive:
        names = archive.getnames()
        card = archive.extractfile("small-1.2.0-cpu/README.md")
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
        *("base-image/cpu", "system/cpu", "trained/lora", "trained/pretrain"),
    }
    data = hashlib.sha256((world.first.work / "tone.jsonl").read_bytes()).hexdigest()
    assert inputs["data.tone.0"]["digest"] == {"sha256": data}
    shown = ["git", "-C", str(world.first.work), "log", "-1", "--format=%ct"]
    committed = datetime.fromtimestamp(int(subprocess.check_output(shown)), timezone.utc)
    stated = inputs["source"]["annotations"]
    assert stated == {"dirty": False, "committed": f"{committed:%Y-%m-%dT%H:%M:%SZ}"}
    assert definition["internalParameters"]["runtime"] == "docker"
    assert definition["internalParameters"]["machine"]["cpu"]
    assert definition["internalParameters"]["python"] == {"cpu": "3.11"}
    assert not any("urn:" in item.get("uri", "") for item in inputs.values())
    assert inputs["trained/lora"]["digest"].keys() == {"dirHash"}


def test_an_independent_library_reads_the_provenance(world: ReleaseWorld) -> None:
    content = statement_in(world.release)
    Statement.copy_from_pb(Parse(json.dumps(content), StatementMessage())).validate()
    for product in content["predicate"]["runDetails"]["byproducts"]:
        ResourceDescriptor.copy_from_pb(ParseDict(product, DescriptorMessage())).validate()
    predicate = ParseDict(content["predicate"], Provenance())
    # https://www.iana.org/assignments/urn-namespaces: "uuid" is registered.
    kind, name = predicate.build_definition.build_type.rpartition(":")[::2]
    assert (kind, name.partition("#")[2]) == ("urn:uuid", "release-v4")
    UUID(name.partition("#")[0])
    assert predicate.run_details.builder.id.startswith("urn:uuid:")
    assert predicate.run_details.metadata.started_on.seconds > 0
    assert len(predicate.build_definition.resolved_dependencies) == 10


@pytest.mark.slow
def test_rebuilt_from_the_adapter_in_another_runtime_and_said_with_a_signature(
    world: ReleaseWorld, tmp_path: Path
) -> None:
    release = Path(shutil.copytree(world.release, tmp_path / VERSION))
    other = Ed25519PrivateKey.generate()
    private, public = private_file(tmp_path, other), public_file(tmp_path, other, "theirs.pub")
    ran = world.first.run(
        *("verify", str(release), "--from-adapter", "--runtime", "venv", "--json"),
        *("--sign-key", str(private)),
    )
    assert ran.code == 0, ran.stdout + ran.stderr
    found = json.loads(ran.stdout)
    assert found["same"] is True
    assert found["trained_again"] is False
    assert "sbom.cdx.json" in found["compared"]
    assert found["attested"] is True
    before = files_in(world.release)
    after = files_in(release)
    said = after.pop("rebuilt.intoto.jsonl")
    assert after == before
    # Read by the library of in-toto, and verified by that of DSSE.
    members = json.loads(said)
    Envelope.from_dict(members).verify([SSlibKey.from_crypto(other.public_key())], 1)
    statement = json.loads(base64.b64decode(members["payload"]))
    Statement.copy_from_pb(Parse(json.dumps(statement), StatementMessage())).validate()
    assert statement["subject"] == statement_in(world.release)["subject"]
    # It says where it was made again, and does not repeat where the release was.
    definition = statement["predicate"]["buildDefinition"]
    assert definition["internalParameters"]["runtime"] == "venv"
    assert re.fullmatch(r"3\.11\.\d+", definition["internalParameters"]["python"]["cpu"])
    named = {item["name"] for item in definition["resolvedDependencies"]}
    assert not {"base-image/cpu", "system/cpu"} & named
    keys = ("--key", str(world.public), "--rebuilt-by", str(public))
    told = world.first.run("verify", str(release), *keys)
    assert told.code == 0, told.stdout + told.stderr
    assert (
        "built twice, by the key release.pub and by the key theirs.pub, who took from it what was "
        "trained"
    ) in told.stdout


def test_other_inputs_are_named_before_anything_runs(world: ReleaseWorld) -> None:
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


def test_what_another_machine_may_make_otherwise_is_said_before_anything_runs(
    world: ReleaseWorld, tmp_path: Path
) -> None:
    """Other inputs then end it, since the words are what is tested here."""
    release = Path(shutil.copytree(world.release, tmp_path / VERSION))
    internal = statement_in(release)["predicate"]["buildDefinition"]["internalParameters"]
    machine = {**internal["machine"], "cpu": "Elbrus"}
    reseal(release, internalParameters={**internal, "machine": machine})
    config = world.first.work / "small.toml"
    text = config.read_text()
    try:
        config.write_text(text.replace("r = 8", 'r = 8\nprecision = "bf16"'))
        ran = world.first.run("verify", str(release))
    finally:
        config.write_text(text)
    assert ran.code == 2, ran.stdout + ran.stderr
    said = " ".join(ran.stdout.split())
    assert "trained on Elbrus, this is" in said
    assert "which may make other bytes: lora computes in bf16" in said
    assert "config (small.toml) is not what the release was made from" in ran.stderr
    assert "pretrain" not in ran.stdout


@pytest.mark.slow
def test_what_other_machines_may_train_otherwise_is_said_before_it_is_trained(
    world: ReleaseWorld,
) -> None:
    """In a format that a CPU then does not train in, which ends it soon."""
    config = world.first.work / "small.toml"
    text = config.read_text()
    try:
        config.write_text(text.replace("r = 8", 'r = 8\nprecision = "fp16"'))
        ran = world.first.run(
            *("release", "--config", "small.toml", "--version", "3.0.0", "--allow-dirty")
        )
    finally:
        config.write_text(text)
    assert ran.code == 2, ran.stdout + ran.stderr
    said = "other kinds of CPUs may make other bytes of what is trained: lora computes in fp16"
    shown = " ".join(ran.stdout.split())
    assert said in shown
    assert shown.index(said) < shown.index("lora ...")
    assert "fp16 training needs a GPU" in ran.stderr
    assert not (world.release.parent / "3.0.0").exists()


def test_without_an_engine_it_says_what_proves_it_all_the_same(world: ReleaseWorld) -> None:
    ran = world.first.run(
        "verify", str(world.release), before=("env", "DOCKER_HOST=unix:///nowhere")
    )
    assert ran.code == 4, ran.stdout + ran.stderr
    said = " ".join(ran.stderr.split())
    assert "it was made in containers, and" in said
    assert "use `--runtime venv`, which gives the same bytes" in said
    assert "pretrain" not in ran.stdout


def test_on_another_platform_a_rebuild_would_prove_nothing(world: ReleaseWorld) -> None:
    release = read_release(world.release)
    target = load_target("cpu")
    require_same_platform(release, [place_of(target, "linux/amd64")])
    with pytest.raises(EnvironmentUnable, match="made on linux/amd64, this is linux/arm64") as told:
        require_same_platform(release, [place_of(target, "linux/arm64")])
    assert "verify it on linux/amd64; --quick and --rebuilt-by prove it here" in str(
        told.value.hint
    )


@pytest.fixture
def forged(world: ReleaseWorld, tmp_path: Path) -> Path:
    """Return the release with every kind of file changed, and sealed again."""
    released = Path(shutil.copytree(world.release, tmp_path / "forged"))
    forge(
        released,
        "small-1.2.0-cpu",
        {
            "model/model.onnx.data": flipped,
            "model/genai_config.json": lambda text: text.replace(b'"top_k"', b'"top_q"'),
            "model/tokenizer.json": lambda text: text.replace(b"<|end|>", b"<|ent|>", 1),
            "model/chat_template.jinja": flipped,
            "report.json": lambda text: text.replace(b'"base": 0.25', b'"base": 0.05'),
            "README.md": lambda text: text.replace(b"license: mit", b"license: gpl"),
        },
    )
    return released


# What is shown of it: places and values of both sides.
FORGED = (
    *("1 of", "values differs", "genai_config.json", "search.top_k", "search.top_q"),
    *("tokenizer.json", "<|ent|>", "chat_template.jinja", "report.json", "quality.base", "0.05"),
    "README.md",
)


def test_what_was_changed_in_each_kind_of_file_is_shown(
    world: ReleaseWorld, rebuilt: Rebuilt, forged: Path
) -> None:
    """Whoever can write all of a release can seal it again: only a rebuild or a key tells."""
    quick = world.first.run("verify", str(forged), "--quick")
    assert quick.code == 0, quick.stdout + quick.stderr
    compared = compare_releases(forged, rebuilt.folder)
    shown = " ".join(f"{one.file} {one.where} {one.what}" for one in compared.differences)
    for place in FORGED:
        assert place in shown, place


@pytest.mark.slow
def test_a_rebuild_shows_what_was_changed_in_each_kind_of_file(
    world: ReleaseWorld, forged: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "rebuilt"
    ran = world.first.run("verify", str(forged), "--from-adapter", "--keep", str(kept))
    assert ran.code == 3, ran.stdout + ran.stderr
    shown = " ".join(ran.stdout.split())
    for place in FORGED:
        assert place in shown, place
    assert "the rebuild has other bytes in" in ran.stderr
    assert f"diffoscope {forged} {kept}" in " ".join(ran.stderr.split())
    assert {path.name for path in forged.iterdir()} == {
        *(path.name for path in kept.iterdir()),
        layout.PROVENANCE,
    }
    signed = world.first.run("verify", str(forged), "--quick", "--key", str(world.public))
    assert signed.code == 3
    assert "is not signed" in signed.stderr


def test_a_version_stands_for_one_set_of_bytes(world: ReleaseWorld) -> None:
    before = files_in(world.release)
    config = world.first.work / "small.toml"
    text = config.read_text()
    try:
        config.write_text(text.replace('license = "MIT"', 'license = "Apache-2.0"'))
        dirty = world.first.run(*release_arguments(world.private))
        assert dirty.code == 2
        assert "differs from its commit: small.toml" in dirty.stderr
        other = world.first.run(*release_arguments(world.private), "--allow-dirty")
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


# What the artifact answers to ids that transformers made, by the runtime's own class.
ANSWER = """
import json, sys
import onnxruntime_genai as og
from transformers import AutoTokenizer

folder, question = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
chat = [{"role": "user", "content": question}]
text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
ids = tokenizer.encode(text, add_special_tokens=False)
model = og.Model(folder)
params = og.GeneratorParams(model)
params.set_search_options(max_length=len(ids) + 256)
generator = og.Generator(model, params)
generator.append_tokens(ids)
while not generator.is_done():
    generator.generate_next_token()
answer = [int(token) for token in generator.get_sequence(0)][len(ids):]
print(tokenizer.decode(answer, skip_special_tokens=True))
"""


def test_a_stranger_asks_the_model_in_three_commands(
    world: ReleaseWorld, cache_dir: Path, toolchain_python: Path, tmp_path: Path
) -> None:
    """With the archive alone, in an empty folder, as its README says."""
    root = "small-1.2.0-cpu"
    empty, programs = tmp_path / "empty", tmp_path / "programs"
    empty.mkdir()
    programs.mkdir()
    (programs / "python3").symlink_to(bare_python(toolchain_python))
    shutil.copy(world.release / f"{root}.tar", empty)
    with tarfile.open(empty / f"{root}.tar") as archive:
        stream = archive.extractfile(f"{root}/README.md")
        assert stream is not None
        readme = stream.read().decode()
    blocks = dict(re.findall(r"^(?:```|````)(\w+)\n(.*?)^(?:```|````)$", readme, re.M | re.S))
    (own_python,) = re.findall(r"`(python3 -m venv [^`]+)`", readme)
    commands = [line.removeprefix("$ ") for line in blocks["console"].splitlines()]
    assert len(commands) == 3
    for command in (own_python, *commands):
        asked = subprocess.run(
            command.replace("PHRASE", "'phrase number 7'"),
            shell=True,
            cwd=empty,
            env={
                "PATH": f"{empty / 'env' / 'bin'}:{programs}:{os.environ['PATH']}",
                "PIP_NO_INDEX": "1",
                "PIP_FIND_LINKS": str(cache_dir / "wheels"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert asked.returncode == 0, asked.stderr
    expected = subprocess.run(
        [toolchain_python, "-c", ANSWER, str(empty / root / "model"), "phrase number 7"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert asked.stdout.strip() == expected.stdout.strip() != ""
    assert blocks["text"] == "{phrase}\n"
    template = (empty / root / "model" / "chat_template.jinja").read_text()
    assert blocks["jinja"].strip() == template.strip()
    assert blocks["python"] == (empty / root / "use" / "ask.py").read_text()
    built = world.first.work / "dist" / "small" / "cpu" / "use"
    assert files_in(empty / root / "use") == files_in(built)


def test_the_hubs_own_library_reads_the_front_matter(
    world: ReleaseWorld, toolchain_python: Path, tmp_path: Path
) -> None:
    """The extracted folder is what can be uploaded: a hub shows its README.md."""
    archive = world.release / "small-1.2.0-cpu.tar"
    subprocess.run(["tar", "xf", archive], cwd=tmp_path, check=True)
    read = "import json, sys; from huggingface_hub import ModelCard; "
    read += "print(json.dumps(ModelCard.load(sys.argv[1]).data.to_dict()))"
    readme = tmp_path / "small-1.2.0-cpu" / "README.md"
    found = subprocess.check_output([toolchain_python, "-c", read, readme])
    front = json.loads(found)
    quality = json.loads((readme.parent / "report.json").read_text())["quality"]
    (index,) = front.pop("model-index")
    (result,) = index["results"]
    assert (index["name"], result["task"]["type"]) == ("small 1.2.0", "text-generation")
    (metric,) = result["metrics"]
    assert (metric["type"], metric["value"]) == ("accuracy", quality["artifact"])
    assert front == {
        "library_name": "onnxruntime-genai",
        "license": "mit",
        "pipeline_tag": "text-generation",
        "tags": ["quern", "cpu", "onnx"],
    }


def bare_python(python: Path) -> str:
    """Return the interpreter behind an environment, which has none of its packages."""
    look = [str(python), "-c", "import sys; print(sys._base_executable)"]
    return subprocess.run(look, capture_output=True, text=True, check=True).stdout.strip()


# Stops a command, as Ctrl-C does, once a file of the pattern is there.
STOP_AT = """
import glob, signal, subprocess, sys, time
pattern, *command = sys.argv[1:]
child = subprocess.Popen(command)
while child.poll() is None and not glob.glob(pattern, recursive=True):
    time.sleep(0.05)
child.send_signal(signal.SIGINT)
sys.exit(child.wait())
"""


@pytest.mark.slow
def test_a_rebuild_that_was_stopped_goes_on(world: ReleaseWorld) -> None:
    verify = ("verify", str(world.release), "--runtime", "venv")
    left = world.first.home / "cache" / "resumable"
    finished = str(left / "*" / "cache" / "**" / "result.json")
    stopped = world.first.run(*verify, before=(sys.executable, "-c", STOP_AT, finished))
    assert stopped.code == 130, stopped.stdout + stopped.stderr
    assert "finished steps are kept" in stopped.stderr
    kept = {path.parent.name for path in left.glob("*/cache/objects/*/*/result.json")}
    assert kept
    again = world.first.run(*verify)
    assert again.code == 0, again.stdout + again.stderr
    assert re.search(r"pretrain +cached", again.stdout)
    assert not [*left.iterdir()]


def test_signed_again_it_has_both_signatures(world: ReleaseWorld, tmp_path: Path) -> None:
    before = files_in(world.release)
    other = Ed25519PrivateKey.generate()
    try:
        again = world.first.run(*release_arguments(private_file(tmp_path, other)), "--json")
        assert again.code == 0, again.stderr
        assert json.loads(again.stdout)["releases"][0]["new"] is False
        for public in (world.public, public_file(tmp_path, other)):
            read_release(world.release, trusted_file(public))
        after = files_in(world.release)
        assert {name for name in after if after[name] != before[name]} == {
            "SHA256SUMS",
            "provenance.intoto.jsonl",
        }
        payloads = [json.loads(files["provenance.intoto.jsonl"]) for files in (before, after)]
        assert payloads[0]["payload"] == payloads[1]["payload"]
        read_release(world.release)
    finally:
        for name, content in before.items():
            (world.release / name).write_bytes(content)


def cached_step(world: ReleaseWorld, name: str) -> Path:
    """Return the first one's result of a step, as a virtual environment might have made it."""
    report = json.loads((world.first.work / "dist/small/cpu/report.json").read_text())
    key = next(step["key"] for step in report["passes"] if step["name"] == name)
    return Path(world.first.home, "cache", "objects", key[:2], key)


def say_it_was_a_virtual_environment(step: Path, **sha256: str) -> None:
    result = json.loads((step / "result.json").read_text())
    result["origin"] = {"runtime": "venv"}
    for file in result["files"]:
        file["sha256"] = sha256.get(file["path"].replace(".", "_"), file["sha256"])
    (step / "result.json").write_text(json.dumps(result))


def origin(step: Path) -> str:
    return str(json.loads((step / "result.json").read_text())["origin"]["runtime"])


def test_what_a_virtual_environment_made_is_made_again_in_containers(world: ReleaseWorld) -> None:
    """The same bytes are not worth a word; of others it is said that they were replaced."""
    before = files_in(world.release)
    merge, builder = cached_step(world, "merge"), cached_step(world, "model_builder")
    file = builder / "output" / "genai_config.json"
    content = file.read_bytes()
    file.unlink()  # it is linked from dist/
    file.write_bytes(content.replace(b'"top_k"', b'"top_q"'))
    changed = hashlib.sha256(file.read_bytes()).hexdigest()
    say_it_was_a_virtual_environment(merge)
    say_it_was_a_virtual_environment(builder, genai_config_json=changed)
    built = world.first.run("build", "--config", "small.toml")
    assert built.code == 0, built.stderr
    assert "made in a virtual environment: merge, model_builder" in built.stdout
    ran = world.first.run(*release_arguments(world.private))
    assert ran.code == 0, ran.stdout + ran.stderr
    assert "merge ..." in ran.stdout
    assert "model_builder ..." in ran.stdout
    assert "lora ..." not in ran.stdout
    assert "model_builder was not reproduced: a virtual environment gave other bytes" in ran.stdout
    assert ran.stdout.count("not reproduced") == 1
    assert "made in a virtual environment" not in ran.stdout
    assert origin(merge) == origin(builder) == "docker"
    assert file.read_bytes() == content
    assert files_in(world.release) == before


@pytest.mark.slow
def test_released_in_a_virtual_environment_because_it_was_asked_for(world: ReleaseWorld) -> None:
    ran = world.first.run(
        *("release", "--config", "small.toml", "--version", VERSION, "--dist", "other"),
        *("--from-adapter", str(world.release), "--runtime", "venv"),
        before=("env", "DOCKER_HOST=unix:///nowhere"),
    )
    assert ran.code == 0, ran.stdout + ran.stderr
    assert "made in a virtual environment" in ran.stdout
    other = world.first.work / "other" / "small" / "release" / VERSION
    definition = statement_in(other)["predicate"]["buildDefinition"]
    assert definition["internalParameters"]["runtime"] == "venv"
    # Here no base image says which patch it was.
    assert re.fullmatch(r"3\.11\.\d+", definition["internalParameters"]["python"]["cpu"])
    assert differing(world.release, other) == TELLS
    shutil.rmtree(world.first.work / "other")


@pytest.mark.slow
def test_another_day_time_zone_and_runtime_show_in_the_provenance_alone(
    world: ReleaseWorld, tmp_path: Path
) -> None:
    clock = SteppingClock(tmp_path / "clock")
    clock.step(3 * 86_400)
    variables = {**clock.around.environment, "TZ": "America/St_Johns", "DOCKER_HOST": "unix:///no"}
    ran = world.first.run(
        *("release", "--config", "small.toml", "--version", VERSION, "--dist", "other"),
        *("--runtime", "venv"),
        before=(
            "env",
            *(f"{key}={value}" for key, value in variables.items()),
            *clock.around.before,
        ),
    )
    assert ran.code == 0, ran.stdout + ran.stderr
    assert "lora ..." in ran.stdout  # trained again
    other = world.first.work / "other" / "small" / "release" / VERSION
    assert differing(world.release, other) == TELLS
    stated = [values(statement_in(release)) for release in (world.release, other)]
    days = [item["predicate.runDetails.metadata.startedOn"][:10] for item in stated]
    assert (date.fromisoformat(days[1]) - date.fromisoformat(days[0])).days in (3, 4)
    differ = {
        place
        for place in stated[0].keys() | stated[1].keys()
        if stated[0].get(place) != stated[1].get(place)
    }
    definition = "predicate.buildDefinition"
    assert {place for place in differ if "resolvedDependencies" not in place} == {
        f"{definition}.internalParameters.runtime",
        f"{definition}.internalParameters.python.cpu",
        "predicate.runDetails.metadata.startedOn",
        "predicate.runDetails.metadata.finishedOn",
        "predicate.runDetails.byproducts.measured/cpu.content",
    }
    around = {place.split(".")[3] for place in differ if "resolvedDependencies" in place}
    assert around == {"base-image/cpu", "system/cpu"}
    proven = world.first.run("verify", str(other), "--from-adapter", "--runtime", "docker")
    assert proven.code == 0, proven.stdout + proven.stderr
    shutil.rmtree(world.first.work / "other")


def values(content: Any, place: str = "") -> dict[str, Any]:
    """Return all values of JSON by their places; items of lists by the names that they have."""
    if isinstance(content, list):
        content = {
            item["name"] if isinstance(item, dict) else str(at): item
            for at, item in enumerate(content)
        }
    if not isinstance(content, dict):
        return {place: content}
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= values(value, f"{place}.{key}" if place else key)
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("directml_image")
def test_what_failed_or_is_unverified_is_not_released(world: ReleaseWorld) -> None:
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
        card = archive.extractfile("small-2.0.0-directml/README.md")
        assert card is not None
        assert "unverified: latency: DirectML runs on Windows only" in card.read().decode()


@pytest.mark.slow
@pytest.mark.usefixtures("directml_image")
def test_what_is_unverified_is_rebuilt_as_that(world: ReleaseWorld) -> None:
    made = world.first.run(
        *("release", "--config", "small.toml", "--target", "directml", "--version", "2.0.0"),
        "--allow-unverified",
    )
    assert made.code == 0, made.stderr
    ran = world.first.run("verify", str(world.release.parent / "2.0.0"), "--from-adapter")
    assert ran.code == 0, ran.stdout + ran.stderr
    assert "directml is unverified" in ran.stdout


def test_a_lock_that_does_not_match_is_refused(world: ReleaseWorld) -> None:
    requirements = world.first.project / "images" / "torch-cpu" / "requirements.in"
    text = requirements.read_text()
    try:
        requirements.write_text(text.replace("peft\n", "peft>=99\n"))
        ran = world.first.run(
            *("release", "--config", "small.toml", "--version", "3.0.0", "--allow-dirty")
        )
    finally:
        requirements.write_text(text)
    assert ran.code == 4, ran.stderr
    assert "requirements.in of torch-cpu asks for peft>=99" in ran.stderr
    assert "nox -s lock" in ran.stderr


def test_steps_that_ran_with_other_versions_are_not_released(world: ReleaseWorld) -> None:
    report = json.loads((world.first.work / "dist/small/cpu/report.json").read_text())
    key = next(step["key"] for step in report["passes"] if step["name"] == "model_builder")
    result = world.first.home / "cache" / "objects" / key[:2] / key / "result.json"
    text = result.read_text()
    found = json.loads(text)
    try:
        found["versions"]["onnx"] = "0.1"
        result.write_text(json.dumps(found))
        ran = world.first.run("release", "--config", "small.toml", "--version", "3.0.0")
    finally:
        result.write_text(text)
    assert ran.code == 4, ran.stderr
    assert "cpu was not made with its locked toolchain: onnx 0.1 (locked: " in ran.stderr


@pytest.mark.slow
def test_released_from_the_adapter_with_one_thread(world: ReleaseWorld) -> None:
    """Neither the number of threads nor where the training was changes an archive."""
    ran = world.first.run(
        *("release", "--config", "small.toml", "--version", VERSION, "--dist", "other"),
        *("--from-adapter", str(world.release)),
        before=("taskset", "--cpu-list", "0"),
    )
    assert ran.code == 0, ran.stdout + ran.stderr
    other = world.first.work / "other" / "small" / "release" / VERSION
    definition = statement_in(other)["predicate"]["buildDefinition"]
    assert definition["internalParameters"]["threads"] == 1
    assert definition["externalParameters"]["trainedElsewhere"] == "pretrain, lora"
    for name in ("small-1.2.0-adapter.tar", "small-1.2.0-cpu.tar"):
        assert (other / name).read_bytes() == (world.release / name).read_bytes()
    shutil.rmtree(world.first.work / "other")


def test_what_is_no_version_is_refused(world: ReleaseWorld) -> None:
    ran = world.first.run("release", "--version", "1.0/2")
    assert ran.code == 2
    assert "'1.0/2' is not a version" in ran.stderr


def test_members_of_the_archives_are_all_listed(world: ReleaseWorld) -> None:
    members = read_members(world.release / "small-1.2.0-cpu.tar")
    assert {member.path.partition("/")[0] for member in members} == {"small-1.2.0-cpu"}
