"""Olive's config files, built for real: containers, training, ONNX, from files of every generation.

The base model is the shipped example's, trained for less long, since no limit of the files is about
how good it is. Only paths are not as in the files.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.plan import OUTPUT_DIR, object_path
from targets.cli.options import PROJECT
from tests.support.command import CommandResult, Quern
from tests.support.warm_process import warm_output

FILES = PROJECT / "tests" / "olive"
LOCAL = ("--system", "local")


@pytest.fixture(scope="module")
def base(quern: Quern, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small base model as a checkpoint."""
    config = tmp_path_factory.mktemp("base") / "base.toml"
    shutil.copytree(PROJECT / "configs" / "base", config.parent / "base")
    shutil.copyfile(PROJECT / "configs" / "tone.jsonl", config.parent / "tone.jsonl")
    # The chain after the base is the shortest there is.
    pretrain = '[model.pretrain]\ntext = "base"\nsteps = 50\n'
    config.write_text(f'name = "base"\n{pretrain}[passes.model_builder]\n')
    ran = quern("build", "--config", str(config), "--dist", str(config.parent), "--json")
    assert ran.code == 0, ran.stderr
    passes = {item["name"]: item["key"] for item in json.loads(ran.stdout)["builds"][0]["passes"]}
    return quern.cache / "objects" / object_path(passes["pretrain"]) / OUTPUT_DIR


@pytest.fixture
def folder(base: Path, tmp_path: Path) -> Path:
    """Return a folder with the Olive files, their data and their model."""
    shutil.copytree(FILES, tmp_path, dirs_exist_ok=True)
    shutil.copytree(base, tmp_path / "model")
    shutil.copyfile(PROJECT / "docs/examples/own-steps/clip.py", tmp_path / "clip.py")
    lines = (PROJECT / "configs" / "tone.jsonl").read_text().splitlines(keepends=True)[::3]
    (tmp_path / "tone.jsonl").write_text("".join(lines))
    rows = [json.loads(line) for line in lines]
    for name, part in (("chat.jsonl", rows[:60]), ("chat-test.jsonl", rows[60:80])):
        talks = [
            [
                {"role": "user", "content": row["phrase"]},
                {"role": "assistant", "content": row["tone"]},
            ]
            for row in part
        ]
        (tmp_path / name).write_text("".join(json.dumps({"turns": talk}) + "\n" for talk in talks))
    return tmp_path


def build(quern: Quern, file: Path, *options: str) -> tuple[CommandResult, dict[str, Any]]:
    """Build from ``file`` and return how it ended and the report of its first artifact."""
    dist = file.parent / "dist"
    ran = quern("build", "--config", str(file), "--dist", str(dist), *options)
    reports = sorted(dist.glob("*/*/report.json"))
    return ran, json.loads(reports[0].read_text()) if reports else {}


def keys(quern: Quern, file: Path, *options: str) -> list[list[tuple[str, str]]]:
    """Return name and key of each step of each build of ``file``."""
    ran = quern("plan", "--config", str(file), "--json", *options)
    assert ran.code == 0, ran.stderr
    return [
        [(step["name"], step["key"]) for step in plan["steps"]]
        for plan in json.loads(ran.stdout)["plans"]
    ]


@pytest.mark.engine
def test_the_tutorial_runs_to_a_passed_artifact(quern: Quern, folder: Path) -> None:
    ran, report = build(quern, folder / "tutorial.json", "--runtime", "docker")
    assert ran.code == 0, ran.stdout + ran.stderr
    assert (report["status"], report["target"]) == ("passed", "cpu")
    assert (folder / "dist" / "tutorial" / "cpu" / "model" / "genai_config.json").is_file()
    passes = {item["name"]: item for item in report["passes"]}
    lora = passes["lora"]["metrics"]
    assert lora["steps"] == 10
    # What was written is what was trained: the adapter itself says so.
    adapter = quern.cache / "objects" / object_path(passes["lora"]["key"]) / OUTPUT_DIR
    trained = json.loads((adapter / "adapter_config.json").read_text())
    assert (trained["r"], trained["lora_alpha"], trained["lora_dropout"]) == (64, 64, 0.1)
    assert trained["target_modules"] == ["o_proj", "qkv_proj"]
    # A third of the distinct phrases was held out and asked.
    assert report["quality"]["samples"] >= 0.29 * 600
    assert report["quality"]["tuned"] is not None


