"""What two URLs have in common, and what of one may be shown."""

import hashlib
import re
from urllib.parse import unquote, urlsplit

WEB = ("http", "https")
PORTS = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322}

_PASSWORD = re.compile(r"(?<=://)([^/:\s]*:)[^/\s]*(?=@)")
_USER_TOKEN = re.compile(r"(?<=://)[^/:@\s]{16,}(?=@)")
_PARAMETER = re.compile(r"(?<=[?&;#])([^=?&;#\s]+)=([^&;#\s]+)")
_SECRET_NAME = re.compile("token|key|sig|secret|pass|pwd|auth|cred|session|sid|jwt|hmac|ticket|policy|streamid", re.I)
_SECRET_VALUE = re.compile(r"(?=\S*\d)(?=\S*[A-Za-z])\S{16,}")  # long, of letters and digits
_STREAM_KEY = re.compile(r"""(\brtmps?://[^\s/?#]+/[^\s?#'"]+/)([^\s/?#'"]{8,})""", re.I)


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Return scheme, host and port (RFC 6454). Raises ValueError if the port is none."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, parts.hostname, parts.port or PORTS.get(scheme)


def without_secrets(text: str) -> str:
    """Mask what gives access in the URLs of a text: passwords, tokens and signatures in queries, stream keys of RTMP.

    A few digits of its SHA-256 stand for a masked token, so that two URLs that differ in what is masked have two names.
    """
    if "://" not in text:
        return text
    text = _PASSWORD.sub(r"\1***", text)
    text = _USER_TOKEN.sub("***", text)
    text = _STREAM_KEY.sub(lambda match: match[1] + _masked(match[2]), text)
    return _PARAMETER.sub(_parameter, text)


def _parameter(match: re.Match[str]) -> str:
    name, value = match.groups()
    end = ":" if value.endswith(":") else ""  # of a message, behind the URL
    return f"{name}={_masked(value.removesuffix(end))}{end}" if _is_secret(name, value.removesuffix(end)) else match[0]


def _is_secret(name: str, value: str) -> bool:
    return bool(_SECRET_NAME.search(unquote(name)) or _SECRET_VALUE.fullmatch(value))


def _masked(secret: str) -> str:
    if re.fullmatch(r"\*\*\*[0-9a-f]{6}", secret):  # it is already
        return secret
    return f"***{hashlib.sha256(secret.encode('utf-8', 'surrogateescape')).hexdigest()[:6]}"
