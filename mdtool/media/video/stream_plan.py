"""What becomes of each stream of a source in an output: copied, re-encoded, kept as a tag, or left out."""

import io
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

import av
from av.stream import Disposition

from mdtool.media.video.encoding import audio_encoder
from mdtool.media.video.timecode import is_timecode, timecode_loss

AUDIO_BIT_RATE = 192_000  # bits per second
# Codecs for muxers that write others too, but so that no player finds them (or, with FLV, so that FFmpeg aborts).
READABLE = {
    "mpegts": (
        "aac", "aac_latm", "ac3", "dca", "dts", "eac3", "mp1", "mp2", "mp3", "opus", "s302m", "truehd",
        "dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle", "klv", "timed_id3",
    ),
    "flv": ("aac", "ac3", "eac3", "flac", "mp3", "opus", "speex"),
    "mpeg": ("ac3", "dts", "mp1", "mp2", "mp3", "pcm_dvd", "pcm_s16be", "dvd_subtitle"),
}  # fmt: skip
CHAPTERS = ("3g2", "3gp", "asf", "matroska", "mov", "mp4", "nut", "ogg", "webm")  # muxers that keep them
# AudioSpecificConfig of ISO/IEC 14496-3, 1.6.2.1.
AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
AAC_LAYOUTS = ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1")  # channel configurations from 1 on
# FFmpeg's profile -> factor of the output rate to the core's (SBR doubles it), and audio object type of the core.
AAC_PROFILES = {"Main": (1, 1), "LC": (1, 2), "SSR": (1, 3), "LTP": (1, 4), "HE-AAC": (2, 2), "HE-AACv2": (2, 2)}


class Action(Enum):
    """What becomes of a stream."""

    COPY = "stream copy"
    ATTACH = "attachment, copied"
    ENCODE = "re-encoded"
    TAG = "kept as the timecode tag"
    LEAVE_OUT = "left out"


@dataclass(frozen=True)
class StreamPlan:
    """What becomes of one stream, other than a video stream.

    Attributes:
        action: What is done.
        why: The reason, where it is not simply copied.
        codec: Name of the audio encoder, of one that is re-encoded.
        bit_rate: Of a re-encoded one, in bits per second.
        extradata: The decoder's configuration, of a copied one whose source has none.
    """

    action: Action
    why: str = ""
    codec: str = ""
    bit_rate: int = AUDIO_BIT_RATE
    extradata: bytes | None = None

    def __str__(self) -> str:
        text = f"{self.action.value} as {self.codec}" if self.codec else self.action.value
        return f"{text}: {self.why}" if self.why else text


def plan_stream(
    source: Any, muxer: str, *, keep_metadata: bool, is_edited: bool = False, piped: bool = False
) -> StreamPlan:
    """Return what becomes of a stream of a source.

    Args:
        source: The stream, as PyAV describes it.
        muxer: The output's container format, by FFmpeg's name.
        keep_metadata: Whether tags and data streams are copied.
        is_edited: Whether parts of the video are cut or muted.
        piped: Whether the output is a pipe.
    """
    if source.disposition & Disposition.attached_pic:
        return _left_out("it is cover art, which may show what is masked in the video")
    if source.type == "attachment":
        return StreamPlan(Action.ATTACH) if muxer == "matroska" else _left_out(f"{muxer} can't hold it")
    if source.type not in ("audio", "subtitle") and not keep_metadata:
        return _left_out("it may hold place and time of recording; --keep-metadata copies it")
    if is_timecode(source):
        loss = timecode_loss(source.metadata["timecode"], muxer, source.container.streams.video[0])
        return _left_out(loss) if loss else StreamPlan(Action.TAG)
    if is_edited and source.type == "audio":
        return _edited(source, muxer)
    if not _holds(muxer, source):
        return _substitute(source, muxer, f"{muxer} can't hold {_codec_name(source)}")
    if piped and muxer == "matroska" and _is_adts(source):  # in a file the muxer adds it at the end
        config = _audio_specific_config(source.codec_context)
        if config is None and source.codec_context.sample_rate:
            layout = source.codec_context.layout.name
            return _substitute(source, muxer, f"AAC with layout {layout} can't be copied into a pipe")
        return StreamPlan(Action.COPY, extradata=config)
    return StreamPlan(Action.COPY)


