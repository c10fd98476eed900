"""Objects between two keyframes that show them, where what comes after can't be waited for.

In between, one was followed with a box that covers it for certain: its middle is right, its size is too large.
"""

from dataclasses import replace

from mdtool.records.findings import FrameFindings, FrameInfo
from mdtool.tracking.interpolation import MAX_GAP_SECONDS, resize_region
from recipes.regions import Region


class CausalSizer:
    """Takes the frames of a stream in their order."""

    def __init__(self) -> None:
        self._sizes: dict[tuple[int, int], tuple[float, float, float]] = {}  # by stream and track: time, width, height

    def refine(self, info: FrameInfo, findings: FrameFindings) -> FrameFindings:
        """The same with objects as large as the model saw them last."""
        self._sizes = {track: size for track, size in self._sizes.items() if info.time - size[0] <= MAX_GAP_SECONDS}
        return replace(findings, regions=[self._refined(info, region) for region in findings.regions])

    def _refined(self, info: FrameInfo, region: Region) -> Region:
        track = info.stream, region.track
        if region.seen:
            self._sizes[track] = info.time, region.x_max - region.x_min, region.y_max - region.y_min
        if region.seen or track not in self._sizes:
            return region
        _, width, height = self._sizes[track]
        return resize_region(region, width, height)
