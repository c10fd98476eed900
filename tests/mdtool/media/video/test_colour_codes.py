"""Codes of colours that a stream states and that are reserved, or that can't be converted."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from cli_runner import run


def clip(path: Path, codec: str, matrix: int) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, 25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = matrix
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((72, 64), 90 + number, np.uint8), "yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("codes", [(1, 1, 65), (1, 1, 3), (141, 1, 1), (1, 243, 1)])
def test_reserved_codes_are_as_if_none_were_stated(tmp_path: Path, codes: tuple[int, int, int]) -> None:
    source, target = clip(tmp_path / "in.mpg", "mpeg2video", 1), tmp_path / "out.mkv"
    stated = b"\x00\x00\x01\xb5\x2b"  # sequence_display_extension() of MPEG-2 (ITU-T H.262, 6.2.2.4)
    data = source.read_bytes()
    assert stated + b"\1\1\1" in data
    source.write_bytes(data.replace(stated + b"\1\1\1", stated + bytes(codes)))
    outcome = run("redact", source, "-o", target, "--codec", "ffv1")
    assert outcome.code == 0, outcome.err
    with av.open(target) as container:
        [first, *others] = container.decode(video=0)
    assert len(others) == 2
    kept = [2 if code > 1 else 1 for code in codes]
    assert [first.color_primaries, first.color_trc, first.colorspace] == kept


@pytest.mark.parametrize(("code", "name"), [(8, "YCgCo"), (10, "BT.2020 with constant luminance")])
def test_a_matrix_that_can_not_be_converted_is_named(tmp_path: Path, code: int, name: str) -> None:
    source = clip(tmp_path / "in.mkv", "ffv1", code)
    outcome = run("redact", source, "-o", tmp_path / "out.mkv")
    assert (outcome.code, outcome.lines) == (
        1,
        [f"mdtool: {source}: its colours are coded as {name}, which can't be converted"],
    )
    assert not (tmp_path / "out.mkv").exists()
