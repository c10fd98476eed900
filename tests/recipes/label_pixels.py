"""Find text labels in images."""

import cv2
import numpy as np


def is_label_visible(image: np.ndarray, words: np.ndarray) -> bool:
    """Return whether a label is somewhere in the image and nothing covers it."""
    _, _, (x, y), _ = cv2.minMaxLoc(cv2.matchTemplate(image, words, cv2.TM_SQDIFF))
    return bool((image[y : y + words.shape[0], x : x + words.shape[1]] == words).all())
