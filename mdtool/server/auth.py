"""API keys."""

import hmac
from collections.abc import Mapping, Sequence

from mdtool.server.page_files import PAGE_FILES

# What says nothing about what is asked and answered. A job's id can't be guessed, so that it is the key to its files,
# which a browser downloads without headers.
PUBLIC = frozenset({"/health", "/ready", "/docs", "/openapi.json", *PAGE_FILES})
JOBS = "/v1/jobs/"


def is_public(path: str, method: str) -> bool:
    """Return whether a route needs no key."""
    return path in PUBLIC or (method == "GET" and path.startswith(JOBS))


def has_key(headers: Mapping[str, str], keys: Sequence[str]) -> bool:
    """Return whether a request has one of the keys, as a bearer token or as Moondream's client sends it.

    Every key is compared in constant time, so that the time tells nothing about them.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    given = [headers.get("x-moondream-auth", ""), token.strip() if scheme.lower() == "bearer" else ""]
    equal = [hmac.compare_digest(one.encode(), key.encode()) for one in given for key in keys]
    return any(equal)
