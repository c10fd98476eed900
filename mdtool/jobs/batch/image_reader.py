"""Reads one input of a batch: its content's digest, and its pixels if they are needed."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

from mdtool.jobs.batch.results_log import Sink
from mdtool.jobs.batch.side_outputs import Beside
from mdtool.jobs.batch.work_queue import state_of
from mdtool.jobs.inference.image_input import UNKNOWN, Shot, Version
from mdtool.media.image.animation import is_animated
from mdtool.media.image.decode_image import read_picture
from mdtool.media.sources.inputs import Input
from mdtool.media.sources.open_media import content_digest, is_live, live_picture, picture_bytes, served_version


def reader(sink: Sink, beside: Beside, moving: bool, tiled: bool) -> Callable[[Input], Shot]:
    """What reads an input, in any thread. A shot without pixels has content that is done.

    moving: animations are videos; else their first picture counts. tiled: so is all else. Raises InputError.
    """

    def read(source: Input) -> Shot:
        state = state_of(source) or (None, None)
        data = picture_bytes(source)
        film = data is None or tiled or (moving and is_animated(data))
        version = Version(hashlib.sha256(data).hexdigest(), *state) if data else _version_of_film(source, state)
        entry = sink.entry(source.name)
        is_known = entry and entry.whole and entry.version.identity == version.identity != ""
        cut_off = entry and entry.incomplete and version.served  # perhaps by the network
        if entry and is_known and not cut_off and (not film or beside.is_made(entry.made)):
            return Shot(source, version=version)
        if data is None and is_live(source):
            return Shot(source, None if moving else live_picture(source), version=UNKNOWN, film=moving)
        if film:
            return Shot(source, version=version, film=True)
        assert data is not None
        return Shot(source, read_picture(data), version=version)

    return read


def read_again(shot: Shot) -> Shot:
    """The same with the version of its file as it is now, after it was changed on purpose."""
    assert shot.source.path
    state = state_of(shot.source) or (None, None)
    return replace(shot, version=Version(hashlib.sha256(shot.source.path.read_bytes()).hexdigest(), *state))


def _version_of_film(source: Input, state: tuple[int | None, int | None]) -> Version:
    if source.address:
        return Version("", served=served_version(source.address))
    if source.path is None:
        return UNKNOWN
    return Version(content_digest(source), *state)