def _left_out(why: str) -> StreamPlan:
    return StreamPlan(Action.LEAVE_OUT, why)


def _codec_name(source: Any) -> str:
    if source.codec_context:
        return str(source.codec_context.codec.canonical_name)
    return str(getattr(source, "name", None) or "an unknown codec")  # FFmpeg doesn't know the spatial audio of phones


def _edited(source: Any, muxer: str) -> StreamPlan:
    """Re-encode audio that is muted or cut with its own codec, if there is an encoder that the container takes."""
    if source.codec_context is None:
        return _left_out("it can't be decoded, so it can't be edited")
    why, own = "parts of it were muted or cut", audio_encoder(source.codec_context)
    if own and _takes(muxer, own):
        rate = max(source.codec_context.bit_rate or 0, AUDIO_BIT_RATE)
        return StreamPlan(Action.ENCODE, why, own, rate)
    return StreamPlan(Action.ENCODE, why, _default_audio_codec(muxer))


def _substitute(source: Any, muxer: str, why: str) -> StreamPlan:
    """Re-encode an audio stream that can't be copied; leave out any other."""
    codec = _default_audio_codec(muxer)
    if source.type != "audio" or source.codec_context is None or not _takes(muxer, codec):
        return _left_out(why)
    return StreamPlan(Action.ENCODE, why, codec)


def _default_audio_codec(muxer: str) -> str:
    if muxer in ("webm", "ogg"):
        return "libopus"
    return {"mpeg": "mp2", "mxf": "pcm_s16le"}.get(muxer, "aac")


@cache
def _takes(muxer: str, codec: str) -> bool:
    """Return whether a container takes the audio of an encoder."""
    with av.open(io.BytesIO(), "w", format=muxer) as container:
        try:
            container.add_stream(codec, 48000)
        except ValueError:
            return False
    return True


def _holds(muxer: str, source: Any) -> bool:
    """Return whether a container can hold a copy of a stream: its muxer writes a header, and one packet of PCM."""
    if muxer in READABLE and _codec_name(source) not in READABLE[muxer]:
        return False
    container = av.open(io.BytesIO(), "w", format=muxer)
    try:
        stream = container.add_stream_from_template(source)
        if muxer == "mxf":  # it wants a video stream first
            return source.type == "audio" and _codec_name(source) in ("pcm_s16le", "pcm_s24le")
        container.start_encoding()
        if _codec_name(source).startswith("pcm_"):
            packet: Any = av.Packet(bytes(48 * source.codec_context.channels))
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, stream.time_base, 0, 0
            container.mux_one(packet)
        container.close()
    except (ValueError, OSError, av.FFmpegError):
        return False
    return True


def _is_adts(source: Any) -> bool:
    """Return whether a stream is AAC with ADTS headers, as in MPEG-TS, and so without an AudioSpecificConfig."""
    context = source.codec_context
    return bool(source.type == "audio" and context and context.name == "aac" and not context.extradata)


def _audio_specific_config(context: Any) -> bytes | None:
    """Return the AudioSpecificConfig (ISO/IEC 14496-3) of an ADTS stream, which Matroska needs in its header.

    None if profile, sample rate or channel layout can't be expressed in it.
    """
    factor, object_type = AAC_PROFILES.get(context.profile or "", (1, 0))
    rate = context.sample_rate // factor
    layout = "mono" if context.profile == "HE-AACv2" else context.layout.name
    if not object_type or rate not in AAC_RATES or layout not in AAC_LAYOUTS:
        return None
    channels = AAC_LAYOUTS.index(layout) + 1
    return (object_type << 11 | AAC_RATES.index(rate) << 7 | channels << 3).to_bytes(2, "big")
