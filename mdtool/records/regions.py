"""Regions of findings as the recipes take them: boxes, and people who look somewhere."""

from engine.contract import Box, Point
from mdtool.records.findings import Region
from recipes.gaze import Gaze


def gaze_of(region: Region) -> Gaze:
    """Return the person that a face is, with where they look as far as it is known."""
    eye = Point((region.x_min + region.x_max) / 2, (region.y_min + region.y_max) / 2)
    look = region.gaze
    target = Point(*look.target) if look and look.target else None
    in_frame, method = (look.in_frame, look.method) if look else (None, "model")
    return Gaze(region.track, box_of(region), eye, target, in_frame, method)


def box_of(region: Region) -> Box:
    """Return the region as the model's boxes are, without its track."""
    return Box(region.x_min, region.y_min, region.x_max, region.y_max, region.label, region.score)
