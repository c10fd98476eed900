"""Which clips have which ground truth."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mdtool.errors import InputError, NoInputFound
from mdtool.jobs.evals.ground_truth.cvat import read_cvat, read_cvat_images
from mdtool.jobs.evals.ground_truth.mot import FRAMES_FOLDER, read_mot
from mdtool.jobs.evals.ground_truth.own_json import read_own_json
from mdtool.jobs.evals.ground_truth.truth import GroundTruth
from mdtool.jobs.evals.ground_truth.wider_face import LIST_NAME, read_wider_face
from mdtool.media.sources.inputs import is_media_file

READERS = {".json": read_own_json, ".txt": read_mot, ".xml": read_cvat}
SEQUENCE_TRUTH = Path("gt", "gt.txt")
CVAT_EXPORT = "annotations.xml"  # beside the folder "images" in what CVAT exports with images


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
        if self.truth.suffix.lower() == ".xml" and (images := read_cvat_images(self.truth)):
            return _of_image(images, self)
        return READERS.get(self.truth.suffix.lower(), read_own_json)(self.truth)


def _of_image(images: dict[str, GroundTruth], clip: Clip) -> GroundTruth:
    """Return the ground truth of one image, from those of a task or project; CVAT names it by a path."""
    named = {name.replace("\\", "/"): truth for name, truth in images.items()}
    found = {name: truth for name, truth in named.items() if name.rpartition("/")[2] == clip.media.name}
    if len(found) > 1:  # in several folders
        found = {name: truth for name, truth in found.items() if f"/{clip.media.as_posix()}".endswith(f"/{name}")}
        if len(found) != 1:
            raise InputError(f"{clip.truth}: has several images {clip.media.name}; name the folder with all of them")
    if found:
        return next(iter(found.values()))
    raise InputError(
        f"{clip.truth}: has no image {clip.media.name}; of a video, export the task from CVAT as 'CVAT for video 1.1'"
    )


@dataclass(frozen=True)
class LeftOut:
    """What a folder holds that is not evaluated, by name.

    Attributes:
        clips: Clips and images without ground truth.
        truths: Files of ground truth without a clip.
    """

    clips: Sequence[str] = ()
    truths: Sequence[str] = ()


def find_clips(source: Path, truth: Path | None = None) -> list[Clip]:
    """Return the clips that a path stands for, each with its ground truth, by name.

    Args:
        source: A clip, with its ground truth next to it (CLIP.gt.json, CLIP.gt.txt, CLIP.gt.xml); a MOT sequence; or a
            folder of either at any depth, of WIDER FACE, or of CVAT's export of images (annotations.xml, images/).
        truth: The file of one clip's ground truth, a WIDER FACE list or CVAT's boxes of images for a folder of images,
            or a folder in which the files are named after the clips.

    Raises:
        InputError: There is no such clip or folder, or a file with the ground truth of many images can't be read.
        NoInputFound: There is none.
    """
    if not source.exists():
        raise InputError(f"{source}: there is no such file or folder")
    if not source.is_dir():
        return [Clip(source.name, source, _truth_of(source, truth) or Path(f"{source}.gt.json"))]
    if truth is not None and truth.is_file():
        if truth.name.endswith(LIST_NAME):
            return list(_listed(source, truth, read_wider_face(truth)))
        if truth.suffix.lower() == ".xml" and (images := read_cvat_images(truth, source)):
            return list(_listed(source, truth, images.items()))
        return [Clip(source.name, source, truth)]
    if (source / SEQUENCE_TRUTH).is_file():
        return [Clip(source.resolve().name, source, source / SEQUENCE_TRUTH)]
    found = [*_below(source, truth)]
    for faces in sorted(source.glob(f"wider_face_split/*{LIST_NAME}")):
        folder = source / f"WIDER_{faces.name.removeprefix('wider_face_').removesuffix(LIST_NAME)}" / "images"
        found += _listed(folder, faces, read_wider_face(faces)) if folder.is_dir() else ()
    if truth is None and (source / CVAT_EXPORT).is_file():
        folder = source / "images" if (source / "images").is_dir() else source
        found += _listed(folder, source / CVAT_EXPORT, read_cvat_images(source / CVAT_EXPORT, folder).items())
    if not found:
        raise NoInputFound(
            f"{source}: no clip with ground truth next to it (NAME.gt.json, NAME.gt.txt of MOT, NAME.gt.xml of CVAT), "
            f"no MOT sequence (gt/gt.txt), no {CVAT_EXPORT} of CVAT's for images, and no WIDER FACE (wider_face_split)"
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


def _listed(images: Path, listing: Path, truths: Iterable[tuple[str, GroundTruth]]) -> Iterator[Clip]:
    """Yield the images that one file has the ground truth of, by their names below a folder."""
    seen = set[str]()
    for name, truth in truths:
        if name in seen:
            raise InputError(f"{listing}: names an image twice: {name}")
        seen.add(name)
        path = images / name
        try:
            is_inside = path.resolve().is_relative_to(images.resolve())
        except (ValueError, OSError, RuntimeError) as error:
            raise InputError(f"{listing}: names an image that can't be one: {name[:80]!r}: {error}") from error
        if not is_inside:
            raise InputError(f"{listing}: names an image outside of the folder: {name}")
        yield Clip(name, path, truth)


def left_out(source: Path, truth: Path | None, clips: Sequence[Clip]) -> LeftOut:
    """Return what is not among the clips that `find_clips` found for these paths, though it seems to be meant."""
    if not source.is_dir():
        return LeftOut()
    media = {clip.media for clip in clips}
    used = {clip.truth for clip in clips if isinstance(clip.truth, Path)}
    endings = tuple(f".gt{suffix}" for suffix in READERS)
    without, unused = [], []
    for path in sorted(source.rglob("*")):
        if path in media or path.parent.name == FRAMES_FOLDER:
            continue
        if (path / FRAMES_FOLDER).is_dir() or (is_media_file(path) and not path.is_dir()):
            without.append(str(path.relative_to(source)))
        elif truth is None and path.name.endswith(endings) and path not in used:
            unused.append(str(path.relative_to(source)))
    if truth is not None and truth.is_dir():
        truths = (path for path in sorted(truth.iterdir()) if path.suffix.lower() in READERS)
        unused += [path.name for path in truths if path not in used]
    return LeftOut(without, unused)
