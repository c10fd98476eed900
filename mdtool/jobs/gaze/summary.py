"""The summary that `mdtool gaze` prints for one input."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from mdtool.records.run_report import Report

MAX_PEOPLE = 12  # in the printed summary; JSON has all
MIN_SHARE = 0.005  # of a target that is listed


@dataclass
class GazeReport(Report):
    """A run report with attention.

    Attributes:
        attention: As `GazeAggregator.as_dict` returns it.
    """

    attention: dict[str, Any] = field(default_factory=dict)

    unjudged: ClassVar = "could not be judged"

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return super().as_dict() | {"attention": self.attention}

    def lines(self) -> list[str]:
        """Return the lines of the summary: a line for the run, then one for each person."""
        people = sorted(self.attention["people"], key=lambda person: -person["seconds"])
        listed = sorted(people[:MAX_PEOPLE], key=lambda person: (person["stream"], person["track"]))
        more = len(people) - len(listed)
        return [self.line(), *map(self._shares, listed), *([f"  and {more} more"] if more else [])]

    def _shares(self, person: dict[str, Any]) -> str:
        """Format the shares of one person, such as "  P1, 4.2 s: P2 61 %, screen 30 %, elsewhere 9 %"."""
        shares = [
            f"{_name(target)} {target['share']:.0%}"
            for target in person["targets"]
            if (target["share"] or 0) > MIN_SHARE
        ]
        span = f", {person['seconds']:.1f} s" if self.duration else ""
        return f"  P{person['track']}{span}: {', '.join(shares) or 'no gaze'}"


def _name(target: dict[str, Any]) -> str:
    names = {"elsewhere": "elsewhere in the frame", "out_of_frame": "out of frame"}
    if target["kind"] == "person":
        return f"P{target['person']}"
    return str(target["label"]) if target["kind"] == "target" else names[target["kind"]]
