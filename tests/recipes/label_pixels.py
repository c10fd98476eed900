"""Finds words in pictures."""

import cv2
import numpy as np


def is_label_visible(image: np.ndarray, words: np.ndarray) -> bool:
    """Whether a plate lies somewhere in the picture, and nothing over it."""
    _, _, (x, y), _ = cv2.minMaxLoc(cv2.matchTemplate(image, words, cv2.TM_SQDIFF))
    return bool((image[y : y + words.shape[0], x : x + words.shape[1]] == words).all())
