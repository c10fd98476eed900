"""Incremental detokenization: whole words out of a stream of token ids, for any byte-level BPE tokenizer.

Each piece of text ends with a space, a newline, or an ideograph (a script without spaces), as in Moondream's reference.
Each id is decoded a few times at most, so the cost a token does not grow with the text.
"""

from collections.abc import Callable, Sequence

INCOMPLETE = "\ufffd"  # what bytes decode to that are no character, or not yet a complete one
IDEOGRAPHS = (("\u4e00", "\u9fff"), ("\u3400", "\u4dbf"), ("\U0002f800", "\U0002fa1f"))


class IncrementalDetokenizer:
    """Turns token ids into pieces of text that join to the decoded text.

    An incomplete character is never returned while later ids may complete it.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        """Begin a text.

        Args:
            decode: Ids to text, special tokens to nothing. The texts of two lists of ids must join to that of both
                together, except for characters whose bytes lie in both.
        """
        self._decode = decode
        self._word: list[str] = []  # final text of a word that has not ended
        self._open: list[int] = []  # ids whose last bytes may become a character with the next
        self._open_text = ""
        self._emitted = 0  # characters of _open_text that were returned

    def push(self, token: int) -> str:
        """Add a token id and return the text that is now complete, often none."""
        text = self._decode([token])
        if not text:
            return ""
        if self._open:
            joined = self._decode([*self._open, token])
            if joined == self._open_text + text:  # nothing was completed, and nothing can be any more
                self._settle()
            else:
                text = joined
        self._open.append(token)
        self._open_text = text

        fresh = text[self._emitted :]
        cut = len(fresh) if _ends_word(fresh) else fresh.rfind(" ") + 1
        piece = ""
        if cut:
            piece = "".join(self._word) + fresh[:cut]
            self._word.clear()
            self._emitted += cut
        if not text.endswith(INCOMPLETE):
            self._settle()
        return piece

    def flush(self) -> str:
        """Return the rest, at the end of the text; after it a new text may begin."""
        self._settle()
        piece = "".join(self._word)
        self._word.clear()
        return piece

    @property
    def pending(self) -> str:
        """The text not yet returned, as it would be decoded now."""
        return "".join(self._word) + self._open_text[self._emitted :]

    def _settle(self) -> None:
        self._word.append(self._open_text[self._emitted :])
        self._open.clear()
        self._open_text, self._emitted = "", 0


class StopStringDetokenizer:
    """Ends the text of an `IncrementalDetokenizer` before a stop string.

    The first stop string that is complete in the text counts; of two that end together, the longer. Text that may be
    the beginning of one is held back. How the text is split into tokens does not matter.

    Attributes:
        stopped: Whether a stop string was found.
    """

    def __init__(self, detokenizer: IncrementalDetokenizer, stop: Sequence[str]) -> None:
        self.stopped = False
        self._detokenizer = detokenizer
        self._stop = stop
        self._held_back = ""  # whole words that may contain the beginning of a stop string

    def push(self, token: int) -> str:
        """Add a token id and return the text that is now complete, often none."""
        self._held_back += self._detokenizer.push(token)
        if not self._stop:
            return self._release(len(self._held_back))
        text = self._held_back + self._detokenizer.pending
        decoded = text.rstrip(INCOMPLETE)
        if (end := _first_stop(decoded, self._stop)) is not None:
            self.stopped = True
            return decoded[:end]
        return self._release(_last_word_end(self._held_back, _partial_stop(decoded, self._stop)))

    def flush(self) -> str:
        """Return the rest, at the end of the text."""
        text = self._held_back + self._detokenizer.flush()
        self._held_back = ""
        if self.stopped:
            return ""
        end = _first_stop(text, self._stop)
        self.stopped = end is not None
        return text[:end]

    def _release(self, count: int) -> str:
        piece, self._held_back = self._held_back[:count], self._held_back[count:]
        return piece


def _first_stop(text: str, stop: Sequence[str]) -> int | None:
    """Return the start of the stop string that is complete first."""
    matches = [(start + len(string), start) for string in stop if (start := text.find(string)) >= 0]
    return min(matches)[1] if matches else None


def _partial_stop(text: str, stop: Sequence[str]) -> int:
    """Return where the text may begin a stop string; its length if nowhere."""
    longest = max(map(len, stop))
    starts = range(max(0, len(text) - longest + 1), len(text))
    return next((start for start in starts if any(string.startswith(text[start:]) for string in stop)), len(text))


def _last_word_end(text: str, limit: int) -> int:
    """Return how many of the first `limit` characters are whole words; the text itself ends with one."""
    if limit >= len(text):
        return len(text)
    return next((end for end in range(limit, 0, -1) if text[end - 1] == " " or _ends_word(text[:end])), 0)


def _ends_word(text: str) -> bool:
    return text.endswith("\n") or any(first <= text[-1:] <= last for first, last in IDEOGRAPHS)
