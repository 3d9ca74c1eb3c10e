"""Pieces of chat templates that the runtime renders otherwise unless they are rewritten."""

TEMPLATES = {
    "a line break before a comment": "{% if messages %}a{% endif %}\n\n{#- note #}\n"
    "{{- bos_token }}b",
    "a part of a text": "{% for m in messages %}{% if '?' in m.content %}{{ m.role }}{% endif %}"
    "{% if 'it' not in m['content'] %}-{% endif %}{% endfor %}",
    "a key": "{% if 'role' in messages[0] and 'tool_calls' not in messages[0] %}y{% endif %}",
    "a member": "{% if messages[0].role in ['user', 'system'] %}y{% endif %}",
    "turns without calls": "{% for m in messages | rejectattr('role', 'equalto', 'tool') "
    "| selectattr('tool_calls', 'undefined') %}{{ loop.index0 }}{{ m.role }}{% endfor %}",
    "undefined": "{% if x is undefined and messages is not undefined %}y{% endif %}",
    "replaced": "{{ messages[0].content.replace('Is', '(').strip() }}"
    "{{ messages[0]['content'] | replace('it', 'that') }}",
    "ascii": "{{ {'é': ['ü', {}]} | tojson(ensure_ascii=False) }}",
    "indented": "{{ {'a': {}, 'b': [1]} | tojson(indent=4) }}",
    "white space": " {%- if messages -%} \n a {{- ' b ' -}} \n {% endif %}\n  "
    "{% if messages %}\nc{% endif %}",
}
CHAT = [
    {"role": "user", "content": "  Is it?\n"},
    {"role": "assistant", "content": "It is."},
    {"role": "user", "content": "Why?"},
]
