"""Inputs and outputs that are not files: cameras and URLs."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mdtool.network.urls import WEB, without_secrets

REAL_TIME = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "rtp", "tcp", "srt")  # protocols of live streams
OBJECT_STORES = {"s3": "s3fs", "gs": "gcsfs"}  # and the package that reads them
MUXERS = {
    "rtsp": "rtsp", "rtsps": "rtsp", "rtmp": "flv", "rtmps": "flv", "udp": "mpegts", "rtp": "rtp_mpegts",
    "tcp": "mpegts", "srt": "mpegts",
}  # fmt: skip
_ADDRESS = re.compile(rf"(?P<scheme>{'|'.join((*REAL_TIME, *WEB, *OBJECT_STORES))})://\S+", re.IGNORECASE)
_CAMERA = re.compile(r"camera:(\d{1,3})")


@dataclass(frozen=True)
class Address:
    """A camera or a URL.

    Attributes:
        text: As given on the command line: "camera:N" or a URL.
        camera: The device number of a camera; None for a URL.
    """

    text: str
    camera: int | None = None

    def __str__(self) -> str:
        """Return the text without passwords and tokens, for messages and records."""
        return without_secrets(self.text)

    @property
    def scheme(self) -> str:
        """The URL scheme, in lower case."""
        return self.text.partition(":")[0].lower()

    @property
    def host(self) -> str:
        """The host of a URL; "" if it names none."""
        try:
            return urlsplit(self.text).hostname or ""
        except ValueError:
            return ""

    def at(self, host: str) -> str:
        """Return the URL with another host, such as the address of its own."""
        place = urlsplit(self.text).netloc
        login, at, here = place.rpartition("@")
        port = re.search(r":\d*$", here.rpartition("]")[2])
        new = f"{login}{at}{f'[{host}]' if ':' in host else host}{port[0] if port else ''}"
        return self.text.replace(f"//{place}", f"//{new}", 1)

    @property
    def is_real_time(self) -> bool:
        """Whether frames arrive as they are captured and can't be requested again."""
        return self.camera is not None or self.scheme in REAL_TIME

    @property
    def file_name(self) -> Path:
        """A file name for outputs, made from the address without its password."""
        masked = str(self)
        place = masked.partition("://")[2].rpartition("@")[2].partition("?")[0]
        return Path(re.sub(r"[^\w.-]+", "-", place or masked).strip("-.") or "stream")


def parse_address(text: str) -> Address | None:
    """Parse "camera:N" or a URL of a supported scheme; None for anything else, such as a path."""
    if camera := _CAMERA.fullmatch(text):
        return Address(text, int(camera[1]))
    return Address(text) if _ADDRESS.fullmatch(text) else None
