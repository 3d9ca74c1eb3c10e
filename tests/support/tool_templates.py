"""Chat templates that write tools, calls and thoughts in the ways of well-known families.

Each writes them where and in the form that the family's own template does; the words around them
are shorter.
"""

from __future__ import annotations

_ASKS = "{%- if add_generation_prompt %}{{- '<|assistant|>\n' }}{%- endif %}"

# Thoughts stand before the answer, and in earlier turns only after the last question of a user.
# Calls of tools follow the text, each in a block; results are turns of the user.
QWEN3 = (
    """
{%- if tools %}
    {{- '<|system|>\n' }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\n\n' }}{%- endif %}
    {{- '<tools>' }}
    {%- for tool in tools %}{{- '\n' + (tool | tojson) }}{%- endfor %}
    {{- '\n</tools><|end|>\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|system|>\n' + messages[0].content + '<|end|>\n' }}
{%- endif %}
{%- set seen = namespace(last=-1) %}
{%- for m in messages %}
    {%- if m.role == 'user' %}{%- set seen.last = loop.index0 %}{%- endif %}
{%- endfor %}
{%- for m in messages %}
    {%- set content = m.content if m.content is string else '' %}
    {%- if m.role == 'user' or (m.role == 'system' and not loop.first) %}
        {{- '<|' + m.role + '|>\n' + content + '<|end|>\n' }}
    {%- elif m.role == 'assistant' %}
        {%- set thoughts = m.reasoning_content if m.reasoning_content is string else '' %}
        {{- '<|assistant|>\n' }}
        {%- if loop.index0 > seen.last and (loop.last or thoughts) %}
            {{- '<think>\n' + thoughts.strip('\n') + '\n</think>\n\n' }}
        {%- endif %}
        {{- content }}
        {%- for call in m.tool_calls or [] %}
            {%- if content or not loop.first %}{{- '\n' }}{%- endif %}
            {%- set call = call.function or call %}
            {{- '<tool_call>\n{"name": "' + call.name + '", "arguments": ' }}
            {{- call.arguments if call.arguments is string else (call.arguments | tojson) }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|end|>\n' }}
    {%- elif m.role == 'tool' %}
        {{- '<|user|>\n<tool_response>\n' + content + '\n</tool_response><|end|>\n' }}
    {%- endif %}
{%- endfor %}
"""
    + _ASKS
)

# Tools stand in the user's turn; a turn has one call, and then no text.
LLAMA3 = (
    """
{%- for m in messages %}
    {%- if m.tool_calls %}
        {%- if m.tool_calls | length != 1 %}{{- raise_exception('one call at once') }}{%- endif %}
        {%- set call = m.tool_calls[0].function %}
        {{- '<|assistant|>\n{"name": "' + call.name + '", ' }}
        {{- '"parameters": ' + (call.arguments | tojson) + '}<|end|>\n' }}
    {%- elif m.role == 'tool' %}
        {{- '<|user|>\n' + (m.content | tojson) + '<|end|>\n' }}
    {%- else %}
        {{- '<|' + m.role + '|>\n' }}
        {%- if m.role == 'user' and tools and loop.index0 == 0 %}
            {%- for t in tools %}{{- t | tojson(indent=4) }}{{- '\n\n' }}{%- endfor %}
        {%- endif %}
        {{- m.content | trim + '<|end|>\n' }}
    {%- endif %}
{%- endfor %}
"""
    + _ASKS
)

# Calls and results have numbers of nine signs; without one, there is an error.
MISTRAL = """
{%- for m in messages %}
    {%- if m.role == 'user' %}
        {%- if tools and loop.first %}
            {{- '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}
        {%- endif %}
        {{- '[INST]' + m.content + '[/INST]' }}
    {%- elif m.role == 'assistant' and m.tool_calls %}
        {{- '[TOOL_CALLS][' }}
        {%- for call in m.tool_calls %}
            {%- if call.id | length != 9 %}{{- raise_exception('nine signs') }}{%- endif %}
            {%- set text = call.function | tojson %}
            {{- text[:-1] + ', "id": "' + call.id + '"}' + ('' if loop.last else ', ') }}
        {%- endfor %}
        {{- ']' + eos_token }}
    {%- elif m.role == 'assistant' %}
        {{- m.content + eos_token }}
    {%- elif m.role == 'tool' %}
        {%- if m.tool_call_id | length != 9 %}{{- raise_exception('nine signs') }}{%- endif %}
        {{- '[TOOL_RESULTS]{"content": ' + m.content | string }}
        {{- ', "call_id": "' + m.tool_call_id + '"}[/TOOL_RESULTS]' }}
    {%- endif %}
{%- endfor %}
"""

# Calls are written only of turns without content.
DEEPSEEK = (
    """
{%- for m in messages %}
    {%- if m.role == 'user' %}{{- '<|user|>\n' + m.content + '<|end|>\n' }}
    {%- elif m.role == 'assistant' and m.content is undefined %}
        {{- '<|assistant|>\n' }}
        {%- for call in m.tool_calls %}
            {{- 'call ' + call.function.name + '\n' + call.function.arguments + '\n' }}
        {%- endfor %}
        {{- '<|end|>\n' }}
    {%- elif m.role == 'assistant' %}{{- '<|assistant|>\n' + m.content + '<|end|>\n' }}
    {%- elif m.role == 'tool' %}{{- '<|user|>\nresult ' + m.content + '<|end|>\n' }}
    {%- endif %}
{%- endfor %}
"""
    + _ASKS
)

# The name of a user stands before what they say. Marked as transformers' assistant masks need it.
NAMED = (
    "{%- for m in messages %}{{- '<|' + m.role + '|>\n' }}"
    "{%- if m.name %}{{- m.name + ': ' }}{%- endif %}"
    "{%- if m.role == 'assistant' %}{% generation %}{{- m.content + '<|end|>' }}{% endgeneration %}"
    "{%- else %}{{- m.content + '<|end|>' }}{%- endif %}{{- '\n' }}{%- endfor %}" + _ASKS
)
