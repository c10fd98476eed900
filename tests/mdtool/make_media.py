"""Small videos with known frames, timestamps, streams and tags, made by PyAV."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.frame import Frame
from PIL import Image, ImageOps

from mdtool.media.video.frame import planes

SAMPLES = Path(__file__).parents[2] / "sample_media"
SIZE = (128, 96)
FACE = (0.42, 0.13, 0.61, 0.43)  # inside the face of the portrait: x0, y0, x1, y1 in parts of its side
TICKS = Fraction(1, 90000)

ROTATION_MATRICES = {  # display matrices (ISO/IEC 14496-12): how a stored picture is turned to be shown
    "90": (0, 1, -1, 0),
    "180": (-1, 0, 0, -1),
    "270": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
}


def scenery(number: int, width: int, height: int) -> np.ndarray:
    """Return an image, HxWx3 uint8, a little different each time, which codecs preserve well."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [x * 160 // width + 3 * number, y * 160 // height + 40, (x + y) * 160 // (width + height)]
    return np.stack(planes, -1).astype(np.uint8)


def portrait(side: int) -> np.ndarray:
    """Return a face that the model detects, side x side x 3."""
    with Image.open(SAMPLES / "portrait.jpg") as photo:
        upright = ImageOps.exif_transpose(photo).convert("RGB")
    return np.asarray(ImageOps.fit(upright, (side, side)))


def subtitles(*spans: tuple[float, float]) -> bytes:
    """Return SubRip subtitles: numbered words, each from one time to another in seconds."""

    def clock(seconds: float) -> str:
        return f"00:00:{int(seconds):02},{round(seconds % 1 * 1000):03}"

    return "".join(f"{n}\n{clock(a)} --> {clock(b)}\nwords {n}\n\n" for n, (a, b) in enumerate(spans, 1)).encode()


def with_face(picture: np.ndarray, number: int = 0) -> np.ndarray:
    """Return the image with a portrait near its centre, which drifts back and forth."""
    side = min(picture.shape[:2]) * 3 // 4
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2 + abs(number % 16 - 8)
    picture = picture.copy()
    picture[top : top + side, left : left + side] = portrait(side)[:, : picture.shape[1] - left]
    return picture


def is_face_visible(frame: Any) -> bool:
    """Return whether a frame made with a face shows anything of it but black."""
    luma = planes(frame)[0]
    side = min(luma.shape) * 3 // 4
    top, left = (luma.shape[0] - side) // 2, (luma.shape[1] - side) // 2
    x0, y0, x1, y1 = FACE
    face = luma[top + round(y0 * side) : top + round(y1 * side), left + 8 + round(x0 * side) : left + round(x1 * side)]
    return bool((face > 45).mean() > 0.02)


def add_video(
    container: Any,
    codec: str = "libx264",
    size: tuple[int, int] = SIZE,
    rate: Fraction | int = 30,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    **tags: Any,
) -> Any:
    """Add a video stream; tags: attributes of its codec context."""
    quick = {"preset": "ultrafast", "crf": "12"} if codec.startswith("libx26") else {}
    quick |= {"x265-params": "log-level=none"} if codec == "libx265" else {}
    stream = container.add_stream(codec, rate, options=quick | (options or {}))
    stream.codec_context.width, stream.codec_context.height = size
    stream.codec_context.pix_fmt = pix_fmt
    if codec not in ("mpeg4", "mpeg2video", "mjpeg"):  # those want the time of one frame
        stream.codec_context.time_base = TICKS
    for name, value in tags.items():
        setattr(stream.codec_context, name, value)
    return stream


def pictures(stream: Any, times: Iterable[Fraction], face: bool = False, time_base: Fraction = TICKS) -> list[Any]:
    """Yield the packets of the stream with a frame at each time, in seconds."""
    packets: list[Any] = []
    for number, time in enumerate(times):
        pixels = scenery(number, stream.codec_context.width, stream.codec_context.height)
        frame = av.VideoFrame.from_ndarray(with_face(pixels, number) if face else pixels, "rgb24")
        frame = frame.reformat(format=stream.codec_context.pix_fmt)
        frame.pts, frame.time_base = round(time / time_base), time_base
        packets += stream.encode(frame)
    return [*packets, *stream.encode(None)]


