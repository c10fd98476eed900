"""Whether the server takes requests, and how many it has accepted."""

import asyncio

from mdtool.server.request_record import RequestRecord


class Lifecycle:
    """The accepted requests of a server, and its end. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        """Start without requests."""
        self.active = 0
        self.draining = False
        self._records: dict[str, RequestRecord] = {}
        self._idle = asyncio.Event()
        self._idle.set()

    def begin(self, record: RequestRecord) -> None:
        """Count a request that was accepted."""
        self.active += 1
        self._records[record.request_id] = record
        self._idle.clear()

    def end(self, record: RequestRecord) -> None:
        """Count a request as ended."""
        self.active -= 1
        if self._records.get(record.request_id) is record:  # two may have the same id
            del self._records[record.request_id]
        if not self.active:
            self._idle.set()

    def find(self, request_id: str) -> RequestRecord | None:
        """Return the record of an accepted request that has not ended; None if there is none."""
        return self._records.get(request_id)

    async def drained(self, timeout: float) -> bool:
        """Refuse new requests and wait for those accepted; return whether all have ended within these seconds."""
        self.draining = True
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
