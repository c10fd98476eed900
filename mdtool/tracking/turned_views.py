"""Detect objects in pictures that were taken with the camera turned, which no tag states.

A face detector knows upright faces. Where it finds none, a few frames are analysed as turned by a quarter or half turn
too; a view in which something is found is analysed from then on, besides the upright one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mdtool.media.image.display_matrix import Orientation
from mdtool.media.video.frame import Frame
from mdtool.model_selection import FACE_MODEL
from mdtool.tracking.detector import Detector, ImageFindings
from mdtool.tracking.pixel_aspect import detect_both_aspects, merge_regions
from recipes.regions import Region

SURE = 0.5  # least score of a detection in a view that shows objects upright; others were seen up to 0.3
# Seconds between two searches for a view, doubled each time: at least, at most, at most where anything was found.
FIRST_WAIT, LAST_WAIT, LAST_WAIT_FOUND = 2.0, 32.0, 8.0
AUTO, UPRIGHT = None, 0
TURNED = (90, 270, 180)  # degrees clockwise


def view_for(model: str) -> int | None:
    """Return the view in which a model of this name sees pictures; AUTO: it searches.

    Only the face detector searches: other models find objects in any orientation, and take far longer.
    """
    return AUTO if model == FACE_MODEL else UPRIGHT


@dataclass
class _StreamViews:
    """The views of one stream.

    Attributes:
        degrees: Of each view, clockwise.
        searched: Time in seconds of the frame on which another view was last searched.
        wait: Seconds from then on to the next search.
        ever_found: Whether anything was found so far.
        found_last: Whether anything was found in the previous batch.
    """

    degrees: list[int]
    searched: float = float("-inf")
    wait: float = FIRST_WAIT / 2
    ever_found: bool = False
    found_last: bool = False


@dataclass
class ViewSearch:
    """Runs a detector in one view of each frame, or in those in which it finds something.

    Attributes:
        detect: Runs the model on a batch of images.
        view: Degrees by which pictures are turned clockwise before they are analysed; AUTO to search.
    """

    detect: Detector
    view: int | None = UPRIGHT
    _streams: dict[int, _StreamViews] = field(default_factory=dict)

    def detect_frames(self, frames: Sequence[Frame]) -> list[ImageFindings]:
        """Run the detector on frames of one stream, in their order.

        Returns:
            The findings on each frame, in fractions of the displayed image.
        """
        if not frames:
            return []
        views = self._streams.setdefault(frames[0].stream, _StreamViews([self.view or UPRIGHT]))
        found = [_merged(each) for each in zip(*(self._detect(frames, d) for d in views.degrees), strict=True)]
        if self.view is not AUTO:
            return found
        empty = [n for n, one in enumerate(found) if not _evidence(one)]
        all_left = views.found_last and len(empty) == len(frames)  # or the camera was turned
        if empty and frames[empty[-1]].time >= views.searched + (FIRST_WAIT if all_left else views.wait):
            probe = frames[_most_promising(found, empty)]
            views.searched = probe.time
            views.wait = min(2 * views.wait, LAST_WAIT_FOUND if views.ever_found else LAST_WAIT)
            if degrees := self._search(probe, views.degrees):
                views.degrees.append(degrees)
                found = [_merged(pair) for pair in zip(found, self._detect(frames, degrees), strict=True)]
        views.found_last = any(_evidence(one) for one in found)
        views.ever_found |= views.found_last
        return found

    def _search(self, frame: Frame, known: Sequence[int]) -> int | None:
        """Return the turned view in which most is found on a frame; None if nothing is."""
        evidence = {d: _evidence(self._detect([frame], d)[0]) for d in TURNED if d not in known}
        best = max(evidence, key=evidence.__getitem__, default=None)
        return best if best is not None and evidence[best] else None

    def _detect(self, frames: Sequence[Frame], degrees: int) -> list[ImageFindings]:
        return detect_both_aspects(turned_detector(self.detect, degrees), frames)

    def detect_image(self, image: np.ndarray) -> ImageFindings:
        """Run the detector on a still image (HxWx3, uint8); while searching, on all turned views if nothing is found.

        Returns:
            The findings, in fractions of the image.
        """
        found = turned_detector(self.detect, self.view or UPRIGHT)([image])[0]
        if self.view is not AUTO or _evidence(found):
            return found
        others = [turned_detector(self.detect, degrees)([image])[0] for degrees in TURNED]
        return _merged([found, *(other for other in others if _evidence(other))])


def turned_detector(detect: Detector, degrees: int) -> Detector:
    """Wrap a detector so that it runs on turned images, and returns findings in fractions of the images as given.

    Args:
        detect: Runs the model on a batch of images.
        degrees: A multiple of 90, clockwise.
    """
    orientation = Orientation(-degrees // 90 % 4)
    if not orientation.quarters:
        return detect

    def detect_turned(images: Sequence[np.ndarray]) -> list[ImageFindings]:
        found = detect([np.ascontiguousarray(orientation.show(image)) for image in images])
        return [replace(one, regions=[_turn_back(region, orientation) for region in one.regions]) for one in found]

    return detect_turned


def _turn_back(region: Region, orientation: Orientation) -> Region:
    gaze = region.gaze
    if gaze and gaze.target:
        gaze = replace(gaze, target=orientation.to_stored(gaze.target * 2)[:2])
    return region.at(orientation.to_stored(region.sides), gaze=gaze)


def _evidence(findings: ImageFindings) -> float:
    """Return the sum of the scores of sure detections; models without scores are always sure."""
    scores = [1.0 if region.score is None else region.score for region in findings.regions]
    return sum(score for score in scores if score >= SURE)


def _most_promising(found: Sequence[ImageFindings], candidates: Sequence[int]) -> int:
    """Return the candidate with the highest score, as turned faces are often found with low ones; else the middle."""
    best = {n: max((region.score or 0.0 for region in found[n].regions), default=0.0) for n in candidates}
    highest = max(best, key=best.__getitem__)
    return highest if best[highest] else candidates[len(candidates) // 2]


def _merged(views: Sequence[ImageFindings]) -> ImageFindings:
    """Merge the findings on one frame in several views; replies are those to the first."""
    first, *others = views
    for other in others:
        first = replace(first, regions=merge_regions(first.regions, other.regions))
    return first
