"""What passes between the coordinator of a batch and its workers: plain data that can be pickled.

A coordinator gives a task once, and then items; for each item come results, of which the last ends it.
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
    """What is asked about a video: which frames, between which times (seconds).

    find: what is found in all of its frames instead, so that there are findings and not records of frames; tiles: how
    pictures are cut for that, photos too. live: how it is done with what plays now.
    """

    sampling: Sampling = Sampling()
    start: float | None = None
    end: float | None = None
    find: AnalysisRequest | None = None
    tiles: TileGrid | None = None
    live: LiveSettings = LiveSettings()


@dataclass(frozen=True)
class BatchTask:
    """What workers do with every item. requests: without their image.

    timeout: seconds that reading an input, or a frame of it, may take. deadline: on the clock of `time.time`, after
    which no other frame is begun. watch: files may be changing; videos that are are left for later. dedupe: equal
    pictures are asked about once; answered: digests of such as are answered already.
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
    """What is recorded of an item. whole: all of it is answered, for the content with this identity.

    incomplete: the record says that a part of it was missing. lacks: not all is there that is to be made beside the
    record; answers: of a picture, of which that can be made. times: seconds, of frames of a video that are answered.
    """

    identity: str
    whole: bool = False
    incomplete: bool = False
    lacks_side_outputs: bool = False
    answers: Answers | None = None
    times: frozenset[float] = frozenset()


@dataclass(frozen=True)
class WorkItem:
    """One input. number: counts the items from 0. always: it is asked about even if an equal one was."""

    number: int
    source: Input
    prior: PriorResult | None = None
    force: bool = False


@dataclass(frozen=True)
class InputWait:
    """Seconds for which a worker waited for input. Comes several times a second while nothing else does."""

    seconds: float


@dataclass(frozen=True)
class ImageResult:
    """A picture, or a frame of a video: then it has a time (seconds), and does not end the item.

    place: counts what comes of one item in its order, from 0. size: width and height in pixels, upright. milliseconds:
    from when work on it began.
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
    """A frame that gives no record. Does not end the item, which will fail."""

    number: int
    place: int


@dataclass(frozen=True)
class FrameResult:
    """What was found in a frame of a video. Does not end the item."""

    number: int
    place: int
    version: ContentVersion
    info: FrameInfo
    findings: FrameFindings


@dataclass(frozen=True)
class VideoResult:
    """All frames of a video. frames: how many were asked about, in this run or before. incomplete: what is wrong with
    the video, so that a part is missing. live: it played while it was asked about."""

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
    """The item has the content that its record is of, and lacks nothing."""

    number: int
    version: ContentVersion
    place: int = 0


@dataclass(frozen=True)
class AddedSideOutputs:
    """What the record of the item lacked beside it was made of its answers."""

    number: int
    version: ContentVersion
    place: int = 0


@dataclass(frozen=True)
class Duplicate:
    """The picture is equal to one that was asked about. same_as: the number of that item; None: in an earlier run."""

    number: int
    version: ContentVersion
    same_as: int | None
    place: int = 0


@dataclass(frozen=True)
class DeadlineReached:
    """The deadline came in the midst of a video."""

    number: int
    place: int


@dataclass(frozen=True)
class FileStillChanging:
    """The file of a video has changed since it was read, so that it is left for later."""

    number: int
    place: int = 0


@dataclass(frozen=True)
class ItemFailed:
    """code: as in `mdtool.records.schemas`. cause: in one line."""

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
Result = InputWait | FrameFailed | FrameResult | Ending
