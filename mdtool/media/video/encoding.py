"""How pictures and sound are encoded again: codec, quality, and a pixel format that keeps what the source has."""

from dataclasses import dataclass

import av
from av.codec.codec import Capabilities

from mdtool.errors import UsageError
from mdtool.media.video.frame import has_plain_planes

DEFAULT_CODEC = "libx264"
# Codec -> its own defaults; "crf" stands for its scale of constant quality, whatever it is called.
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
QUALITY_OPTION = {"_nvenc": "cq", "_qsv": "global_quality", "_vaapi": "qp", "_amf": "qp_i", "_videotoolbox": "q"}
# Of sound, where FFmpeg's own encoder is none, or is still on trial.
AUDIO_ENCODERS = {"mp3": "libmp3lame", "opus": "libopus", "vorbis": "libvorbis"}


@dataclass(frozen=True)
class Encoding:
    """None: the codec's default (the container's default codec, for codec).

    at_once: no picture is held back to encode it with those that come after, as far as the codec can be told.
    """

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None
    pixel_format: str | None = None
    at_once: bool = False

    def codec_for(self, container: av.container.OutputContainer) -> str:
        """The encoder to use; UsageError if there is no such one, or it does not take these settings."""
        codec = self.codec or _default_video_codec(container)
        try:
            if av.Codec(codec, "w").type != "video":
                raise UsageError(f"--codec {codec}: encodes no video; libx264 does")
        except ValueError as error:
            raise UsageError(
                f"--codec {codec}: there is no such encoder here; --codec libx264 in .mkv always is"
            ) from error
        if codec in ("libx264", "libx265") and (self.preset or "medium") not in PRESETS:
            raise UsageError(f"--preset {self.preset}: {codec} takes {', '.join(PRESETS)}")
        return codec

    def options(self, codec: str) -> dict[str, str]:
        options = dict(DEFAULTS.get(codec, {}))
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
        return "mpeg4"  # they hold no presentation times, so that H.264 comes out late
    if DEFAULT_CODEC in container.supported_codecs or container.format.name == "mpegts":
        return DEFAULT_CODEC
    usual = {"vp9": "libvpx-vp9", "vp8": "libvpx-vp9", "theora": "libtheora", "mpeg1video": "mpeg2video"}
    return usual.get(container.default_video_codec, container.default_video_codec)


def audio_encoder(source: av.AudioCodecContext) -> str | None:
    """The encoder of the codec that the source is in; None if there is none here that takes its rate."""
    kind = source.codec.canonical_name
    try:
        codec = av.Codec(AUDIO_ENCODERS.get(kind, kind), "w")
    except ValueError:
        return None
    takes_rate = not codec.audio_rates or source.sample_rate in codec.audio_rates
    return codec.name if takes_rate and not codec.capabilities & Capabilities.experimental else None


def pixel_format(picture: av.VideoFrame, codec: str, wanted: str | None) -> str:
    """The format to encode in: the picture's own if the codec takes it, else the one that loses least."""
    offered = [f for f in av.Codec(codec, "w").video_formats or [] if has_plain_planes(f)]
    names = [f.name for f in offered]
    if wanted:
        if names and wanted not in names:
            raise UsageError(f"--pixel-format {wanted}: {codec} takes {', '.join(names)}")
        return wanted
    source, even = picture.format, picture.width % 2 == 0 and picture.height % 2 == 0
    fitting = [f for f in offered if even or not _needs_even(codec, f)] or list(offered)
    if source.name in [f.name for f in fitting] or not fitting:
        return source.name
    return min(fitting, key=lambda candidate: _loss(source, candidate)).name


def _needs_even(codec: str, layout: av.VideoFormat) -> bool:
    """H.264 and H.265 can't say that a picture with shared chroma has an odd side."""
    return codec.startswith(("libx26", "h264", "hevc")) and layout.chroma_width(4) < 4


def _loss(source: av.VideoFormat, to: av.VideoFormat) -> tuple[int, ...]:
    """Smaller is better: depth lost, colour lost, colour resolution lost, range changed, then size wasted."""
    depth, wanted = to.components[0].bits, source.components[0].bits
    colours, needed = len(to.components), 3 if source.has_palette else min(3, len(source.components))
    fine = to.chroma_width(16) * to.chroma_height(16)
    wanted_fine = source.chroma_width(16) * source.chroma_height(16)
    full, needs_full = to.name.startswith("yuvj"), source.name.startswith("yuvj")
    return (
        max(0, wanted - depth),
        max(0, needed - colours),
        max(0, wanted_fine - fine),
        int(full != needs_full),
        int(to.is_rgb),
        depth - wanted + fine - wanted_fine + abs(colours - needed),
    )
