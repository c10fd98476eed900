"""Messages between the coordinator of a batch and its workers: plain data that can be pickled.

A coordinator sends one task, then items. A worker returns results for each item; the last one is an `Ending`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.contract import Request
from mdtool.jobs.batch.content_version import ContentVersion
from mdtool.jobs.batch.side_outputs import SideOutputs
from mdtool.media.sources.inputs import Input
from mdtool.pipeline.annotate import AnalysisRequest
from mdtool.pipeline.run import LiveSettings
from mdtool.records.findings import FrameFindings, FrameInfo
from mdtool.tracking.sampling import Sampling
from mdtool.tracking.tiles import TileGrid

Answers = list[dict[str, Any]]  # as in records


@dataclass(frozen=True)
class VideoTask:
    """How a video is analysed.

    Attributes:
        sampling: Which frames get requests.
        start: Time of the first frame, in seconds; None: the first of the video.
        end: Time to stop before, in seconds; None: the end of the video.
        find: What to detect in all frames instead; the output is then findings, not records of frames.
        tiles: Grid that images are cut into for detection, still images too.
        live: How live sources are processed.
    """

    sampling: Sampling = Sampling()
    start: float | None = None
    end: float | None = None
    find: AnalysisRequest | None = None
    tiles: TileGrid | None = None
    live: LiveSettings = LiveSettings()


@dataclass(frozen=True)
class BatchTask:
    """What workers do with every item.

    Attributes:
        requests: Requests for each image, without the image.
        videos: How videos are analysed.
        side_outputs: Files that are written for each image.
        timeout: Seconds that reading an input, or a frame of it, may take.
        deadline: On the clock of `time.time`: no other frame is started after it.
        watch: Files may still change; a video that does is left for later.
        dedupe: Run inference once on images with the same bytes.
        known_digests: With dedupe: SHA-256 of images that already have answers.
    """

    requests: Sequence[Request]
    videos: VideoTask = VideoTask()
    side_outputs: SideOutputs = SideOutputs()
    timeout: float | None = None
    deadline: float | None = None
    watch: bool = False
    dedupe: bool = False
    known_digests: frozenset[str] = frozenset()


@dataclass(frozen=True)
class PriorResult:
    """What an earlier run recorded for an item.

    Attributes:
        identity: `ContentVersion.identity` of the content that was analysed.
        whole: All of it has answers.
        incomplete: The record notes that a part of the video could not be read.
        lacks_side_outputs: Some of the requested side outputs are missing.
        answers: Answers for an image, from which side outputs can be written.
        times: Times of the frames of a video that have answers, in seconds.
    """

    identity: str
    whole: bool = False
    incomplete: bool = False
    lacks_side_outputs: bool = False
    answers: Answers | None = None
    times: frozenset[float] = frozenset()


@dataclass(frozen=True)
class WorkItem:
    """One input.

    Attributes:
        number: Index of the item, from 0.
        force: Run inference even if an image with the same bytes has answers.
    """

    number: int
    source: Input
    prior: PriorResult | None = None
    force: bool = False


@dataclass(frozen=True)
class InputWait:
    """Seconds for which a worker waited for input. Sent several times a second while there is nothing else."""

    seconds: float


@dataclass(frozen=True)
class Redone:
    """Items that were begun, and are run again since their worker was lost."""

    items: int


@dataclass(frozen=True)
class ImageResult:
    """Answers for an image, which end its item, or for a frame of a video, which don't.

    Attributes:
        number: Index of the item.
        size: Width and height in pixels, after EXIF orientation.
        milliseconds: Time from the start of work on the image.
        time: Seconds, of a frame of a video; None for an image.
        place: Index of this result among those of its item, from 0.
    """

    number: int
    version: ContentVersion
    size: tuple[int, int]
    milliseconds: float
    answers: Answers
    time: float | None = None
    place: int = 0


@dataclass(frozen=True)
class FrameFailed:
    """A frame that failed. Does not end its item, which fails later."""

    number: int
    place: int


@dataclass(frozen=True)
class FrameResult:
    """Findings of a frame of a video. Does not end its item."""

    number: int
    place: int
    version: ContentVersion
    info: FrameInfo
    findings: FrameFindings


@dataclass(frozen=True)
class VideoResult:
    """The end of a video.

    Attributes:
        frames: Number of frames that were analysed, in this run or before.
        incomplete: What is wrong with the video, if a part of it could not be read.
        live: The source was live.
    """

    number: int
    version: ContentVersion
    size: tuple[int, int]
    milliseconds: float
    place: int
    frames: int
    incomplete: str = ""
    live: bool = False


@dataclass(frozen=True)
class Unchanged:
    """The content is the one that is recorded, and nothing is missing."""

    number: int
    version: ContentVersion
    place: int = 0


@dataclass(frozen=True)
class AddedSideOutputs:
    """Missing side outputs were written from the recorded answers."""

    number: int
    version: ContentVersion
    place: int = 0


@dataclass(frozen=True)
class Duplicate:
    """The image has the same bytes as another.

    Attributes:
        same_as: Number of the other item; None: it is of an earlier run.
    """

    number: int
    version: ContentVersion
    same_as: int | None
    place: int = 0


@dataclass(frozen=True)
class DeadlineReached:
    """The deadline passed before the end of a video."""

    number: int
    place: int


@dataclass(frozen=True)
class FileStillChanging:
    """The file of a video changed after it was read, and is left for later."""

    number: int
    place: int = 0


@dataclass(frozen=True)
class ItemFailed:
    """The item failed.

    Attributes:
        code: As in `mdtool.records.schemas`.
        cause: Why, in one line.
    """

    number: int
    code: str
    cause: str
    place: int = 0


Ending = (
    ImageResult
    | VideoResult
    | Unchanged
    | AddedSideOutputs
    | Duplicate
    | DeadlineReached
    | FileStillChanging
    | ItemFailed
)
Result = InputWait | Redone | FrameFailed | FrameResult | Ending
