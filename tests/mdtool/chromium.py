"""Debian's Chromium for tests: it takes no more of the machine than it must, and ends whatever happens."""

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

EXECUTABLE = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CLOSE_SECONDS = 30
ARGUMENTS = (
    "--no-sandbox",  # it refuses to run as root with one
    "--disable-gpu",  # Debian turns GPU rasterization on, which a program has to imitate here
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-pings",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


class Chromium:
    """A running browser.

    Attributes:
        browser: Playwright's.
    """

    def __init__(self, browser: Any, pid: int) -> None:
        self.browser, self._pid = browser, pid

    def kill(self) -> None:
        """End all its processes at once; every call of Playwright that waits for one fails."""
        with suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)  # Playwright makes it the leader of a group

    @contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """Kill it if the block takes longer: many of Playwright's calls, as evaluate, have no limit of their own."""
        timer = threading.Timer(seconds, self.kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


@contextmanager
def chromium(playwright: Any, folder: Path) -> Iterator[Chromium]:
    """Run a browser until the end of the block.

    Args:
        playwright: Started.
        folder: An empty one, of the test.
    """
    assert EXECUTABLE
    launcher, noted = folder / "chromium", folder / "pid"
    launcher.write_text(f'#!/bin/sh\necho $$ > "{noted}"\nexec {_without_priority()}"{EXECUTABLE}" "$@"\n')
    launcher.chmod(0o700)
    browser = playwright.chromium.launch(executable_path=str(launcher), args=list(ARGUMENTS))
    running = Chromium(browser, int(noted.read_text()))
    try:
        yield running
        with running.limit(CLOSE_SECONDS):
            browser.close()
    finally:
        running.kill()


def _without_priority() -> str:
    """Return what keeps a command from raising its priority: as root Chromium does, and other tests stand still."""
    if hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("setpriv"):
        return "setpriv --bounding-set=-sys_nice -- "
    return ""
