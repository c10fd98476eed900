"""What a second detection found in a redacted output."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class LeftVisible:
    """An object that was found in an output, over a span of time.

    Attributes:
        stream: Index of the video stream in the output; 0 for images and animations.
        label: What was found.
        start: Of the first frame with it, in seconds.
        end: Of the end of the last frame with it.
        frames: Number of verified frames with it.
        score: Best score, 0..1; None if the model returns none.
        sides: x_min, y_min, x_max, y_max where the score was best, in fractions of the displayed frame.
        masked: Whether it lies in a mask, which hides it too weakly.
    """

    stream: int
    label: str
    start: float
    end: float
    frames: int
    score: float | None
    sides: tuple[float, float, float, float]
    masked: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the span for JSON."""
        x_min, y_min, x_max, y_max = (round(side, 5) for side in self.sides)
        return {
            "stream": self.stream,
            "label": self.label,
            "start": round(self.start, 3),
            "end": round(self.end, 3),
            "frames": self.frames,
            "score": None if self.score is None else round(self.score, 4),
            "masked": self.masked,
            "x_min": x_min,
            "y_min": y_min,
            "x_max": x_max,
            "y_max": y_max,
        }


@dataclass
class Verification:
    """The verification of one output.

    Attributes:
        model: Name of the model.
        frames: Number of frames that were verified.
        found: The objects that were found.
        failed: Why the output could not be verified; empty if it was.
    """

    model: str
    frames: int = 0
    found: list[LeftVisible] = field(default_factory=list)
    failed: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing was found on any frame."""
        return not self.found and not self.failed

    def text(self) -> str:
        """Return the result as a few words."""
        if self.passed:
            return f"nothing left visible on {self.frames} verified frame{'s' * (self.frames != 1)}"
        left = f"{len(self.found)} left visible" if self.found else "could not be completed"
        return f"verification failed: {left}"

    def as_dict(self) -> dict[str, Any]:
        """Return the record, for JSON."""
        return {
            "verified": self.passed,
            "model": self.model,
            "frames": self.frames,
            "found": [span.as_dict() for span in self.found],
            "failed": self.failed,
        }
