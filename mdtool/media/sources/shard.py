"""A share of the inputs for each of several machines: which one an input belongs to follows from its path alone."""

import hashlib
import re
from dataclasses import dataclass

from mdtool.media.sources.inputs import Input


@dataclass(frozen=True)
class Shard:
    """One share of the inputs.

    Attributes:
        index: Which one, from 1.
        of: How many there are.
    """

    index: int
    of: int

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    def has(self, source: Input) -> bool:
        """Return whether an input belongs to this shard.

        The SHA-256 of its path decides, below the folder that is named, so that machines agree that list the inputs in
        another order, or mount the folder elsewhere. No file is read for it.
        """
        digest = hashlib.sha256(source.relative.as_posix().encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.of == self.index - 1


def parse_shard(text: str) -> Shard:
    """Parse "I/N". Raises ValueError."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"{text!r} must be I/N with I from 1 to N, such as 3/16")
    return Shard(int(match[1]), int(match[2]))
