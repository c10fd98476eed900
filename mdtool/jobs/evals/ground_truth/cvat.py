"""Ground truth of CVAT: "CVAT for video 1.1", XML with a track for each object, and "CVAT for images 1.1".

Source: the formats' description in CVAT's documentation.
"""

import math
import re
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

from mdtool.errors import InputError, read_error_message
from mdtool.jobs.evals.ground_truth.truth import GroundTruth, TrueFrame, TrueObject, checked_box, stated_size

MAX_FRAMES = 10_000_000
Box = tuple[float, float, float, float]
OTHER_SHAPES = ("polygon", "mask", "ellipse", "cuboid")  # that have an area, and are not read


def read_cvat(path: Path) -> GroundTruth:
    """Read boxes of tracks. Between two boxes of a track, its box is interpolated; it ends where a box is "outside".

    A track that doesn't end goes on to the last frame of the task, or of the file if that doesn't state its size.
    Attributes are kept, and "occluded" as one of them.

    Raises:
        InputError: It can't be read, is none, or has annotations of some frames only.
    """
    root = _root(path)
    try:
        tracks = [_shapes(track) for track in root.iter("track")]
        size = next((int(one.text or "") for one in root.iterfind("./meta//size")), None)
        shown = root.find("./meta//original_size")
        picture = None if shown is None else stated_size(shown.findtext("width"), shown.findtext("height"))
        step = re.search(r"step\s*=\s*(\d+)", next((one.text or "" for one in root.iter("frame_filter")), ""))
    except (ValueError, LookupError) as error:
        raise InputError(f"{path}: not a CVAT ground truth: {_fault(error)}") from error
    if not any(tracks):
        raise InputError(f"{path}: has no boxes in tracks; export the task from CVAT as 'CVAT for video 1.1'")
    if step and int(step[1]) > 1:
        raise InputError(f"{path}: has annotations of one frame in {step[1]}; annotate every frame of the clip")
    last = max(frame for track in tracks for frame, _, _ in track)
    if size is not None and not last < size <= MAX_FRAMES:
        raise InputError(f"{path}: has a box on frame {last} of a task of {size} frames")
    length = size or last + 1
    objects: dict[int, list[TrueObject]] = defaultdict(list)
    for track in tracks:
        for frame, found in _on_each_frame(track, length):
            objects[frame].append(found)
    frames = tuple(TrueFrame(tuple(objects.get(number, ()))) for number in range(length))
    return GroundTruth(path, frames, complete=size is not None, size=picture)


def read_cvat_images(path: Path, folder: Path | None = None) -> dict[str, GroundTruth]:
    """Read boxes of still images, by the names of these; {} for a file of another kind.

    Attributes are kept, and "occluded" as one of them. Of a rotated box, the upright one around it is taken.

    Args:
        path: The file.
        folder: Of the images. Those of an exported project are in folders of its subsets there, which are then part of
            their names; without them, as in a folder that was put together by hand, the subsets are left out.

    Raises:
        InputError: It can't be read, or is damaged.
    """
    found: dict[str, GroundTruth] = {}
    try:
        for image in _root(path).iterfind("image"):
            name, subset = image.attrib["name"], image.get("subset")
            if subset and (folder is None or (folder / subset).is_dir()):
                name = f"{subset}/{name}"
            if name in found:
                raise ValueError(f"it has the image {name} twice")
            _check_shapes(image)
            objects = (_object(number, box, box) for number, box in enumerate(image.iterfind("box")))
            size = stated_size(image.get("width"), image.get("height"))
            found[name] = GroundTruth(path, (TrueFrame(tuple(objects)),), size=size)
    except (ValueError, LookupError) as error:
        raise InputError(f"{path}: not a CVAT ground truth: {_fault(error)}") from error
    return found


def _root(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except OSError as error:
        raise InputError(f"{path}: {read_error_message(error)}") from error
    except (ElementTree.ParseError, LookupError, ValueError) as error:  # the last two of its encoding
        raise InputError(f"{path}: not a CVAT ground truth: not valid XML: {error}") from error


def _check_shapes(parent: ElementTree.Element) -> None:
    """Raise ValueError for objects that would be missed, since only boxes are read."""
    if other := next((one.tag for one in parent if one.tag in OTHER_SHAPES), None):
        raise ValueError(f"it has a shape that is no box ({other}), and only boxes are read")


Shape = tuple[int, TrueObject, bool]  # the frame, from 0 on, the object, and whether it has left the picture


def _shapes(track: ElementTree.Element) -> list[Shape]:
    _check_shapes(track)
    return sorted((_shape(box, track) for box in track.iter("box")), key=lambda shape: shape[0])


def _shape(box: ElementTree.Element, track: ElementTree.Element) -> Shape:
    frame = int(box.attrib["frame"])
    if not 0 <= frame < MAX_FRAMES:
        raise ValueError(f"frame {frame}: frames count from 0")
    return frame, _object(int(track.attrib["id"]), box, track), box.get("outside") == "1"


def _object(number: int, box: ElementTree.Element, labelled: ElementTree.Element) -> TrueObject:
    """Return the object of a box; `labelled` is the element that has its label."""
    attributes = {one.attrib["name"]: (one.text or "").strip() for one in box.iter("attribute")}
    x_min, y_min, x_max, y_max = (float(box.attrib[side]) for side in ("xtl", "ytl", "xbr", "ybr"))
    return TrueObject(
        number,
        _upright(checked_box(x_min, y_min, x_max, y_max), float(box.get("rotation", 0))),
        labelled.attrib["label"],
        attributes=attributes | {"occluded": "yes" if box.get("occluded") == "1" else "no"},
    )


def _upright(box: Box, degrees: float) -> Box:
    """Return the upright box around one that is rotated about its centre."""
    if degrees == 0:
        return box
    x_min, y_min, x_max, y_max = box
    cos, sin = abs(math.cos(math.radians(degrees))), abs(math.sin(math.radians(degrees)))
    width, height = x_max - x_min, y_max - y_min
    x, y = (x_min + x_max) / 2, (y_min + y_max) / 2
    half_width, half_height = (width * cos + height * sin) / 2, (width * sin + height * cos) / 2
    return checked_box(x - half_width, y - half_height, x + half_width, y + half_height)


def _on_each_frame(track: list[Shape], length: int) -> list[tuple[int, TrueObject]]:
    """Return the object on each frame where it is in the picture."""
    found = []
    for place, (frame, shown, outside) in enumerate(track):
        following = track[place + 1] if place + 1 < len(track) else None
        end = following[0] if following else length
        for number in range(frame, end) if not outside else ():
            part = (number - frame) / (end - frame) if following and not following[2] else 0.0
            goal = following[1].box if following else shown.box
            x_min, y_min, x_max, y_max = (a + part * (b - a) for a, b in zip(shown.box, goal, strict=True))
            box = (x_min, y_min, x_max, y_max)
            found.append((number, TrueObject(shown.number, box, shown.label, attributes=shown.attributes)))
    return found


def _fault(error: Exception) -> str:
    return f"an element lacks {error}" if isinstance(error, KeyError) else str(error)
