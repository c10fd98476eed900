"""libvips, made safe for files from strangers."""

import logging
from functools import cache
from typing import Any


@cache
def vips() -> Any:
    """pyvips, with the loaders switched off that aren't safe on files from strangers, and no cache of old photos."""
    import pyvips

    pyvips.block_untrusted_set(True)
    pyvips.cache_set_max(0)
    logging.getLogger("pyvips").setLevel(logging.CRITICAL)  # it says each thing twice; we raise what matters
    return pyvips


def reason(error: Exception) -> str:
    """The line of libvips's message that tells most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [
        line for line in lines if not line.startswith(("unable to", "source: bad seek")) and "load error" not in line
    ]
    return (told or lines or ["it can't be read"])[0]
