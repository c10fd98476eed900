"""Whether the server takes requests, and how many it has accepted."""

import asyncio


class Lifecycle:
    """The accepted requests of a server, and its end. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        """Start without requests."""
        self.active = 0
        self.draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    def begin(self) -> None:
        """Count a request that was accepted."""
        self.active += 1
        self._idle.clear()

    def end(self) -> None:
        """Count a request as ended."""
        self.active -= 1
        if not self.active:
            self._idle.set()

    async def drained(self, timeout: float) -> bool:
        """Refuse new requests and wait for those accepted; return whether all have ended within these seconds."""
        self.draining = True
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True
