"""A small project of a user's: a config and its data, to build from or to break."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

TONES = ("joy", "sadness", "fear", "surprise")

CONFIG = """\
name = "small"

[model.pretrain]
text = "story.txt"

[data.tone]
path = "tone.jsonl"
prompt = "{phrase}"
completion = "{tone}"
label = "tone"
labels = ["joy", "sadness", "fear", "surprise"]

[passes.lora]
r = 8

[passes.merge]

[passes.model_builder]
"""


@dataclass(frozen=True)
class Project:
    """Files in one folder."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "small.toml"

    @property
    def data(self) -> Path:
        return self.folder / "tone.jsonl"

    def edit(self, old: str, new: str) -> None:
        """Replace ``old``, which must be there, in the config."""
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))


def make_project(folder: Path) -> Project:
    folder.mkdir(parents=True, exist_ok=True)
    project = Project(folder)
    project.config.write_text(CONFIG)
    (folder / "story.txt").write_text("Once upon a time.\n\nThe end.\n" * 50)
    rows = [
        {"phrase": f"phrase number {number}", "tone": TONES[number % 4]} for number in range(80)
    ]
    project.data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return project
