"""Input that once ended in a traceback, in a hang or with the wrong file: now in an error with file
and line, within seconds."""

from __future__ import annotations

import json
import os
import re
import struct
from pathlib import Path

import pytest

from tests.attack.configs import plan
from tests.attack.inside import quern
from tests.support.project import CONFIG, Project, make_project

_MODEL = '[model.pretrain]\ntext = "story.txt"\n'
_ROW = '{"phrase": "fine", "tone": "joy"}\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("QUERN_CACHE", str(tmp_path / "cache"))
    return make_project(tmp_path / "project")


def refused(config: Path, place: str, message: str) -> None:
    """Plan ``config``, which must be refused at ``place``, a file and its line."""
    ended = plan(config)
    assert ended.code == 2, ended.said[:2000]
    said = re.escape(f"{config.parent}/{place}: ")
    assert re.search(f"{said}.*{message}", ended.said), ended.said[:2000]
    assert len(ended.said) < 400_000


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("r = 8", f"r = {'9' * 5000}", 14, "a number is too large"),
        ("r = 8", f"r = {'9' * 30}", 14, "does not fit into 64 bits"),
        ("r = 8", "r = 1e999", 14, "not a finite number"),
        ("r = 8", f"r = {'[' * 5000}{']' * 5000}", 14, "nested"),
        ("r = 8", f"r = {'[' * 200}{']' * 200}", 14, "more than 40 levels"),
        ("r = 8", f"{'a.' * 5000}b = 1", 14, "1000 parts"),
        ("r = 8", "'\\x' = 1", 14, r"unknown key"),
        ("tone.jsonl", "~nobody-of-this-name/x", 7, "there is no file"),
        ("tone.jsonl", "x" * 5000, 7, "there is no file"),
        ("tone.jsonl", "a\\u0000b", 7, "there is no file"),
        ("{phrase}", "{phrase} {100000000000000000000}", 8, "no row has the column"),
        ('prompt = "', f'rows = ":{"9" * 5000}"\nprompt = "', 6, "is not a slice"),
        (_MODEL, '[model]\nsource = "hf:a/b@a branch"\n', 4, "no commit, tag or branch"),
        (_MODEL, '[model]\nsource = "hf:a/b@main\\n"\n', 4, "no commit, tag or branch"),
        (_MODEL, '[model]\nsource = "~nobody-of-this-name/x"\n', 4, "there is no"),
        (_MODEL, f'[model]\nsource = "{"9" * 5000}"\n', 4, "there is no"),
        (_MODEL, f'[model]\nsource = "{"9" * 5000}/x.gguf"\n', 4, "there is no file"),
        (_MODEL, f'[model]\nsource = "m"\nadapter = "{"9" * 5000}"\n', 5, "there is no folder"),
        (_MODEL, f'[model]\nonnx = "{"9" * 5000}"\n', 4, "there is no folder"),
        ("[passes.lora]\n", "[passes.lora]\n\x80", 14, "is not UTF-8"),
    ],
)  # fmt: skip
def test_configs(project: Project, old: str, new: str, line: int, message: str) -> None:
    text = CONFIG.replace(old, new)
    assert text != CONFIG
    project.config.write_bytes(text.encode("latin-1"))
    refused(project.config, f"small.toml:{line}", message)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("".join(f'[passes.p{at}]\ntype = "lora"\n' for at in range(3000)), "more than 200 tables"),
        ("".join(f"k{at} = 1\n" for at in range(30_000)), "more than 20,000 keys"),
    ],
)
def test_configs_of_thousands_of_lines(project: Project, more: str, message: str) -> None:
    project.config.write_text(CONFIG + more)
    refused(project.config, r"small.toml:13", message)


def test_a_config_of_200_000_keys(project: Project) -> None:
    project.config.write_text(CONFIG + "".join(f"k{at} = 1\n" for at in range(200_000)))
    refused(project.config, "small.toml", "bytes; at most 524,288 are read")


@pytest.mark.parametrize("number", ["9" * 5000, "0x" + "f" * 50_000])
def test_steps_of_ones_own_with_numbers_of_thousands_of_digits(
    project: Project, number: str
) -> None:
    (project.folder / "step.py").write_text(
        "from pipeline.contract.frozen import Frozen\n"
        "from pipeline.passes.base import BasePass\n"
        f"class Params(Frozen):\n    a: int = {number}\n"
        "class Own(BasePass[Params]):\n    Params = Params\n    consumes = {'artifact': 'onnx'}\n"
        "    produces = 'onnx'\n    runs_on = 'target'\n"
        "    def run(self, inputs, params, out_dir):\n        return {}\n"
    )
    project.config.write_text(CONFIG + '\n[passes.own]\ntype = "step.py:Own"\n')
    refused(project.config, "small.toml:21", "step.py cannot be read: .*Exceeds the limit")


