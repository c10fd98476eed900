"""From keyframes to boxes on every frame: tracks are carried between them, and followed back and on beyond."""

from itertools import pairwise

import numpy as np

from mdtool.tracking.optical_flow import box_shift
from mdtool.tracking.tracked_box import TrackedBox
from mdtool.tracking.tracks import CoastingState, Track, appearance_of, interpolate_boxes, propagate, touches_edge
from mdtool.tracking.window import Window
from recipes.boxes import hull, match, resized, size

COAST_SECONDS = 0.5
COAST_FRAMES = (6, 24)
SETTLE_FRAMES = 8  # frames after its first detection that tell how large and fast an object is
SHRINKING = 0.985  # how fast, a frame, an object may get smaller
MATCH_IOU = 0.15  # least IoU of a track, carried to a keyframe, with what is detected there


class Tracker:
    """Keeps the tracks of one stream from window to window."""

    def __init__(self, window: Window, rate: float, lookback: int | None = None) -> None:
        """rate: frames a second. needs: frames of the window that must be kept, for what is first seen after them;
        None: as many as are of use."""
        self._window = window
        self._coast = int(np.clip(round(COAST_SECONDS * rate), *COAST_FRAMES))
        most = self._coast + SETTLE_FRAMES
        self.lookback = most if lookback is None else min(lookback, most)
        self._afterwards = min(SETTLE_FRAMES, self.lookback // 2)
        self._tracks: list[Track] = []
        self._next = 1
        # track, number of the frame on which it was first seen, frames back to the keyframe that did not show it
        self._new_tracks: list[tuple[int, int, int]] = []

    def update(self, start: int, end: int, last: bool) -> None:
        """Adds the boxes that the keyframes from start to end tell of, on all frames up to end.

        start: position of the last keyframe that was followed already, -1 if there is none; last: no frame comes after.
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
        """Carries the tracks from the keyframe a to the keyframe b, and begins those that are new at b."""
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
        """Track -> detection."""
        pairs: dict[int, int] = {}
        for label in {one.detection.label for one in detections}:
            tracks = [t for t, track in enumerate(self._tracks) if track.detection.label == label]
            seen = [d for d, one in enumerate(detections) if one.detection.label == label]
            if tracks:
                ends, found = np.array([predicted[t] for t in tracks]), np.array([detections[d].box for d in seen])
                pairs |= {tracks[i]: seen[j] for i, j in match(ends, found, MATCH_IOU)}
        return pairs

    def _update_track(self, track: Track, detected: TrackedBox, path: list[np.ndarray], *, a: int, b: int) -> None:
        """The track is seen again at b; path: where the flow carries it, from a to b."""
        origin = path[0]
        if track.coast is None:
            step = (path[-1] - origin)[:2] / (b - a)
            track.velocity = step if track.velocity is None else (track.velocity + step) / 2
        # what begins to be covered is seen smaller than it is
        whole = np.maximum(size(detected.box), SHRINKING ** (b - a) * size(origin))
        box = hull(detected.box, resized(detected.box, whole))
        back = propagate(box, b, a, self._window.flow)[::-1]
        for i, carried_box in zip(range(a + 1, b), interpolate_boxes(path, back), strict=True):
            self._add(i, track, carried_box)
        track.detection, track.box, track.coast = detected.detection, box, None
        track.confident |= detected.confident
        self._add(b, track, box, seen=True)

    def _extend_coasting(self, track: Track, a: int, b: int) -> None:
        """The track is not seen at b: it is followed while it looks the same, in case only the model lost it."""
        if track.coast is None:
            track.coast = self._coast_from(track.box, a, -1)
            if track.velocity is not None:
                track.coast.velocity = track.velocity
        limit = self._coast_frames(track.confident, b - a)
        for i in range(a + 1, b + 1):
            track.coast.advance(self._window[i].frame.luma, self._window.flow(i - 1, i))
            if track.coast.age > limit:
                track.coast.is_lost = True
            if track.coast.is_lost:
                break
            self._add(i, track, track.coast.padded_box())

    def _coast_frames(self, confident: bool, gap: int) -> int:
        """For how long an object is followed where it is not seen; gap: frames to the keyframe that did not show it."""
        return max(self._coast, gap) if confident else gap

    def _coast_from(self, box: np.ndarray, at: int, behind: int) -> CoastingState:
        """behind: on which side of `at` its movement can be read, -1 or 1."""
        step = np.zeros(2)
        side = at + behind
        if 0 <= side < len(self._window) and not self._window.cut_between(min(at, side), max(at, side)):
            step = -box_shift(box, self._window.flow(at, side))
        return CoastingState(box, step, appearance_of(self._window[at].frame.luma, box))

    def _start_tracks(self, a: int, b: int, known: set[int]) -> None:
        """Begins tracks for what is new at b, and follows them back to where they came into view."""
        for d, detected in enumerate(self._window[b].detections or []):
            if d in known:
                continue
            track = Track(self._next, detected.detection, detected.box, detected.confident)
            self._next += 1
            self._tracks.append(track)
            self._add(b, track, detected.box, seen=True)
            self._new_tracks.append((track.number, self._window.number(b), b - a))

    def _backtrack_new_tracks(self, end: int, last: bool) -> None:
        """Adds what was first seen in the window to the frames before, once it is known how it went on."""
        settled = self._window.number(end) - self._afterwards
        later = [birth for birth in self._new_tracks if not last and birth[1] > settled]
        for number, first_seen, gap in self._new_tracks:
            if (number, first_seen, gap) not in later:
                self._backtrack(number, self._window.position(first_seen), gap)
        self._new_tracks = later

    def _backtrack(self, number: int, b: int, gap: int) -> None:
        """Adds track `number`, first seen at b, to the frames before, as far as it is there."""
        shortly = range(b, min(b + max(1, self._afterwards), len(self._window)))
        soon = [one for i in shortly for one in self._window[i].boxes if one.track == number]
        whole = np.max([size(one.box) for one in soon], axis=0)
        for one in soon:  # what comes into view is seen smaller than it is
            one.box = hull(one.box, resized(one.box, whole))
        first = soon[0]
        # what comes in over the edge is seen badly at first, but is no mistake
        confident = any(one.confident for one in soon) or touches_edge(first.box, self._window[b].frame.luma)
        limit = self._coast_frames(confident, gap)
        coast = self._coast_from(first.box, b, 1)
        for i in range(b - 1, -1, -1):
            if self._window[i + 1].starts_shot or coast.age >= limit:
                break
            coast.advance(self._window[i].frame.luma, self._window.flow(i + 1, i))
            if coast.is_lost:
                break
            self._window[i].boxes.append(TrackedBox(coast.padded_box(), first.detection, number, seen=False))

    def _add(self, position: int, track: Track, box: np.ndarray, seen: bool = False) -> None:
        self._window[position].boxes.append(TrackedBox(box, track.detection, track.number, seen))
