"""Evaluates a policy on the findings of an input."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from engine.contract import normalize_prompt
from mdtool.errors import InputError, UsageError
from mdtool.media.video.edits import Spans, merge_spans
from mdtool.records.findings import FrameFindings, FrameInfo, Record
from recipes.policy import Policy, Rule, objects_of
from recipes.regions import Region
from recipes.verdict import Reply, Ruling, Verdict, VerdictBuilder

RuleMatches = Mapping[str, Sequence[Region] | Reply] | None
NO_REPLIES: Mapping[str, str] = {}
ROUNDING = 0.002  # seconds that may lie between two adjacent frames, where timestamps are in milliseconds


@dataclass(frozen=True)
class PolicyResult:
    """The result of a policy on one input.

    Attributes:
        verdict: Which rules are hit, and when.
        unjudged: Spans of frames that could not be judged.
    """

    verdict: Verdict
    unjudged: Spans

    def spans(self, *actions: str) -> Spans:
        """Return the spans of all rules that are hit and have one of these actions."""
        hits = [ruling for ruling in self.verdict.rulings if ruling.rule.action in actions]
        return merge_spans(span for ruling in hits for span in ruling.spans)


def evaluate_policy(records: Iterable[Record], policy: Policy) -> PolicyResult:
    """Evaluate a policy on the records of one source, in the order of its frames.

    Several video streams are evaluated separately; a rule is hit if it is hit in any of them.

    Raises:
        InputError: There are no records.
        ValueError: A region of the policy lies outside of the frame.
    """
    evaluator = PolicyEvaluator(policy)
    for record in records:
        evaluator.add(record.info, record.findings)
    return evaluator.result()


class PolicyEvaluator:
    """Evaluates a policy on one source, frame by frame."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._streams: dict[int, _StreamEvaluator] = {}

    def add(self, info: FrameInfo, findings: FrameFindings) -> None:
        """Add the next frame."""
        if info.stream not in self._streams:
            self._streams[info.stream] = _StreamEvaluator(self._policy)
        self._streams[info.stream].add(info, findings)

    def result(self) -> PolicyResult:
        """Return the result, after the last frame.

        Raises:
            InputError: There were no frames.
        """
        streams = self._streams.values()
        if not streams:
            raise InputError("has no frames to judge")
        verdicts = [stream.result() for stream in streams]
        return PolicyResult(
            _merge_verdicts(verdicts), merge_spans(span for stream in streams for span in stream.unjudged)
        )


def check_prompts_covered(record: Record, policy: Policy) -> None:
    """Check that recorded findings answer all prompts and questions of a policy.

    Raises:
        UsageError: Some are missing.
    """
    recorded_prompts = {normalize_prompt(prompt) for prompt in record.prompts}
    missing = [prompt for prompt in policy.prompts if normalize_prompt(prompt) not in recorded_prompts]
    if record.findings.analysed:
        missing += [question for question in policy.questions if question not in record.findings.replies]
    if missing:
        raise UsageError(
            f"--from-findings: the findings of {record.source} lack {', '.join(map(repr, missing))}; "
            "run it without --from-findings, or detect with all prompts of the policy"
        )


class _StreamEvaluator:
    """Evaluates a policy on the frames of one video stream.

    A frame is pending until the time of the next frame and the replies on the next keyframe of its shot are known: on a
    frame between two keyframes the reply of either may match, since the change may have happened at any time.
    """

    def __init__(self, policy: Policy) -> None:
        self.unjudged: list[tuple[float, float]] = []
        self._policy = policy
        self._builder = VerdictBuilder(policy)
        self._last_replies: Mapping[str, str] | None = None  # on the last keyframe of this shot
        self._pending: list[tuple[FrameInfo, FrameFindings]] = []
        self._newest: tuple[FrameInfo, RuleMatches] | None = None
        self._step = 0.0  # seconds between the last two frames

    def add(self, info: FrameInfo, findings: FrameFindings) -> None:
        if findings.cut:
            self._match_pending(NO_REPLIES)
            self._last_replies = None
        if findings.analysed:
            self._match_pending(findings.replies)
            self._last_replies = findings.replies
        self._pending.append((info, findings))
        if self._last_replies is None or findings.analysed or not self._policy.questions:
            self._match_pending(NO_REPLIES)

    def result(self) -> Verdict:
        self._match_pending(NO_REPLIES)
        if self._newest:
            self._count(*self._newest, self._newest[0].duration or self._step)
        return self._builder.verdict()

    def _match_pending(self, after: Mapping[str, str]) -> None:
        """Match the pending frames; after: the replies on the next keyframe."""
        before = self._last_replies or NO_REPLIES
        for info, findings in self._pending:
            matches = None if findings.hidden else {
                rule.name: match_rule(rule, info, findings, before=before, after=after) for rule in self._policy.rules
            }  # fmt: skip
            self._advance(info, matches)
        self._pending = []

    def _advance(self, info: FrameInfo, matches: RuleMatches) -> None:
        """Count the frame before this one, whose duration is now known."""
        if self._newest:
            previous, previous_matches = self._newest
            self._step = max(0.0, info.time - previous.time)
            is_adjacent = not previous.duration or self._step - previous.duration < ROUNDING
            self._count(previous, previous_matches, self._step if is_adjacent else previous.duration)
        self._newest = info, matches

    def _count(self, info: FrameInfo, matches: RuleMatches, duration: float) -> None:
        self._builder.add(info.frame, info.time, duration, matches)
        if matches is not None:
            return
        end = info.time + duration
        if self.unjudged and info.time <= self.unjudged[-1][1]:
            self.unjudged[-1] = self.unjudged[-1][0], max(end, self.unjudged[-1][1])
        else:
            self.unjudged.append((info.time, end))


def match_rule(
    rule: Rule, info: FrameInfo, findings: FrameFindings, *, before: Mapping[str, str], after: Mapping[str, str]
) -> Sequence[Region] | Reply:
    """Match a rule with a frame.

    Args:
        rule: The rule.
        info: The frame.
        findings: The findings on it.
        before: Replies on the last keyframe, by question.
        after: Replies on the next keyframe, by question.

    Returns:
        The objects of the rule, or for a question the reply that counts.
    """
    if not rule.question:
        return objects_of(rule, findings.regions, *info.size)
    if findings.analysed:
        return Reply(findings.replies.get(rule.question, ""))
    replies = [replies.get(rule.question, "") for replies in (before, after)]
    return Reply(next((reply for reply in replies if rule.matches_reply(reply)), replies[0]), seen=False)


def _merge_verdicts(verdicts: Sequence[Verdict]) -> Verdict:
    """Merge the verdicts of the video streams of a file: a rule is hit if it is hit in any of them."""
    if len(verdicts) == 1:
        return verdicts[0]
    rulings = [_merge_rulings(each) for each in zip(*(verdict.rulings for verdict in verdicts), strict=True)]
    frames, unjudged = sum(v.frames for v in verdicts), sum(v.unjudged for v in verdicts)
    return Verdict(tuple(rulings), frames, unjudged, max(verdict.seconds for verdict in verdicts))


def _merge_rulings(rulings: Sequence[Ruling]) -> Ruling:
    hits = [ruling for ruling in rulings if ruling.hit]
    if not hits:
        return rulings[0]
    largest = max(hits, key=lambda ruling: ruling.area or 0.0)
    spans = merge_spans(span for ruling in hits for span in ruling.spans)
    frames, seen = sum(ruling.frames for ruling in hits), sum(ruling.seen for ruling in hits)
    return Ruling(rulings[0].rule, spans.parts, frames, seen, largest.area, largest.example)
