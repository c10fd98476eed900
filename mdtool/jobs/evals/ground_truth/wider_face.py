"""Ground truth of WIDER FACE: a file with the faces of many still images.

Source: Yang et al., "WIDER FACE: A Face Detection Benchmark", 2016, and the readme.txt of its annotations.
"""

from collections.abc import Iterator
from pathlib import Path

from mdtool.errors import InputError, read_error_message
from mdtool.jobs.evals.ground_truth.truth import GroundTruth, TrueFrame, TrueObject, checked_box

LIST_NAME = "_bbx_gt.txt"  # how the names of such files end
VALUES = {  # by the place of their number in a line
    4: ("blur", ("clear", "normal", "heavy")),
    5: ("expression", ("typical", "exaggerated")),
    6: ("illumination", ("normal", "extreme")),
    8: ("occlusion", ("none", "partial", "heavy")),
    9: ("pose", ("typical", "atypical")),
}
INVALID = 7  # the place of the mark of faces that do not count


def read_wider_face(path: Path) -> Iterator[tuple[str, GroundTruth]]:
    """Yield the images of a file, by their path below the folder of images, each with its faces.

    Faces that are marked as invalid, or have no area, are ignored.

    Raises:
        InputError: It can't be read, or is none.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{path}: {read_error_message(error)}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a WIDER FACE list: not UTF-8 text") from error
    place = 0
    while place < len(lines):
        name = lines[place].strip()
        if not name:
            place += 1
            continue
        try:
            count = int(lines[place + 1])
            rows = lines[place + 2 : place + 2 + max(count, 1)]  # an image without faces has a line of zeros
            if count < 0 or len(rows) < count:
                raise ValueError(f"{name} has {len(rows)} faces of {count}")
            faces = [_face(number, row) for number, row in enumerate(rows[:count], 1)]
        except (ValueError, IndexError) as error:
            raise InputError(f"{path}: not a WIDER FACE list: at line {place + 1}: {error}") from error
        yield name, GroundTruth(path, (TrueFrame(tuple(face for face in faces if face)),))
        zeros = count == 0 and any(row.replace(" ", "").isdigit() for row in rows)  # some lists leave them out
        place += 2 + count + zeros


def _face(number: int, row: str) -> TrueObject | None:
    """Return a face, or None for one without area."""
    values = [int(value) for value in row.split()]
    if len(values) < 4:
        raise ValueError(f"a face has less than four numbers: {row.strip()!r}")
    x, y, width, height = values[:4]
    if width <= 0 or height <= 0:
        return None
    attributes = {
        name: names[values[place]]
        for place, (name, names) in VALUES.items()
        if place < len(values) and 0 <= values[place] < len(names)
    }
    return TrueObject(
        number,
        checked_box(x, y, x + width, y + height),
        attributes=attributes,
        ignored=len(values) > INVALID and values[INVALID] == 1,
    )
