"""Reads one input of a batch: its content's digest, and its pixels if they are needed."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from mdtool.jobs.batch.content_version import UNKNOWN, ContentVersion, file_state
from mdtool.jobs.batch.messages import PriorResult, VideoTask, WorkItem
from mdtool.media.image.animation import is_animated
from mdtool.media.image.decode_image import decode_image
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import content_digest, grab_live_image, image_bytes, is_live, served_version


@dataclass(frozen=True, eq=False)
class InputContent:
    """What an input holds: a picture, with pixels (HxWx3 uint8 RGB, upright); a video, of which no frame was read yet;
    or neither, for it is answered already."""

    version: ContentVersion
    pixels: np.ndarray | None = None
    is_video: bool = False


def read_input(item: WorkItem, videos: VideoTask) -> InputContent:
    """What the input of an item holds. May be called from any thread.

    If something is to be found in videos, animations are videos; else their first picture counts. With tiles all is
    done as with videos. Raises InputError.
    """
    source = item.source
    state = file_state(source) or (None, None)
    data = image_bytes(source)
    finds = videos.find is not None
    is_video = data is None or videos.tiles is not None or (finds and is_animated(data))
    version = ContentVersion(hashlib.sha256(data).hexdigest(), *state) if data else _version_of_video(source, state)
    if item.prior and _holds(item.prior, version, is_video):
        return InputContent(version)
    if data is None and is_live(source):
        return InputContent(UNKNOWN, None if finds else grab_live_image(source), is_video=finds)
    if is_video:
        return InputContent(version, is_video=True)
    assert data is not None
    return InputContent(version, decode_image(data))


def modified_version(version: ContentVersion, source: Input) -> ContentVersion:
    """The version of a file that was changed on purpose."""
    assert source.path
    size, modified = file_state(source) or (None, None)
    digest = hashlib.sha256(source.path.read_bytes()).hexdigest()
    return replace(version, sha256=digest, size=size, modified=modified)


def _holds(prior: PriorResult, version: ContentVersion, is_video: bool) -> bool:
    """Whether what is recorded is all there is to say of this content."""
    cut_off = prior.incomplete and version.http_validator  # perhaps by the network
    is_same = prior.whole and prior.identity == version.identity != ""
    return is_same and not cut_off and not (is_video and prior.lacks_side_outputs)


def _version_of_video(source: Input, state: tuple[int | None, int | None]) -> ContentVersion:
    if source.address:
        return ContentVersion("", http_validator=served_version(source.address))
    if source.path is None:
        return UNKNOWN
    return ContentVersion(content_digest(source), *state)
