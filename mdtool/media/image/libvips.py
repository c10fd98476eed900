"""libvips, configured for untrusted files."""

import atexit
import logging
from functools import cache
from threading import Lock
from typing import Any

from mdtool.errors import InputError

_one_at_a_time = Lock()  # as libvips has one buffer of messages for all threads
_configuring = Lock()


def vips() -> Any:
    """Return pyvips with its unsafe loaders blocked and its operation cache off, and without messages of before."""
    with _configuring:
        pyvips = _configured()
    if _one_at_a_time.acquire(blocking=False):  # else another thread reads them
        pyvips.vips_lib.vips_error_clear()  # what a loader got over is left there, and would be told of another image
        _one_at_a_time.release()
    return pyvips


@cache
def _configured() -> Any:
    import pyvips
    import pyvips.error

    pyvips.block_untrusted_set(True)
    pyvips.cache_set_max(0)
    logging.getLogger("pyvips").setLevel(logging.CRITICAL + 1)  # it logs what it also raises
    _log_glib(pyvips)

    def text(message: Any) -> str:
        return "" if message == pyvips.ffi.NULL else pyvips.ffi.string(message).decode("utf-8", "backslashreplace")

    # A message quotes bytes of the file. pyvips expects UTF-8, and where it finds none, it raises UnicodeDecodeError
    # and leaves the message in the process's buffer, which the next error of any other image would read again.
    pyvips.error._to_string = pyvips._to_string = text
    return pyvips


def _log_glib(pyvips: Any) -> None:
    """Have GLib log as libvips does: on sizes in a header that no image can have, it writes to stderr otherwise.

    What libvips says of its work is left to GLib, which drops it: a signal that comes while Python is called for such
    a line ends in a traceback.
    """
    glib, levels = pyvips.glib_lib, pyvips.GLogLevelFlags
    faults = levels.LEVEL_CRITICAL | levels.LEVEL_WARNING
    if pyvips._log_handler_id:
        glib.g_log_remove_handler(b"VIPS", pyvips._log_handler_id)
        pyvips._log_handler_id = None  # which pyvips would remove at exit
    for domain in (b"VIPS", b"GLib", b"GLib-GObject"):
        handler = glib.g_log_set_handler(domain, faults, pyvips._log_handler_cb, pyvips.ffi.NULL)
        atexit.register(glib.g_log_remove_handler, domain, handler)  # no Python may be called after that


def tolerant_jpeg(data: bytes) -> Any:
    """Decode a JPEG despite warnings, such as of a lost restart marker.

    Returns:
        A libvips image in memory.

    Raises:
        pyvips.Error: It is damaged, or its scan ends early, so that the rest of the image would be grey.
    """
    pyvips = vips()
    with _one_at_a_time:
        pyvips.vips_lib.vips_error_clear()
        image = pyvips.Image.jpegload_buffer(data, fail_on="error").copy_memory()
        warnings = pyvips.error._to_string(pyvips.vips_lib.vips_error_buffer())
        pyvips.vips_lib.vips_error_clear()  # or they would be told of the next image that fails
    if "premature end" in warnings:
        raise pyvips.Error("unable to read it whole", warnings)
    return image


def failure(error: Exception, where: str = "") -> Exception:
    """Return what to raise for a libvips error: the image is damaged, unless memory ran out.

    Args:
        error: The pyvips.Error.
        where: In the image, such as " at frame 3".
    """
    message = reason(error)
    return MemoryError(message) if "out of memory" in str(error) else InputError(f"damaged{where}: {message}")


def reason(error: Exception) -> str:
    """Return the most specific line of a libvips error message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    specific = [
        line for line in lines if not line.startswith(("unable to", "source: bad seek")) and "load error" not in line
    ]
    return (specific or lines or ["it can't be read"])[0]
