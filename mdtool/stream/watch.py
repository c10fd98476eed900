"""From frames to frames with their regions: which ones the model sees, and what that says about the others.

Frames are held back in a window until the looks on both sides of them are known. In a window:
cuts are found on every frame, with a look on both sides; between two looks of one shot boxes are carried both ways by
optical flow; where the two disagree, or where something new shows in between, the model looks again in the middle.
An object that is seen for the first time is also followed back in time, and one that is lost is followed on.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from mdtool.findings import Region, Verdict
from mdtool.media.frame import Frame
from mdtool.stream import motion
from mdtool.stream.sampling import Sampling
from mdtool.stream.tracks import Coast, Sighting, Track, between, carried, look_of
from recipes.boxes import hull, match, resized, size

WINDOW_FRAMES = 48
WINDOW_BYTES = 512 << 20
COAST_SECONDS = 0.5
AGREEMENT = 0.4  # least IoU of a box carried from one look with the same object's box in the next
AFTERWARDS = 8  # frames after its first sighting that tell how large and fast an object is
SURE = 0.3
SHRINKING = 0.985  # how fast, a frame, an object may get smaller
NEWS_GAP = 8  # frames between two looks below which nothing is searched for in between
NEWS_BLOCKS = 3
NEWS_LOOKS = 2  # a window
LOOKS_SHARE = 0.18  # of a window's frames; beyond it, doubt is met by covering more instead of looking again


@dataclass
class Judged:
    """A frame and what is known of it."""

    frame: Frame
    verdict: Verdict = field(default_factory=Verdict)


@dataclass(eq=False)
class _Cover:
    track: int
    box: np.ndarray
    sighting: Sighting
    seen: bool = False


@dataclass(eq=False)
class _Held:
    frame: Frame
    coarse: np.ndarray
    starts_shot: bool
    look: list[Sighting] | None = None
    vouched: bool = False  # looked at, or between two looks
    boxes: list[_Cover] = field(default_factory=list)


# What the model sees on each of some frames; None for a frame on which it failed.
Look = Callable[[Sequence[Frame]], "list[list[Sighting] | None]"]


@dataclass
class Budget:
    """Looks that may still be taken, by all watchers of a run together; None: any number."""

    left: int | None = None

    def take(self, wanted: int) -> int:
        if self.left is None:
            return wanted
        granted = min(wanted, self.left)
        self.left -= granted
        return granted


class Watcher:
    """Takes the frames of one stream in order and gives them back judged, later, in the same order."""

    def __init__(self, look: Look, sampling: Sampling, budget: Budget, rate: float) -> None:
        self._look = look
        self._sampling = sampling
        self._budget = budget
        self._stride = sampling.frames_between(rate)
        self._coast = int(np.clip(round(COAST_SECONDS * rate), 6, 24))
        self._window: deque[_Held] = deque()
        self._fresh = 0  # frames of the window that are not judged yet: its last ones
        self._recent: deque[float] = deque(maxlen=8)
        self._flow = motion.Flow()
        self._flows: dict[tuple[int, int], np.ndarray] = {}
        self._tracks: list[Track] = []
        self._next_track = 1
        self._newborn: list[tuple[int, int, int]] = []  # track, frame of its first sighting, frames back to the look that did not see it
        self._settled: set[tuple[int, int]] = set()
        self._pushed = 0
        self.looks = 0

    # -- in and out

    def push(self, frame: Frame) -> Iterator[Judged]:
        coarse = motion.coarse(frame.luma)
        starts_shot = not self._window
        if self._window:
            before = self._window[-1]
            changed = float(np.abs(coarse - before.coarse).mean()) if coarse.shape == before.coarse.shape else 255.0
            starts_shot = motion.is_cut(changed, list(self._recent)) or frame.luma.shape != before.frame.luma.shape
            starts_shot = starts_shot or frame.corrupt or before.frame.corrupt
            self._recent.append(changed)
        self._window.append(_Held(frame, coarse, starts_shot))
        self._fresh += 1
        self._pushed += 1
        if self._fresh >= self._chunk(frame):
            self._judge()
            yield from self._release(keep=self._coast + AFTERWARDS)

    def finish(self) -> Iterator[Judged]:
        if self._fresh:
            self._judge(last=True)
        yield from self._release(keep=0)

    def _chunk(self, frame: Frame) -> int:
        fits = WINDOW_BYTES // max(1, frame.nbytes) - self._coast
        return max(self._stride, min(WINDOW_FRAMES, max(8, fits)))

    def _release(self, keep: int) -> Iterator[Judged]:
        while len(self._window) > max(keep, 0):
            held = self._window.popleft()
            at = held.frame.index
            self._flows.pop((at, at + 1), None)
            self._flows.pop((at + 1, at), None)
            yield self._judged(held)

    # -- judging a window

    def _judge(self, last: bool = False) -> None:
        window = self._window
        end = len(window) - 1
        start = len(window) - self._fresh - 1  # the last frame of the window before, already looked at
        self._see(self._regular(start, end))
        if self._sampling.auto:
            self._see(self._news(max(start, 0), end))
            while doubtful := self._disagreements(max(start, 0), end):
                self._see(doubtful)
        self._follow(start, end, last)
        self._fresh = 0
        self._settled.clear()

    def _regular(self, start: int, end: int) -> list[int]:
        """The looks that are due whatever the picture shows: by stride, and on both sides of every cut."""
        window = self._window
        fresh = range(start + 1, end + 1)
        due = {i for i in fresh if window[i].starts_shot} | {i - 1 for i in fresh if window[i].starts_shot and i > 0}
        due.add(end)
        marks = sorted(due | ({start} if start >= 0 else set()))
        for a, b in pairwise(marks):
            if window[b].starts_shot:
                continue
            if self._sampling.auto and not any(self._new_blocks(a, i).any() for i in range(a + 1, b + 1)):
                continue
            parts = -(-(b - a) // self._stride)
            due |= {a + round((b - a) * k / parts) for k in range(1, parts)}
        return [i for i in sorted(due) if window[i].look is None and not window[i].frame.corrupt]

    def _see(self, positions: list[int]) -> None:
        held = [self._window[i] for i in positions[: self._budget.take(len(positions))]]
        self.looks += len(held)
        for one, found in zip(held, self._look([h.frame for h in held]), strict=True):
            one.look = found

    def _gaps(self, start: int, end: int) -> list[tuple[int, int]]:
        """Neighbouring looks of one shot with frames in between."""
        looked = [i for i in range(start, end + 1) if self._window[i].look is not None]
        return [(a, b) for a, b in pairwise(looked) if b - a > 1 and not self._cut_between(a, b)]

    def _affordable(self) -> int:
        return max(0, 1 + int(LOOKS_SHARE * self._pushed) - self.looks)

    def _disagreements(self, start: int, end: int) -> list[int]:
        """Frames midway between looks that contradict each other, the widest gaps first."""
        doubtful = []
        for a, b in self._gaps(start, end):
            if (a, b) in self._settled:
                continue
            if self._disagree(a, b):
                doubtful.append((a - b, (a + b) // 2))
            else:
                self._settled.add((a, b))
        return sorted(middle for _, middle in sorted(doubtful)[: self._affordable()])

    def _news(self, start: int, end: int) -> list[int]:
        """Frames that show most of what neither look beside them shows: something may have come and gone."""
        news = [newest for a, b in self._gaps(start, end) if (newest := self._newest(a, b))]
        most = min(NEWS_LOOKS, self._affordable())
        return sorted(at for _, at in sorted(news, reverse=True)[:most])

    def _disagree(self, a: int, b: int) -> bool:
        """Whether the objects seen at a, carried to b, are not those that are seen there."""
        first, last = ([s for s in self._window[i].look or [] if _is_sure(s)] for i in (a, b))
        if len(first) != len(last) or not first:
            return len(first) != len(last)
        ahead = np.array([carried(s.box, a, b, self._flow_between)[-1] for s in first])
        back = np.array([carried(s.box, b, a, self._flow_between)[-1] for s in last])
        there, here = np.array([s.box for s in last]), np.array([s.box for s in first])
        return len(match(ahead, there, AGREEMENT)) < len(last) or len(match(back, here, AGREEMENT)) < len(first)

    def _newest(self, a: int, b: int) -> tuple[int, int] | None:
        """(blocks, frame) that shows most that neither a nor b shows, away from what is followed anyway."""
        if b - a < NEWS_GAP:
            return None
        followed = self._followed(a, b)
        news = [self._new_blocks(a, i) & self._new_blocks(b, i) & ~followed for i in range(a + 1, b)]
        blocks, step = max((int(new.sum()), -step) for step, new in enumerate(news))
        return (blocks, a + 1 - step) if NEWS_BLOCKS <= blocks <= 0.3 * followed.size else None

    def _followed(self, a: int, b: int) -> np.ndarray:
        """Blocks that the objects seen at a and b may cross."""
        held = self._window[a]
        blocks = np.zeros(held.coarse.shape, bool)
        scale = np.array(blocks.shape[::-1]) / held.frame.luma.shape[::-1]
        first, last = held.look or [], self._window[b].look or []
        for one, other in zip(first, last, strict=False):
            low = np.minimum(one.box[:2], other.box[:2]) * scale - 1
            high = np.maximum(one.box[2:], other.box[2:]) * scale + 1
            x0, y0 = np.maximum(low, 0).astype(int)
            x1, y1 = np.ceil(high).astype(int)
            blocks[y0:y1, x0:x1] = True
        return blocks

    def _new_blocks(self, a: int, i: int) -> np.ndarray:
        """Blocks in which frame i differs from frame a."""
        return np.abs(self._window[i].coarse - self._window[a].coarse) > motion.NEW_LEVELS

    def _cut_between(self, a: int, b: int) -> bool:
        return any(self._window[i].starts_shot for i in range(a + 1, b + 1))

    def _flow_between(self, a: int, b: int) -> np.ndarray:
        first = self._window[0].frame.index
        key = (first + a, first + b)
        if key not in self._flows:
            self._flows[key] = self._flow.between(self._window[a].frame.luma, self._window[b].frame.luma)
        return self._flows[key]

    # -- from looks to boxes on every frame

    def _follow(self, start: int, end: int, last: bool) -> None:
        looked = [i for i in range(max(start, 0), end + 1) if self._window[i].look is not None]
        if looked and looked[0] != start:
            self._begin_shot(looked[0])
        for a, b in pairwise(looked):
            if self._cut_between(a, b):
                self._begin_shot(b)
            else:
                self._link(a, b)
                for held in list(self._window)[a:b]:
                    held.vouched = True
        self._trace_births(end, last)

    def _begin_shot(self, position: int) -> None:
        self._tracks = []
        self._window[position].vouched = True
        self._meet(position, position, set())

    def _link(self, a: int, b: int) -> None:
        """Carries the tracks from the look at a to the look at b, and begins those that are new at b."""
        sightings = self._window[b].look or []
        predicted = [carried(self._last_box(track), a, b, self._flow_between)[-1] for track in self._tracks]
        pairs = self._pair(predicted, sightings)
        for t, track in enumerate(self._tracks):
            if t in pairs:
                self._join(track, sightings[pairs[t]], a, b)
            else:
                self._coast_on(track, a, b)
        self._tracks = [t for t in self._tracks if t.coast is None or not t.coast.gone]
        self._window[b].vouched = True
        self._meet(a, b, set(pairs.values()))

    def _last_box(self, track: Track) -> np.ndarray:
        return track.box if track.coast is None else track.coast.box

    def _pair(self, predicted: list[np.ndarray], sightings: list[Sighting]) -> dict[int, int]:
        """Track -> sighting."""
        pairs: dict[int, int] = {}
        for label in {s.label for s in sightings}:
            tracks = [t for t, track in enumerate(self._tracks) if track.sighting.label == label]
            seen = [s for s, sighting in enumerate(sightings) if sighting.label == label]
            if tracks:
                ends, found = np.array([predicted[t] for t in tracks]), np.array([sightings[s].box for s in seen])
                pairs |= {tracks[i]: seen[j] for i, j in match(ends, found, 0.15)}
        return pairs

    def _join(self, track: Track, sighting: Sighting, a: int, b: int) -> None:
        origin = self._last_box(track)
        reached = carried(origin, a, b, self._flow_between)[-1]
        if track.coast is None:
            step = ((reached - origin)[:2] + (reached - origin)[2:]) / 2 / (b - a)
            track.step = step if track.step is None else (track.step + step) / 2
        # what begins to be covered is seen smaller than it is
        whole = np.maximum(size(sighting.box), SHRINKING ** (b - a) * size(origin))
        box = hull(sighting.box, resized(sighting.box, whole))
        for i, carried_box in zip(range(a + 1, b), between(origin, a, box, b, self._flow_between), strict=True):
            self._cover(i, track, carried_box)
        track.sighting, track.box, track.coast = sighting, box, None
        track.sure |= _is_sure(sighting)
        self._cover(b, track, box, seen=True)

    def _coast_on(self, track: Track, a: int, b: int) -> None:
        """The track is not seen at b: it is followed while it looks the same, in case only the model lost it."""
        if track.coast is None:
            track.coast = self._coast_from(track.box, a, -1)
            if track.step is not None:
                track.coast.step = track.step
        limit = self._coast_frames(track.sure, b - a)
        for i in range(a + 1, b + 1):
            track.coast.advance(self._window[i].frame.luma, self._flow_between(i - 1, i))
            if track.coast.age > limit:
                track.coast.gone = True
            if track.coast.gone:
                break
            self._cover(i, track, track.coast.covering())

    def _coast_frames(self, sure: bool, gap: int) -> int:
        """For how long an object is followed where it is not seen; gap: frames to the look that did not see it."""
        return max(self._coast, gap) if sure else gap

    def _coast_from(self, box: np.ndarray, at: int, behind: int) -> Coast:
        """behind: on which side of `at` its movement can be read, -1 or 1."""
        step = np.zeros(2)
        if 0 <= at + behind < len(self._window):
            step = -motion.shift_of(box, self._flow_between(at, at + behind))
        return Coast(box, step, look_of(self._window[at].frame.luma, box))

    def _meet(self, a: int, b: int, known: set[int]) -> None:
        """Begins tracks for what is new at b, and follows them back to where they came into view."""
        for s, sighting in enumerate(self._window[b].look or []):
            if s in known:
                continue
            track = Track(self._next_track, sighting, sighting.box, _is_sure(sighting))
            self._next_track += 1
            self._tracks.append(track)
            self._cover(b, track, sighting.box, seen=True)
            self._newborn.append((track.number, self._index(b), b - a))

    def _trace_births(self, end: int, last: bool) -> None:
        """Covers what was first seen in the window on the frames before, once it is known how it went on."""
        later = [birth for birth in self._newborn if not last and birth[1] > self._index(end) - AFTERWARDS]
        for number, first_seen, gap in self._newborn:
            if (number, first_seen, gap) not in later:
                self._trace_back(number, first_seen - self._index(0), gap)
        self._newborn = later

    def _trace_back(self, number: int, b: int, gap: int) -> None:
        """Covers track `number`, first seen at b, on the frames before, as far as it is there."""
        soon = [c for held in list(self._window)[b : b + AFTERWARDS] for c in held.boxes if c.track == number]
        whole = np.max([size(cover.box) for cover in soon], axis=0)
        for cover in soon:  # what comes into view is seen smaller than it is
            cover.box = hull(cover.box, resized(cover.box, whole))
        cover = soon[0]
        limit = self._coast_frames(any(_is_sure(cover.sighting) for cover in soon), gap)
        coast = self._coast_from(cover.box, b, 1)
        for i in range(b - 1, -1, -1):
            if self._window[i + 1].starts_shot or coast.age >= limit:
                break
            coast.advance(self._window[i].frame.luma, self._flow_between(i + 1, i))
            if coast.gone:
                break
            self._window[i].boxes.append(_Cover(number, coast.covering(), cover.sighting))

    def _cover(self, position: int, track: Track, box: np.ndarray, seen: bool = False) -> None:
        self._window[position].boxes.append(_Cover(track.number, box, track.sighting, seen))

    def _index(self, position: int) -> int:
        return self._window[0].frame.index + position

    def _judged(self, held: _Held) -> Judged:
        height, width = held.frame.luma.shape
        regions = []
        for cover in held.boxes:
            x0, y0 = np.clip(cover.box[:2] / (width, height), 0, 1).tolist()
            x1, y1 = np.clip(cover.box[2:] / (width, height), 0, 1).tolist()
            if x1 > x0 and y1 > y0:
                said = cover.sighting
                regions.append(Region(x0, y0, x1, y1, said.label, cover.track, said.score, cover.seen))
        return Judged(held.frame, Verdict(regions, looked=held.look is not None, hidden=not held.vouched))


def _is_sure(sighting: Sighting) -> bool:
    return sighting.score is None or sighting.score >= SURE
