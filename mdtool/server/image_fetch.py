"""Fetching images from the hosts that the server's owner lists, and from no others.

A server that fetches what strangers name is a way into the network that it stands in. So the host has to be listed, and
public unless it is listed by its own name; redirects are not followed; and time and size are bounded.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from mdtool.errors import InputError
from mdtool.network.http_client import HttpClient, HttpFailure, Limits, read_all
from mdtool.network.reach import PrivateAddress, Reach

SECONDS = 10.0  # in all
MAX_BYTES = 20_000_000


def fetch_image(url: str, hosts: Sequence[str], max_bytes: int = MAX_BYTES) -> bytes:
    """Fetch the bytes of an image.

    Args:
        url: An http or https URL.
        hosts: Those that are allowed: "name", "*.name" or "*". Addresses of private networks are refused unless the
            host itself is listed.
        max_bytes: A larger image is refused; so is one above MAX_BYTES.

    Raises:
        InputError: The host is not allowed, or does not answer with an image in time.
    """
    if not hosts:
        raise InputError("this server fetches no URLs; send it as a data URL (data:image/jpeg;base64,...)")
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError as error:
        raise InputError("its URL is not valid") from error
    if not _is_allowed(host, hosts):
        raise InputError("this server does not fetch from the host of its URL")
    # Not ended by an interruption: a server that was told to end answers what it has accepted.
    reach = Reach(host="", private=host in hosts, check=lambda: None)
    client = HttpClient(url, reach, Limits(SECONDS, SECONDS, redirects=0), proxies=False)
    try:
        with client.open(client.url, {"Accept": "image/*"}) as response:
            return read_all(response, min(max_bytes, MAX_BYTES))
    except PrivateAddress as error:
        raise InputError("this server does not fetch from private addresses") from error
    except HttpFailure as error:  # of whose network a client is not told more
        answer = "did not answer as expected" if error.status is None else f"answered with status {error.status}"
        raise InputError(f"its host {answer}") from error


def _is_allowed(host: str, hosts: Sequence[str]) -> bool:
    return any(one in ("*", host) or (one.startswith("*.") and host.endswith(one[1:])) for one in hosts if host)
