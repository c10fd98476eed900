"""What is named by no path: cameras and addresses of streams."""

import re
from dataclasses import dataclass
from pathlib import Path

REAL_TIME = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "rtp", "tcp", "srt")  # whatever comes, comes as it happens
WEB = ("http", "https")
MUXERS = {
    "rtsp": "rtsp", "rtsps": "rtsp", "rtmp": "flv", "rtmps": "flv", "udp": "mpegts", "rtp": "rtp_mpegts",
    "tcp": "mpegts", "srt": "mpegts",
}  # fmt: skip
_ADDRESS = re.compile(rf"(?P<scheme>{'|'.join((*REAL_TIME, *WEB))})://\S+", re.IGNORECASE)
_CAMERA = re.compile(r"camera:(\d{1,3})")
_SECRET = re.compile(r"(?<=://)([^/:\s]*:)[^/\s]*(?=@)")


@dataclass(frozen=True)
class Address:
    """camera: its number, as the system counts them; else text is a URL."""

    text: str
    camera: int | None = None

    def __str__(self) -> str:
        """Without a password, for the person and for records."""
        return _SECRET.sub(r"\1***", self.text)

    @property
    def scheme(self) -> str:
        return self.text.partition(":")[0].lower()

    @property
    def is_real_time(self) -> bool:
        """Whether pictures come when they are taken, so that none can be asked for later."""
        return self.camera is not None or self.scheme in REAL_TIME

    @property
    def file_name(self) -> Path:
        """A name for files that are made of it."""
        place = _SECRET.sub("", self.text).partition("://")[2].rpartition("@")[2].partition("?")[0]
        return Path(re.sub(r"[^\w.-]+", "-", place or self.text).strip("-.") or "stream")


def parse_address(text: str) -> Address | None:
    """From camera:0 or a URL; None for what is none, such as a path."""
    if camera := _CAMERA.fullmatch(text):
        return Address(text, int(camera[1]))
    return Address(text) if _ADDRESS.fullmatch(text) else None
