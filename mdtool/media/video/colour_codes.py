"""Codes of primaries, transfer and matrix that frames state (ITU-T H.273, 8.1 to 8.3)."""

import av

from mdtool.errors import InputError

RGB, BT709, UNSPECIFIED, BT601 = 0, 1, 2, 6  # of matrices; BT709 and UNSPECIFIED are the same of all three
_PRIMARIES = {1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 22}
_TRANSFERS = {1, 2, *range(4, 19)}
_MATRICES = {0, 1, 2, 4, 5, 6, 7, 9}
_OTHER_MATRICES = {
    **{8: "YCgCo", 10: "BT.2020 with constant luminance", 11: "Y'D'zD'x"},
    **{12: "a chromaticity-derived matrix", 13: "a chromaticity-derived matrix"},
    **{14: "ICtCp", 15: "IPT-C2", 16: "YCgCo-Re", 17: "YCgCo-Ro"},
}


def check_colour_codes(frame: av.VideoFrame) -> None:
    """Make reserved codes of a frame unspecified: they are damage, and FFmpeg's scaler and encoders refuse them.

    Raises:
        InputError: The matrix is one that the scaler can't convert.
    """
    if name := _OTHER_MATRICES.get(int(frame.colorspace)):
        raise InputError(f"its colours are coded as {name}, which can't be converted")
    if frame.colorspace not in _MATRICES:
        frame.colorspace = UNSPECIFIED
    if frame.color_primaries not in _PRIMARIES:
        frame.color_primaries = UNSPECIFIED
    if frame.color_trc not in _TRANSFERS:
        frame.color_trc = UNSPECIFIED