def constant_rate_times(count: int, rate: Fraction | int = 30, start: Fraction | int = 0) -> list[Fraction]:
    return [Fraction(start) + Fraction(number) / rate for number in range(count)]


def sound(stream: Any, seconds: float, pitch: int = 440) -> list[Any]:
    packets: list[Any] = []
    rate = stream.codec_context.sample_rate
    layout, form = stream.codec_context.layout.name, stream.codec_context.format.name
    wave = np.sin(np.arange(round(seconds * rate)) * pitch * 2 * np.pi / rate).astype(np.float32) / 2
    chunk = stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(form, layout, rate)
    for at in range(0, len(wave), chunk):
        frame = av.AudioFrame.from_ndarray(wave[None, at : at + chunk], "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
        for fitted in resampler.resample(frame):
            packets += stream.encode(fitted)
    return [*packets, *stream.encode(None)]


def mux(container: Any, packets: Iterable[Any]) -> None:
    """Mux packets in the order of their timestamps."""
    container.mux(sorted(packets, key=lambda p: Fraction(p.dts or 0) * p.time_base))


def make_video(
    path: Path,
    times: Sequence[Fraction] | int = 12,
    face: bool = False,
    with_sound: bool = False,
    options: dict[str, str] | None = None,
    matrix: Sequence[int] | None = None,
    format: str | None = None,
    **video: Any,
) -> Path:
    """Write a video stream, optionally with a face, and a tone as audio; options: of the container."""
    rate = video.get("rate", 30)
    times = constant_rate_times(times, rate) if isinstance(times, int) else times
    with av.open(f"file:{path}", "w", format=format, container_options=options or {}) as container:
        stream = add_video(container, **video)
        if matrix:
            a, b, c, d = (v << 16 for v in matrix)
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        tone: Any = container.add_stream("aac", 48000) if with_sound else None
        packets = pictures(stream, times, face)
        mux(container, packets + (sound(tone, float(max(times) - min(times)) + 0.04) if tone else []))
    return path


def time_of(timed: "Frame | av.Packet[Any]") -> Fraction:
    """The time stamp in seconds."""
    assert timed.pts is not None
    assert timed.time_base is not None
    return timed.pts * timed.time_base


def packets_of(path: Path | str, kind: str) -> dict[int, list[tuple[Fraction, bytes]]]:
    """Return (time in seconds, bytes) of every packet, by the index of its stream among those of its type."""
    with av.open(str(path), metadata_errors="replace") as container:
        streams = [s for s in container.streams if s.type == kind]
        found: dict[int, list[tuple[Fraction, bytes]]] = {place: [] for place in range(len(streams))}
        for packet in container.demux(*streams) if streams else ():
            if packet.size:
                found[streams.index(packet.stream)].append((time_of(packet), bytes(packet)))
    return found


def overwrite_packet(path: Path, number: int, *, in_half: bool) -> None:
    """Overwrite a video packet in a file that holds it in one piece, or only its second half."""
    with av.open(str(path)) as container:
        data = next(bytes(each) for place, each in enumerate(container.demux(video=0)) if place == number)
    kept = len(data) // 2 if in_half else 0
    damage = np.random.default_rng(0).bytes(len(data) - kept) if in_half else b"\xff" * len(data)
    content = path.read_bytes()
    assert content.count(data) == 1
    path.write_bytes(content.replace(data, data[:kept] + damage))


def frames_of(path: Path | str, place: int = 0) -> list[Any]:
    with av.open(str(path), metadata_errors="replace") as container:
        return list(container.decode(container.streams.video[place]))


def times_of(path: Path | str, place: int = 0) -> list[Fraction]:
    return [time_of(frame) for frame in frames_of(path, place)]


def psnr(one: Any, other: Any) -> float:
    """Return the PSNR in dB of two decoded frames, in the pixel format of the first."""
    pairs = zip(planes(one), planes(other.reformat(format=one.format.name)), strict=True)
    worst = max(float(((a.astype(float) - b) ** 2).mean()) for a, b in pairs)
    top = (1 << one.format.components[0].bits) - 1
    return float(10 * np.log10(top**2 / max(worst, 1e-9)))
