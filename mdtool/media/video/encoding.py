"""Encoder settings for re-encoded video and audio: codec, quality, and the pixel format nearest to the source's."""

from dataclasses import dataclass

import av
from av.codec.codec import Capabilities

from mdtool.errors import UsageError
from mdtool.media.video.alpha import usual_codec
from mdtool.media.video.frame import has_plain_planes
from mdtool.memory import budget

DEFAULT_CODEC = "libx264"
# Codec -> default options; "crf" stands for its constant-quality option, whatever that is called.
DEFAULTS: dict[str, dict[str, str]] = {
    "libx264": {"crf": "18", "preset": "medium"},
    "libx265": {"crf": "20", "preset": "medium", "x265-params": "log-level=error"},
    "libvpx-vp9": {"crf": "24", "deadline": "good", "cpu-used": "4", "row-mt": "1"},
    "libvpx": {"crf": "10", "deadline": "good", "cpu-used": "4"},
    "libsvtav1": {"crf": "24", "preset": "8"},
    "libaom-av1": {"crf": "24", "cpu-used": "6", "row-mt": "1"},
    "mpeg2video": {"crf": "3"},
    "mpeg4": {"crf": "3"},
}
PRESETS = (  # of libx264 and libx265
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo",
)  # fmt: skip
# How many frames x264 looks ahead by default, how many more it keeps, and the bytes of a pixel of each.
X264_LOOKAHEAD = {
    "veryfast": 10, "faster": 20, "fast": 30, "medium": 40, "slow": 50, "slower": 60, "veryslow": 60, "placebo": 60,
}  # fmt: skip
X264_FRAMES, X264_BYTES, MIN_LOOKAHEAD = 15, 3, 5
QUALITY_OPTION = {"_nvenc": "cq", "_qsv": "global_quality", "_vaapi": "qp", "_amf": "qp_i", "_videotoolbox": "q"}
# Encoders of audio codecs for which FFmpeg's native one is missing or experimental.
AUDIO_ENCODERS = {"mp3": "libmp3lame", "opus": "libopus", "vorbis": "libvorbis"}


@dataclass(frozen=True)
class Encoding:
    """Settings of a video encoder.

    Attributes:
        codec: Name of an FFmpeg encoder; None for the container's default.
        crf: Constant quality, on the codec's scale; None for the default.
        preset: None for the default.
        pixel_format: None for the one nearest to the source's.
        at_once: Whether to encode with low latency (no lookahead and no B-frames), if the codec supports it.
    """

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None
    pixel_format: str | None = None
    at_once: bool = False

    def codec_for(self, container: av.container.OutputContainer, alpha: bool = False) -> str:
        """Return the name of the encoder for a container.

        Args:
            container: The output.
            alpha: Whether to prefer one that keeps alpha, if the person names none.

        Raises:
            UsageError: The encoder does not exist, or does not support the preset.
        """
        usual = usual_codec(container.format.name) if alpha else None
        codec = self.codec or usual or _default_video_codec(container)
        try:
            if av.Codec(codec, "w").type != "video":
                raise UsageError(f"--codec {codec}: not a video encoder; use libx264, for example")
        except ValueError as error:
            raise UsageError(
                f"--codec {codec}: this FFmpeg has no such encoder; --codec libx264 with .mkv always works"
            ) from error
        if codec in ("libx264", "libx265") and (self.preset or "medium") not in PRESETS:
            raise UsageError(f"--preset {self.preset}: {codec} takes {', '.join(PRESETS)}")
        return codec

    def options(self, codec: str, alpha: bool = False, pixels: int = 0) -> dict[str, str]:
        """Return the FFmpeg options of an encoder.

        Args:
            codec: Name of the encoder.
            alpha: Whether frames have alpha.
            pixels: Of a frame; x264 looks ahead less where as many frames as usual are more than half of the budget.
        """
        options = dict(DEFAULTS.get(codec, {}))
        affordable = budget() // 2 // max(1, X264_BYTES * pixels) - X264_FRAMES
        if codec == "libx264" and affordable < X264_LOOKAHEAD.get(self.preset or "medium", 0):
            options["rc-lookahead"] = str(max(MIN_LOOKAHEAD, affordable))
        if codec == "libvpx" and alpha:
            options["auto-alt-ref"] = "0"  # it refuses alpha otherwise
        if self.crf is not None:
            options["crf"] = str(self.crf)
        if self.preset is not None:
            options["preset"] = self.preset
        if self.at_once and codec in ("libx264", "libx265"):
            options["tune"] = "zerolatency"
        if "crf" in options:
            suffix = "_" + codec.rsplit("_", 1)[-1]
            if suffix in QUALITY_OPTION:
                options[QUALITY_OPTION[suffix]] = options.pop("crf")
            elif codec.startswith("mpeg"):
                options["global_quality"] = str(118 * int(options.pop("crf")))  # lambda units of FF_QP2LAMBDA
                options["flags"] = "+qscale"
        return options


