"""The hub's token is where Quern fetches, and nowhere where a function of the user's runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import hub_stand_in, plans
from tests.support.command import CommandResult, Quern

CONFIG = """\
name = "token"
model = "checkpoint"

[data.tones]
source = "hf:org/tones@{commit}"
prompt = "{{phrase}}"
completion = "{{tone}}"

[data.tones.code]
script = "look.py"
columns = {{ tone = "look" }}
{granted}
[passes.lora]
"""

# The environment as it is now, and as the process was given it.
LOOK = """\
import os
from pathlib import Path

def look(row):
    given = Path("/proc/self/environ").read_text().split("\\0")
    now = [f"{name}={value}" for name, value in os.environ.items()]
    names = {item.partition("=")[0] for item in (*given, *now)}
    raise RuntimeError("seen: " + " ".join(sorted(names)))
"""

ROWS = b'{"phrase": "what a day", "tone": "joy"}\n' * 4

# A container reaches this machine's own address where a proxy of it listens there.
PROXY = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}


def build(quern: Quern, tiny: Path, folder: Path, runtime: str, granted: str) -> CommandResult:
    """Build with a function that tells its environment and ends the build."""
    (folder / "look.py").write_text(LOOK)
    text = CONFIG.format(commit=hub_stand_in.COMMIT, granted=granted)
    (folder / "token.toml").write_text(text)
    (folder / "checkpoint").symlink_to(tiny / "checkpoint")
    with hub_stand_in.hub("org/tones", {"train.jsonl": ROWS}) as endpoint:
        ours = {"HF_TOKEN": hub_stand_in.TOKEN, "HF_ENDPOINT": endpoint, **PROXY}
        return quern(
            *("build", "--config", str(folder / "token.toml"), "--runtime", runtime, "--json"),
            environment=ours,
        )


def seen(ran: CommandResult) -> set[str]:
    """Return the names of the variables that the function has seen."""
    answer = json.loads(ran.stdout)
    assert answer["exit_code"] == 2, ran.stdout
    _, found, names = str(answer["error"]).partition("seen: ")
    assert found, ran.stdout
    return set(names.split())


@pytest.mark.parametrize("runtime", ["venv", pytest.param("docker", marks=pytest.mark.engine)])
def test_a_function_with_network_sees_no_token(
    runtime: str, quern: Quern, tiny: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if runtime == "docker":
        request.getfixturevalue("docker_client")
    names = seen(build(quern, tiny, tmp_path, runtime, "network = true\n"))
    # It has the network, and what it ran on came from a hub that asks for the token.
    assert "HTTPS_PROXY" in names
    assert not {name for name in names if name.startswith("HF_") and name != "HF_HOME"} - {
        "HF_HUB_DISABLE_TELEMETRY",
        "HF_HUB_DISABLE_PROGRESS_BARS",
    }


def test_a_function_sees_the_token_where_the_config_grants_it(
    quern: Quern, tiny: Path, tmp_path: Path
) -> None:
    names = seen(build(quern, tiny, tmp_path, "venv", "network = true\nhub = true\n"))
    assert {"HF_TOKEN", "HF_ENDPOINT"} <= names


FETCHES = {
    "model": ("fetch", {"file": "small.gguf"}, {"small.gguf": b"GGUF" * 1000}),
    "dataset": ("fetch_rows", {}, {"train.jsonl": ROWS}),
}


@pytest.mark.parametrize("kind", FETCHES)
def test_the_token_stays_with_the_hub_where_contents_lie_on_another_host(
    toolchain_python: Path, tmp_path: Path, kind: str
) -> None:
    name, params, files = FETCHES[kind]
    asked = {"repo": "org/name", "revision": hub_stand_in.COMMIT, **params}
    fetch = plans.step(name, "pass", {}, asked).model_copy(update={"network": True, "hub": True})
    tokens: list[str | None] = []
    with (
        hub_stand_in.store(files, tokens) as elsewhere,
        hub_stand_in.hub("org/name", files, kind, elsewhere=elsewhere) as endpoint,
    ):
        environment = {
            "HF_TOKEN": hub_stand_in.TOKEN,
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(tmp_path / "home"),
        }
        code, _, log = plans.run(
            toolchain_python, tmp_path / "work", tmp_path, [fetch], environment=environment
        )
    assert code == 0, log[-3000:]
    assert len(tokens) >= 1
    assert set(tokens) == {None}
    assert [*(tmp_path / "work" / name / "output").iterdir()]
