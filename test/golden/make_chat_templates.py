"""Makes chat_templates.json: what transformers renders of chat templates, and of snippets of Jinja one by one.

    python make_chat_templates.py        # 3 s

The templates are written from the formats that the models' documentation describes: how twenty families of chat models mark turns. Each is rendered
with every conversation; null = transformers refuses it.
"""

import json
from pathlib import Path

import transformers
from transformers.utils.chat_template_utils import render_jinja_template

HERE = Path(__file__).parent
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
SYSTEM = {"role": "system", "content": " Be brief. "}
USER = {"role": "user", "content": "Who's 'Ishmael'?\n"}
ANSWER = {"role": "assistant", "content": "A <b>sailor</b>; caf\u00e9 \U0001f40b"}
THOUGHT = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nA sailor"}
CONVERSATIONS = [
    [USER], [SYSTEM, USER], [USER, ANSWER], [SYSTEM, USER, ANSWER, USER], [USER, THOUGHT, USER], [USER, USER], [ANSWER, USER], [SYSTEM],
    [{"role": "user", "content": ""}], [{"role": "tool", "content": "42"}], [{"role": "user", "content": "\x85a\ufeff"}],
]  # fmt: skip
PROMPT = "{% if add_generation_prompt %}"
LLAMA3 = (
    "{% for m in messages %}{% set content = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    + PROMPT
    + "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    + PROMPT
    + "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WITH_DEFAULT = "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
SYSTEM_FIRST = (
    "{%- if messages[0]['role'] == 'system' -%}{%- set system = messages[0]['content'] | trim -%}{%- set messages = messages[1:] -%}"
    "{%- else -%}{%- set system = '' -%}{%- endif -%}"
)
ALTERNATE = (
    "{%- for m in messages -%}{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) -%}"
    "{{- raise_exception('roles must alternate') -}}{%- endif -%}"
)
TEMPLATES = {
    "chatml": CHATML,
    "qwen2": WITH_DEFAULT + CHATML,
    "qwen3": (
        "{%- set ns = namespace(last=0) %}\n{%- for m in messages %}\n    {%- if m.role == 'user' %}\n        {%- set ns.last = loop.index0 %}\n    {%- endif %}\n{%- endfor %}\n"
        "{%- for m in messages %}\n    {%- set content = m.content if m.content is string else '' %}\n    {%- if m.role == 'assistant' and '</think>' in content and loop.index0 < ns.last %}\n"
        "        {%- set content = content.split('</think>')[-1].lstrip() %}\n    {%- endif %}\n    {{- '<|im_start|>' + m.role + '\\n' + content + '<|im_end|>' + '\\n' }}\n{%- endfor %}\n"
        "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n    {%- if enable_thinking is defined and enable_thinking is false %}\n        {{- '<think>\\n\\n</think>\\n\\n' }}\n    {%- endif %}\n{%- endif %}"
    ),
    "llama2": SYSTEM_FIRST + ALTERNATE + (
        "{%- set content = m['content'] -%}{%- if loop.index0 == 0 and system -%}{%- set content = '<<SYS>>\n' + system + '\n<</SYS>>\n\n' + content -%}{%- endif -%}"
        "{%- if m['role'] == 'user' -%}{{- bos_token + '[INST] ' + content.strip() + ' [/INST]' -}}{%- elif m['role'] == 'assistant' -%}{{- ' ' + content.strip() + ' ' + eos_token -}}{%- endif -%}{%- endfor -%}"
    ),
    "llama3": LLAMA3,
    "llama3.1": (
        "{{- bos_token }}\n{%- if not tools is defined %}\n    {%- set tools = none %}\n{%- endif %}\n{%- if not date_string is defined %}\n    {%- set date_string = '26 Jul 2024' %}\n{%- endif %}\n"
        + SYSTEM_FIRST
        + "{{- '<|start_header_id|>system<|end_header_id|>\n\n' }}\n{%- if tools is not none %}{{- 'Environment: ipython\n' }}{%- endif %}\n"
        "{{- 'Today Date: ' + date_string + '\n\n' }}\n{{- system }}\n{{- '<|eot_id|>' }}\n"
        "{%- for m in messages %}{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
    ),
    "mistral": "{{- bos_token }}" + SYSTEM_FIRST + ALTERNATE + (
        "{%- if m['role'] == 'user' -%}{%- if loop.last and system -%}{{- '[INST] ' + system + '\n\n' + m['content'] + ' [/INST]' -}}{%- else -%}{{- '[INST] ' + m['content'] + ' [/INST]' -}}{%- endif -%}"
        "{%- elif m['role'] == 'assistant' -%}{{- ' ' + m['content'] | trim + eos_token -}}{%- else -%}{{- raise_exception('only user and assistant') -}}{%- endif -%}{%- endfor -%}"
    ),
    "zephyr": (
        "{% for m in messages %}\n{% if m['role'] == 'user' %}\n{{ '<|user|>\n' + m['content'] + eos_token }}\n{% elif m['role'] == 'system' %}\n{{ '<|system|>\n' + m['content'] + eos_token }}\n"
        "{% elif m['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + m['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
    ),
    "gemma": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + ALTERNATE
        + "{%- if m['role'] == 'assistant' -%}{%- set role = 'model' -%}{%- else -%}{%- set role = m['role'] -%}{%- endif %}"
        "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
    ),
    "gemma3": (
        "{{ bos_token }}\n" + SYSTEM_FIRST + ALTERNATE
        + "{%- set role = 'model' if m['role'] == 'assistant' else m['role'] -%}{{ '<start_of_turn>' + role + '\n' + (system + '\n\n' if loop.first and system else '') }}"
        "{%- if m['content'] is string -%}{{ m['content'] | trim }}{%- elif m['content'] is iterable -%}{%- for item in m['content'] -%}{{ item['text'] | trim }}{%- endfor -%}{%- endif -%}"
        "{{ '<end_of_turn>\n' }}{%- endfor -%}{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}"
    ),
    "phi3": (
        "{% for m in messages %}{% if m['role'] in ['system', 'user', 'assistant'] and m['content'] %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
    ),
    "phi4": "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '<|im_sep|>' + m['content'] + '<|im_end|>' }}{% endfor %}" + PROMPT + "{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}",
    "granite": (
        "{%- if messages[0]['role'] == 'system' %}\n{%- set loop_messages = messages[1:] %}\n{%- set system = messages[0]['content'] %}\n{%- else %}\n{%- set loop_messages = messages %}\n"
        "{%- set system = 'You are Granite.' %}\n{%- if tools and documents %}\n{%- set system = system + ' Use both.' %}\n{%- endif %}\n{%- endif %}\n"
        "{{- '<|start_of_role|>system<|end_of_role|>' + system + '<|end_of_text|>\n' }}\n{%- for m in loop_messages %}\n"
        "{{- '<|start_of_role|>' + m['role'] + '<|end_of_role|>' + m['content'] + '<|end_of_text|>\n' }}\n{%- if loop.last and add_generation_prompt %}\n{{- '<|start_of_role|>assistant<|end_of_role|>' }}\n{%- endif %}\n{%- endfor %}"
    ),
    "olmo2": (
        "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ '<|system|>\n' + m['content'] + '\n' }}{% elif m['role'] == 'user' %}{{ '<|user|>\n' + m['content'] + '\n' }}"
        "{% elif m['role'] == 'assistant' %}{% if not loop.last %}{{ '<|assistant|>\n'  + m['content'] + eos_token + '\n' }}{% else %}{{ '<|assistant|>\n'  + m['content'] + eos_token }}{% endif %}{% endif %}"
        "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}"
    ),
    "deepseek": (
        "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(system_prompt='') %}{%- for m in messages %}{%- if m['role'] == 'system' %}"
        "{% set ns.system_prompt = m['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}{%- for m in messages %}{%- if m['role'] == 'user' %}{{'<|User|>' + m['content']}}{%- endif %}"
        "{%- if m['role'] == 'assistant' and m['content'] is not none %}{% set content = m['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}"
        "{{'<|Assistant|>' + content + eos_token}}{%- endif %}{%- endfor -%}{% if add_generation_prompt %}{{'<|Assistant|>'}}{% endif %}"
    ),
    "vicuna": (
        SYSTEM_FIRST + "{{- system or 'A chat.' }}{% for m in messages %}{{ ' USER: ' if m.role == 'user' else ' ASSISTANT: ' }}{{ m.content | trim }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}" + PROMPT + "{{ ' ASSISTANT:' }}{% endif %}"
    ),
    "alpaca": "{% for m in messages %}{% if m.role == 'user' %}### Instruction:\n{{ m.content }}\n\n{% else %}### Response:\n{{ m.content }}\n\n{% endif %}{% endfor %}" + PROMPT + "### Response:\n{% endif %}",
    "command-r": (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>' + m.content + '<|END_OF_TURN_TOKEN|>' }}"
        "{% elif m.role|lower == 'user' %}{{ '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + m.content + '<|END_OF_TURN_TOKEN|>' }}{% elif m.role|lower in ['assistant', 'chatbot'] %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' + m.content + '<|END_OF_TURN_TOKEN|>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}"
    ),
    "falcon": "{% for m in messages %}{% if not loop.first %}{{ '\n' }}{% endif %}{{ m.role | replace('user', 'User') | replace('assistant', 'Falcon') }}: {{ m.content | replace('\n\n', '\n') | trim }}{% endfor %}" + PROMPT + "{{ '\nFalcon:' }}{% endif %}",
    "macro": "{% macro turn(m, end='\n') %}[{{ m.role | upper }}]{{ m.content | tojson }}{{ end }}{% endmacro %}{% for m in messages %}{{ turn(m) }}{% endfor %}" + PROMPT + "{{ turn({'role': 'assistant', 'content': ''}, end='') }}{% endif %}",
}  # fmt: skip
SNIPPETS = [
    "{{ none }}",
    "{{ None }}",
    "{{ true }}",
    "{{ True }}",
    "{{ false }}",
    "{{ x }}",
    "{{ tools }}",
    "{{ tools is none }}",
    "{{ tools is defined }}",
    "{{ documents is none }}",
    "{{ (1, 'a') }}",
    "{{ [1, 'a', none, true] }}",
    "{{ {'a': 1, 'b': none} }}",
    "{{ (1,) }}",
    "{{ () }}",
    "{{ 'a%s' | format('b') }}",
    "{{ '%s-%d' | format('x', 3) }}",
    "{{ '%05.2f' | format(3.14159) }}",
    "{{ '%s' % 'x' }}",
    "{{ '%s and %s' % ('x', 'y') }}",
    "{{ '{} x'.format(1) }}",
    "{{ 1.0 }}",
    "{{ 3 / 2 }}",
    "{{ 4 / 2 }}",
    "{{ 7 // 2 }}",
    "{{ -7 // 2 }}",
    "{{ -7 % 3 }}",
    "{{ 2 ** 3 }}",
    "{{ 1e3 }}",
    "{{ 'a' ~ none ~ true ~ 1.0 }}",
    "{{ 'a' + 'b' }}",
    "{{ 1 ~ 2 }}",
    "{{ [1,2] + [3] }}",
    "{{ 'ab' * 3 }}",
    "{{ [1,2] * 2 }}",
    "{{ 'a' in 'abc' }}",
    "{{ 1 in [1,2] }}",
    "{{ 'a' in {'a':1} }}",
    "{{ 'x' not in 'abc' }}",
    "{{ 'abc'[1] }}",
    "{{ 'abc'[-1] }}",
    "{{ 'abc'[1:] }}",
    "{{ 'abcdef'[::-1] }}",
    "{{ [1,2,3][-2:] }}",
    "{{ 'abcdef'[1:5:2] }}",
    "{{ '  a '.strip() }}|",
    "{{ 'xxaxx'.strip('x') }}",
    "{{ 'a,b,c'.split(',') }}",
    "{{ 'a b  c'.split() }}",
    "{{ 'a,b,c'.split(',')[-1] }}",
    "{{ 'abc'.upper() }}",
    "{{ 'hello world'.title() }}",
    "{{ 'hello World'.capitalize() }}",
    "{{ 'abc'.startswith('a') }}",
    "{{ 'abc'.startswith(('x','a')) }}",
    "{{ 'abc'.replace('b','x') }}",
    "{{ 'aXbX'.replace('X','-',1) }}",
    "{{ 'abc'.find('c') }}",
    "{{ 'abc'.count('a') }}",
    "{{ 'a\\nb' }}",
    "{{ 'a\nb'.splitlines() }}",
    "{{ ' a\n' | trim }}|",
    "{{ 'abc' | upper }}",
    "{{ 'abc' | length }}",
    "{{ 'abc' | first }}",
    "{{ 'abc' | last }}",
    "{{ ['b','a'] | sort }}",
    "{{ ['b','A','c'] | sort }}",
    "{{ [3,1,2] | sort(reverse=true) }}",
    "{{ [1,2,3] | sum }}",
    "{{ [1,2,3] | join(', ') }}",
    "{{ [1, none, true] | join('-') }}",
    "{{ {'a':1,'b':[1,2]} | tojson }}",
    "{{ {'a':'\u00e9<>&\"'} | tojson }}",
    "{{ {'a':1,'b':{'c':none}} | tojson(indent=2) }}",
    "{{ [1.0, 2.5, true, none] | tojson }}",
    "{{ 'a' | tojson }}",
    "{{ {'b':1,'a':2} | tojson(sort_keys=true) }}",
    "{{ [] | tojson(indent=2) }}",
    "{{ {'a':1}.items() | list }}",
    "{% for k, v in {'a':1,'b':2}.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in {'a':1,'b':2} %}{{ k }}{% endfor %}",
    "{{ {'b':1,'a':2} | dictsort }}",
    "{{ {'a':1}.get('b') }}",
    "{{ {'a':1}.get('b', 'd') }}",
    "{{ {'a':1}.keys() | list }}",
    "{{ {'a':1}['b'] }}|",
    "{{ {'a':1}.b is defined }}",
    "{{ y }}|",
    "{{ y | default('d') }}",
    "{{ none | default('d') }}",
    "{{ '' | default('d', true) }}",
    "{{ none or 'x' }}",
    "{{ 'a' and 'b' }}",
    "{{ not none }}",
    "{{ 0 or false }}",
    "{{ [] or 'e' }}",
    "{{ 1 == 1.0 }}",
    "{{ 1 == true }}",
    "{{ 'a' < 'b' }}",
    "{{ none == false }}",
    "{{ 'a' if true }}",
    "{{ 'a' if false }}|",
    "{% set ns = namespace(x=1) %}{% for i in [1,2] %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% set a = 1 %}{% for i in [1] %}{% set a = 2 %}{% endfor %}{{ a }}",
    "{% for i in range(3) %}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }} {% endfor %}",
    "{% for i in [1,2,3] if i != 2 %}{{ i }}{% endfor %}",
    "{% for i in [] %}x{% else %}empty{% endfor %}",
    "{% for i in [1,2,3] %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in [1,2,3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in [1,2] %}{{ loop.previtem }}{{ loop.nextitem }},{% endfor %}",
    "{% for i in [1,2] %}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.cycle('a','b') }},{% endfor %}",
    "{% macro m(a, b='x') %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, b=2) }}",
    "{% macro m() %}  a {% endmacro %}{{ m() | trim }}|",
    "{% if true %}\n  a\n{% endif %}\nb",
    "  {% if true %}a{% endif %}\n",
    "{%- if true -%} a {%- endif -%} b",
    "a\n{{ 'b' }}\n",
    "a {#- c -#} b",
    "{# c #}\na",
    "{% raw %}{{ x }}{% endraw %}",
    "{% set x %}a{{ 1 }}{% endset %}{{ x }}",
    "{% filter upper %}abc{% endfilter %}",
    "{% generation %}abc{% endgeneration %}",
    "{% call(x) m() %}{% endcall %}",
    "{{ messages[0]['role'] }}",
    "{{ messages[0].role }}",
    "{{ messages[-1].content }}",
    "{{ messages | length }}",
    "{{ messages[1:] | length }}",
    "{{ messages | map(attribute='role') | list }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
    "{{ messages | rejectattr('role', 'equalto', 'user') | map(attribute='role') | join(',') }}",
    "{{ messages }}",
    "{{ messages[0] }}",
    "{{ messages[0] | tojson }}",
    "{{ messages[0].content is string }}",
    "{{ messages is iterable }}",
    "{{ messages[0] is mapping }}",
    "{{ messages[0].tool_calls is defined }}",
    "{{ messages[0].tool_calls }}|",
    "{{ messages is sequence }}",
    "{{ 1 is number }}",
    "{{ 1.5 is float }}",
    "{{ 1 is integer }}",
    "{{ true is boolean }}",
    "{{ true is number }}",
    "{{ 3 is odd }}",
    "{{ 4 is divisibleby(2) }}",
    "{{ 'a' is eq('a') }}",
    "{{ 'x' is in ['x'] }}",
    "{{ 'A' is upper }}",
    "{{ none is string }}",
    "{{ 3 | string + 'a' }}",
    "{{ '3' | int + 1 }}",
    "{{ '3.5' | float }}",
    "{{ 3.7 | int }}",
    "{{ 3.5 | round }}",
    "{{ 2.567 | round(2) }}",
    "{{ -3 | abs }}",
    "{{ 'a b' | replace(' ', '_') }}",
    "{{ 'abc' | reverse }}",
    "{{ [1,2] | reverse | list }}",
    "{{ [1,1,2] | unique | list }}",
    "{{ [1,2,3] | min }}",
    "{{ [1,2,3,4] | batch(2) | list }}",
    "{{ 'abc' | list }}",
    "{{ 'hello world' | title }}",
    "{{ 'hello' | capitalize }}",
    "{{ 'a\nb' | indent(2) }}",
    "{{ 'a\nb' | indent(2, true) }}",
    "{{ '<a>' | e }}",
    "{{ '<a>' | escape }}",
    "{{ '<a>' | safe }}",
    "{{ 'x' | center(5) }}|",
    "{{ 'a b c' | wordcount }}",
    "{{ 'abc' | truncate(2) }}",
    "{{ [[1,2],[3,4]] | map('first') | list }}",
    "{{ ['a','b'] | map('upper') | join }}",
    "{{ [0,1,2] | select | list }}",
    "{{ [0,1,2] | select('odd') | list }}",
    "{{ ['a', none] | reject('none') | list }}",
    "{{ {'a':1} | items | list }}",
    "{{ [{'a':1,'b':2}] | groupby('a') | list }}",
    "{{ 'abc' | items }}",
    "{{ range(1, 10, 3) | list }}",
    "{{ dict(a=1) }}",
    "{{ raise_exception('no') }}",
    "{{ bos_token }}{{ eos_token }}",
    "{{ 'a' 'b' }}",
    "{{ \"it's\" }}",
    "{{ ['it\\'s', \"q\\\"\"] }}",
    "{{ ['\u00e9\\n'] }}",
    "{{ '\\u00e9' }}",
    "{{ '\\x41' }}",
    "{{ '\\t|' }}",
    "{{ 10000000000000000000000 }}",
    "{{ 0.1 + 0.2 }}",
    "{{ 1e20 }}",
    "{{ 1e-7 }}",
    "{{ 100000000.0 * 10 }}",
    "{{ (1 > 0) ~ '' }}",
    "{{ 1 < 2 < 3 }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set a = [1] %}{{ a.append(2) }}{{ a }}",
    "{% do [] %}",
    "{{ namespace(a=1) }}",
    "{% include 'x' %}",
    "{{ messages.0.role }}",
    "{{ 'abc'|attr('upper') }}|",
    "{{ add_generation_prompt }}",
    "{% if add_generation_prompt is true %}y{% endif %}",
    "{{ 'a'.join(['b','c']) }}",
    "{{ 'ab'.lstrip('a') }}{{ 'ab'.rstrip('b') }}",
    "{{ 'a-b-c'.rsplit('-', 1) }}",
    "{{ 'a-b-c'.split('-', 1) }}",
    "{{ 'a-b'.partition('-') }}",
    "{{ 'abc'.endswith('c') }}",
    "{{ 'abc'.index('b') }}",
    "{{ 'ABC'.lower() }}",
    "{{ 'abc'.isdigit() }}",
    "{{ '12'.isdigit() }}",
    "{{ 'abc'.zfill(5) }}",
    "{{ 'a'.ljust(3) }}|",
    "{{ ['a','b'].index('b') }}",
    "{{ [1,2].pop() }}",
    "{{ '\u0131'.upper() }}{{ '\u00df'.upper() }}",
    "{{ '\u00c9COLE' | lower }}",
    "{{ '\ufb01' | length }}{{ '\ud83d\udc0b' | length }}",
    "{{ '\ud83d\udc0bab'[1] }}",
    "{{ '\ud83d\udc0bab'[1:] }}",
    "{{ '\u00a0a\u00a0' | trim }}|",
    "{{ '\ufeffa' | trim | length }}",
    "{{ 'y' if tools is none else 'n' }}",
    "{{ 'y' if tools is defined else 'n' }}",
    "{{ 'y' if documents is none else 'n' }}",
    "{{ 'y' if 'a' in 'abc' else 'n' }}",
    "{{ 'y' if 1 in [1,2] else 'n' }}",
    "{{ 'y' if 'a' in {'a':1} else 'n' }}",
    "{{ 'y' if 'x' not in 'abc' else 'n' }}",
    "{{ 'y' if 'abc'.startswith('a') else 'n' }}",
    "{{ 'y' if 'abc'.startswith(('x','a')) else 'n' }}",
    "{{ 'y' if 'abc'.endswith('c') else 'n' }}",
    "{{ 'y' if {'a':1}.b is defined else 'n' }}",
    "{{ 'y' if not none else 'n' }}",
    "{{ 'y' if 0 or false else 'n' }}",
    "{{ 'y' if 1 == 1 else 'n' }}",
    "{{ 'y' if '1' == 1 else 'n' }}",
    "{{ 'y' if '' == 0 else 'n' }}",
    "{{ 'y' if none == false else 'n' }}",
    "{{ 'y' if none == x else 'n' }}",
    "{{ 'y' if 'a' == 'a' else 'n' }}",
    "{{ 'y' if [1] == [1] else 'n' }}",
    "{{ 'y' if messages[0].content is string else 'n' }}",
    "{{ 'y' if messages is iterable else 'n' }}",
    "{{ 'y' if messages[0].content is iterable else 'n' }}",
    "{{ 'y' if messages[0] is iterable else 'n' }}",
    "{{ 'y' if none is iterable else 'n' }}",
    "{{ 'y' if 3 is iterable else 'n' }}",
    "{{ 'y' if messages[0] is mapping else 'n' }}",
    "{{ 'y' if messages is mapping else 'n' }}",
    "{{ 'y' if messages is sequence else 'n' }}",
    "{{ 'y' if messages[0].content is sequence else 'n' }}",
    "{{ 'y' if messages[0] is sequence else 'n' }}",
    "{{ 'y' if true is boolean else 'n' }}",
    "{{ 'y' if 3 is odd else 'n' }}",
    "{{ 'y' if 4 is even else 'n' }}",
    "{{ 'y' if none is string else 'n' }}",
    "{{ 'y' if x is none else 'n' }}",
    "{{ 'y' if x is undefined else 'n' }}",
    "{{ 'y' if x is not defined else 'n' }}",
    "{{ 'y' if messages[0].tool_calls is defined else 'n' }}",
    "{{ 'y' if messages[0].tool_calls else 'n' }}",
    "{{ 'y' if messages else 'n' }}",
    "{{ 'y' if [] else 'n' }}",
    "{{ 'y' if {} else 'n' }}",
    "{{ 'y' if '' else 'n' }}",
    "{{ 'y' if 0 else 'n' }}",
    "{{ 'y' if '0' else 'n' }}",
    "{{ 'y' if add_generation_prompt is true else 'n' }}",
    "{{ 'y' if add_generation_prompt == true else 'n' }}",
    "{{ 'y' if 1 is true else 'n' }}",
    "{{ 'y' if 'a' != 'b' else 'n' }}",
    "{{ 'y' if 1 < 2 else 'n' }}",
    "{{ 'y' if 2 >= 2 and 1 > 3 else 'n' }}",
    "{{ 'y' if not (1 == 2 or 3 == 3) else 'n' }}",
    "{{ 'y' if loop is defined else 'n' }}",
    "{{ 'y' if messages[0]['role'] == 'user' and messages|length > 1 else 'n' }}",
    "{{ 'y' if messages[5] is defined else 'n' }}",
    "{{ 'y' if 'x' is equalto 'x' else 'n' }}",
    "{{ 'y' if namespace is defined else 'n' }}",
    "{{ 'y' if range is defined else 'n' }}",
    "{{ 'y' if 'content' in messages[0] else 'n' }}",
    "{{ 'y' if messages[-1].role in ['assistant', 'tool'] else 'n' }}",
    "{{ 'y' if none in [none] else 'n' }}",
    "{{ 'y' if true in [1] else 'n' }}",
    "{% for m in messages %}{{ loop.index }}/{{ loop.length }}{% if not loop.last %},{% endif %}{% endfor %}",
    "{% for i in range(5, 0, -2) %}{{ i }}{% endfor %}",
    "{% for i in range(2, 5) %}{{ i }}{% endfor %}",
    "{% for m in messages[::-1] %}{{ m.role }} {% endfor %}",
    "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join('|') }}",
    "{{ messages | map(attribute='content') | first }}",
    "{{ {'a':1} | items | map('first') | join }}",
    "{% for k, v in {'a':1}|items %}{{ k ~ v }}{% endfor %}",
    "{{ ['a','b'] | reverse | join }}",
    "{% set s = messages[0].content.split(\"'\") %}{{ s[0] }}{{ s | length }}",
    "{{ 'a' ~ 1 ~ x }}",
    "{{ 'a' + x }}",
    "{{ 1 + 2 * 3 }}",
    "{{ 7 % 3 }}",
    "{{ 'x'.y }}|",
    "{{ x.y }}|",
    "{{ messages.length }}|",
    "{{ 'abc'.length }}|",
]


def rendered(template, messages, add_generation_prompt):
    try:
        texts, _ = render_jinja_template(
            conversations=[messages], chat_template=template, add_generation_prompt=add_generation_prompt, **TOKENS
        )
        return texts[0]
    except Exception:
        return None


def main():
    asked = [(i, prompt) for i in range(len(CONVERSATIONS)) for prompt in (True, False)]
    golden = {
        "made_by": f"make_chat_templates.py, transformers {transformers.__version__}",
        "tokens": TOKENS,
        "conversations": CONVERSATIONS,
        "templates": [
            {"name": name, "template": template, "texts": [[i, prompt, rendered(template, CONVERSATIONS[i], prompt)] for i, prompt in asked]}
            for name, template in TEMPLATES.items()
        ],
        "snippets": [[snippet, rendered(snippet, CONVERSATIONS[2], True)] for snippet in SNIPPETS],
    }  # fmt: skip
    lines = json.dumps(golden, separators=(",", ":")).replace('{"name"', '\n{"name"').replace('"snippets"', '\n"snippets"')
    (HERE / "chat_templates.json").write_text(lines + "\n")


main()
