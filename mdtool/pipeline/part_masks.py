"""What is masked on the frames of a part that was encoded by itself: a text file of one line for each frame.

A line has the stream, the index of the frame, and a digest of its time and masks, separated by spaces.
"""

import hashlib
from pathlib import Path

from mdtool.errors import output_errors_for
from mdtool.records.findings import FrameFindings, FrameInfo

NAME = "masks"


class MasksWriter:
    """Writes the masks of a part; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        """Create the file in a work folder; that of an earlier run is replaced."""
        self._path = folder / f"{NAME}.txt"
        with output_errors_for(self._path):
            self._file = self._path.open("w", encoding="ascii")

    def write(self, info: FrameInfo, findings: FrameFindings) -> None:
        """Write the masks of one frame. Raises OutputError."""
        with output_errors_for(self._path):
            self._file.write(f"{info.stream} {info.frame} {_digest(info, findings)}\n")

    def __enter__(self) -> "MasksWriter":
        return self

    def __exit__(self, *_: object) -> None:
        with output_errors_for(self._path):
            self._file.close()


class PartMasks:
    """The masks of all parts of a video, by frame."""

    def __init__(self, folder: Path) -> None:
        """Read the files in a work folder. Raises OSError."""
        self._digests: dict[tuple[int, int], str] = {}
        for path in folder.glob(f"{NAME}-*.txt"):
            for line in path.read_text("ascii").splitlines():
                stream, frame, digest = line.split(" ")
                self._digests[int(stream), int(frame)] = digest

    def agree(self, info: FrameInfo, findings: FrameFindings) -> bool:
        """Return whether a frame has these masks, if it was encoded with a part."""
        return self._digests.get((info.stream, info.frame)) in (None, _digest(info, findings))

    @staticmethod
    def take_over(part: Path, folder: Path, number: int) -> None:
        """Move the file of a part, if it has one, to the work folder of the whole video."""
        if (part / f"{NAME}.txt").exists():
            (part / f"{NAME}.txt").replace(folder / f"{NAME}-{number}.txt")


def _digest(info: FrameInfo, findings: FrameFindings) -> str:
    boxes = sorted((r.x_min, r.y_min, r.x_max, r.y_max, r.label) for r in findings.regions)
    return hashlib.blake2b(repr((info.time, findings.hidden, boxes)).encode(), digest_size=8).hexdigest()
