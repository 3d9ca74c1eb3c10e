"""A GGUF file on a hub becomes the base model: fetched by its name, and it alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.command import Quern
from tests.support.gguf_files import TOKENS, write_llama
from tests.support.hub_stand_in import COMMIT, TOKEN, hub

CONFIG = f"""\
name = "from-gguf"
skip_checks = ["merging"]

[model]
source = "hf:org/name@{COMMIT}"
file = "small.gguf"

[data.tones]
path = "tones.jsonl"
prompt = "{{phrase}}"
completion = "{{tone}}"
split = {{ eval = 0, validation = 0 }}

[passes.lora]
max_steps = 1
"""
ROWS = '{"phrase": "1 2", "tone": "12"}\n' * 4


@pytest.mark.usefixtures("toolchain_python")
def test_a_file_of_a_hub_is_the_base(quern: Quern, tmp_path: Path) -> None:
    (tmp_path / "from.toml").write_text(CONFIG)
    (tmp_path / "tones.jsonl").write_text(ROWS)
    file = write_llama(tmp_path / "small.gguf")
    served = {"small.gguf": file.read_bytes(), "large.gguf": b"GGUF"}
    with hub("org/name", served, "model") as endpoint:
        ran = quern(
            *("build", "--config", str(tmp_path / "from.toml"), "--runtime", "venv", "--json"),
            *("--dist", str(tmp_path / "dist")),
            environment={"HF_TOKEN": TOKEN, "HF_ENDPOINT": endpoint},
        )
    assert ran.code == 0, ran.stdout + ran.stderr
    report = json.loads((tmp_path / "dist/from-gguf/cpu/report.json").read_text())
    output = {
        step["name"]: quern.cache / "objects" / step["key"][:2] / step["key"] / "output"
        for step in report["passes"]
    }
    fetched = [path.name for path in output["fetch"].iterdir()]
    assert fetched == ["small.gguf"]
    assert (output["fetch"] / "small.gguf").read_bytes() == file.read_bytes()
    tokenizer = json.loads((output["import_gguf"] / "tokenizer.json").read_text())
    assert tokenizer["model"]["vocab"] == {token: at for at, token in enumerate(TOKENS)}