@pytest.mark.parametrize("device", ["/dev/zero", "/proc/kmsg", "pipe"])
@pytest.mark.parametrize("name", ["small.toml", "tone.jsonl", "story.txt"])
def test_files_that_are_none(project: Project, name: str, device: str) -> None:
    file = project.folder / name
    file.unlink()
    if device == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to(device)
    ended = plan(project.config)
    # The kernel says of its own files that they are empty.
    assert ended.code == 2 or (device, name) == ("/proc/kmsg", "story.txt"), ended.said


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ('{"a": "' + '\\"' * 100_000, 1, 7),
        ('{\n"a": ' + "[" * 100_000, 2, None),
        ('{\n"a": ' + "9" * 5000 + "}", 2, 6),
        ('{\n"a": 1e999}', 2, 6),
        ('{\n"a": "\\ud800"}', 2, 7),
        ("/*" * 100_000, 1, None),
    ],
)  # fmt: skip
def test_olive_files(project: Project, text: str, line: int, column: int | None) -> None:
    config = project.folder / "olive.json"
    config.write_text(text)
    where = "" if column is None else f".*column {column}"
    refused(config, f"olive.json:{line}" if line else "olive.json", f"not valid JSON{where}")


@pytest.mark.parametrize("text", ["{}", "[]", "3", "null"])
def test_olive_files_that_say_nothing(project: Project, text: str) -> None:
    for name in ("olive.json", "olive.yaml"):
        config = project.folder / name
        config.write_text(text)
        ended = plan(config)
        assert ended.code == 2
        assert f"{config}" in ended.said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: " + "[" * 10_000, "nested too deeply"),
        ("a: " + "9" * 5000, "not a value of the kind int"),
        ("a: \0", "special characters are not allowed"),
        ("a: !!int x", "not a value of the kind int"),
        (
            # Each merges the one before it 20 times.
            "a0: &a0 {x: 1}\n"
            + "".join(f"a{at}: &a{at} {{<<: [{f'*a{at - 1}, ' * 20}]}}\n" for at in range(1, 12)),
            "aliases stand for too much",
        ),
    ],
)
def test_olive_files_in_yaml(project: Project, text: str, message: str) -> None:
    config = project.folder / "olive.yaml"
    config.write_text(text)
    ended = plan(config)
    assert ended.code == 2
    assert f"{config}" in ended.said
    assert message in ended.said, ended.said[:1000]


@pytest.mark.parametrize(
    ("name", "content", "line", "message"),
    [
        ("x.jsonl", _ROW + "[" * 100_000, 2, "nested too deeply"),
        ("x.jsonl", _ROW + f'{{"phrase": {"9" * 5000}}}', 2, "a number of 5,000 digits"),
        ("x.jsonl", _ROW + '{"phrase": 1e999}', 2, "a number that is too large"),
        ("x.jsonl", _ROW + '{"phrase": "\\ud800"}', 2, r"ud800, half of a character"),
        ("x.json", f"[\n{_ROW},\n" + '{"phrase": "\\udc00"}]', 4, r"udc00, half of a character"),
        ("x.json", '[{"a": 1, ' + ", ".join(f'"k{at}": 1' for at in range(50_000)) + ', "a": 2}]',
         1, "'a' occurs twice"),
        ("x.csv", ",".join(f"c{at}" for at in range(20_000)) + ",c1\n", 1, "'c1' twice"),
    ],
)  # fmt: skip
def test_data(project: Project, name: str, content: str, line: int, message: str) -> None:
    (project.folder / name).write_text(content)
    project.edit("tone.jsonl", name)
    refused(project.config, f"{name}:{line}", message)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\xff" * 100, b"\0" * 1000])
def test_parquet_that_is_none(project: Project, content: bytes) -> None:
    (project.folder / "x.parquet").write_bytes(content)
    project.edit("tone.jsonl", "x.parquet")
    refused(project.config, "x.parquet", "Parquet file")


def test_a_class_for_every_row(project: Project) -> None:
    rows = (json.dumps({"phrase": f"p {at}", "tone": f"t {at}"}) for at in range(20_000))
    project.data.write_text("\n".join(rows))
    project.edit('labels = ["joy", "sadness", "fear", "surprise"]\n', "")
    refused(project.config, "small.toml:10", "has 20,000 classes; at most 1,000")


def checkpoint(folder: Path) -> None:
    """Write a folder whose parts are those of a small checkpoint."""
    folder.mkdir()
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(header({}))


