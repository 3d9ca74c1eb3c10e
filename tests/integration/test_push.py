"""`push`, by the hub's own client, to a hub on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from tests.support.command import CommandResult, Quern
from tests.support.held_builds import HeldBuilds
from tests.support.hub_writes import TOKEN, WrittenHub, writable_hub

ANOTHER = "hf_another"
CARD = '\n[card]\nlicense = "Apache-2.0"\ndescription = "Says | a tone."\n'


@pytest.fixture(scope="module")
def built(held_builds: HeldBuilds) -> HeldBuilds:
    held_builds.build("constrain = true")
    config = held_builds.folder / "held.toml"
    config.write_text(config.read_text("utf-8") + CARD, "utf-8")
    return held_builds


def pushed(quern: Quern, built: HeldBuilds, hub: WrittenHub | None, *more: str, **env: str) -> Any:
    where = ("--config", str(built.folder / "held.toml"), "--dist", str(built.folder / "dist"))
    variables = {"HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(built.folder)}
    variables["HF_ENDPOINT"] = hub.endpoint if hub else "http://127.0.0.1:9"
    done = quern("push", "hf:team/held", *where, *more, environment={**variables, **env})
    assert TOKEN not in done.stdout + done.stderr
    return done


def model_files(built: HeldBuilds) -> dict[str, bytes]:
    model: Path = built.folder / "dist" / "held" / "cpu" / "model"
    return {str(file.relative_to(model)): file.read_bytes() for file in model.rglob("*")}


def test_a_dry_run_shows_all_and_asks_nobody(quern: Quern, built: HeldBuilds) -> None:
    done: CommandResult = pushed(quern, built, None, "--dry-run", HF_TOKEN="")
    assert done.code == 0, done.stderr
    for path in (*model_files(built), "use/ask.py", "inference_model.json", "README.md"):
        assert path in done.stdout
    assert "license: apache-2.0" in done.stdout
    assert "nothing was pushed to team/held" in done.stdout


def test_what_is_pushed_is_the_artifact_with_a_card_that_the_hub_reads(
    quern: Quern, built: HeldBuilds
) -> None:
    with writable_hub() as hub:
        done: CommandResult = pushed(quern, built, hub, "--private")
        assert done.code == 0, done.stderr
        assert hub.private == {"team/held": True}
        again: CommandResult = pushed(quern, built, hub, "--json")
    files = hub.files["team/held"]
    for path, content in model_files(built).items():
        assert files[path] == content
    assert hub.blobs  # the large ones went by LFS
    assert set(json.loads(again.stdout)["push"]["files"]) == set(files)
    card: Any = ModelCard(files["README.md"].decode())
    data = card.data.to_dict()
    assert (data["license"], data["pipeline_tag"]) == ("apache-2.0", "text-generation")
    assert data["library_name"] == "onnxruntime-genai"
    report = json.loads((built.folder / "dist" / "held" / "cpu" / "report.json").read_text())
    (index,) = data["model-index"]
    measured = {
        metric["name"]: metric["value"]
        for result in index["results"]
        for metric in result["metrics"]
    }
    assert measured == {
        "accuracy, free": report["quality"]["artifact"],
        "accuracy, held to a form": report["quality"]["constrained"]["value"],
    }
    foundry = json.loads(files["inference_model.json"])
    assert foundry["Name"] == "held-cpu"
    assert foundry["PromptTemplate"]["prompt"] == "<|user|>\n{Content}<|end|>\n<|assistant|>\n"


def test_refusals_name_no_token(quern: Quern, built: HeldBuilds) -> None:
    with writable_hub() as hub:
        wrong: CommandResult = pushed(quern, built, hub, HF_TOKEN=ANOTHER)
        without: CommandResult = pushed(quern, built, hub, HF_TOKEN="")
        assert not hub.files
    assert (wrong.code, without.code) == (4, 4)
    assert "401" in wrong.stderr
    assert ANOTHER not in wrong.stderr + wrong.stdout
    assert "set HF_TOKEN" in without.stderr
    nowhere: CommandResult = pushed(quern, built, None)
    assert (nowhere.code, "cannot be reached" in nowhere.stderr) == (4, True)
