"""What passes between the coordinator of a batch and its workers: plain data that can be pickled.

A coordinator gives a task once, and then items; for each item come results, of which the last ends it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.contract import Request
from mdtool.jobs.batch.content_version import Version
from mdtool.jobs.batch.side_outputs import SideOutputs
from mdtool.media.sources.inputs import Input
from mdtool.pipeline.annotate import Question
from mdtool.pipeline.run import Live
from mdtool.records.findings import Moment, Verdict
from mdtool.tracking.sampling import Sampling
from mdtool.tracking.tiles import Tiles

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
    find: Question | None = None
    tiles: Tiles | None = None
    live: Live = Live()


@dataclass(frozen=True)
class Task:
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
    answered: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Known:
    """What is recorded of an item. whole: all of it is answered, for the content with this identity.

    incomplete: the record says that a part of it was missing. lacks: not all is there that is to be made beside the
    record; answers: of a picture, of which that can be made. times: seconds, of frames of a video that are answered.
    """

    identity: str
    whole: bool = False
    incomplete: bool = False
    lacks: bool = False
    answers: Answers | None = None
    times: frozenset[float] = frozenset()


@dataclass(frozen=True)
class WorkItem:
    """One input. number: counts the items from 0. always: it is asked about even if an equal one was."""

    number: int
    source: Input
    known: Known | None = None
    always: bool = False


@dataclass(frozen=True)
class Waited:
    """Seconds for which a worker waited for input. Comes several times a second while nothing else does."""

    seconds: float


@dataclass(frozen=True)
class Answered:
    """A picture, or a frame of a video: then it has a time (seconds), and does not end the item.

    place: counts what comes of one item in its order, from 0. size: width and height in pixels, upright. milliseconds:
    from when work on it began.
    """

    number: int
    version: Version
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
class FrameFound:
    """What was found in a frame of a video. Does not end the item."""

    number: int
    place: int
    version: Version
    moment: Moment
    verdict: Verdict


@dataclass(frozen=True)
class VideoAnswered:
    """All frames of a video. frames: how many were asked about, in this run or before. incomplete: what is wrong with
    the video, so that a part is missing. live: it played while it was asked about."""

    number: int
    version: Version
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
    version: Version
    place: int = 0


@dataclass(frozen=True)
class Completed:
    """What the record of the item lacked beside it was made of its answers."""

    number: int
    version: Version
    place: int = 0


@dataclass(frozen=True)
class Duplicate:
    """The picture is equal to one that was asked about. same_as: the number of that item; None: in an earlier run."""

    number: int
    version: Version
    same_as: int | None
    place: int = 0


@dataclass(frozen=True)
class Unfinished:
    """The deadline came in the midst of a video."""

    number: int
    place: int


@dataclass(frozen=True)
class StillWritten:
    """The file of a video has changed since it was read, so that it is left for later."""

    number: int
    place: int = 0


@dataclass(frozen=True)
class ItemFailed:
    """code: as in `mdtool.records.batch`. cause: in one line."""

    number: int
    code: str
    cause: str
    place: int = 0


Ending = Answered | VideoAnswered | Unchanged | Completed | Duplicate | Unfinished | StillWritten | ItemFailed
Result = Waited | FrameFailed | FrameFound | Ending
