"""Chat templates: the prompts of golden conversations, templates in the style of releases, and hostile ones."""

import json
import time
from pathlib import Path

import pytest

from engine.contract import EncodedImage, EngineError, Message, ModelUnavailable
from engine.generation.chat_template import BUILTIN_TEMPLATES, ChatTemplate, template_in_folder

QWEN = {"image_token": "<|vision_start|><|image_pad|><|vision_end|>", "eos_token": "<|im_end|>"}
LFM = {"image_token": "<image>", "bos_token": "<|startoftext|>"}
IMAGE = EncodedImage()
CONVERSATION = (
    Message("system", ("Be brief.",)),
    Message("user", (IMAGE, "what?")),
    Message("assistant", ("a lazy dog",)),
    Message("user", ("and the ", IMAGE, " over it?")),
)
CHATML = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n{image}what?<|im_end|>\n"
    "<|im_start|>assistant\na lazy dog<|im_end|>\n<|im_start|>user\nand the {image} over it?<|im_end|>\n"
    "<|im_start|>assistant\n"
)
# With what templates of releases use: namespaces, reversed slices, loop controls, tests, methods, whitespace control.
RELEASE_STYLE = """\
{%- set images = namespace(count=0) %}
{%- set last = namespace(user=-1) %}
{%- for message in messages[::-1] %}
    {%- if message.role == "user" and last.user < 0 %}
        {%- set last.user = (messages | length) - 1 - loop.index0 %}
        {%- break %}
    {%- endif %}
{%- endfor %}
{%- if tools %}
    {{- raise_exception('no tools here') }}
{%- endif %}
{%- for message in messages %}
    {%- if message['role'] not in ['system', 'user', 'assistant'] %}{% continue %}{% endif %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.content is string %}
        {{- message.content.split('</think>')[-1].lstrip('\\n') | trim }}
    {%- else %}
        {%- for part in message.content %}
            {%- if part.type == 'image' or 'image' in part or 'image_url' in part %}
                {%- set images.count = images.count + 1 %}
                {%- if add_vision_id is defined %}Picture {{ images.count }}: {% endif -%}
                <|vision_start|><|image_pad|><|vision_end|>
            {%- elif 'text' in part %}
                {{- part.text }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def rendered(source: str, *texts: str) -> str:
    messages = [Message("user", (text,)) for text in texts or ("hi",)]
    return ChatTemplate(source, "model.gguf").render(messages)


@pytest.mark.parametrize("source", ["chatml", BUILTIN_TEMPLATES["chatml"], RELEASE_STYLE])
def test_chatml(source: str) -> None:
    template = ChatTemplate(source, "model.gguf", QWEN)
    assert template.render(CONVERSATION) == CHATML.format(image=QWEN["image_token"])


def test_the_begin_token_is_written_once() -> None:
    prompt = ChatTemplate("chatml", "model.gguf", LFM).render(CONVERSATION)
    assert prompt == "<|startoftext|>" + CHATML.format(image="<image>")


def test_without_generation_prompt() -> None:
    prompt = ChatTemplate("chatml", "model.gguf").render(CONVERSATION[:1], generation_prompt=False)
    assert prompt == "<|im_start|>system\nBe brief.<|im_end|>\n"


def test_a_bare_name_is_no_jinja() -> None:
    assert rendered("vicuna", "what?") == "USER: what?\nASSISTANT:"
    with pytest.raises(ModelUnavailable, match=r"unknown chat template 'nobody'.*--chat-template builtin"):
        ChatTemplate("nobody", "model.gguf").check()


def test_functions_of_the_hub() -> None:
    assert rendered("{{ {'b': '日本 <&>', 'a': [1, none]} | tojson }}") == '{"b": "日本 <&>", "a": [1, null]}'
    assert rendered("{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }}") == '{"a":2,"b":1}'
    assert rendered("{{ [1] | tojson(indent=2) }}") == "[\n  1\n]"
    assert rendered("{{ strftime_now('%Y') }}").isdigit()
    assert rendered("{% generation %}kept{% endgeneration %}") == "kept"
    assert rendered("{{ 'x' if false }}{{ missing }}|") == "|"
    assert (
        rendered("{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join(', ') }}")
        == "hi"
    )


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for k, v in {'b': 1, 'a': 2}.items() %}{{ k }}{{ v }}{% endfor %}", "b1a2"),
        ("{% for k, v in {'b': 1, 'a': 2} | dictsort %}{{ k }}{{ v }}{% endfor %}", "a2b1"),
        ("{% macro m(a, b=2) %}{{ a }}{{ b }}{{ caller() if caller }}{% endmacro %}{{ m(1) }}", "12"),
        ("{% macro m(a) %}{{ a }}{{ caller() }}{% endmacro %}{% call m(3) %}in{% endcall %}", "3in"),
        (
            "{% set ns = namespace(l=[]) %}{% for i in [1, 2] %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.l }}",
            "[1, 2]",
        ),
        ("{% for i in 'ab' %}{{ loop.index }}{{ loop.last }}{{ loop.cycle('x', 'y') }}{% endfor %}", "1Falsex2Truey"),
        ("{% for x in [1, [2]] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %}", "12"),
        ("{% filter upper %}{% with a = 'x' %}{{ a }}{% endwith %}{% endfilter %}", "X"),
        ("{% set a, b = (1, 2) %}{{ a ~ b }}{{ messages[1:] | length }}{{ {} .get('q', 'd') }}", "120d"),
        ("{{ (tools or []) | length }}{{ messages | rejectattr('role', 'in', ['user']) | list }}", "0[]"),
    ],
)
def test_what_templates_may_use(source: str, text: str) -> None:
    assert rendered(source) == text


def test_blocks_are_trimmed() -> None:
    assert rendered("  {% if true %}\nx\n  {% endif %}\ny") == "x\ny"


def test_an_exception_of_the_template_is_one_line() -> None:
    with pytest.raises(
        EngineError, match=r"^model.gguf: the chat template fails: roles must alternate; .*builtin"
    ) as error:
        rendered("{{ raise_exception('roles\n must alternate') }}")
    assert "\n" not in str(error.value)


BROKEN = ("{% if %}", "{{ x | nobody }}", "{% endfor %}", "{{ " + "(" * 5000, "{% if a %}" * 3000, "{{ 1 }}" * 30_000)


@pytest.mark.parametrize("source", BROKEN, ids=[source[:12] for source in BROKEN])
def test_a_broken_template_fails_on_load(source: str) -> None:
    with pytest.raises(ModelUnavailable, match=r"the chat template is broken: .*--chat-template builtin"):
        ChatTemplate(source, "model.gguf").check()


_DOUBLING = "{% set n = namespace(x='aaaa', y='aaaa') %}{% for i in range(60) %}{% set n.x = EXPR %}{% endfor %}"
HOSTILE = {
    "long range": "{% for i in range(1000000000) %}x{% endfor %}",
    "nested loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "loop with much in it": "{% for i in range(99999) %}" + "{% if a %}{% endif %}" * 5000 + "{% endfor %}",
    "loop over nothing but its test": "{% for i in range(99999) if range(99999) | list | length < 0 %}{% endfor %}",
    "recursive loop": "{% for x in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "macro that calls itself twice": "{% macro f(n) %}{{ f(n - 1) ~ f(n - 1) if n }}{% endmacro %}{{ f(60) }}",
    "macro without end": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "block that prints itself": "{% block b %}{{ self.b() }}{% endblock %}",
    "much text in a macro": "{% macro f() %}"
    + "y" * 60000
    + "{% endmacro %}{% for i in range(99999) %}{% set a = f() %}{% endfor %}",
    "much text in a set": "{% set x %}{% for i in range(99999) %}" + "y" * 60000 + "{% endfor %}{% endset %}",
    "long string": "{{ 'a' * 1000000000 }}",
    "long list": "{{ ([0] * 1000000000) | length }}",
    "doubled by ~": _DOUBLING.replace("EXPR", "n.x ~ n.x"),
    "doubled by +": _DOUBLING.replace("EXPR", "n.x + n.x"),
    "doubled by join": _DOUBLING.replace("EXPR", "[n.x, n.x] | join"),
    "doubled list": _DOUBLING.replace("EXPR", "[n.x, n.x]") + "{{ n.x }}",
    "doubled map": _DOUBLING.replace("EXPR", "{'a': n.x, 'b': n.x}") + "{{ n.x | tojson }}",
    "many names of one text": "{% set x = 'a' * 4000000 %}{{ x" + " ~ x" * 20000 + "}}",
    "squares": _DOUBLING.replace("EXPR", "9 if n.x is string else n.x * n.x"),
    "power": "{{ 9 ** 9 ** 9 }}",
    "format": "{{ '{:>1000000000}'.format(1) }}",
    "percent": "{{ '%1000000000d' % 1 }}",
    "adjusted": "{{ 'a'.ljust(1000000000) }}",
    "replace": "{{ ('a' * 1000000).replace('a', 'b' * 100000) }}",
    "replace by a filter": "{{ ('a' * 1000000) | replace('a', 'b' * 100000) }}",
    "join": "{{ ('b' * 1000000).join(['a'] * 100000) }}",
    "join by a filter": "{{ (['a'] * 100000) | join('b' * 1000000) }}",
    "joined generator": "{{ range(99999) | map('string') | join('b' * 1000000) }}",
    "namespace in itself": "{% set n = namespace() %}{% set n.n = n %}{{ n }}",
    "indented JSON": "{{ [[1]] | tojson(indent=1000000000) }}",
    "long time": "{{ strftime_now('%Y' * 1000) }}",
    "filters by name": "{% for i in range(99999) %}{% set x = range(99999) | map('string') | list %}{% endfor %}",
    "compared lists": "{% set x = [1] * 50000 %}{% for i in range(99999) %}{{ x == [1] * 50000 }}{% endfor %}",
    "search in a range": "{% for i in range(99999) %}{{ 'a' in range(99999) }}{% endfor %}",
    "long attribute": "{{ (['a'] * 90000) | map(attribute='" + "0." * 30000 + "0') | list }}",
    "many pieces": "{{ ('ab ' * 2000000).split(' ') | length }}",
    "class": "{{ ''.__class__.__mro__ }}",
    "file": "{% include '/etc/passwd' %}",
    "change of a message": "{{ messages.append(1) }}",
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_template_ends_soon(source: str) -> None:
    start = time.process_time()
    with pytest.raises(EngineError, match=r"the chat template (fails|is broken): .*--chat-template builtin"):
        rendered(source)
    assert time.process_time() - start < 10  # a second, on an idle machine


def test_nothing_of_python_is_printed() -> None:
    assert rendered("{{ raise_exception.__globals__ }}") == ""
    assert rendered("{{ messages | map(attribute='__class__') | join }}") == ""


def test_a_long_conversation_is_within_the_budget() -> None:
    messages = [Message("user", ("word " * 2000, IMAGE)), Message("assistant", ("word " * 2000,))] * 100
    prompt = ChatTemplate(RELEASE_STYLE, "model.gguf").render(messages)
    assert prompt.count("<|image_pad|>") == 100
    assert len(prompt) > 2_000_000


def test_templates_in_a_folder(tmp_path: Path) -> None:
    assert template_in_folder(tmp_path) is None
    named = [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert template_in_folder(tmp_path) == "b"
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "c"}))
    assert template_in_folder(tmp_path) == "c"
    (tmp_path / "chat_template.jinja").write_text("d")
    assert template_in_folder(tmp_path) == "d"
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        template_in_folder(tmp_path)
