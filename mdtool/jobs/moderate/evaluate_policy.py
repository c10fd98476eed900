"""From the findings of an input to what a policy says of it."""

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
ROUNDING = 0.002  # seconds by which a frame may seem to end before the next, where clocks count milliseconds


@dataclass(frozen=True)
class PolicyResult:
    """unjudged: when frames could not be judged."""

    verdict: Verdict
    unjudged: Spans

    def spans(self, *actions: str) -> Spans:
        """Those of all rules that are hit and have one of the actions."""
        hits = [ruling for ruling in self.verdict.rulings if ruling.rule.action in actions]
        return merge_spans(span for ruling in hits for span in ruling.spans)


def evaluate_policy(records: Iterable[Record], policy: Policy) -> PolicyResult:
    """records: of one source, in the order of its frames; of several video streams each is tallied by itself.

    Raises InputError if there are none, ValueError for a region that the picture has nothing of.
    """
    evaluator = PolicyEvaluator(policy)
    for record in records:
        evaluator.add(record.info, record.findings)
    return evaluator.result()


class PolicyEvaluator:
    """The same, frame by frame."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._clips: dict[int, _Clip] = {}

    def add(self, info: FrameInfo, known: FrameFindings) -> None:
        if info.stream not in self._clips:
            self._clips[info.stream] = _Clip(self._policy)
        self._clips[info.stream].add(info, known)

    def result(self) -> PolicyResult:
        """InputError if there were no frames."""
        clips = self._clips.values()
        if not clips:
            raise InputError("the findings say nothing of it")
        verdicts = [clip.result() for clip in clips]
        return PolicyResult(_together(verdicts), merge_spans(span for clip in clips for span in clip.unjudged))


def check_prompts_covered(record: Record, policy: Policy) -> None:
    """UsageError if what a record says of its frame is not enough to judge by the policy."""
    asked = {normalize_prompt(prompt) for prompt in record.prompts}
    lacking = [prompt for prompt in policy.prompts if normalize_prompt(prompt) not in asked]
    if record.findings.analysed:
        lacking += [question for question in policy.questions if question not in record.findings.replies]
    if lacking:
        raise UsageError(
            f"--from-findings: {record.source} was not searched for {', '.join(map(repr, lacking))}; "
            "run it again without, so that a model is asked"
        )


class _Clip:
    """The frames of one stream on their way into a tally.

    A frame waits until it is known when the next one comes, and what is replied at the next look of its shot: on
    frames between two looks a reply counts if that of either fits, since the change may have come at any time.
    """

    def __init__(self, policy: Policy) -> None:
        self.unjudged: list[tuple[float, float]] = []
        self._policy = policy
        self._tally = VerdictBuilder(policy)
        self._before: Mapping[str, str] | None = None  # what was replied at the last look of this shot
        self._waiting: list[tuple[FrameInfo, FrameFindings]] = []
        self._newest: tuple[FrameInfo, RuleMatches] | None = None
        self._step = 0.0  # seconds from frame to frame, as last seen

    def add(self, info: FrameInfo, known: FrameFindings) -> None:
        if known.cut:
            self._settle(NO_REPLIES)
            self._before = None
        if known.analysed:
            self._settle(known.replies)
            self._before = known.replies
        self._waiting.append((info, known))
        if self._before is None or known.analysed or not self._policy.questions:
            self._settle(NO_REPLIES)

    def result(self) -> Verdict:
        self._settle(NO_REPLIES)
        if self._newest:
            self._count(*self._newest, self._newest[0].duration or self._step)
        return self._tally.verdict()

    def _settle(self, after: Mapping[str, str]) -> None:
        """Passes on what waits. after: what is replied at the look that comes next."""
        before = self._before or NO_REPLIES
        for info, known in self._waiting:
            found = None if known.hidden else {rule.name: match_rule(rule, info, known, before=before, after=after)
                                               for rule in self._policy.rules}  # fmt: skip
            self._pass_on(info, found)
        self._waiting = []

    def _pass_on(self, info: FrameInfo, found: RuleMatches) -> None:
        if self._newest:
            newest, known = self._newest
            self._step = max(0.0, info.time - newest.time)
            whole = not newest.duration or self._step - newest.duration < ROUNDING
            self._count(newest, known, self._step if whole else newest.duration)
        self._newest = info, found

    def _count(self, info: FrameInfo, found: RuleMatches, duration: float) -> None:
        self._tally.add(info.frame, info.time, duration, found)
        if found is not None:
            return
        end = info.time + duration
        if self.unjudged and info.time <= self.unjudged[-1][1]:
            self.unjudged[-1] = self.unjudged[-1][0], max(end, self.unjudged[-1][1])
        else:
            self.unjudged.append((info.time, end))


def match_rule(
    rule: Rule, info: FrameInfo, known: FrameFindings, *, before: Mapping[str, str], after: Mapping[str, str]
) -> Sequence[Region] | Reply:
    """What counts for the rule on a frame. before, after: the replies at the looks around it."""
    if not rule.question:
        return objects_of(rule, known.regions, *info.size)
    if known.analysed:
        return Reply(known.replies.get(rule.question, ""))
    replies = [replies.get(rule.question, "") for replies in (before, after)]
    return Reply(next((reply for reply in replies if rule.matches_reply(reply)), replies[0]), seen=False)


def _together(verdicts: Sequence[Verdict]) -> Verdict:
    """Of the video streams of one file: what is against any of them is against the file."""
    if len(verdicts) == 1:
        return verdicts[0]
    rulings = [_united(each) for each in zip(*(verdict.rulings for verdict in verdicts), strict=True)]
    frames, unjudged = sum(v.frames for v in verdicts), sum(v.unjudged for v in verdicts)
    return Verdict(tuple(rulings), frames, unjudged, max(verdict.seconds for verdict in verdicts))


def _united(rulings: Sequence[Ruling]) -> Ruling:
    hits = [ruling for ruling in rulings if ruling.hit]
    if not hits:
        return rulings[0]
    largest = max(hits, key=lambda ruling: ruling.area or 0.0)
    spans = merge_spans(span for ruling in hits for span in ruling.spans)
    frames, seen = sum(ruling.frames for ruling in hits), sum(ruling.seen for ruling in hits)
    return Ruling(rulings[0].rule, spans.parts, frames, seen, largest.area, largest.example)
