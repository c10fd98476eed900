"""What a report says of one input, gathered in one pass over its findings: memory does not grow with their length."""

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
    """Of one label. tracks: with their streams; largest: area on any frame, as a part of it; spans: [start, end]."""

    name: str
    tracks: set[tuple[int, int]] = field(default_factory=set)
    frames: int = 0
    largest: float = 0.0
    spans: list[list[float]] = field(default_factory=list)
    last: dict[int, int] = field(default_factory=dict)  # stream -> frame

    def add(self, info: FrameInfo, regions: Sequence[Region]) -> None:
        self.tracks |= {(info.stream, region.track) for region in regions}
        self.frames += 1
        self.largest = max(self.largest, share(regions))
        start, end = info.time, info.time + info.duration
        in_row = self.last.get(info.stream) == info.frame - 1
        self.last[info.stream] = info.frame
        if self.spans and (in_row or start - self.spans[-1][1] <= BRIDGE):
            span = self.spans[-1]
            span[:] = min(start, span[0]), max(end, span[1])
        else:
            self.spans.append([start, end])


@dataclass(frozen=True)
class ExampleCandidate:
    """A frame that may be shown as an example, the worthier the better."""

    worth: tuple[bool, bool, float]
    info: FrameInfo
    regions: Sequence[Region]
    labels: Sequence[str]


class ExampleSelector:
    """The worthiest frames, spread over the time: one for each slot, and slots grow with the time."""

    def __init__(self) -> None:
        self._slots: dict[int, ExampleCandidate] = {}
        self._seconds = FIRST_SLOT

    def add(self, one: ExampleCandidate) -> None:
        self._take(one)
        while len(self._slots) > MAX_CANDIDATES:
            self._seconds *= 2
            before, self._slots = self._slots, {}
            for each in before.values():
                self._take(each)

    def _take(self, one: ExampleCandidate) -> None:
        slot = math.floor(one.info.time / self._seconds)
        if slot not in self._slots or one.worth > self._slots[slot].worth:
            self._slots[slot] = one

    def best(self, count: int) -> list[ExampleCandidate]:
        """As many, in the order of time: the worthiest of each of so many equal parts of the time, then of all."""
        every = sorted(self._slots.values(), key=lambda one: one.info.time)
        if len(every) <= count:
            return every
        start, end = every[0].info.time, every[-1].info.time
        parts: dict[int, ExampleCandidate] = {}
        for one in sorted(every, key=lambda one: one.worth, reverse=True):
            parts.setdefault(min(count - 1, int((one.info.time - start) / (end - start) * count)), one)
        chosen = list(parts.values())[:count]
        rest = sorted((one for one in every if one not in chosen), key=lambda one: one.worth, reverse=True)
        return sorted([*chosen, *rest[: count - len(chosen)]], key=lambda one: one.info.time)


class FindingsSummary:
    """Takes the records of one input as they come.

    verdict: of a policy on this input; examples are then of the rules that it says are hit.
    """

    def __init__(self, verdict: Verdict | None = None) -> None:
        self.verdict = verdict
        self.model = self.sha256 = ""
        self.prompts: dict[str, None] = {}
        self.frames = self.keyframes = self.unjudged = 0
        self.start, self.end = math.inf, -math.inf
        self.cuts: list[float] = []
        self.label_statistics: dict[str, LabelStatistics] = {}  # by label
        self.candidates = ExampleSelector()
        self.attention: dict[int, Attention] = {}  # by stream
        self.from_head_pose = False  # some gazes are only the direction of the head
        self.gaze_heatmap: HeatMap | None = None
        self.heat: HeatMap | None = None  # where things were
        self._faces: set[str] = set()  # labels of what has a gaze
        self._open: dict[int, Record] = {}  # stream -> its last record, whose duration may have to be told by the next
        self._hit = [ruling for ruling in verdict.rulings if ruling.hit] if verdict else []

    @property
    def still(self) -> bool:
        return self.frames == 1 and self.end == self.start

    def add(self, record: Record) -> None:
        info, findings = record.info, record.findings
        self.model = self.model or record.model
        self.sha256 = record.sha256 or self.sha256
        self.prompts |= dict.fromkeys(record.prompts)
        self.frames += 1
        self.keyframes += findings.analysed
        self.unjudged += findings.hidden
        self.start, self.end = min(self.start, info.time), max(self.end, info.time + info.duration)
        if findings.cut and info.stream in self._open:
            self.cuts.append(info.time)
        for label in dict.fromkeys(region.label for region in findings.regions):
            statistics = self.label_statistics.setdefault(label, LabelStatistics(label))
            statistics.add(info, [region for region in findings.regions if region.label == label])
        self._offer(record)
        if before := self._open.get(info.stream):
            self._close(before, before.info.duration or max(0.0, info.time - before.info.time))
        self._open[info.stream] = record

    def finish(self) -> None:
        for record in self._open.values():
            self._close(record, IMAGE_SECONDS if self.still else record.info.duration)

    def _offer(self, record: Record) -> None:
        """The frame as an example."""
        labels, regions, wanted = [], list(record.findings.regions), False
        if self.verdict is None:
            labels = sorted({region.label for region in regions})
        else:
            regions = []
            for ruling in self._hit_at(record.info.time):
                width, height = record.info.size
                own = objects_of(ruling.rule, record.findings.regions, width or 1, height or 1)
                if own or ruling.rule.question:
                    labels.append(ruling.rule.name)
                    regions += own
                    wanted |= bool(ruling.example and abs(ruling.example.time - record.info.time) <= TIME_TOLERANCE)
        if labels:
            seen = any(region.seen for region in regions)
            worth = max((_worth(region) for region in regions), default=0.0)
            self.candidates.add(ExampleCandidate((wanted, seen, worth), record.info, regions, labels))

    def _hit_at(self, time: float) -> Iterator[Ruling]:
        for ruling in self._hit:
            if any(
                start - TIME_TOLERANCE <= time < max(end - TIME_TOLERANCE, start + TIME_TOLERANCE)
                for start, end in ruling.spans
            ):
                yield ruling

    def _close(self, record: Record, seconds: float) -> None:
        """Heat and attention of a frame, now that it is known for how long it is shown."""
        regions = record.findings.regions
        looking = [region for region in regions if region.gaze]
        if self.heat is None or self.gaze_heatmap is None:
            width, height = record.info.size
            aspect = width / height if width and height else 1.0
            self.heat, self.gaze_heatmap = HeatMap(aspect), HeatMap(aspect)
        for region in regions:
            self.heat.add((region.x_min + region.x_max) / 2, (region.y_min + region.y_max) / 2, seconds)
        for region in looking:
            add_gaze(self.gaze_heatmap, gaze_of(region), seconds)
        if looking:
            self._faces |= {region.label for region in looking}
            self.from_head_pose |= any(region.gaze and region.gaze.method == "head" for region in looking)
            people = [gaze_of(region) for region in regions if region.label in self._faces]
            things = [region for region in regions if region.label not in self._faces]
            of_stream = self.attention.setdefault(record.info.stream, Attention())
            of_stream.add(who_looks_at(people, things), seconds)

    def missing_prompts(self) -> list[str]:
        """Prompts for which nothing was found."""
        found = {normalize_prompt(label) for label in self.label_statistics}
        return [prompt for prompt in self.prompts if normalize_prompt(prompt) not in found]


def _worth(region: Region) -> float:
    """Of an example: how large and how sure it is."""
    width, height = min(1.0, region.x_max - region.x_min), min(1.0, region.y_max - region.y_min)
    return math.sqrt(width * height) * (1.0 if region.score is None else region.score)
