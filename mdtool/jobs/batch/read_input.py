"""Reads one input of a batch: its content's digest, and its pixels if they are needed."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from mdtool.jobs.batch.content_version import UNKNOWN, Version, state_of
from mdtool.jobs.batch.messages import Known, VideoTask, WorkItem
from mdtool.media.image.animation import is_animated
from mdtool.media.image.decode_image import read_picture
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import content_digest, is_live, live_picture, picture_bytes, served_version


@dataclass(frozen=True, eq=False)
class Content:
    """What an input holds: a picture, with pixels (HxWx3 uint8 RGB, upright); a video, of which no frame was read yet;
    or neither, for it is answered already."""

    version: Version
    pixels: np.ndarray | None = None
    is_video: bool = False


def read_input(item: WorkItem, videos: VideoTask) -> Content:
    """What the input of an item holds. May be called from any thread.

    If something is to be found in videos, animations are videos; else their first picture counts. With tiles all is
    done as with videos. Raises InputError.
    """
    source = item.source
    state = state_of(source) or (None, None)
    data = picture_bytes(source)
    finds = videos.find is not None
    is_video = data is None or videos.tiles is not None or (finds and is_animated(data))
    version = Version(hashlib.sha256(data).hexdigest(), *state) if data else _version_of_video(source, state)
    if item.known and _holds(item.known, version, is_video):
        return Content(version)
    if data is None and is_live(source):
        return Content(UNKNOWN, None if finds else live_picture(source), is_video=finds)
    if is_video:
        return Content(version, is_video=True)
    assert data is not None
    return Content(version, read_picture(data))


def changed(version: Version, source: Input) -> Version:
    """The version of a file that was changed on purpose."""
    assert source.path
    size, modified = state_of(source) or (None, None)
    digest = hashlib.sha256(source.path.read_bytes()).hexdigest()
    return replace(version, sha256=digest, size=size, modified=modified)


def _holds(known: Known, version: Version, is_video: bool) -> bool:
    """Whether what is recorded is all there is to say of this content."""
    cut_off = known.incomplete and version.served  # perhaps by the network
    is_same = known.whole and known.identity == version.identity != ""
    return is_same and not cut_off and not (is_video and known.lacks)


def _version_of_video(source: Input, state: tuple[int | None, int | None]) -> Version:
    if source.address:
        return Version("", served=served_version(source.address))
    if source.path is None:
        return UNKNOWN
    return Version(content_digest(source), *state)
