"""The tokenizer, special tokens and chat template in the metadata of a GGUF file.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Byte-level BPE only; how a text is cut before merging
is given by name, and is as in the tokenizer.json of the families that use the name.
"""

import re
from dataclasses import dataclass

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from engine.checkpoints.gguf import GgufFile
from engine.contract import ModelUnavailable
from engine.error_text import quoted_name, reason
from engine.rust_panics import panics_as_errors

_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4  # types of tokens
_PADDING = re.compile(r"\[PAD\d+\]")  # rows that no text stands for, whatever their type is
_END_NAMES = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "</s>")


@dataclass(frozen=True)
class _Splitting:
    """How a text is cut into pieces: a pattern, None for that of GPT-2.

    Attributes:
        pattern: A regular expression.
        nfc: Whether the text is normalised first.
        ignore_merges: Whether a piece that is a token is not built by merges.
    """

    pattern: str | None = None
    nfc: bool = False
    ignore_merges: bool = False


def _pattern(digits: str) -> str:
    return (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
        + digits
        + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


_SPLITTINGS = {  # by tokenizer.ggml.pre
    "gpt-2": _Splitting(),
    "qwen2": _Splitting(_pattern(""), nfc=True),  # unlike llama.cpp, as in the release's tokenizer.json
    "lfm2": _Splitting(_pattern("{1,3}"), ignore_merges=True),
}


def gguf_bpe(file: GgufFile) -> tokenizers.Tokenizer:
    """Build the byte-level BPE of a model.

    Args:
        file: The header of its text file.

    Raises:
        ModelUnavailable: The metadata are missing, inconsistent, or of another kind of tokenizer.
    """
    kind, name = file.text("tokenizer.ggml.model"), file.text("tokenizer.ggml.pre", "gpt-2")
    if kind != "gpt2" or name not in _SPLITTINGS:
        known = ", ".join(_SPLITTINGS)
        raise ModelUnavailable(
            f"{file.path}: has the tokenizer {quoted_name(kind)} with the pre-tokenizer {quoted_name(name)}, which is "
            f"not supported; supported is 'gpt2' with {known}"
        )
    splitting = _SPLITTINGS[name]
    tokens = file.list_of(str, "tokenizer.ggml.tokens")
    types = file.list_of(int, "tokenizer.ggml.token_type", [_NORMAL] * len(tokens))
    pairs = [merge.partition(" ") for merge in file.list_of(str, "tokenizer.ggml.merges")]
    merges = [(left, right) for left, _, right in pairs]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    if len(types) != len(tokens) or len(vocabulary) != len(tokens):
        raise ModelUnavailable(f"{file.path}: its tokenizer has a token twice, or not as many types as tokens")
    try:
        with panics_as_errors():
            bpe = tokenizers.Tokenizer(models.BPE(vocabulary, merges, ignore_merges=splitting.ignore_merges))
    except Exception as error:  # the package raises no subclass
        raise ModelUnavailable(f"{file.path}: its tokenizer is broken: {reason(error)}") from error
    if splitting.nfc:
        bpe.normalizer = normalizers.NFC()
    bytes_of_piece = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=splitting.pattern is None)
    if splitting.pattern is None:
        bpe.pre_tokenizer = bytes_of_piece
    else:
        split = pre_tokenizers.Split(Regex(splitting.pattern), "isolated")
        bpe.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_of_piece])
    bpe.decoder = decoders.ByteLevel()
    added = [
        AddedToken(token, special=kind == _CONTROL, normalized=False)
        for token, kind in zip(tokens, types, strict=True)
        if token and kind in (_CONTROL, _USER_DEFINED) and not _PADDING.fullmatch(token)
    ]
    bpe.add_tokens(added)
    return bpe


def stop_ids(file: GgufFile) -> tuple[int, ...]:
    """Return the ids of the tokens that end a text: those the metadata name, and control tokens of known names."""
    ids = [file.metadata.get(f"tokenizer.ggml.{key}_token_id") for key in ("eos", "eot", "eom")]
    tokens = file.list_of(str, "tokenizer.ggml.tokens")
    types = file.list_of(int, "tokenizer.ggml.token_type", [_NORMAL] * len(tokens))
    names = [name for name in _END_NAMES if name in tokens]
    ids += [index for index in map(tokens.index, names) if types[index] == _CONTROL]
    return tuple(dict.fromkeys(index for index in ids if type(index) is int and 0 <= index < len(tokens)))


def begin_token(file: GgufFile) -> str:
    """Return the name of the token that texts begin with, for chat templates; "" if there is none."""
    tokens, index = file.list_of(str, "tokenizer.ggml.tokens"), file.metadata.get("tokenizer.ggml.bos_token_id")
    begins = file.metadata.get("tokenizer.ggml.add_bos_token", file.metadata.get("tokenizer.ggml.pre") == "lfm2")
    return tokens[index] if begins is True and type(index) is int and 0 <= index < len(tokens) else ""


def chat_template(file: GgufFile) -> str | None:
    """Return the chat template, Jinja or the name of a built-in one; None if the file has none."""
    return file.text("tokenizer.chat_template", "") or None
