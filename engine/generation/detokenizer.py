"""Text as it grows: whole words out of token ids, for a byte-level BPE of any family.

What is given out ends with a space, a line, or a character of the scripts that do without spaces, as in Moondream's
reference. Each id is decoded a few times at most, so that a long text costs no more a token than a short one.
"""

from collections.abc import Callable, Sequence

INCOMPLETE = "\ufffd"  # how bytes decode that are no character, or not yet
IDEOGRAPHS = (("\u4e00", "\u9fff"), ("\u3400", "\u4dbf"), ("\U0002f800", "\U0002fa1f"))


class IncrementalDetokenizer:
    """Pieces of text that together are the decoded ids. Half a character is never given out while it may be completed.

    decode: ids to text, special tokens as nothing. Text of two lists of ids must be that of both together, but for
    characters whose bytes lie in both.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._held: list[str] = []  # settled text of a word that has not ended
        self._open: list[int] = []  # ids whose last bytes may become a character with the next
        self._open_text = ""
        self._given = 0  # characters of _open_text that are out

    def push(self, token: int) -> str:
        """What can be given out now that this id has come; often nothing."""
        text = self._decode([token])
        if not text:
            return ""
        if self._open:
            joined = self._decode([*self._open, token])
            if joined == self._open_text + text:  # nothing was completed, and now nothing can be
                self._settle()
            else:
                text = joined
        self._open.append(token)
        self._open_text = text

        fresh = text[self._given :]
        cut = len(fresh) if _ends_word(fresh) else fresh.rfind(" ") + 1
        piece = ""
        if cut:
            piece = "".join(self._held) + fresh[:cut]
            self._held.clear()
            self._given += cut
        if not text.endswith(INCOMPLETE):
            self._settle()
        return piece

    def flush(self) -> str:
        """The rest, at the end of the text; after it a new text may begin."""
        self._settle()
        piece = "".join(self._held)
        self._held.clear()
        return piece

    @property
    def pending(self) -> str:
        """What has come and is not out, as it would be decoded now."""
        return "".join(self._held) + self._open_text[self._given :]

    def _settle(self) -> None:
        self._held.append(self._open_text[self._given :])
        self._open.clear()
        self._open_text, self._given = "", 0


class StopStringDetokenizer:
    """The pieces of a IncrementalDetokenizer up to the first stop string that is complete in the text, of two the
    longer.

    Nothing that may be the beginning of one is given out. How the text is cut into tokens does not matter.
    """

    def __init__(self, detokenizer: IncrementalDetokenizer, stop: Sequence[str]) -> None:
        self.stopped = False  # nothing comes any more
        self._detokenizer = detokenizer
        self._stop = stop
        self._back = ""  # whole words that a stop string may begin in

    def push(self, token: int) -> str:
        """As IncrementalDetokenizer does."""
        self._back += self._detokenizer.push(token)
        if not self._stop:
            return self._out(len(self._back))
        text = self._back + self._detokenizer.pending
        known = text.rstrip(INCOMPLETE)
        if (end := _first_stop(known, self._stop)) is not None:
            self.stopped = True
            return known[:end]
        return self._out(_last_word_end(self._back, _begun_stop(known, self._stop)))

    def flush(self) -> str:
        """The rest, at the end of the text."""
        text = self._back + self._detokenizer.flush()
        self._back = ""
        if self.stopped:
            return ""
        end = _first_stop(text, self._stop)
        self.stopped = end is not None
        return text[:end]

    def _out(self, count: int) -> str:
        piece, self._back = self._back[:count], self._back[count:]
        return piece


def _first_stop(text: str, stop: Sequence[str]) -> int | None:
    """Where the stop string starts that is complete first."""
    places = [(start + len(one), start) for one in stop if (start := text.find(one)) >= 0]
    return min(places)[1] if places else None


def _begun_stop(text: str, stop: Sequence[str]) -> int:
    """From where on the text may be the beginning of a stop string; its end if it is none."""
    longest = max(map(len, stop))
    starts = range(max(0, len(text) - longest + 1), len(text))
    return next((start for start in starts if any(one.startswith(text[start:]) for one in stop)), len(text))


def _last_word_end(text: str, most: int) -> int:
    """How many of the first `most` characters are whole words. text: of whole words."""
    if most >= len(text):
        return len(text)
    return next((end for end in range(most, 0, -1) if text[end - 1] == " " or _ends_word(text[:end])), 0)


def _ends_word(text: str) -> bool:
    return text.endswith("\n") or any(first <= text[-1:] <= last for first, last in IDEOGRAPHS)