def _default_video_codec(container: av.container.OutputContainer) -> str:
    if container.format.name in ("avi", "asf"):
        return "mpeg4"  # these containers have no pts, so that H.264 with B-frames would be delayed
    if DEFAULT_CODEC in container.supported_codecs or container.format.name == "mpegts":
        return DEFAULT_CODEC
    usual = {"vp9": "libvpx-vp9", "vp8": "libvpx-vp9", "theora": "libtheora", "mpeg1video": "mpeg2video"}
    return usual.get(container.default_video_codec, container.default_video_codec)


def audio_encoder(source: av.AudioCodecContext) -> str | None:
    """Return the encoder for a source's codec and sample rate; None if there is none."""
    kind = source.codec.canonical_name
    try:
        codec = av.Codec(AUDIO_ENCODERS.get(kind, kind), "w")
    except ValueError:
        return None
    takes_rate = not codec.audio_rates or source.sample_rate in codec.audio_rates
    return codec.name if takes_rate and not codec.capabilities & Capabilities.experimental else None


def pixel_format(frame: av.VideoFrame, codec: str, requested: str | None, alpha: bool = False) -> str:
    """Choose the pixel format to encode in.

    Args:
        frame: A source frame.
        codec: Name of the encoder.
        requested: The format to use, if any.
        alpha: Whether to choose one with alpha, if there is any.

    Returns:
        The requested format; else the frame's own, if the encoder supports it, else the one that loses least.

    Raises:
        UsageError: The encoder does not support the requested format.
    """
    supported = [f for f in av.Codec(codec, "w").video_formats or [] if _is_usable(codec, f)]
    names = [f.name for f in supported]
    if requested:
        if names and requested not in names:
            raise UsageError(f"--pixel-format {requested}: {codec} takes {', '.join(names)}")
        return requested
    source, even = frame.format, frame.width % 2 == 0 and frame.height % 2 == 0
    fitting = [f for f in supported if even or not _needs_even(codec, f)] or list(supported)
    with_alpha = [f for f in fitting if f.name.startswith(("yuva", "gbra"))]
    fitting = with_alpha if alpha and with_alpha else [f for f in fitting if f not in with_alpha]
    if source.name in [f.name for f in fitting] or not fitting:
        return source.name
    return min(fitting, key=lambda candidate: _loss(source, candidate)).name


def _is_usable(codec: str, layout: av.VideoFormat) -> bool:
    """Return whether frames of a format can be painted on, and encoded as what they are."""
    if codec == "mjpeg" and not layout.name.startswith("yuvj"):  # it is full range whatever is stated
        return False
    if codec == "libx265" and layout.name.startswith("yuva"):  # which needs an x265 that was built for it
        return False
    if codec == "libvpx-vp9" and layout.name.startswith(("yuva422", "yuva444", "gbrap")):  # listed, but refused
        return False
    return has_plain_planes(layout)


def _needs_even(codec: str, layout: av.VideoFormat) -> bool:
    """Return whether width and height must be even, as for subsampled chroma in H.264 and H.265."""
    return codec.startswith(("libx26", "h264", "hevc")) and layout.chroma_width(4) < 4


def _loss(source: av.VideoFormat, target: av.VideoFormat) -> tuple[int, ...]:
    """Return a sort key: loss of bit depth, colour and chroma resolution, change of range, then wasted size."""
    depth, source_depth = target.components[0].bits, source.components[0].bits
    components, source_components = len(target.components), 3 if source.has_palette else min(3, len(source.components))
    chroma = target.chroma_width(16) * target.chroma_height(16)
    source_chroma = source.chroma_width(16) * source.chroma_height(16)
    is_full_range, source_is_full_range = target.name.startswith("yuvj"), source.name.startswith("yuvj")
    return (
        max(0, source_depth - depth),
        max(0, source_components - components),
        max(0, source_chroma - chroma),
        int(is_full_range != source_is_full_range),
        int(target.is_rgb),
        depth - source_depth + chroma - source_chroma + abs(components - source_components),
    )
