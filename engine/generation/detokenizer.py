"""Text as it grows: whole words out of token ids, for a byte-level BPE of any family.

What is given out ends with a space, a line, or a character of the scripts that do without spaces, as in Moondream's
reference. Each id is decoded a few times at most, so that a long text costs no more a token than a short one.
"""

from collections.abc import Callable, Sequence

INCOMPLETE = "\ufffd"  # how bytes decode that are no character, or not yet
IDEOGRAPHS = (("\u4e00", "\u9fff"), ("\u3400", "\u4dbf"), ("\U0002f800", "\U0002fa1f"))


class WordStream:
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

    def _settle(self) -> None:
        self._held.append(self._open_text[self._given :])
        self._open.clear()
        self._open_text, self._given = "", 0


def _ends_word(text: str) -> bool:
    return text.endswith("\n") or any(first <= text[-1:] <= last for first, last in IDEOGRAPHS)
