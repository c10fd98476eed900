"""Reads one input of a batch: the digest of its content, and its pixels if they are needed."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from mdtool.jobs.batch.content_version import UNKNOWN, ContentVersion
from mdtool.jobs.batch.messages import PriorResult, VideoTask, WorkItem
from mdtool.media.image.animation import is_animated
from mdtool.media.image.decode_image import decode_image
from mdtool.media.sources.inputs import Input, file_state
from mdtool.media.sources.open_media import content_digest, grab_live_image, image_bytes, is_live, served_version


@dataclass(frozen=True, eq=False)
class InputContent:
    """The content of an input.

    Attributes:
        version: Identifies it.
        pixels: HxWx3 uint8 RGB, after EXIF orientation; None of a video, and if the input already has answers.
        is_video: A video, none of whose frames has been read yet.
    """

    version: ContentVersion
    pixels: np.ndarray | None = None
    is_video: bool = False


def read_input(item: WorkItem, videos: VideoTask) -> InputContent:
    """Read the input of an item. May be called from any thread.

    With `videos.find` animations are videos, else their first frame stands for them. With tiles every input is
    processed as a video.

    Raises:
        InputError: It can't be read.
    """
    source = item.source
    state = file_state(source) or (None, None)
    data = image_bytes(source)
    finds = videos.find is not None
    is_video = data is None or videos.tiles is not None or (finds and is_animated(data))
    version = ContentVersion(hashlib.sha256(data).hexdigest(), *state) if data else _version_of_video(source, state)
    if item.prior and _is_done(item.prior, version, is_video):
        return InputContent(version)
    if data is None and is_live(source):
        return InputContent(UNKNOWN, None if finds else grab_live_image(source), is_video=finds)
    if is_video:
        return InputContent(version, is_video=True)
    assert data is not None
    return InputContent(version, decode_image(data))


def modified_version(version: ContentVersion, source: Input) -> ContentVersion:
    """Return the version of a file that a side output has just changed."""
    assert source.path
    size, modified = file_state(source) or (None, None)
    digest = hashlib.sha256(source.path.read_bytes()).hexdigest()
    return replace(version, sha256=digest, size=size, modified=modified)


def _is_done(prior: PriorResult, version: ContentVersion, is_video: bool) -> bool:
    """Whether the record is complete for this content, so that no pixels are needed."""
    cut_off = prior.incomplete and version.http_validator  # perhaps by a network error, so that it is tried again
    is_same = prior.whole and prior.identity == version.identity != ""
    return is_same and not cut_off and not (is_video and prior.lacks_side_outputs)


def _version_of_video(source: Input, state: tuple[int | None, int | None]) -> ContentVersion:
    if source.address:
        return ContentVersion("", http_validator=served_version(source.address))
    if source.path is None:
        return UNKNOWN
    return ContentVersion(content_digest(source), *state)
