"""From options to how a camera or stream is worked on."""

from mdtool.cli.values import positive
from mdtool.pipeline.run import Live


def checked_live(delay: str = "1", duration: str | None = None, segment: str | None = None) -> Live:
    return Live(positive("--delay", delay), positive("--duration", duration), positive("--segment", segment))
