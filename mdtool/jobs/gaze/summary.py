"""What `mdtool gaze` tells of one input in the end."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from mdtool.records.run_report import Report

MOST_PEOPLE = 12  # that a person is told of; the data has all
LEAST_SHARE = 0.005


@dataclass
class GazeReport(Report):
    """attention: as `GazeAggregator.as_dict` has it."""

    attention: dict[str, Any] = field(default_factory=dict)

    unjudged: ClassVar = "could not be judged"

    def as_dict(self) -> dict[str, Any]:
        return super().as_dict() | {"attention": self.attention}

    def lines(self) -> list[str]:
        people = sorted(self.attention["people"], key=lambda one: -one["seconds"])
        told = sorted(people[:MOST_PEOPLE], key=lambda one: (one["stream"], one["track"]))
        more = len(people) - len(told)
        return [self.line(), *map(self._shares, told), *([f"  and {more} more"] if more else [])]

    def _shares(self, person: dict[str, Any]) -> str:
        """Of one person, such as "  P1, 4.2 s: P2 61 %, screen 30 %, elsewhere 9 %"."""
        shares = [
            f"{_name(target)} {target['share']:.0%}"
            for target in person["targets"]
            if (target["share"] or 0) > LEAST_SHARE
        ]
        span = f", {person['seconds']:.1f} s" if self.duration else ""
        return f"  P{person['track']}{span}: {', '.join(shares) or 'looks for no time at all'}"


def _name(target: dict[str, Any]) -> str:
    words = {"elsewhere": "elsewhere in the picture", "out_of_frame": "out of the picture"}
    if target["kind"] == "person":
        return f"P{target['person']}"
    return str(target["label"]) if target["kind"] == "target" else words[target["kind"]]
