"""Copied packets that the source's edit list cuts away: they must not be heard or read in the output."""

from fractions import Fraction

from mdtool.media.video.frame import Packet

# Whole packets before time 0 that an audio decoder needs to begin with: encoders put up to 2112 samples of silence
# there, as AAC of 1024 samples a packet. What is longer was recorded, and cut away.
MAX_PRIMING_PACKETS = 2


class TrimmedPackets:
    """Tells the packets that an edit list cuts away from those that prime a decoder."""

    def __init__(self) -> None:
        self._primes: dict[int, bool] = {}  # by stream: whether what is before the start primes its decoder

    def drops(self, packet: Packet) -> bool:
        """Return whether a packet is outside of what its edit list shows. Call it in order of the packets."""
        if packet.stream_index not in self._primes:
            self._primes[packet.stream_index] = self._is_priming(packet)
        is_before = packet.pts is None or packet.pts < 0
        return packet.is_discard and not (is_before and self._primes[packet.stream_index])

    @staticmethod
    def _is_priming(first: Packet) -> bool:
        if first.stream.type != "audio" or first.pts is None or not first.duration:
            return False
        return Fraction(-first.pts, first.duration) < MAX_PRIMING_PACKETS + 1