@pytest.mark.slow
@pytest.mark.engine
def test_azure_says_what_it_cannot_and_runs_here_when_told(quern: Quern, folder: Path) -> None:
    file = folder / "azure.json"
    ran, _ = build(quern, file)
    assert ran.code == 4
    assert "nox -s azure" in ran.stderr  # the SDK, which these tests do not have
    assert "--system local" in ran.stderr
    data = f"dataset_default_train={folder / 'tone.jsonl'}"
    copies = ("--data", data, "--model", str(folder / "model"))
    ran, report = build(quern, file, *LOCAL, *copies)
    assert ran.code == 0, ran.stdout + ran.stderr
    assert report["status"] == "passed"
    text = (folder / "dist" / "azure" / "cpu" / "report.json").read_text()
    assert "our-workspace" not in text
    assert "0000-subscription" not in text


@pytest.mark.slow
def test_an_adapter_that_olive_extracts_lies_beside_the_model(
    quern: Quern, toolchain_python: Path, folder: Path
) -> None:
    adapters = (folder / "model", folder / "adapters")
    warm_output(toolchain_python, "tests.support.users_adapters", *adapters)
    passes = {"builder": {"type": "ModelBuilder", "precision": "int4"}}
    passes["extract"] = {"type": "ExtractAdapters", "save_format": "onnx_adapter"}
    model = {"type": "HfModel", "model_path": "model", "adapter_path": "adapters/lora"}
    file = folder / "extracted.json"
    file.write_text(json.dumps({"input_model": model, "passes": passes}))
    ran, report = build(quern, file, "--runtime", "venv")
    assert ran.code == 0, ran.stdout + ran.stderr
    found = {item["path"]: item["sha256"] for item in report["files"]}
    built = folder / "dist" / "extracted" / "cpu" / "model" / "adapter_weights.onnx_adapter"
    assert found[built.name] == hashlib.sha256(built.read_bytes()).hexdigest()
    passed = {check["name"] for check in report["checks"] if check["status"] == "passed"}
    assert {"adapter_matrices", "adapter_share", "same_weights", "logits_error"} <= passed


def test_a_chain_of_qlora_alone_ends_with_its_adapter(quern: Quern, folder: Path) -> None:
    ran, report = build(quern, folder / "dict-data.json", "--runtime", "venv")
    assert ran.code == 0, ran.stdout + ran.stderr
    model = folder / "dist" / "dict-data" / report["target"] / "model"
    assert (model / "adapter_model.safetensors").is_file()
    assert json.loads((model / "adapter_config.json").read_text())["lora_alpha"] == 16
    lora = next(item for item in report["passes"] if item["type"] == "qlora")
    # 40 of the rows were asked for, and 10 distinct ones held out.
    assert lora["metrics"]["train_rows"] == 30
    assert report["quality"]["samples"] == 10


@pytest.mark.slow
def test_evaluators_become_checks_that_fail_the_build(quern: Quern, folder: Path) -> None:
    ran, report = build(quern, folder / "flat.json", "--runtime", "venv")
    assert ran.code == 0, ran.stdout + ran.stderr
    checks = {item["name"]: item for item in report["checks"]}
    assert report["status"] == "passed"
    assert any("perplexity" in name for name in checks)
    assert any("first_token_ms" in name for name in checks)
    assert any("bytes" in name for name in checks)
    config = folder / "dist" / "flat" / "cpu" / "model" / "genai_config.json"
    search = json.loads(config.read_text())["search"]
    assert (search["max_length"], search["top_k"]) == (512, 10)
    # The same file with a goal that no artifact meets.
    raw = json.loads((folder / "flat.json").read_text())
    raw["evaluators"]["judge"]["metrics"][3]["sub_types"][0]["goal"]["value"] = 99
    (folder / "strict.json").write_text(json.dumps(raw))
    ran, report = build(quern, folder / "strict.json", "--runtime", "venv")
    assert ran.code == 3
    failed = [item["name"] for item in report["checks"] if item["status"] == "failed"]
    assert failed == [name for name in checks if "bytes" in name]


