"""Moderates what plays live: frame by frame, for what comes after is not there yet."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mdtool.findings import Moment, Verdict
from mdtool.jobs.moderate.judgement import NO_REPLIES, found_by
from mdtool.jobs.redact.treatment import hide
from mdtool.media.canvas import Canvas, Colour
from recipes.policy import SILENT, Policy, Rule, objects_of
from recipes.redact import blank
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

    def take(self, moment: Moment, verdict: Verdict) -> None:
        """The next frame, which may be painted then."""
        if verdict.looked:
            self._replies = verdict.replies
        elif verdict.cut:
            self._replies = NO_REPLIES
        self._unjudged = verdict.hidden
        found = {rule.name: found_by(rule, moment, verdict, self._replies, NO_REPLIES) for rule in self.policy.rules}
        self._hits = [] if verdict.hidden else [rule for rule in self.policy.rules if hit(rule, found[rule.name])]

    def is_silent(self) -> bool:
        """From the frame taken last to the next."""
        rules = self.policy.rules if self._unjudged else self._hits
        return any(rule.action in SILENT for rule in rules)

    def paint(self, canvas: Canvas, moment: Moment, verdict: Verdict) -> None:
        if (self._unjudged and self.policy.hides) or any(rule.action in ("cover", "cut") for rule in self._hits):
            blank(canvas.planes, canvas.fill(self.colour))
            return
        for rule in self._hits:
            if rule.style:
                hide(canvas, objects_of(rule, verdict.regions, *canvas.shown_size), rule.style, self.colour)
