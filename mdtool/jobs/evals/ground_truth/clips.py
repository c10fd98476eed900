"""Which clips have which ground truth."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mdtool.errors import InputError, NoInputFound
from mdtool.jobs.evals.ground_truth.cvat import read_cvat
from mdtool.jobs.evals.ground_truth.mot import FRAMES_FOLDER, read_mot
from mdtool.jobs.evals.ground_truth.own_json import read_own_json
from mdtool.jobs.evals.ground_truth.truth import GroundTruth
from mdtool.jobs.evals.ground_truth.wider_face import LIST_NAME, read_wider_face
from mdtool.media.sources.inputs import is_media_file

READERS = {".json": read_own_json, ".txt": read_mot, ".xml": read_cvat}
SEQUENCE_TRUTH = Path("gt", "gt.txt")


@dataclass(frozen=True)
class Clip:
    """A clip and its ground truth.

    Attributes:
        name: In results.
        media: A video, a still image, or the folder of a MOT sequence.
        truth: The file of the ground truth, or what was read from one with that of many.
    """

    name: str
    media: Path
    truth: Path | GroundTruth

    def read_truth(self) -> GroundTruth:
        """Read the ground truth, in the format that the file's suffix stands for: our JSON, MOT (.txt), CVAT (.xml).

        Raises:
            InputError: It can't be read.
        """
        if isinstance(self.truth, GroundTruth):
            return self.truth
        return READERS.get(self.truth.suffix.lower(), read_own_json)(self.truth)


def find_clips(source: Path, truth: Path | None = None) -> list[Clip]:
    """Return the clips that a path stands for, each with its ground truth, by name.

    Args:
        source: A clip, with its ground truth next to it (CLIP.gt.json, CLIP.gt.txt, CLIP.gt.xml); a MOT sequence; or a
            folder of either at any depth, or of WIDER FACE.
        truth: The file of one clip's ground truth, a WIDER FACE list for a folder of images, or a folder in which the
            files are named after the clips.

    Raises:
        InputError: A WIDER FACE list can't be read.
        NoInputFound: There is none.
    """
    if not source.is_dir():
        return [Clip(source.name, source, _truth_of(source, truth) or Path(f"{source}.gt.json"))]
    if truth is not None and truth.is_file():
        if truth.name.endswith(LIST_NAME):
            return list(_wider_face(source, truth))
        return [Clip(source.name, source, truth)]
    if (source / SEQUENCE_TRUTH).is_file():
        return [Clip(source.resolve().name, source, source / SEQUENCE_TRUTH)]
    found = [*_below(source, truth)]
    for faces in sorted(source.glob(f"wider_face_split/*{LIST_NAME}")):
        images = source / f"WIDER_{faces.name.removeprefix('wider_face_').removesuffix(LIST_NAME)}" / "images"
        found += _wider_face(images, faces) if images.is_dir() else ()
    if not found:
        raise NoInputFound(
            f"{source}: no clip with ground truth next to it (NAME.gt.json, NAME.gt.txt of MOT, NAME.gt.xml of CVAT), "
            "no MOT sequence (gt/gt.txt), and no WIDER FACE (wider_face_split)"
        )
    return found


def _truth_of(clip: Path, truth: Path | None) -> Path | None:
    """Return the file with a clip's ground truth."""
    if truth is not None and not truth.is_dir():
        return truth
    folder = clip.parent if truth is None else truth
    names = [f"{clip.name}.gt{suffix}" for suffix in READERS]
    if truth is not None:
        names += [f"{stem}{suffix}" for stem in (clip.name, clip.stem) for suffix in READERS]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _below(folder: Path, truth: Path | None) -> Iterator[Clip]:
    """Yield the clips and sequences below a folder that have a ground truth."""
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() and (path / SEQUENCE_TRUTH).is_file():
            yield Clip(name, path, path / SEQUENCE_TRUTH)
        elif path.parent.name != FRAMES_FOLDER and is_media_file(path) and (found := _truth_of(path, truth)):
            yield Clip(name, path, found)


def _wider_face(images: Path, faces: Path) -> Iterator[Clip]:
    for name, truth in read_wider_face(faces):
        path = images / name
        if not path.resolve().is_relative_to(images.resolve()):
            raise InputError(f"{faces}: names an image outside of the folder: {name}")
        yield Clip(name, path, truth)