def header(content: object) -> bytes:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", header([]), "is not an object"),
        ("model.safetensors", header({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0]}}),
         "it describes w as"),
        ("model.safetensors", header({"w": {"dtype": "F32", "shape": ["2"], "data_offsets": 3}}),
         "it describes w as"),
        ("model.safetensors", header(b"[" * 100_000), "nested too deeply"),
        ("model.safetensors", b"", "not a safetensors file"),
        ("model.safetensors.index.json", b"", "cannot be read"),
        ("model.safetensors.index.json", b'{"weight_map": {"w": "' + b"x" * 5000 + b'"}}',
         "shards are missing"),
        ("config.json", b'{"model_type": "llama", "hidden_size": "x"}', "hidden_size = .*x"),
        ("config.json", b'{"model_type": "llama", "rope_scaling": [1]}', "not an object"),
        ("config.json", b"[" * 100_000, "not a JSON object"),
        ("config.json", b'{"model_type": ' + b"9" * 5000 + b"}", "not a JSON object"),
    ],
)  # fmt: skip
def test_checkpoints(project: Project, name: str, content: bytes, message: str) -> None:
    checkpoint(project.folder / "m")
    if name.endswith("index.json"):
        (project.folder / "m" / "model.safetensors").unlink()
    (project.folder / "m" / name).write_bytes(content)
    project.edit(_MODEL, '[model]\nsource = "m"\n')
    refused(project.config, "small.toml:4: model.source", message)


def test_a_bundle_whose_manifest_is_deep(tmp_path: Path) -> None:
    from tests.support.bundles import tar_of

    bundle = tmp_path / "bundle.tar"
    bundle.write_bytes(tar_of({"manifest.json": b"[" * 100_000}))
    ended = quern("import-toolchain", str(bundle), "--cache", str(tmp_path / "cache"))
    assert ended.code == 3
    assert f"{bundle}: manifest.json is not JSON: it is nested too deeply" in ended.said


@pytest.mark.parametrize("size", [200, 513, 1000, 1024])
def test_a_release_cut_short_whose_digests_fit(tmp_path: Path, size: int) -> None:
    from tests.attack.releases import ROOT, release_files
    from tests.attack.surface import write_files
    from tests.support.bundles import tar_of

    tar = tar_of({f"{ROOT}/SHA256SUMS": b"x" * 5000})
    write_files(tmp_path, release_files(tar[:size], b"{}"))
    ended = quern("verify", str(tmp_path), "--quick")
    assert ended.code == 3
    assert f"{ROOT}.tar is not a complete archive" in ended.said


@pytest.mark.parametrize("number", ["9" * 5000, "²", "٣"])
def test_a_release_of_no_schema(tmp_path: Path, number: str) -> None:
    from targets.release import layout
    from tests.attack.releases import provenance, release_files, statement
    from tests.attack.surface import write_files

    content = statement({}, {})
    build = content["predicate"]["buildDefinition"]
    build["buildType"] = f"{build['buildType'].rstrip('0123456789')}{number}"
    write_files(tmp_path, {**release_files(b"", b"{}"), layout.PROVENANCE: provenance(content)})
    ended = quern("verify", str(tmp_path), "--quick")
    assert ended.code == 3
    assert "is not a build of Quern's" in ended.said


@pytest.mark.parametrize("name", ["provenance.intoto.jsonl", "SHA256SUMS", "sbom.cdx.json"])
def test_a_release_with_a_file_larger_than_memory(tmp_path: Path, name: str) -> None:
    from tests.attack.releases import release_files
    from tests.attack.surface import write_files

    write_files(tmp_path, release_files(b"", b"{}"))
    with (tmp_path / name).open("r+b") as file:
        file.truncate(1 << 31)  # a hole: it takes no space
    ended = quern("verify", str(tmp_path), "--quick")
    assert ended.code == 3
    assert f"{tmp_path / name} has 2,147,483,648 bytes" in ended.said


def test_a_key_that_never_ends(tmp_path: Path) -> None:
    ended = quern("verify", str(tmp_path), "--quick", "--key", "/dev/zero")
    assert ended.code == 2
    assert "/dev/zero: is no key: it has more than 1,048,576 bytes" in ended.said


@pytest.mark.parametrize("lengths", ["9" * 5000, "²", "٣", "0", "1,,2", "-1"])
def test_lengths_that_are_none(project: Project, lengths: str) -> None:
    ended = quern("bench", "--config", str(project.config), "--lengths", lengths)
    assert ended.code == 2
    assert "Invalid value for '--lengths'" in ended.said
