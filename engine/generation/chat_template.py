"""Chat templates: a conversation to the text of a prompt, by Jinja from a checkpoint or by a built-in template.

Format: https://huggingface.co/docs/transformers/chat_templating. A template is a program by whoever made the
checkpoint; `engine.generation.jinja_sandbox` bounds what it can do.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2.environment import Template

from engine.contract import EngineError, Message, ModelUnavailable
from engine.error_text import quoted_name, reason
from engine.generation.jinja_sandbox import compile_template, render_template

BUILTIN = "builtin"  # as the name of a template: the family's own

_MACRO_TEXT = """\
{%- macro text(message) %}
    {%- if message.content is string %}{{ message.content }}
    {%- else %}
        {%- for part in message.content %}{{ part.text if part.type == 'text' else image_token }}{% endfor %}
    {%- endif %}
{%- endmacro %}
"""
BUILTIN_TEMPLATES: Mapping[str, str] = {
    "chatml": _MACRO_TEXT
    + "{{- bos_token }}"
    + "{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + text(message) + '<|im_end|>\\n' }}"
    + "{%- endfor %}{{- '<|im_start|>assistant\\n' if add_generation_prompt }}",
    "vicuna": _MACRO_TEXT
    + "{{- bos_token }}"
    + "{%- for message in messages %}"
    + "{%- if message.role == 'system' %}{{ text(message) + '\\n\\n' }}"
    + "{%- elif message.role == 'user' %}{{ 'USER: ' + text(message) + '\\n' }}"
    + "{%- else %}{{ 'ASSISTANT: ' + text(message) + '</s>\\n' }}{% endif %}"
    + "{%- endfor %}{{- 'ASSISTANT:' if add_generation_prompt }}",
}


@dataclass(frozen=True)
class ChatTemplate:
    """A template, and what it needs to know of the model.

    Attributes:
        source: Jinja, or the name of a built-in template.
        origin: Names the template in errors.
        variables: For the template: `bos_token`, `eos_token`, and for built-in ones `image_token`, which an image is
            written as.
    """

    source: str
    origin: str
    variables: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _compiled(self) -> Template:
        source = self.source
        if re.fullmatch(r"[\w.-]+", source):
            if source not in BUILTIN_TEMPLATES:
                known = ", ".join(BUILTIN_TEMPLATES)
                raise self._error(f"names the unknown chat template {quoted_name(source)}; known are {known}")
            source = BUILTIN_TEMPLATES[source]
        try:
            return compile_template(source)
        except Exception as error:
            raise self._error(f"the chat template is broken: {reason(error)}") from error

    def check(self) -> None:
        """Raise ModelUnavailable if the template can't be compiled."""
        _ = self._compiled

    def render(self, messages: Sequence[Message], generation_prompt: bool = True) -> str:
        """Return the text of a prompt.

        Args:
            messages: A conversation. A message of text alone is passed as a string, one with images as a list of parts.
            generation_prompt: Whether the prompt ends with the beginning of the assistant's turn.

        Raises:
            ModelUnavailable: The template is broken.
            EngineError: It fails on this conversation.
        """
        variables: dict[str, Any] = {"bos_token": "", "eos_token": "", "image_token": "", **self.variables}
        variables |= {"messages": [_plain(message) for message in messages], "tools": None, "documents": None}
        compiled = self._compiled
        try:
            return render_template(compiled, {**variables, "add_generation_prompt": generation_prompt})
        except Exception as error:
            raise EngineError(self._described(f"the chat template fails: {reason(error)}")) from error

    def _error(self, problem: str) -> ModelUnavailable:
        return ModelUnavailable(self._described(problem))

    def _described(self, problem: str) -> str:
        return f"{self.origin}: {problem}; --chat-template {BUILTIN} uses the model family's own"


def template_in_folder(folder: Path) -> str | None:
    """Return the chat template that came with a checkpoint.

    Looked up in `chat_template.jinja`, then as `chat_template` of `chat_template.json` and of `tokenizer_config.json`.

    Raises:
        ModelUnavailable: A file can't be read.
    """
    jinja = folder / "chat_template.jinja"
    if jinja.is_file():
        return _read(jinja)
    for name in ("chat_template.json", "tokenizer_config.json"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            data = json.loads(_read(path))
        except (ValueError, RecursionError) as error:
            raise ModelUnavailable(f"{path}: not JSON") from error
        template = data.get("chat_template") if isinstance(data, dict) else None
        if isinstance(template, list):  # several, by name
            named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
            template = named.get("default")
        if isinstance(template, str):
            return template
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelUnavailable(f"{path}: cannot be read: {reason(error)}") from error


def _plain(message: Message) -> dict[str, Any]:
    """Return a message in the form that templates expect."""
    texts = [part for part in message.parts if isinstance(part, str)]
    if len(texts) == len(message.parts):
        return {"role": message.role, "content": "".join(texts)}
    parts = [{"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in message.parts]
    return {"role": message.role, "content": parts}
