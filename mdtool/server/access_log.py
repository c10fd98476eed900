"""The access log: a JSON object a line, without images, and without prompts unless they are wanted."""

import json
import threading
from datetime import UTC, datetime
from typing import Any, TextIO

from starlette.types import Scope

from mdtool.server.request_record import RequestRecord

STAGES = ("queue", "encode", "prefill", "decode", "time_to_first_token")


class AccessLog:
    """Writes a line for each request."""

    def __init__(self, file: TextIO | None, log_prompts: bool = False) -> None:
        """Write to an open text file.

        Args:
            file: None: nothing is written.
            log_prompts: Whether prompts and answers are written too.
        """
        self._file = file
        self._log_prompts = log_prompts
        self._lock = threading.Lock()

    def write(self, scope: Scope, record: RequestRecord, seconds: float) -> None:
        """Write the line of a request that has ended."""
        if self._file is None:
            return
        line = json.dumps(self._fields(scope, record, seconds), ensure_ascii=False) + "\n"
        with self._lock:
            try:
                self._file.write(line)
                self._file.flush()
            except (OSError, ValueError):  # stderr may be closed, a disk full: requests are answered all the same
                self._file = None

    def _fields(self, scope: Scope, record: RequestRecord, seconds: float) -> dict[str, Any]:
        timings = record.timings
        fields = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": record.request_id,
            "client": (scope.get("client") or [None])[0],
            "method": scope["method"],
            "path": record.path,
            "status": record.status,
            "seconds": round(seconds, 4),
            "model": record.model,
            "skill": record.skill,
            "images": [f"{width}x{height}" for width, height in record.images] or None,
            "prompt_tokens": record.prompt_tokens or None,
            "completion_tokens": record.completion_tokens or None,
            "finish": record.finish,
            "error": None if record.error_quotes and not self._log_prompts else record.error,
            "traceback": record.traceback,
        }
        if timings is not None:
            fields["timings"] = {name: round(getattr(timings, name), 4) for name in STAGES}
        if self._log_prompts:
            fields |= {"prompt": record.prompt, "answer": record.answer}
        return {name: value for name, value in fields.items() if value is not None}
