"""A chat template that is written for the runtime renders as Jinja renders the original."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest

from pipeline.builder.tokenizer_files import with_trimmed_blocks
from tests.families.table import FAMILIES

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
TEMPLATES = {
    "line break after a block": "{% if messages %}\nyes\n{% endif %}\nend",
    "two line breaks": "{% if messages %}\n\nyes{% endif %}\n\n\nend",
    "indented": "a\n   {% for m in messages %}\n  {{ m.role }}\n\t{% endfor %}\nb",
    "comment": "a\n  {# note #}\n\nb",
    "kept": "a\n  {%+ if messages +%}\nyes{% endif +%}\nend",
    "stripped": "a \n {%- if messages -%}\n\n yes {%- endif -%} \n\n end",
    "within a line": "a {% if messages %} yes {% endif %} end",
    "at the end": "{% if messages %}yes{% endif %}\n",
    **{family.title: family.template for family in FAMILIES if family.template},
}


def rendered(template: str, **how: Any) -> str:
    environment = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"], **how)  # noqa: S701
    return environment.from_string(template).render(CHAT, add_generation_prompt=True)


@pytest.mark.parametrize("name", TEMPLATES)
def test_blocks_take_no_white_space_with_them_nor_leave_any(name: str) -> None:
    wanted = rendered(TEMPLATES[name], trim_blocks=True, lstrip_blocks=True)
    written = with_trimmed_blocks(TEMPLATES[name])
    assert rendered(written) == wanted
    assert rendered(written, trim_blocks=True, lstrip_blocks=True) == wanted
