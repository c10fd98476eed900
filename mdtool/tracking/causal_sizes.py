"""Resize tracked boxes between keyframes, from past keyframes only; for live sources.

Between keyframes the tracker's boxes are enlarged to surely cover the object: right in position, too large.
"""

from dataclasses import replace

from mdtool.records.findings import FrameFindings, FrameInfo
from mdtool.tracking.interpolation import MAX_GAP_SECONDS, resize_region
from recipes.regions import Region


class CausalSizer:
    """Resizes the boxes of one input, frame by frame in order."""

    def __init__(self) -> None:
        self._sizes: dict[tuple[int, int], tuple[float, float, float]] = {}  # (stream, track) -> time, width, height

    def refine(self, info: FrameInfo, findings: FrameFindings) -> FrameFindings:
        """Give each object its size on the last keyframe that shows it, unless that is over MAX_GAP_SECONDS old."""
        self._sizes = {track: size for track, size in self._sizes.items() if info.time - size[0] <= MAX_GAP_SECONDS}
        return replace(findings, regions=[self._resize(info, region) for region in findings.regions])

    def _resize(self, info: FrameInfo, region: Region) -> Region:
        track = info.stream, region.track
        if region.seen:
            self._sizes[track] = info.time, region.x_max - region.x_min, region.y_max - region.y_min
        if region.seen or track not in self._sizes:
            return region
        _, width, height = self._sizes[track]
        return resize_region(region, width, height)
