"""Reading a tokenizer.json, the format of the `tokenizers` package."""

from pathlib import Path
from typing import TYPE_CHECKING

from engine.contract import ModelUnavailable
from engine.error_text import reason
from engine.rust_panics import panics_as_errors

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def read_tokenizer(path: Path) -> "Tokenizer":
    """Read a tokenizer.json.

    Raises:
        ModelUnavailable: The file is missing, or not a tokenizer.
    """
    from tokenizers import Tokenizer

    try:
        text = path.read_text(encoding="utf-8")
        with panics_as_errors():
            return Tokenizer.from_str(text)
    except OSError as error:
        raise ModelUnavailable(f"{path}: the tokenizer can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ModelUnavailable(f"{path}: the tokenizer can't be read: it is not text") from error
    except Exception as error:  # the package raises no subclass
        raise ModelUnavailable(f"{path}: not a readable tokenizer: {reason(error)}") from error
