"""Words to token ids and back, by the tokenizer.json that comes with the weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers

from engine.contract import ModelUnavailable


@dataclass(frozen=True)
class Tokenizer:
    bpe: tokenizers.Tokenizer

    def encode(self, text: str) -> list[int]:
        """Ids of what a person wrote: nothing is added, and the name of a special token is only text.

        ValueError for text that has no UTF-8 form.
        """
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"not valid Unicode: {text!r}") from None
        ids: list[int] = self.bpe.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids; special tokens have none, and bytes that are no character are U+FFFD."""
        text: str = self.bpe.decode(ids, skip_special_tokens=True)
        return text

    def texts(self) -> dict[int, str]:
        """What each id says alone, in the order of the ids."""
        return {token: self.decode([token]) for token in sorted(self.bpe.get_vocab().values())}


def load_tokenizer(path: Path, vocab_size: int) -> Tokenizer:
    """The tokenizer in a file of the `tokenizers` package; ModelUnavailable if it is missing, broken or too large."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ModelUnavailable(f"{path}: the tokenizer can't be read: {reason}") from error
    try:
        bpe = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the package has no narrower one
        raise ModelUnavailable(f"{path}: is not a tokenizer of the tokenizers package: {error}") from error
    most = max(bpe.get_vocab().values(), default=0)
    if most >= vocab_size:
        raise ModelUnavailable(
            f"{path}: has id {most}, but the model knows {vocab_size} ids: they do not belong together"
        )
    bpe.no_truncation()
    bpe.no_padding()
    bpe.encode_special_tokens = True  # as text, not as control tokens
    return Tokenizer(bpe)
