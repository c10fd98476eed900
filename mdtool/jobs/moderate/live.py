"""Moderates what plays live: frame by frame, for what comes after is not there yet."""

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
    """The treatment that `mdtool moderate` gives to what plays live.

    A rule acts on every frame that counts for it: how long a span will be, or how often it will be seen, is not known
    yet. What would be cut is covered, and silent. Between two looks the last reply holds.
    """

    policy: Policy
    colour: Colour = (0, 0, 0)
    _hits: list[Rule] = field(default_factory=list)  # on the frame that was taken last
    _replies: Mapping[str, str] = field(default_factory=dict)
    _unjudged: bool = False

    def take(self, info: FrameInfo, findings: FrameFindings) -> None:
        """The next frame, which may be painted then."""
        if findings.analysed:
            self._replies = findings.replies
        elif findings.cut:
            self._replies = NO_REPLIES
        self._unjudged = findings.hidden
        self._hits = [rule for rule in self.policy.rules if not findings.hidden and self._is_hit(rule, info, findings)]

    def _is_hit(self, rule: Rule, info: FrameInfo, findings: FrameFindings) -> bool:
        return hit(rule, match_rule(rule, info, findings, before=self._replies, after=NO_REPLIES)) is not None

    def is_silent(self) -> bool:
        """From the frame taken last to the next."""
        rules = self.policy.rules if self._unjudged else self._hits
        return any(rule.action in SILENT for rule in rules)

    def paint(self, canvas: Canvas, info: FrameInfo, findings: FrameFindings) -> None:
        apply_rules(self._hits, self.policy, canvas, findings, colour=self.colour)
