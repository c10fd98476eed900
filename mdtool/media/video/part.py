"""Parts of a long video, which are decoded by themselves: each from a keyframe of the codec before it on."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from mdtool.errors import InputError
from mdtool.media.video.encoded_segments import SECONDS, segment_index
from mdtool.media.video.frame import Frame
from mdtool.media.video.reader import VideoReader
from mdtool.media.video.source_clock import may_be_reset

PART_SEGMENTS = 3  # most segments of the encoder in a part, so that little is decoded twice and little is lost
MARGIN = 640  # frames before and after a part that may be decoded too: at most four windows of the sampler


@dataclass(frozen=True)
class Part:
    """Frames of a video that are encoded together: whole segments of the encoder.

    Attributes:
        number: From 1.
        begin: Index of the first frame in the stream.
        end: Index after that of the last one.
        first_pts: Time stamp of the first frame of the stream.
        offset: Index of the frame with the first of `pts`.
        pts: Time stamps of the frames of the part, and of up to MARGIN before and after it.
    """

    number: int
    begin: int
    end: int
    first_pts: int
    offset: int
    pts: tuple[int, ...]


def split_video(reader: VideoReader, workers: int) -> list[Part]:
    """Split a video into parts, from the time stamps of its packets.

    Args:
        reader: The video.
        workers: Number of parts that are worked on at the same time.

    Raises:
        InputError: It can't be split; the message says why.
    """
    if len(reader.videos) > 1:
        raise InputError("it has several video streams")
    if may_be_reset(reader.container):
        raise InputError(f"a file of format {reader.container.format.name} has no index of its frames")
    stream: Any = reader.videos[0]
    packets = list(reader.packet_times(stream.index))
    pts = sorted(time for time, _ in packets if time is not None)
    if len(set(pts)) < len(packets) or reader.splices:
        raise InputError("not every frame has a time stamp of its own")
    if sum(is_keyframe for _, is_keyframe in packets) < 2:
        raise InputError("it has a single keyframe")
    segments = segment_index((pts[-1] - pts[0]) * stream.time_base) + 1
    if segments < 2:
        raise InputError(f"it is shorter than {SECONDS:g} s")
    size = min(PART_SEGMENTS, -(-segments // workers))
    step = Fraction(SECONDS) / stream.time_base
    borders = [bisect_left(pts, pts[0] + segment * step) for segment in range(0, segments, size)]
    return [
        Part(number, begin, end, pts[0], offset, tuple(pts[offset : end + MARGIN]))
        for number, (begin, end) in enumerate(zip(borders, [*borders[1:], len(pts)], strict=True), 1)
        for offset in [max(0, begin - MARGIN)]
    ]


class PartReader(VideoReader):
    """A video of which a part is decoded; it shows no streams but that of the part."""

    def __init__(self, source: Path, part: Part) -> None:
        """Open a video. Raises InputError as VideoReader does."""
        super().__init__(source)
        self.part = part

    @property
    def streams(self) -> list[Any]:
        """The video stream."""
        return list(self.videos)

    def first_frame(self) -> Frame:
        """Return the first frame of the video. Raises InputError if it is not the one that it was split by."""
        frame = next(self._frames_from(self.part.first_pts), None)
        if frame is None or frame.pts != self.part.first_pts:
            raise InputError("its first frame can't be found again")
        return frame

    def frames_between(self, start: int, stop: int) -> Iterator[Frame]:
        """Yield the frames with indices from start to stop, or to the end of the video.

        Raises:
            InputError: Their time stamps are not those that the video was split by.
        """
        expected = self.part.pts[start - self.part.offset : stop - self.part.offset]
        index = start
        for frame in self._frames_from(expected[0]):
            if frame.pts < expected[0]:
                continue
            if frame.pts != expected[index - start]:
                break
            yield replace(frame, index=index)
            index += 1
            if index - start == len(expected):
                return
        raise InputError(f"frame {index} is not where its packets say")

    def _frames_from(self, pts: int) -> Iterator[Frame]:
        stream: Any = self.videos[0]
        return self.frames_from(stream.index, float(pts * stream.time_base))
