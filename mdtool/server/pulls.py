"""Downloads of published models that are asked for over HTTP: each model once at a time, whoever asks."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.catalog import hub
from engine.catalog.published import PublishedModel
from mdtool.jobs.each_input import error_message


@dataclass(eq=False)
class Pull:
    """A download.

    Attributes:
        done: Bytes of the weights that are here.
        total: Bytes of all of them; 0: not yet known.
        error: Why it failed, in one line.
        ended: Whether the model is here, or the download failed.
    """

    done: int = 0
    total: int = 0
    error: str = ""
    ended: bool = False

    def note(self, done: int, total: int) -> None:
        """Note how far it is."""
        self.done, self.total = done, total

    def as_dict(self) -> dict[str, Any]:
        """Return what the API says of it."""
        return {"fraction": self.done / self.total if self.total else None, "bytes": self.done, "total": self.total}


class Pulls:
    """The running downloads of a server. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        """Start with none."""
        self._running: dict[str, Pull] = {}

    def is_running(self, name: str) -> bool:
        """Return whether a model is downloaded now."""
        running = self._running.get(name)
        return running is not None and not running.ended

    def start(self, model: PublishedModel, then: Callable[[], object]) -> Pull:
        """Download a model in a thread of its own, unless that is under way; return the download.

        Args:
            model: The model.
            then: Called in that thread once the model is here. What it raises makes the download fail.
        """
        if not self.is_running(model.name):
            running = self._running[model.name] = Pull()
            # The process may end at any time: what has arrived is kept, and the next pull goes on from there.
            threading.Thread(target=_work, args=[running, model, then], name=f"pull {model.name}", daemon=True).start()
        return self._running[model.name]


def _work(running: Pull, model: PublishedModel, then: Callable[[], object]) -> None:
    try:
        hub.pull(model, running.note)
        then()
    except Exception as error:  # whatever it is, who waits for it is told
        running.error = error_message(error)
    finally:
        running.ended = True
