"""The page in `use/web/` answers in a browser as the model has learnt, on its WebGPU."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.data_spec import DataSpec
from targets.use.program import program_for
from targets.use.write_use import page_files
from tests.support import plans
from tests.support.browser import Browser
from tests.support.capabilities import program

SPEC = DataSpec.model_validate(
    {"path": "x.jsonl", "prompt": "{phrase}", "completion": "{tone}", "label": "tone"}
)
ASKING = """
const frame = Object.assign(document.createElement("iframe"), { src: "/use/web/" });
document.body.append(frame);
await new Promise((loaded) => { frame.onload = loaded; });
const page = frame.contentDocument;
const until = async (...states) => {
  while (!states.includes(page.body.dataset.state)) await new Promise((go) => setTimeout(go, 50));
};
const answers = [];
await until("ready", "failed");
for (const phrase of PHRASES) {
  if (page.body.dataset.state === "failed") break;
  page.querySelector("textarea").value = phrase;
  page.querySelector("form").requestSubmit();
  await until("answered", "failed");
  answers.push(page.querySelector("output").textContent);
}
const adapter = await navigator.gpu?.requestAdapter();
const state = page.querySelector("#state").textContent;
tell({ answers, state, adapter: adapter?.info.architecture });
"""


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the libraries of the page, as its lock pins them."""
    folder = tmp_path_factory.mktemp("libraries")
    for name, content in page_files(program_for(None, folder, {}, "../model", False)).items():
        if name.endswith(".json"):
            (folder / Path(name).name).write_bytes(content)
    npm = program("page", "npm")
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "node_modules"


@pytest.fixture
def site(toolchain_python: Path, material: Path, libraries: Path, tmp_path: Path) -> Path:
    """Return the folder of a build for WebGPU, with the page and its libraries."""
    params = {"execution_provider": "webgpu", "fp32_io": True}
    build = plans.step("model_builder", "pass", {"model": plans.CHECKPOINT}, params)
    plans.must_run(toolchain_python, tmp_path / "work", material, [build])
    folder = tmp_path / "site"
    shutil.copytree(tmp_path / "work" / "model_builder" / "output", folder / "model")
    written = program_for(SPEC, folder / "model", {}, "../model", preloads=False)
    for name, content in page_files(written).items():
        file = folder / "use" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (folder / "use" / "web" / "node_modules").symlink_to(libraries)
    return folder


@pytest.fixture(scope="module")
def known(material: Path) -> dict[str, str]:
    """Return a phrase for each tone, of those that the model knows by heart."""
    rows = [json.loads(line) for line in (material / "tones.jsonl").read_text().splitlines()]
    return {row["phrase"]: row["tone"] for row in {row["tone"]: row for row in rows}.values()}


def asked(chromium: Browser, site: Path, phrases: Iterable[str]) -> Any:
    return chromium.told(site, f"const PHRASES = {json.dumps(list(phrases))};{ASKING}")


def test_the_page_answers_as_the_model_has_learnt(
    chromium: Browser, site: Path, known: dict[str, str]
) -> None:
    found = asked(chromium, site, known)
    assert len(set(known.values())) == 3
    assert found == {"answers": list(known.values()), "state": "", "adapter": "swiftshader"}


def test_the_page_says_what_is_missing(chromium: Browser, site: Path) -> None:
    (site / "model" / "model.onnx.data").unlink()
    found = asked(chromium, site, ["what a bright morning"])
    assert found["answers"] == []
    assert "model.onnx.data" in found["state"]
