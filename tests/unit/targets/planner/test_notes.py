"""What a plan says before anything is trained in vain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from targets.config.load import load_config
from targets.planner.notes import note_on_tools
from targets.target import load_target
from tests.support.project import Project, make_project

CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path / "project")
    text = project.config.read_text()
    begin, end = text.index("prompt ="), text.index("[passes.lora]")
    settings = 'messages = "chat"\nsplit = { eval = 0, validation = 0 }\n\n'
    project.config.write_text(text[:begin] + settings + text[end:])
    return project


@pytest.mark.parametrize(
    ("tools", "template", "target", "noted"),
    [
        ([{"name": "clock"}], "", "directml", True),
        ([{"name": "clock"}], 'chat_template = "{{ tools }}"\n', "directml", False),
        ([{"name": "clock"}], "", "cpu", False),
        ("[]", "", "directml", False),
    ],
)
def test_tools_that_a_runtime_gives_in_another_form(
    project: Project, tools: object, template: str, target: str, noted: bool
) -> None:
    rows = [{"chat": CHAT}, {"chat": CHAT, "tools": tools}]
    project.data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    project.edit('messages = "chat"\n', f'messages = "chat"\n{template}')
    found = load_target(target)
    loaded = load_config(project.config, [found])
    notes = list(note_on_tools(loaded, found.toolchain("linux/amd64")))
    assert ["in another form than transformers does" in note for note in notes] == [True] * noted
