"""Interlacing, frame by frame: encoders state it for a whole stream, but a stream can hold both kinds of frames.

An encoder begins in the mode of its first frame. At the first interlaced frame it is replaced by one that codes fields,
and by another where the order of the fields changes; frames that are progressive after that are marked so in their
packets. A height that H.264 can't code as fields is coded as whole frames, which are marked as interlaced.
"""

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
from av.codec.context import Flags

from mdtool.media.video.frame import Packet, copied

FIELD_FLAGS = Flags.interlaced_dct | Flags.interlaced_me
MARKED = ("libx264", "mpeg2video")  # that need an `InterlacingEncoder`
_SWITCHED = ("libx264",)  # decoders of MPEG-2 lose a frame where a stream becomes interlaced
# Encoders that mark each frame; those that mark the whole stream. What hardware encoders do is not known.
_BY_FRAME, _BY_STREAM = (*_SWITCHED, "ffv1"), ("mpeg4", "prores_ks")
_HARDWARE = ("_nvenc", "_qsv", "_vaapi", "_amf", "_videotoolbox")
# A picture timing SEI message without clock (ITU-T H.264, D.1.3), as x264 writes it: a NAL unit of its own.
_PICTURE_TIMING = re.compile(rb"(?<=\x00\x00\x01\x06\x01\x01).(?=\x80)", re.DOTALL)
_FRAME, _TOP_FIRST, _BOTTOM_FIRST = b"\x04", b"\x32", b"\x42"  # its pic_struct: 0, 3, 4
# A picture coding extension of MPEG-2 (ITU-T H.262, 6.2.3.1) up to the byte that begins with progressive_frame.
_PICTURE_CODING = re.compile(rb"(?<=\x00\x00\x01\xb5)[\x80-\x8f].{4}", re.DOTALL)


def interlacing_loss(codec: str, interlaced: bool, *, starts_interlaced: bool, height: int, fields: bool) -> str | None:
    """Return a sentence about what an output can't say of a frame; None if it can say all.

    Args:
        codec: Name of the encoder.
        interlaced: Whether the frame is interlaced.
        starts_interlaced: Whether the first one of the stream is.
        height: Lines of a frame.
        fields: Whether fields of that height can be coded.
    """
    if interlaced and not fields:
        return f"interlaced frames encoded whole, marked as interlaced: {codec} can't code {height} lines as fields"
    if codec in _BY_FRAME or codec.endswith(_HARDWARE):
        return None
    if codec in _BY_STREAM or codec in MARKED:
        if codec in MARKED and starts_interlaced:
            return None
        kind = "interlaced" if starts_interlaced else "progressive"
        if interlaced != starts_interlaced:
            return f"all frames marked as {kind}: {codec} can't mark each frame; libx264 can"
        return None
    return f"interlacing left out: {codec} can't mark frames as interlaced; libx264 can" if interlaced else None


