"""The run report: what a run did to one input."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mdtool.records.findings import FrameFindings, FrameInfo
from mdtool.records.verification import Verification

UNTRACKABLE_SHARE = 0.4  # of the frames, analysed because tracking failed there, from which on an input is hard
UNTRACKABLE = {"light": "the light changes too fast to track", "motion": "the picture changes too fast to track"}


@dataclass
class Report:
    """The run report of one input.

    Attributes:
        source: The input, as it was named.
        target: The output; empty if none was written.
        model: Name of the model.
        frames: Number of frames processed.
        keyframes: Number of frames that the model analysed.
        hidden: Number of frames that could not be judged, which redaction masks whole.
        tracks: Stream and track id of each object.
        seconds: Wall time.
        stages: Seconds of work by stage.
        duration: Duration of the video in seconds; None for images.
        incomplete: What is wrong with the input, so that a part is missing; empty if nothing.
        notes: What else the user should know.
        verification: What was found in the output; None if it was not verified.
        untrackable: Number of frames by the UNTRACKABLE key why they had to be analysed between regular keyframes.
    """

    source: str
    target: str
    model: str = ""
    frames: int = 0
    keyframes: int = 0
    hidden: int = 0
    tracks: set[tuple[int, int]] = field(default_factory=set)
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    duration: float | None = None
    incomplete: str = ""
    notes: list[str] = field(default_factory=list)
    verification: Verification | None = None
    untrackable: Counter[str] = field(default_factory=Counter)

    unjudged: ClassVar = "masked whole"  # in the summary, of frames that could not be judged

    def count(self, info: FrameInfo, findings: FrameFindings) -> None:
        """Count a frame and the findings on it."""
        self.frames += 1
        self.keyframes += findings.analysed
        self.hidden += findings.hidden
        if findings.untrackable:
            self.untrackable[findings.untrackable] += 1
        self.tracks |= {(info.stream, region.track) for region in findings.regions}

    def reach(self, info: FrameInfo) -> None:
        """Extend the duration to the end of this frame; an image has none."""
        self.duration = max(self.duration or 0.0, info.time + info.duration) or None

    @property
    def tracking_failure(self) -> str:
        """Why most frames of a hard input had to be analysed; empty if it was not hard."""
        if self.untrackable.total() < UNTRACKABLE_SHARE * self.frames or not self.untrackable:
            return ""
        return UNTRACKABLE[self.untrackable.most_common(1)[0][0]]

    def as_dict(self) -> dict[str, Any]:
        """Return the record, for JSON."""
        speed = self.duration / self.seconds if self.duration and self.seconds else None
        return {
            "source": self.source,
            "target": self.target,
            "model": self.model,
            "frames": self.frames,
            "looks": self.keyframes,
            "hidden_frames": self.hidden,
            "objects": len(self.tracks),
            "seconds": round(self.seconds, 3),
            "stages": {name: round(spent, 3) for name, spent in self.stages.items()},
            "duration": None if self.duration is None else round(self.duration, 3),
            "speed": None if speed is None else round(speed, 2),
            "incomplete": self.incomplete,
            "notes": [*self.notes, *([self.tracking_failure] if self.tracking_failure else [])],
            **({"verification": self.verification.as_dict()} if self.verification else {}),
        }

    def line(self) -> str:
        """Return the summary as one line of text."""
        parts = [f"{self.frames} frames" if self.frames != 1 else "1 image"]
        why = f" ({self.tracking_failure})" if self.tracking_failure else ""
        parts.append(f"{self.keyframes} analysed by {self.model}{why}")
        parts.append(f"{len(self.tracks)} object{'s' * (len(self.tracks) != 1)}")
        if self.hidden:
            parts.append(f"{self.hidden} frame{'s' * (self.hidden != 1)} {self.unjudged}")
        if self.verification:
            parts.append(self.verification.text())
        parts.append(f"{self.seconds:.1f} s")
        if self.duration and self.seconds:
            parts[-1] += f" = {self.duration / self.seconds:.1f} x real time"
        stages = ", ".join(f"{name} {spent:.1f}" for name, spent in self.stages.items())
        return f"{self.target or self.source}: {', '.join(parts)}" + (f" ({stages})" if stages else "")

    def lines(self) -> list[str]:
        """Return the summary as lines of text."""
        return [self.line()]
