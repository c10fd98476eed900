"""libvips, configured for untrusted files."""

import logging
from functools import cache
from typing import Any


@cache
def vips() -> Any:
    """Return pyvips with its unsafe loaders blocked and its operation cache off."""
    import pyvips

    pyvips.block_untrusted_set(True)
    pyvips.cache_set_max(0)
    logging.getLogger("pyvips").setLevel(logging.CRITICAL)  # it logs what it also raises
    return pyvips


def reason(error: Exception) -> str:
    """Return the most specific line of a libvips error message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    specific = [
        line for line in lines if not line.startswith(("unable to", "source: bad seek")) and "load error" not in line
    ]
    return (specific or lines or ["it can't be read"])[0]
