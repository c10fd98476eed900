"""Hides what breaks a policy: the treatment that `mdtool moderate` gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from mdtool.jobs.moderate.evaluate_policy import PolicyResult
from mdtool.jobs.redact.effect import hide
from mdtool.media.canvas import Canvas, Colour
from mdtool.media.video.edits import Edit, Spans, merge_spans
from mdtool.records.findings import FrameFindings, FrameInfo
from recipes.policy import Policy, Rule, objects_of
from recipes.redact import blank


@dataclass(frozen=True)
class Moderation:
    """colour: of what is solid or covered whole."""

    policy: Policy
    judgement: PolicyResult
    colour: Colour = (0, 0, 0)

    @cached_property
    def edit(self) -> Edit:
        """What is left out and silenced. What could not be judged is silenced too, if the policy silences anything."""
        mute = self.judgement.spans("mute")
        if any(rule.action == "mute" for rule in self.policy.rules):
            mute = merge_spans([*mute.parts, *self.judgement.unjudged.parts])
        return Edit(mute, self.judgement.spans("cut"))

    @cached_property
    def _hits(self) -> list[tuple[Rule, Spans]]:
        """Rules that are hit and change pictures, and when."""
        rulings = [ruling for ruling in self.judgement.verdict.rulings if ruling.hit]
        return [(r.rule, Spans(r.spans)) for r in rulings if r.rule.style or r.rule.action == "cover"]

    def paint(self, canvas: Canvas, info: FrameInfo, findings: FrameFindings) -> None:
        hits = [rule for rule, spans in self._hits if spans.contains(info.time)]
        apply_rules(hits, self.policy, canvas, findings, colour=self.colour)


def apply_rules(
    hits: Sequence[Rule], policy: Policy, canvas: Canvas, findings: FrameFindings, *, colour: Colour
) -> None:
    """Does to a picture what the rules that are hit on it want; what is to be cut and is still there is covered."""
    if (findings.hidden and policy.hides) or any(rule.action in ("cover", "cut") for rule in hits):
        blank(canvas.planes, canvas.fill(colour))
        return
    for rule in hits:
        if rule.style:
            hide(canvas, objects_of(rule, findings.regions, *canvas.display_size), rule.style, colour)