class InterlacingEncoder:
    """An encoder, with the interface of a codec context, that marks each frame as interlaced or progressive."""

    def __init__(
        self,
        codec: str,
        open_context: Callable[[bool], Any],
        *,
        starts_interlaced: bool,
        fields: bool,
        context: Any = None,
    ) -> None:
        """Prepare the encoder.

        Args:
            codec: Its name, libx264 or mpeg2video.
            open_context: Returns an open codec context; the argument is whether it is for interlaced frames.
            starts_interlaced: Whether the first frame of the stream is interlaced, for which its header was written.
            fields: Whether interlaced frames are coded as fields; otherwise as whole frames.
            context: A codec context for the first frame of the stream; None to open one for the first frame encoded.
        """
        self._codec = codec
        self._open_context = open_context
        self._fields = fields
        self._context = context
        self._interlaced = starts_interlaced  # whether the context is for interlaced frames
        self._top_first: bool | None = None  # of all fields that the context codes
        self._marks: dict[int, bytes] = {}  # pic_struct by pts, of frames that the encoder marks wrongly
        self._field_order = FieldOrder()

    def encode(self, frame: av.VideoFrame | None) -> Iterator[Packet]:
        """Encode a frame, or flush with None; yield the packets that are complete."""
        if frame is not None:
            yield from self._enter_mode(frame)
            frame = self._prepared(frame)
        for packet in self._context.encode(frame):
            yield self._marked(packet)

    def _enter_mode(self, frame: av.VideoFrame) -> Iterator[Packet]:
        if frame.interlaced_frame and (self._interlaced or self._codec in _SWITCHED):
            top_first = self._field_order.is_top_first(frame)
            changes_order = self._fields and self._top_first not in (None, top_first) and self._codec in _SWITCHED
            if (not self._interlaced or changes_order) and self._context is not None:
                yield from self.encode(None)
                self._context = None
            self._interlaced, self._top_first = True, top_first
        if self._context is None:
            self._context = self._open_context(self._interlaced)

    def _prepared(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return the frame as the context must see it, and note how it has to be marked."""
        if frame.interlaced_frame == (self._interlaced and self._fields) or not self._interlaced:
            return frame
        assert frame.pts is not None
        pts = round(frame.pts * Fraction(frame.time_base or 1) / self._context.time_base)
        if frame.interlaced_frame:
            self._marks[pts] = _TOP_FIRST if self._top_first else _BOTTOM_FIRST
            return frame
        self._marks[pts] = _FRAME
        # x264 would take a progressive frame as the beginning of another order of fields.
        return self._field_order.interlaced(frame, bool(self._top_first)) if self._codec in _SWITCHED else frame

    def _marked(self, packet: Packet) -> Packet:
        mark = self._marks.pop(packet.pts, None) if packet.pts is not None else None
        if mark is None:
            return packet
        data = bytes(packet)
        if self._codec == "libx264":
            return copied(packet, _PICTURE_TIMING.sub(mark, data, count=1))
        is_420 = self._context.pix_fmt == "yuv420p"
        return copied(packet, _PICTURE_CODING.sub(lambda found: _progressive(found.group(), is_420), data, count=1))


def context_options(codec: str, fields: bool, is_second: bool) -> dict[str, str]:
    """Return the options of a codec context for interlaced frames.

    Args:
        codec: Name of the encoder.
        fields: See `InterlacingEncoder`.
        is_second: Whether the stream began with progressive frames; its parameter sets must then differ from theirs.
    """
    if codec != "libx264":
        return {}
    parts = ([] if fields else ["pic-struct=1"]) + (["sps-id=1"] if is_second else [])
    return {"x264-params": ":".join(parts)} if parts else {}


def _progressive(extension: bytes, is_420: bool) -> bytes:
    """Set progressive_frame in a picture coding extension, and chroma_420_type, which equals it in 4:2:0."""
    return extension[:3] + bytes([extension[3] | is_420, extension[4] | 0x80])


class FieldOrder:
    """Reads and sets which field of a frame comes first, which PyAV does not, by FFmpeg's filters."""

    def __init__(self) -> None:
        self._graphs: dict[str, Any] = {}

    def is_top_first(self, frame: av.VideoFrame) -> bool:
        """Return whether the top field comes first, or the order is unknown."""
        graph = self._graph("select", r"not(eq(interlace_type\,BOTTOMFIRST))", frame)
        graph.push(frame)
        try:
            graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return False
        return True

    def interlaced(self, frame: av.VideoFrame, top_first: bool) -> av.VideoFrame:
        """Return the frame, marked as interlaced."""
        graph = self._graph("setfield", "tff" if top_first else "bff", frame)
        graph.push(frame)
        marked: av.VideoFrame = graph.pull()
        marked.pts, marked.time_base = frame.pts, frame.time_base
        marked.pict_type = frame.pict_type
        return marked

    def _graph(self, name: str, arguments: str, frame: av.VideoFrame) -> Any:
        """Return a graph of one filter, for frames of the format and size of this one."""
        key = f"{name}={arguments} {frame.format.name} {frame.width}x{frame.height}"
        if key not in self._graphs:
            graph: Any = av.filter.Graph()
            source = graph.add_buffer(
                width=frame.width, height=frame.height, format=frame.format.name, time_base=frame.time_base
            )
            kept, sink = graph.add(name, arguments), graph.add("buffersink")
            source.link_to(kept)
            kept.link_to(sink)
            graph.configure()
            self._graphs[key] = graph
        return self._graphs[key]
