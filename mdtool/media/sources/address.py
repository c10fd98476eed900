"""Inputs and outputs that are not files: cameras and URLs."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

REAL_TIME = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "rtp", "tcp", "srt")  # protocols of live streams
WEB = ("http", "https")
OBJECT_STORES = {"s3": "s3fs", "gs": "gcsfs"}  # and the package that reads them
MUXERS = {
    "rtsp": "rtsp", "rtsps": "rtsp", "rtmp": "flv", "rtmps": "flv", "udp": "mpegts", "rtp": "rtp_mpegts",
    "tcp": "mpegts", "srt": "mpegts",
}  # fmt: skip
_ADDRESS = re.compile(rf"(?P<scheme>{'|'.join((*REAL_TIME, *WEB, *OBJECT_STORES))})://\S+", re.IGNORECASE)
_CAMERA = re.compile(r"camera:(\d{1,3})")
_PASSWORD = re.compile(r"(?<=://)([^/:\s]*:)[^/\s]*(?=@)")
_PARAMETER = re.compile(r"(?<=[?&;#])([^=?&;#\s]+)=([^&;#\s]+)")
_SECRET_NAME = re.compile("token|key|sig|secret|pass|pwd|auth|cred|session|sid|jwt|hmac|ticket|policy|streamid", re.I)
_STREAM_KEY = re.compile(r"""(\brtmps?://[^\s/?#]+/[^\s?#'"]+/)([^\s/?#'"]{8,})""", re.I)


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
    def is_real_time(self) -> bool:
        """Whether frames arrive as they are captured and can't be requested again."""
        return self.camera is not None or self.scheme in REAL_TIME

    @property
    def file_name(self) -> Path:
        """A file name for outputs, made from the address without its password."""
        masked = str(self)
        place = masked.partition("://")[2].rpartition("@")[2].partition("?")[0]
        return Path(re.sub(r"[^\w.-]+", "-", place or masked).strip("-.") or "stream")


def without_secrets(text: str) -> str:
    """Mask what gives access in the URLs of a text: passwords, tokens and signatures in queries, stream keys of RTMP.

    A few digits of its SHA-256 stand for a masked token, so that two URLs that differ in what is masked have two names.
    """
    if "://" not in text:
        return text
    text = _PASSWORD.sub(r"\1***", text)
    text = _STREAM_KEY.sub(lambda match: match[1] + _masked(match[2]), text)
    return _PARAMETER.sub(
        lambda match: f"{match[1]}={_masked(match[2])}" if _SECRET_NAME.search(unquote(match[1])) else match[0], text
    )


def _masked(secret: str) -> str:
    return f"***{hashlib.sha256(secret.encode('utf-8', 'surrogateescape')).hexdigest()[:6]}"


def parse_address(text: str) -> Address | None:
    """Parse "camera:N" or a URL of a supported scheme; None for anything else, such as a path."""
    if camera := _CAMERA.fullmatch(text):
        return Address(text, int(camera[1]))
    return Address(text) if _ADDRESS.fullmatch(text) else None
