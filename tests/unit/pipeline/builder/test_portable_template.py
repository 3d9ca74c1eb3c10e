"""A chat template that is written for the runtime renders as Jinja renders the original."""

from __future__ import annotations

import json
from typing import Any

import jinja2
import pytest

from pipeline.builder.portable_template import portable
from tests.families.table import FAMILIES
from tests.support import tool_templates

CHAT = {
    "messages": [
        {"role": "user", "content": "  Is it?\n"},
        {"role": "assistant", "content": "It is."},
        {"role": "user", "content": "Why?"},
    ],
    "bos_token": "<s>",
    "eos_token": "</s>",
    "strftime_now": lambda _: "26 Jul 2024",
    "raise_exception": lambda message: pytest.fail(message),
}
TEMPLATES = {family.title: family.template for family in FAMILIES if family.template}
TOOLS = [
    {"type": "function", "function": {"name": "now", "parameters": {}, "tags": [[], {"a": []}]}},
    {"type": "function", "function": {"name": "{\n}", "parameters": {"type": "object"}}},
]
WITH_TOOLS = {
    "each": "{% for t in tools %}{{ t | tojson(indent=4) }}\n{% endfor %}",
    "all of them": "\n{{- '\n' ~ tools|tojson( indent = 2 ) | trim ~ '\n' }}",
    "parts": "{{ [tools[0]['function'].tags] | first | tojson(indent=4) }}{{ {'a': {}} | tojson }}",
    "a condition": "{{ (tools if tools else []) | list | tojson(indent=1) }} {{ tools | length }}",
    "white space first": "  \n  {% if tools %}{{ tools | tojson(indent=3) }}{% endif %}",
    "trimmed": "\n {%- for t in tools -%} a {{- t | tojson(indent=4) -}} \n b{%- endfor %}\n",
    "replaced": "{{ tools[0]['function'].name.replace('n', 'N').strip() }}"
    "{{ 'a-b' | upper | replace('-', ', ') }}"
    "{% if messages[0]['content'].replace('Is', '(').replace('it', ')') == '  ( )?\\n' %}y"
    "{% endif %}",
    "ascii": "{{ tools | tojson(ensure_ascii=False) }}"
    "{{ tools|tojson( ensure_ascii = false, indent=2) }}",
    "by a name": "{% set n = 4 %}{{ tools | tojson(indent=n) }}",
}


def rendered(template: str, **how: Any) -> str:
    environment = jinja2.Environment(  # noqa: S701
        extensions=["jinja2.ext.loopcontrols"], **how
    )
    # As transformers has it: neither sorted nor made safe for HTML.
    environment.filters["tojson"] = lambda value, ensure_ascii=False, indent=None: json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent
    )
    return environment.from_string(template).render(CHAT, tools=TOOLS, add_generation_prompt=True)


@pytest.mark.parametrize("name", [*TEMPLATES, *WITH_TOOLS])
def test_jinja_renders_what_is_written_for_the_runtime_as_before(name: str) -> None:
    template = {**TEMPLATES, **WITH_TOOLS}[name]
    wanted = rendered(template, trim_blocks=True, lstrip_blocks=True)
    assert rendered(portable(template), trim_blocks=True, lstrip_blocks=True) == wanted
    assert rendered(portable(template)) == wanted


def test_a_template_without_tools_is_left_alone() -> None:
    assert portable("{{ messages[0].role | tojson }}") == "{{ messages[0].role | tojson }}"


@pytest.mark.parametrize("family", ["QWEN3", "LLAMA3", "MISTRAL"])
def test_tools_are_asked_for_as_they_are(family: str) -> None:
    written = portable(getattr(tool_templates, family))
    assert written.startswith("{# tool.function #}")
    assert "tojson(indent=4)" not in written
