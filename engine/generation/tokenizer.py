"""Text to token ids and back, with the tokenizer.json of a checkpoint (format of the `tokenizers` package)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import tokenizers

from engine.checkpoints.gguf_files import open_gguf
from engine.checkpoints.shards import is_gguf
from engine.checkpoints.tokenizer_json import read_tokenizer
from engine.contract import ModelUnavailable
from engine.generation.gguf_tokenizer import gguf_bpe

_ESCAPE = "\ufdd0"  # a noncharacter, which no text contains


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer that treats the names of special tokens in a text as text, except in `encode_prompt`."""

    bpe: tokenizers.Tokenizer

    @cached_property
    def special_ids(self) -> Mapping[str, int]:
        """The ids of special tokens by their names."""
        return {token.content: index for index, token in self.bpe.get_added_tokens_decoder().items() if token.special}

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, without adding any.

        Raises:
            ValueError: The text has lone surrogates, which UTF-8 can't represent.
        """
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"not valid Unicode: {text!r}") from None
        ids: list[int] = self.bpe.encode(text, add_special_tokens=False).ids
        return ids

    def escape(self, text: str) -> str:
        """Return a text that `encode_prompt` encodes as text, whatever names of special tokens it contains."""
        return self._special_names.sub(lambda match: match[0][0] + _ESCAPE + match[0][1:], text)

    def encode_prompt(self, prompt: str) -> list[int]:
        """Return the token ids of a prompt in which names of special tokens stand for the tokens.

        Texts of users have to be escaped in it, with `escape`. Raises as `encode` does.
        """
        ids: list[int] = []
        for i, piece in enumerate(self._special_names.split(prompt)):
            ids += [self.special_ids[piece]] if i % 2 else self.encode(piece.replace(_ESCAPE, ""))
        return ids

    @cached_property
    def _special_names(self) -> re.Pattern[str]:
        names = sorted(self.special_ids, key=len, reverse=True)
        return re.compile("(" + "|".join(map(re.escape, names)) + ")" if names else "(?!)()")

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids; special tokens have none, and bytes that are no character become U+FFFD."""
        text: str = self.bpe.decode(ids, skip_special_tokens=True)
        return text

    def special(self, name: str) -> int:
        """Return the id of a special token by its name.

        Raises:
            ModelUnavailable: There is none.
        """
        token: int | None = self.bpe.token_to_id(name)
        if token is None:
            raise ModelUnavailable(f"the tokenizer has no token {name!r}: it is that of another model")
        return token

    def texts(self) -> dict[int, str]:
        """Return the text of each id alone, in the order of the ids."""
        return {token: self.decode([token]) for token in sorted(self.bpe.get_vocab().values())}


def load_tokenizer(path: Path, vocab_size: int) -> Tokenizer:
    """Load a tokenizer.json, or the tokenizer in the metadata of a GGUF file.

    Args:
        path: The file.
        vocab_size: Number of ids that the model has embeddings for.

    Raises:
        ModelUnavailable: The file is missing or broken, or has an id that the model lacks.
    """
    bpe = gguf_bpe(open_gguf(path)) if is_gguf(path) else read_tokenizer(path)
    largest = max(bpe.get_vocab().values(), default=0)
    if largest >= vocab_size:
        raise ModelUnavailable(
            f"{path}: has token id {largest}, but the model's vocabulary has {vocab_size}: use its own tokenizer"
        )
    bpe.no_truncation()
    bpe.no_padding()
    bpe.encode_special_tokens = True  # as text, not as control tokens
    return Tokenizer(bpe)
