"""How Moondream 2 of 2024 is asked: questions and answers, the images before them, as it was trained."""

from typing import Any

from engine.contract import Abilities, Generation
from engine.generation.chat_template import ChatTemplate
from engine.generation.prompt_style import PromptStyle, abilities_of
from engine.moondream_gguf.config import read_config

IMAGE_TOKEN = "<image>"
END = "<|endoftext|>"
_TEMPLATE = """\
{{- '<|endoftext|>' }}
{%- for message in messages %}
    {%- if message.role == 'system' %}{{ raise_exception('Moondream takes no system message') }}{% endif %}
    {%- if message.content is not string %}
        {%- for part in message.content if part.type == 'image' %}{{ image_token }}{% endfor %}
    {%- endif %}
{%- endfor %}
{{- '\\n\\n' }}
{%- for message in messages %}
    {%- if message.role == 'user' %}{{ 'Question: ' }}{% endif %}
    {%- if message.content is string %}{{ message.content }}
    {%- else %}
        {%- for part in message.content if part.type == 'text' %}{{ part.text }}{% endfor %}
    {%- endif %}
    {{- '\\n\\nAnswer:' if message.role == 'user' else '\\n\\n' }}
{%- endfor %}
"""
_NO_REGION_HEADS = "its GGUF files have no region heads; `moondream2` in safetensors has them"
STYLE = PromptStyle(
    ChatTemplate(_TEMPLATE, "Moondream 2 in GGUF", {"image_token": IMAGE_TOKEN}),
    IMAGE_TOKEN,
    (END,),
    Generation(temperature=0.0, top_p=1.0, max_tokens=512),
    missing=dict.fromkeys(("detect", "point", "gaze"), _NO_REGION_HEADS),
    strip=True,
)


def abilities(source: str, config: Any) -> Abilities:
    """Return the abilities of a model with this config.

    Args:
        source: Name of the config, for error messages.
        config: See `read_config`.

    Raises:
        ModelUnavailable: The config is invalid.
    """
    return abilities_of(STYLE, read_config(source, config).vision is not None)
