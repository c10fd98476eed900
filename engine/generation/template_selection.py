"""Selection of a model's chat template: the requested one, the checkpoint's, or the family's own."""

from dataclasses import replace
from pathlib import Path

from engine.checkpoints.gguf_files import open_gguf
from engine.checkpoints.shards import is_gguf
from engine.generation.chat_template import BUILTIN, ChatTemplate, template_in_folder
from engine.generation.gguf_tokenizer import chat_template


def select_template(own: ChatTemplate, weights: Path, requested: str | None) -> ChatTemplate:
    """Return the template that a model is used with.

    Args:
        own: The family's.
        weights: The file that the model is loaded from, which a template may be in or beside.
        requested: "builtin" for the family's own, the name of a built-in one, or Jinja; None: the checkpoint's, or else
            the family's own.

    Raises:
        ModelUnavailable: The template is broken, or can't be read.
    """
    if requested == BUILTIN:
        return own
    if requested is not None:
        selected = replace(own, source=requested, origin="--chat-template")
    else:
        stored = chat_template(open_gguf(weights)) if is_gguf(weights) else template_in_folder(weights.parent)
        selected = own if stored is None else replace(own, source=stored, origin=str(weights))
    selected.check()
    return selected
