"""Checks that true boxes lie in their pictures: those of another convention, or of other pictures, mostly don't."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from mdtool.errors import InputError
from mdtool.jobs.evals.sample import Picture, Sample
from mdtool.media.image.decode_image import decode_image

PICTURES = 32  # that are looked at, the first ones
MARGIN = 0.02  # of the picture: by which a box may leave it, as some are drawn


def check_boxes(data: Path, samples: Iterable[Sample]) -> None:
    """Check the true boxes of a set's first pictures.

    Args:
        data: What the set is called.
        samples: Of the set, in its order.

    Raises:
        InputError: Most boxes leave their pictures.
    """
    pictures: dict[str, tuple[Picture, list[Sequence[float]]]] = {}
    for sample in samples:
        if sample.picture.key not in pictures and len(pictures) == PICTURES:
            break
        pictures.setdefault(sample.picture.key, (sample.picture, []))[1].extend(_boxes_in_pixels(sample.truth))
    leaves = [leaving for picture, boxes in pictures.values() if boxes for leaving in _leaving(picture, boxes)]
    if 2 * sum(leaves) > len(leaves):
        raise InputError(
            f"{data}: {sum(leaves)} of the first {len(leaves)} true boxes leave their pictures: they are of other "
            "pictures, or two corners where a corner and a size are expected"
        )


def _boxes_in_pixels(truth: object) -> list[Sequence[float]]:
    match truth:
        case {"in_pixels": True, "boxes": [*boxes]}:
            return boxes
        case {"in_pixels": True, "box": box}:
            return [box]
    return []


def _leaving(picture: Picture, boxes: Sequence[Sequence[float]]) -> list[bool]:
    """Return of each box whether it leaves the picture; of none if that can't be read, which its samples will say."""
    try:
        height, width = decode_image(picture.read()).shape[:2]
    except (InputError, OSError):
        return []
    reach = 1 + MARGIN
    return [x_max > reach * width or y_max > reach * height for _, _, x_max, y_max in boxes]
