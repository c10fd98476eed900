"""Moderates live sources, frame by frame."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mdtool.jobs.moderate.effect import apply_rules
from mdtool.jobs.moderate.evaluate_policy import NO_REPLIES, match_rule
from mdtool.media.canvas import Canvas, Colour
from mdtool.records.findings import FrameFindings, FrameInfo
from recipes.policy import SILENT, Policy, Rule
from recipes.verdict import hit


@dataclass
class LiveModeration:
    """The effect of `mdtool moderate` on a live source.

    A rule acts on every frame that matches it, whatever its minimum duration and count, since later frames are not
    known yet. Frames that would be cut are masked whole and muted. Between two keyframes the last reply counts.

    Attributes:
        policy: The policy.
        colour: RGB colour of solid masks and of whole-frame masks.
    """

    policy: Policy
    colour: Colour = (0, 0, 0)
    _hits: list[Rule] = field(default_factory=list)  # on the last frame
    _replies: Mapping[str, str] = field(default_factory=dict)  # on the last keyframe
    _unjudged: bool = False

    def add(self, info: FrameInfo, findings: FrameFindings) -> None:
        """Add the next frame, before it is painted."""
        if findings.analysed:
            self._replies = findings.replies
        elif findings.cut:
            self._replies = NO_REPLIES
        self._unjudged = findings.hidden
        self._hits = [rule for rule in self.policy.rules if not findings.hidden and self._is_hit(rule, info, findings)]

    def _is_hit(self, rule: Rule, info: FrameInfo, findings: FrameFindings) -> bool:
        return hit(rule, match_rule(rule, info, findings, before=self._replies, after=NO_REPLIES)) is not None

    def is_silent(self) -> bool:
        """Whether audio is muted from the last frame to the next."""
        rules = self.policy.rules if self._unjudged else self._hits
        return any(rule.action in SILENT for rule in rules)

    def paint(self, canvas: Canvas, info: FrameInfo, findings: FrameFindings) -> None:
        """Apply the rules that are hit on the last frame."""
        apply_rules(self._hits, self.policy, canvas, findings, colour=self.colour)
