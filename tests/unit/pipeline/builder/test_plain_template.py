"""A chat template that is written for the runtime renders as Jinja renders the original."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest

from pipeline.builder.plain_template import plain_template
from pipeline.contract.errors import StepError
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
    "a comment that strips": "{% if messages %}a{% endif %}\n\n  {#- note -#}  \nb {#- c #}",
    "an expression that strips": "{% if messages %}\n\n{%- endif %}\n\n{{- bos_token -}}\n b",
    "a minus": "{{ -1 }} {{--1}} {{- 1 -}} {{ 1 -}}\n",
    "text that looks like a block": "{ {{- 1 }}{{- '{{' }} {% raw %} {{ x }} {% endraw %} }%} #}",
    "quotes and backslashes": "{% if messages %} it's \\n a \\ \t{% endif %}\r\n\"",
    "a string with a block's end": "{% if messages %} {{ '%}\n\n' ~ \"}}\" }} {% endif %}",
    "a call over lines": "{{-\n  messages\n  | length\n-}}\n",
    "a part of a text": "{% if 'Is' in messages[0].content and 'x' not in messages[0]['role'] %}y"
    "{% endif %}{% if messages[0].content.strip().split('?')[0] in ['Is it'] %}z{% endif %}",
    "a key, and a member": "{{ 'role' in messages[0] }}{{ 'no' in messages[0] }}{{ 'a' in ['a'] }}",
    "undefined": "{{ x is undefined }}{{ x is not undefined }}{% if bos_token is not undefined "
    "and y is  undefined %}z{% endif %}",
    "turns without calls": "{% for m in messages | rejectattr('role', 'equalto', 'user') "
    "| selectattr('tool_calls', 'undefined') %}{{ loop.index }}{{ m.role }}{% endfor %}",
    "turns with calls": '{%- for m in messages|rejectattr("x", "undefined")%}{{ m }}{% endfor %}',
    "at the end": "{% if messages %}yes{% endif %}\n",
    **{family.title: family.template for family in FAMILIES if family.template},
}


def rendered(template: str, **how: Any) -> str:
    environment = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"], **how)  # noqa: S701
    return environment.from_string(template).render(CHAT, add_generation_prompt=True)


def test_what_is_no_template_is_named_by_its_line() -> None:
    with pytest.raises(StepError, match="line 3 of the chat template: unexpected '\\)'"):
        plain_template("a\n{% if x %}\n{{ x) }}{% endif %}")


@pytest.mark.parametrize("name", TEMPLATES)
def test_blocks_take_no_white_space_with_them_nor_leave_any(name: str) -> None:
    wanted = rendered(TEMPLATES[name], trim_blocks=True, lstrip_blocks=True)
    written = plain_template(TEMPLATES[name])
    assert rendered(written) == wanted
    assert rendered(written, trim_blocks=True, lstrip_blocks=True) == wanted