@pytest.mark.slow
def test_chats_join_and_lokr_merges(quern: Quern, folder: Path) -> None:
    ran, report = build(quern, folder / "chat.json", "--runtime", "venv")
    assert ran.code == 0, ran.stdout + ran.stderr
    assert report["status"] == "passed"
    assert report["quality"]["samples"] == 20


@pytest.mark.slow
@pytest.mark.engine
def test_functions_and_passes_of_the_author_run_in_the_container(
    quern: Quern, folder: Path
) -> None:
    ran, report = build(quern, folder / "own.json", "--runtime", "docker")
    assert ran.code == 0, ran.stdout + ran.stderr
    types = {item["name"]: item["type"] for item in report["passes"]}
    assert types["clipped"] == "clip.py:ClipOutliers"
    assert types["loftq"] == "loftq"
    checks = {item["name"]: item for item in report["checks"]}
    assert next(item for name, item in checks.items() if "said" in name)["value"] == 1.0
    before = dict(keys(quern, folder / "own.json")[0])
    # The author's code is part of the key: of what it decides, and of nothing else.
    script = folder / "rows.py"
    script.write_text(script.read_text().replace("Phrase: ", "The phrase: "))
    after = dict(keys(quern, folder / "own.json")[0])
    changed = {name for name in before if before[name] != after[name]}
    assert {"loftq", "merge", "clipped", "build", "talks"} <= changed
    assert before["evaluate-base"] != after["evaluate-base"]  # it is asked for other texts
    (folder / "clip.py").write_text((folder / "clip.py").read_text() + "\n# another comment\n")
    again = dict(keys(quern, folder / "own.json")[0])
    assert after["merge"] == again["merge"]
    assert after["clipped"] != again["clipped"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tutorial.json", ()),
        ("flat.json", ()),
        ("dict-data.json", ()),
        ("chat.json", ()),
        ("flows.yaml", ()),
        ("own.json", ()),
        (
            "azure.json",
            (
                *LOCAL,
                *("--data", "dataset_default_train={folder}/tone.jsonl"),
                *("--model", "{folder}/model"),
            ),
        ),
    ],
)
def test_the_converted_config_has_the_same_keys(
    quern: Quern, folder: Path, tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    given = tuple(option.format(folder=folder) for option in options)
    olive = keys(quern, folder / name, *given)
    # Elsewhere on purpose: paths of the TOML file are relative to where it lies.
    out = tmp_path / "elsewhere" / f"{Path(name).stem}.toml"
    out.parent.mkdir()
    ran = quern("convert", str(folder / name), "--output", str(out), *(LOCAL if options else ()))
    assert ran.code == 0, ran.stderr
    written = sorted(out.parent.glob("*.toml"))
    assert [keys(quern, file, *given)[0] for file in written] == olive
    again = quern("convert", str(folder / name), "--output", str(out))
    assert again.code == 2
    assert "is there already" in again.stderr


def test_explain_shows_every_key_also_of_a_file_that_is_refused(quern: Quern, folder: Path) -> None:
    raw = json.loads((folder / "flat.json").read_text())
    raw["passes"]["convert"] = {"type": "OnnxConversion", "target_opset": 17}
    raw["data_configs"][0]["load_dataset_config"]["data_files"] = ["missing.jsonl"]
    (folder / "broken.json").write_text(json.dumps(raw, indent=2))
    ran = quern("plan", "--config", str(folder / "broken.json"), "--explain")
    assert ran.code == 2
    for state in ("honoured", "translated", "without effect here", "refused"):
        assert state in ran.stdout
    # All problems of the file in one go, each with its line.
    line = 1 + json.dumps(raw, indent=2).splitlines().index('      "type": "OnnxConversion",')
    assert (
        f"broken.json:{line}: passes.convert.type: Quern has no pass OnnxConversion" in ran.stderr
    )
    assert "missing.jsonl" in ran.stderr


def test_broken_json_names_line_and_column_and_the_placeholder(quern: Quern, folder: Path) -> None:
    (folder / "hole.json").write_text('{\n  "input_model": "model",\n  "passes": <passes>\n}\n')
    ran = quern("plan", "--config", str(folder / "hole.json"))
    assert ran.code == 2
    assert "hole.json:3: not valid JSON" in ran.stderr
    assert "(column 13)" in ran.stderr
    assert "the placeholder <passes> was left unfilled" in ran.stderr
