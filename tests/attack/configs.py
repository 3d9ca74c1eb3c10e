"""Build configs: TOML, and Olive's files."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import tomli
import tomli_w
import yaml
from hypothesis import strategies as st

from targets.cli.options import PROJECT
from tests.attack.hostile import as_json, hostile
from tests.attack.inside import Ended, quern
from tests.attack.surface import Surface
from tests.support.olive_files import FILES, read_olive_file
from tests.support.project import CONFIG, make_project

HERMETIC = {"HF_HUB_OFFLINE": "1", "DOCKER_HOST": "unix:///nonexistent.sock"}
"""Neither a hub nor an engine is asked."""

_OLIVE = ("tutorial.json", "flat.json", "dict-data.json", "chat.json", "azure.json")
_EXAMPLES = PROJECT / "targets" / "config" / "examples.toml"


_RICH = f"""\
{CONFIG.rstrip()}
precision = "int4"
block_size = 32

[data.tone.split]
eval = 0.25
seed = 3

[checks.quality]
goals = [{{ metric = "accuracy", at_least = 0.5 }}]

[checks.latency]
max_seconds = 60

[resources]
memory = "4g"
cpus = 2

[targets.cpu.passes.model_builder]
block_size = 64
"""
"""A config with a table of each kind."""


def plan(config: Path) -> Ended:
    """Plan ``config`` on this machine alone."""
    return quern("plan", "--config", str(config), "--runtime", "venv", environment=HERMETIC)


def _toml(tree: Any) -> bytes:
    """Return ``tree`` as TOML; what TOML does not have is written as it is in JSON."""
    try:
        return tomli_w.dumps(tree).encode()
    except (TypeError, ValueError, AttributeError):
        return b"\n".join(
            json.dumps(key).encode() + b" = " + json.dumps(value).encode()
            for key, value in (tree.items() if isinstance(tree, dict) else ())
        )


def _meet_config(content: bytes, folder: Path, name: str) -> Ended:
    make_project(folder)
    (folder / "rows.py").write_bytes((FILES / "rows.py").read_bytes())
    (folder / name).write_bytes(content)
    return plan(folder / name)


def _yaml(tree: Any) -> bytes:
    return yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")


TOML = Surface(
    "configs in TOML",
    st.one_of(
        hostile(tomli.loads(CONFIG), _toml),
        hostile(tomli.loads(_RICH), _toml),
        hostile(tomli.loads(_EXAMPLES.read_text("utf-8")), _toml),
    ),
    partial(_meet_config, name="small.toml"),
    count=200,
)
OLIVE = Surface(
    "Olive's files in JSON",
    st.one_of([hostile(read_olive_file(name), as_json) for name in _OLIVE]),
    partial(_meet_config, name="olive.json"),
    codes=frozenset({0, 2, 4}),
    count=200,
)
YAML = Surface(
    "Olive's files in YAML",
    st.one_of([hostile(read_olive_file(name), _yaml) for name in _OLIVE]),
    partial(_meet_config, name="olive.yaml"),
    codes=frozenset({0, 2, 4}),
    count=100,
)
