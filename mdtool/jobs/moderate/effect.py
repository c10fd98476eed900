"""The effect of `mdtool moderate`: masks, mutes and cuts what violates a policy."""

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
    """Applies the actions of a policy to a video or image.

    Attributes:
        policy: The policy.
        policy_result: What it found in this input.
        colour: RGB colour of solid masks and of whole-frame masks.
    """

    policy: Policy
    policy_result: PolicyResult
    colour: Colour = (0, 0, 0)

    @cached_property
    def edit(self) -> Edit:
        """The spans to cut and to mute; those that could not be judged are muted too, if the policy has a mute rule."""
        mute = self.policy_result.spans("mute")
        if any(rule.action == "mute" for rule in self.policy.rules):
            mute = merge_spans([*mute.parts, *self.policy_result.unjudged.parts])
        return Edit(mute, self.policy_result.spans("cut"))

    @cached_property
    def _hits(self) -> list[tuple[Rule, Spans]]:
        """Rules that are hit and change frames, and when."""
        rulings = [ruling for ruling in self.policy_result.verdict.rulings if ruling.hit]
        return [(r.rule, Spans(r.spans)) for r in rulings if r.rule.style or r.rule.action == "cover"]

    def paint(self, canvas: Canvas, info: FrameInfo, findings: FrameFindings) -> None:
        """Apply the rules that are hit at the frame's time."""
        hits = [rule for rule, spans in self._hits if spans.contains(info.time)]
        apply_rules(hits, self.policy, canvas, findings, colour=self.colour)


def apply_rules(
    hits: Sequence[Rule], policy: Policy, canvas: Canvas, findings: FrameFindings, *, colour: Colour
) -> None:
    """Apply the rules that are hit on a frame; a frame that is to be cut but still there is masked whole."""
    if (findings.hidden and policy.hides) or any(rule.action in ("cover", "cut") for rule in hits):
        blank(canvas.planes, canvas.fill(colour))
        return
    for rule in hits:
        if rule.style:
            hide(canvas, objects_of(rule, findings.regions, *canvas.display_size), rule.style, colour)
