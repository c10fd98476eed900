"""Alpha of video frames: how it is decoded, where it can be kept, and compositing where it can't."""

from typing import Any

import av
import cv2
import numpy as np

from mdtool.media.colour import colour_planes, fill_values
from mdtool.media.video.frame import planes

# The decoders of VP8 and VP9 that decode alpha, which Matroska stores beside each picture (BlockAdditional).
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# Encoders whose alpha decoders find again, and the only muxers that hold it, if they are few.
_ALPHA_ENCODERS: dict[str, tuple[str, ...] | None] = {
    "libvpx": ("matroska", "webm"), "libvpx-vp9": ("matroska", "webm"),
    "prores_ks": None, "ffv1": None, "ffvhuff": None, "utvideo": None, "magicyuv": None, "cfhd": None,
    "png": None, "apng": None, "qtrle": None,
}  # fmt: skip
# The usual codec for video with alpha in a container.
_USUAL = {"mov": "prores_ks", "matroska": "libvpx-vp9", "webm": "libvpx-vp9"}
OPAQUE = 0.996  # of full alpha: what differs less does not show


def has_alpha(layout: av.VideoFormat) -> bool:
    """Return whether a pixel format has an alpha component."""
    return any(component.is_alpha for component in layout.components)


def opaque_format(name: str) -> str:
    """Return the planar pixel format that is the same without alpha: "yuv420p" for "yuva420p"."""
    return name.replace("yuva", "yuv", 1).replace("gbra", "gbr", 1)


def decoder_of(stream: Any) -> Any:
    """Return what decodes the packets of a video stream, alpha included: the stream itself or another decoder."""
    name = _ALPHA_DECODERS.get(stream.codec_context.name)
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    if name is None or tags.get("alpha_mode") != "1":
        return stream
    try:
        context: Any = av.CodecContext.create(name, "r")
    except ValueError:  # FFmpeg was built without libvpx
        return stream
    context.extradata = stream.codec_context.extradata
    context.thread_type = "AUTO"
    return context


def keeps_alpha(codec: str, muxer: str) -> bool:
    """Return whether alpha survives with this encoder in this container."""
    muxers = _ALPHA_ENCODERS.get(codec, ())
    return muxers is None or muxer in muxers


def usual_codec(muxer: str) -> str | None:
    """Return the encoder to choose for video with alpha in a container; None if there is none."""
    return _USUAL.get(muxer)


def is_translucent(frame: av.VideoFrame) -> bool:
    """Return whether any pixel is not opaque, which for a palette is known from its pixels only."""
    if not frame.format.has_palette and not has_alpha(frame.format):
        return False
    return bool(planes(frame.reformat(format="gbrap"))[3].min() < OPAQUE * 255)


def composited(frame: av.VideoFrame) -> av.VideoFrame:
    """Return a frame without alpha, in a planar format: its colours over black."""
    if not has_alpha(frame.format) or not frame.format.name.startswith(("yuva", "gbra")):
        deep = frame.format.components[0].bits > 8
        frame = frame.reformat(format="gbrap16le" if deep else "gbrap")
    tags: dict[str, Any] = {"src_color_range": frame.color_range, "dst_color_range": frame.color_range}
    opaque = frame.reformat(format=opaque_format(frame.format.name), **tags)
    if opaque is frame:
        raise ValueError(f"{frame.format.name} has no alpha")
    *_, alpha = planes(frame)
    top = (1 << frame.format.components[0].bits) - 1
    opaque.make_writable()
    for plane, black in zip(planes(opaque)[: colour_planes(opaque)], fill_values((0, 0, 0), opaque), strict=True):
        share = alpha
        if plane.shape != alpha.shape:
            share = np.asarray(cv2.resize(alpha, plane.shape[::-1], interpolation=cv2.INTER_AREA))
        plane[:] = np.rint(black + (plane.astype(np.float32) - black) * (share.astype(np.float32) / top))
    return opaque
