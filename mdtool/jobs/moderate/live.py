"""Moderates what plays live: frame by frame, for what comes after is not there yet."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mdtool.jobs.moderate.effect import act
from mdtool.jobs.moderate.judgement import NO_REPLIES, found_by
from mdtool.media.canvas import Canvas, Colour
from mdtool.records.findings import FrameFindings, FrameInfo
from recipes.policy import SILENT, Policy, Rule
from recipes.verdict import hit


@dataclass
class LiveModeration:
    """The treatment that `mdtool moderate` gives to what plays live.

    A rule acts on every frame that counts for it: how long a span will be, or how often it will be seen, is not known
    yet. What would be cut is covered, and silent. Between two looks the last reply holds.
    """

    policy: Policy
    colour: Colour = (0, 0, 0)
    _hits: list[Rule] = field(default_factory=list)  # on the frame that was taken last
    _replies: Mapping[str, str] = field(default_factory=dict)
    _unjudged: bool = False

    def take(self, moment: FrameInfo, verdict: FrameFindings) -> None:
        """The next frame, which may be painted then."""
        if verdict.looked:
            self._replies = verdict.replies
        elif verdict.cut:
            self._replies = NO_REPLIES
        self._unjudged = verdict.hidden
        self._hits = [rule for rule in self.policy.rules if not verdict.hidden and self._is_hit(rule, moment, verdict)]

    def _is_hit(self, rule: Rule, moment: FrameInfo, verdict: FrameFindings) -> bool:
        return hit(rule, found_by(rule, moment, verdict, before=self._replies, after=NO_REPLIES)) is not None

    def is_silent(self) -> bool:
        """From the frame taken last to the next."""
        rules = self.policy.rules if self._unjudged else self._hits
        return any(rule.action in SILENT for rule in rules)

    def paint(self, canvas: Canvas, moment: FrameInfo, verdict: FrameFindings) -> None:
        act(self._hits, self.policy, canvas, verdict, colour=self.colour)
