"""Track objects from keyframes to every frame: between keyframes, backwards before the first, and on after a loss."""

from itertools import pairwise

import numpy as np

from mdtool.tracking.motion_compensation import differs
from mdtool.tracking.optical_flow import box_shift
from mdtool.tracking.tracked_box import TrackedBox
from mdtool.tracking.tracks import CoastingState, Track, appearance_of, interpolate_boxes, propagate, touches_edge
from mdtool.tracking.window import Window
from recipes.boxes import hull, iou, match, resized, size

COAST_SECONDS = 0.5  # how long an object is tracked while it is not detected
COAST_FRAMES = (6, 24)  # least and most frames for that
SETTLE_FRAMES = 8  # frames after the first detection from which an object's size and velocity are measured
SHRINKING = 0.985  # most that an object may shrink per frame
HALF_HIDDEN = 0.9  # of the size that an object had before: detected smaller, it is partly occluded
MATCH_IOU = 0.15  # least IoU of a track, propagated to a keyframe, with its detection there
BRIDGED_FRAMES = 3  # most frames between the end of a lost track and a new one in its place: it is the same object


class Tracker:
    """Maintains the tracks of one stream, window by window."""

    def __init__(self, window: Window, rate: float, lookback: int | None = None) -> None:
        """Begin a stream.

        Args:
            window: The buffered frames; boxes are added to them.
            rate: Frames per second.
            lookback: Most frames to hold back, to backtrack objects first detected after them; None for as many as
                backtracking uses.
        """
        self._window = window
        self.coast_frames = int(np.clip(round(COAST_SECONDS * rate), *COAST_FRAMES))
        max_lookback = self.coast_frames + SETTLE_FRAMES
        self.lookback = max_lookback if lookback is None else min(lookback, max_lookback)
        self._settle_frames = min(SETTLE_FRAMES, self.lookback // 2)
        self._tracks: list[Track] = []
        self._next_number = 1
        # track number, number of the frame of its first detection, frames back to the keyframe without it
        self._new_tracks: list[tuple[int, int, int]] = []

    def update(self, start: int, end: int, last: bool) -> None:
        """Add boxes to the frames up to `end`.

        Args:
            start: Position of the last keyframe of the previous update, -1 if there is none.
            end: Position of the last frame, a keyframe unless the model failed there.
            last: Whether the stream ends here.
        """
        keyframes = self._window.keyframes(start, end)
        if keyframes and keyframes[0] != start:
            self._begin_shot(keyframes[0])
        for a, b in pairwise(keyframes):
            if self._window.cut_between(a, b):
                self._begin_shot(b)
            else:
                self._link(a, b)
                for i in range(a + 1, b + 1):
                    self._window[i].is_covered = not (self._window[i].failed or self._window[i].is_ambiguous)
        self._backtrack_new_tracks(end, last)

    def _begin_shot(self, position: int) -> None:
        self._tracks = []
        self._window[position].is_covered = True
        self._start_tracks(position, position, set())

    def _link(self, a: int, b: int) -> None:
        """Continue the tracks from keyframe a to keyframe b, and start new ones at b."""
        detections = self._window[b].detections or []
        paths = [propagate(self._last_box(track), a, b, self._window.flow) for track in self._tracks]
        pairs = self._associate([path[-1] for path in paths], detections)
        for t, track in enumerate(self._tracks):
            if t in pairs:
                self._update_track(track, detections[pairs[t]], paths[t], a=a, b=b)
            else:
                self._extend_coasting(track, a, b)
        self._tracks = [t for t in self._tracks if t.coast is None or not t.coast.is_lost]
        self._start_tracks(a, b, set(pairs.values()))

    def _last_box(self, track: Track) -> np.ndarray:
        return track.box if track.coast is None else track.coast.box

    def _associate(self, predicted: list[np.ndarray], detections: list[TrackedBox]) -> dict[int, int]:
        """Match tracks to detections of the same label by IoU; return index of the track -> index of the detection."""
        pairs: dict[int, int] = {}
        for label in {detected.detection.label for detected in detections}:
            tracks = [t for t, track in enumerate(self._tracks) if track.detection.label == label]
            same_label = [d for d, detected in enumerate(detections) if detected.detection.label == label]
            if tracks:
                ends, boxes = (
                    np.array([predicted[t] for t in tracks]),
                    np.array([detections[d].box for d in same_label]),
                )
                pairs |= {tracks[i]: same_label[j] for i, j in match(ends, boxes, MATCH_IOU)}
        return pairs

    def _update_track(self, track: Track, detected: TrackedBox, path: list[np.ndarray], *, a: int, b: int) -> None:
        """Continue a track that is detected at b; path: its boxes propagated from a to b."""
        origin = path[0]
        if track.coast is None:
            step = (path[-1] - origin)[:2] / (b - a)
            track.velocity = step if track.velocity is None else (track.velocity + step) / 2
        # an object that begins to be occluded is detected smaller than it is
        full_size = np.maximum(size(detected.box), SHRINKING ** (b - a) * size(origin))
        box = hull(detected.box, resized(detected.box, full_size))
        backward = propagate(box, b, a, self._window.flow)[::-1]
        for i, box_between in zip(range(a + 1, b), interpolate_boxes(path, backward), strict=True):
            self._add(i, track, box_between)
        track.detection, track.box, track.coast = detected.detection, box, None
        track.confident |= detected.confident
        if (size(detected.box) < HALF_HIDDEN * size(origin)).any():  # its middle is not that of the whole object
            box = hull(box, resized(path[-1], full_size))
        self._add(b, track, box, seen=True)

    def _extend_coasting(self, track: Track, a: int, b: int) -> None:
        """Continue a track that is not detected at b, while its appearance is found: the model may have missed it."""
        if track.coast is None:
            track.coast = self._coast_from(track.box, a, -1)
            if track.velocity is not None:
                track.coast.velocity = track.velocity
        limit = self._coast_frames(track.confident, b - a)
        for i in range(a + 1, b + 1):
            track.coast.advance(self._window[i].frame.luma, self._window.flow(i - 1, i))
            if track.coast.age > limit:
                track.coast.is_lost = True
            box = track.coast.padded_box()
            if track.coast.is_lost and (i > a + 1 or self._is_still(i, i + 1, box)):
                break
            self._add(i, track, box)
            if track.coast.is_lost:
                break

    def _is_still(self, i: int, beyond: int, box: np.ndarray) -> bool:
        """Return whether what is in a box next to a detection is the same one frame further away.

        That proves that the object has gone. Otherwise it may be half hidden, or blurred, and missed by the model.
        """
        if not 0 <= beyond < len(self._window) or self._window.cut_between(min(i, beyond), max(i, beyond)):
            return False
        here, there = self._window[i], self._window[beyond]
        return not differs(there.cells, here.cells, box / np.tile(here.frame.luma.shape[::-1], 2))

    def _coast_frames(self, confident: bool, gap: int) -> int:
        """Return how many frames an object may coast; gap: frames to the keyframe without it."""
        return max(self.coast_frames, gap) if confident else gap

    def _coast_from(self, box: np.ndarray, at: int, neighbour: int) -> CoastingState:
        """Start coasting; neighbour: -1 or 1, on which side of `at` to measure the velocity."""
        step = np.zeros(2)
        side = at + neighbour
        if 0 <= side < len(self._window) and not self._window.cut_between(min(at, side), max(at, side)):
            step = -box_shift(box, self._window.flow(at, side))
        return CoastingState(box, step, appearance_of(self._window[at].frame.luma, box))

    def _start_tracks(self, a: int, b: int, known: set[int]) -> None:
        """Start tracks for the new detections at b; `known` are the indices of the others."""
        for d, detected in enumerate(self._window[b].detections or []):
            if d in known:
                continue
            track = Track(self._next_number, detected.detection, detected.box, detected.confident)
            self._next_number += 1
            self._tracks.append(track)
            self._add(b, track, detected.box, seen=True)
            self._new_tracks.append((track.number, self._window.number(b), b - a))

    def _backtrack_new_tracks(self, end: int, last: bool) -> None:
        """Backtrack new tracks, once enough frames after their first detection are there."""
        settled = self._window.number(end) - self._settle_frames
        unsettled = [birth for birth in self._new_tracks if not last and birth[1] > settled]
        for number, first_seen, gap in self._new_tracks:
            if (number, first_seen, gap) not in unsettled:
                self._backtrack(number, self._window.position(first_seen), gap)
        self._new_tracks = unsettled

    def _backtrack(self, number: int, b: int, gap: int) -> None:
        """Add a track, first detected at b, to the frames before, as far as its appearance is found there."""
        following = range(b, min(b + max(1, self._settle_frames), len(self._window)))
        boxes = [tracked for i in following for tracked in self._window[i].boxes if tracked.track == number]
        full_size = np.max([size(tracked.box) for tracked in boxes], axis=0)
        for tracked in boxes:  # an object that comes into view is detected smaller than it is
            tracked.box = hull(tracked.box, resized(tracked.box, full_size))
        first = boxes[0]
        # an object that enters over the edge has a low score at first, but is not a false positive
        at_edge = touches_edge(first.box, self._window[b].frame.luma)
        confident = at_edge or any(tracked.confident for tracked in boxes)
        limit = self._coast_frames(confident, gap)
        coast = self._coast_from(first.box, b, 1)
        for i in range(b - 1, -1, -1):
            if self._window[i + 1].starts_shot or coast.age >= limit:
                break
            coast.advance(self._window[i].frame.luma, self._window.flow(i + 1, i))
            box = coast.padded_box()
            if coast.is_lost and (i < b - 1 or self._is_still(i, i - 1, box)):
                break
            self._window[i].boxes.append(TrackedBox(box, first.detection, number, seen=False))
            if coast.is_lost:
                break
        self._bridge(number, b)

    def _bridge(self, number: int, b: int) -> None:
        """Add a track, first detected at b, to the few frames between its beginning and the end of a lost one there.

        An object that something passes in front of is lost and found again a moment later.
        """
        own = {i: tracked for i in range(b + 1) for tracked in self._window[i].boxes if tracked.track == number}
        begin = min(own)
        first = own[begin]
        continued = {tracked.track for tracked in self._window[begin].boxes}
        for i in range(begin - 1, max(begin - 2 - BRIDGED_FRAMES, -1), -1):
            if self._window[i + 1].starts_shot:
                return
            for tracked in self._window[i].boxes:
                is_same = tracked.detection.label == first.detection.label and tracked.track not in continued
                if is_same and iou(tracked.box[None], first.box[None]).item() >= MATCH_IOU:
                    box = hull(tracked.box, first.box)
                    for j in range(i + 1, begin):
                        self._window[j].boxes.append(TrackedBox(box, first.detection, number, seen=False))
                    return

    def _add(self, position: int, track: Track, box: np.ndarray, seen: bool = False) -> None:
        self._window[position].boxes.append(TrackedBox(box, track.detection, track.number, seen))
