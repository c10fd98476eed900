"""Summarises the findings of one input for a report, in one pass and bounded memory."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from engine.contract import normalize_prompt
from mdtool.records.findings import FrameInfo, Record
from recipes.gaze import IMAGE_SECONDS, Attention, gaze_of, who_looks_at
from recipes.heatmap import HeatMap, add_gaze
from recipes.policy import objects_of
from recipes.regions import Region
from recipes.verdict import BRIDGE, Ruling, Verdict, share

MAX_CANDIDATES = 48  # for example frames
FIRST_SLOT = 0.25  # seconds
TIME_TOLERANCE = 1e-4  # seconds: times in findings are rounded


@dataclass
class LabelStatistics:
    """Statistics of one label.

    Attributes:
        name: The label.
        tracks: (stream, track) of its objects.
        frames: Number of frames with the label.
        largest: Largest area on any frame, as a share of the frame.
        spans: Times of the frames, as [start, end] in seconds.
        last: Last frame with the label, by stream.
    """

    name: str
    tracks: set[tuple[int, int]] = field(default_factory=set)
    frames: int = 0
    largest: float = 0.0
    spans: list[list[float]] = field(default_factory=list)
    last: dict[int, int] = field(default_factory=dict)

    def add(self, info: FrameInfo, regions: Sequence[Region]) -> None:
        """Add the regions with this label on a frame."""
        self.tracks |= {(info.stream, region.track) for region in regions}
        self.frames += 1
        self.largest = max(self.largest, share(regions))
        start, end = info.time, info.time + info.duration
        is_consecutive = self.last.get(info.stream) == info.frame - 1
        self.last[info.stream] = info.frame
        if self.spans and (is_consecutive or start - self.spans[-1][1] <= BRIDGE):
            span = self.spans[-1]
            span[:] = min(start, span[0]), max(end, span[1])
        else:
            self.spans.append([start, end])


@dataclass(frozen=True)
class ExampleCandidate:
    """A frame that may be shown as an example.

    Attributes:
        rank: Sort key; higher is better.
    """

    rank: tuple[bool, bool, float]
    info: FrameInfo
    regions: Sequence[Region]
    labels: Sequence[str]


class ExampleSelector:
    """Selects the best frames, spread over time: one per time slot, whose length doubles when there are too many."""

    def __init__(self) -> None:
        self._slots: dict[int, ExampleCandidate] = {}
        self._seconds = FIRST_SLOT

    def add(self, candidate: ExampleCandidate) -> None:
        """Add a candidate."""
        self._put(candidate)
        while len(self._slots) > MAX_CANDIDATES:
            self._seconds *= 2
            candidates, self._slots = self._slots.values(), {}
            for each in candidates:
                self._put(each)

    def _put(self, candidate: ExampleCandidate) -> None:
        slot = math.floor(candidate.info.time / self._seconds)
        if slot not in self._slots or candidate.rank > self._slots[slot].rank:
            self._slots[slot] = candidate

    def best(self, count: int) -> list[ExampleCandidate]:
        """Return up to `count` candidates in time order: the best of each of `count` equal parts, then of the rest."""
        ordered = sorted(self._slots.values(), key=lambda candidate: candidate.info.time)
        if len(ordered) <= count:
            return ordered
        start, end = ordered[0].info.time, ordered[-1].info.time
        parts: dict[int, ExampleCandidate] = {}
        for candidate in sorted(ordered, key=lambda candidate: candidate.rank, reverse=True):
            parts.setdefault(min(count - 1, int((candidate.info.time - start) / (end - start) * count)), candidate)
        selected = list(parts.values())[:count]
        rest = sorted((each for each in ordered if each not in selected), key=lambda each: each.rank, reverse=True)
        return sorted([*selected, *rest[: count - len(selected)]], key=lambda candidate: candidate.info.time)


class FindingsSummary:
    """Summarises the records of one input.

    Attributes:
        verdict: Verdict of a policy on the input, if any; examples then show the rules that are hit.
        keyframes: Number of frames that the model analysed.
        unjudged: Number of frames that could not be judged.
        start: Time of the first frame, in seconds.
        end: Time of the end of the last frame, in seconds.
        cuts: Times of scene cuts, in seconds.
        label_statistics: Statistics by label.
        candidates: Frames that may be shown as examples.
        attention: Attention by stream.
        from_head_pose: Some gazes are estimated from the direction of the head.
        gaze_heatmap: Heatmap of gazes; None before the first frame has ended.
        object_heatmap: Heatmap of objects; None before the first frame has ended.
    """

    def __init__(self, verdict: Verdict | None = None) -> None:
        self.verdict = verdict
        self.model = self.sha256 = ""
        self.prompts: dict[str, None] = {}
        self.frames = self.keyframes = self.unjudged = 0
        self.start, self.end = math.inf, -math.inf
        self.cuts: list[float] = []
        self.label_statistics: dict[str, LabelStatistics] = {}
        self.candidates = ExampleSelector()
        self.attention: dict[int, Attention] = {}
        self.from_head_pose = False
        self.gaze_heatmap: HeatMap | None = None
        self.object_heatmap: HeatMap | None = None
        self._face_labels: set[str] = set()  # labels of regions with a gaze
        self._pending: dict[int, Record] = {}  # last record by stream, whose duration may depend on the next one
        self._hit = [ruling for ruling in verdict.rulings if ruling.hit] if verdict else []

    @property
    def still(self) -> bool:
        """Whether the input is a still image."""
        return self.frames == 1 and self.end == self.start

    def add(self, record: Record) -> None:
        """Add the next record."""
        info, findings = record.info, record.findings
        self.model = self.model or record.model
        self.sha256 = record.sha256 or self.sha256
        self.prompts |= dict.fromkeys(record.prompts)
        self.frames += 1
        self.keyframes += findings.analysed
        self.unjudged += findings.hidden
        self.start, self.end = min(self.start, info.time), max(self.end, info.time + info.duration)
        if findings.cut and info.stream in self._pending:
            self.cuts.append(info.time)
        for label in dict.fromkeys(region.label for region in findings.regions):
            statistics = self.label_statistics.setdefault(label, LabelStatistics(label))
            statistics.add(info, [region for region in findings.regions if region.label == label])
        self._add_candidate(record)
        if previous := self._pending.get(info.stream):
            self._add_durations(previous, previous.info.duration or max(0.0, info.time - previous.info.time))
        self._pending[info.stream] = record

    def finish(self) -> None:
        """End the summary, after the last record."""
        for record in self._pending.values():
            self._add_durations(record, IMAGE_SECONDS if self.still else record.info.duration)

    def _add_candidate(self, record: Record) -> None:
        labels, regions, is_example = [], list(record.findings.regions), False
        if self.verdict is None:
            labels = sorted({region.label for region in regions})
        else:
            regions = []
            for ruling in self._hit_at(record.info.time):
                width, height = record.info.size
                objects = objects_of(ruling.rule, record.findings.regions, width or 1, height or 1)
                if objects or ruling.rule.question:
                    labels.append(ruling.rule.name)
                    regions += objects
                    example = ruling.example
                    is_example |= bool(example and abs(example.time - record.info.time) <= TIME_TOLERANCE)
        if labels:
            detected = any(region.seen for region in regions)
            quality = max((_quality(region) for region in regions), default=0.0)
            self.candidates.add(ExampleCandidate((is_example, detected, quality), record.info, regions, labels))

    def _hit_at(self, time: float) -> Iterator[Ruling]:
        for ruling in self._hit:
            if any(
                start - TIME_TOLERANCE <= time < max(end - TIME_TOLERANCE, start + TIME_TOLERANCE)
                for start, end in ruling.spans
            ):
                yield ruling

    def _add_durations(self, record: Record, seconds: float) -> None:
        """Add a frame that lasts `seconds` to the heatmaps and the attention."""
        regions = record.findings.regions
        faces = [region for region in regions if region.gaze]
        if self.object_heatmap is None or self.gaze_heatmap is None:
            width, height = record.info.size
            aspect = width / height if width and height else 1.0
            self.object_heatmap, self.gaze_heatmap = HeatMap(aspect), HeatMap(aspect)
        for region in regions:
            self.object_heatmap.add((region.x_min + region.x_max) / 2, (region.y_min + region.y_max) / 2, seconds)
        for region in faces:
            add_gaze(self.gaze_heatmap, gaze_of(region), seconds)
        if faces:
            self._face_labels |= {region.label for region in faces}
            self.from_head_pose |= any(region.gaze and region.gaze.method == "head" for region in faces)
            people = [gaze_of(region) for region in regions if region.label in self._face_labels]
            objects = [region for region in regions if region.label not in self._face_labels]
            attention = self.attention.setdefault(record.info.stream, Attention())
            attention.add(who_looks_at(people, objects), seconds)

    def missing_prompts(self) -> list[str]:
        """Return the prompts for which nothing was detected."""
        found = {normalize_prompt(label) for label in self.label_statistics}
        return [prompt for prompt in self.prompts if normalize_prompt(prompt) not in found]


def _quality(region: Region) -> float:
    """Return how large and how confident a detection is, 0..1."""
    width, height = min(1.0, region.x_max - region.x_min), min(1.0, region.y_max - region.y_min)
    return math.sqrt(width * height) * (1.0 if region.score is None else region.score)
