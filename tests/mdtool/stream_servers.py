"""Local streaming servers: real protocols over real sockets, which can be interrupted or stalled."""

import contextlib
import functools
import http.server
import io
import itertools
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
from make_media import time_of

HOST = "127.0.0.1"
CLOCK = 90_000  # of RTP for video, ticks a second
MOST_PAYLOAD = 1200  # bytes of an RTP packet
PRIMING = 0.05  # seconds by which sound may begin before the pictures
PLAYING = 20.0  # seconds after which every server stops by itself


class PlaybackControl:
    """Controls whether playback continues."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.silent = threading.Event()


class Server(PlaybackControl):
    """Serves one client after another in threads. `cut` disconnects the current one."""

    def __init__(self, serve: Callable[[socket.socket, "Server"], None]) -> None:
        super().__init__()
        self._listener = socket.create_server((HOST, 0))
        self._serve = serve
        self._clients: list[socket.socket] = []
        self.served = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def cut(self) -> None:
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._thread.join(5)

    def _run(self) -> None:
        while not self.stopped.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._clients.append(client)
            self.served += 1
            threading.Thread(target=self._attend, args=(client,), daemon=True).start()

    def _attend(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            self._serve(client, self)


@contextlib.contextmanager
def serve_clients(serve: Callable[[socket.socket, Server], None]) -> Iterator[Server]:
    server = Server(serve)
    try:
        yield server
    finally:
        server.close()


def paced_packets(
    clip: Path, playback: PlaybackControl, sound: bool = False, times: int | None = None
) -> Iterator["av.Packet[Any]"]:
    """Yield the clip's video packets, and optionally audio, in a loop, each at its presentation time.

    times: number of loops; None: until stopped.
    """
    begin, shift = time.monotonic(), 0.0
    for _ in itertools.count() if times is None else range(times):
        with av.open(str(clip)) as container:
            end = 0.0
            for packet in container.demux([one for one in container.streams if sound or one.type == "video"]):
                if packet.pts is None or packet.dts is None:
                    continue
                due = shift + float(packet.dts * packet.time_base)
                while time.monotonic() - begin < due or playback.silent.is_set():
                    if playback.stopped.wait(0.005):
                        return
                if playback.stopped.is_set() or time.monotonic() - begin > PLAYING:
                    return
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                packet.pts += round(shift / packet.time_base)
                packet.dts += round(shift / packet.time_base)
                yield packet
            shift += end + (PRIMING if sound else 0)


def mpegts(*clips: Path) -> Callable[[socket.socket, Server], None]:
    """Serve the clips as one MPEG transport stream: each once, and the last in a loop."""

    def serve(client: socket.socket, server: Server) -> None:
        for clip in clips:
            send(clip, client, server, None if clip == clips[-1] else 1)

    def send(clip: Path, client: socket.socket, server: Server, times: int | None) -> None:
        out = io.BytesIO()
        with av.open(str(clip)) as source, av.open(out, "w", "mpegts") as container:
            streams = [container.add_stream_from_template(stream) for stream in source.streams]
            for packet in paced_packets(clip, server, True, times):
                packet.stream = streams[packet.stream_index]
                container.mux(packet)
                client.sendall(out.getvalue())
                out.seek(0)
                out.truncate()

    return serve


def rtsp(clip: Path) -> Callable[[socket.socket, Server], None]:
    """Serve the clip by RTSP (RFC 2326), its H.264 in RTP (RFC 6184) on the same connection."""

    def serve(client: socket.socket, server: Server) -> None:
        requests = client.makefile("rb")
        while lines := _request(requests):
            method, url, _ = lines[0].split(" ")
            headers = dict(line.split(": ", 1) for line in lines[1:])
            answer, body = "", ""
            if method == "OPTIONS":
                answer = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            elif method == "DESCRIBE":
                body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=clip\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
                body += f"a=rtpmap:96 H264/{CLOCK}\r\na=fmtp:96 packetization-mode=1\r\na=control:video\r\n"
                answer = f"Content-Base: {url}/\r\nContent-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
            elif method == "SETUP":
                answer = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
            elif method == "PLAY":
                answer = "Session: 1\r\n"
            client.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {headers['CSeq']}\r\n{answer}\r\n{body}".encode())
            if method == "PLAY":
                _play(clip, client, server)
                return

    return serve


def _request(requests: io.BufferedReader) -> list[str]:
    """Read the lines of a request; none if the client has disconnected."""
    lines = []
    while line := requests.readline().decode().strip():
        lines.append(line)
    return lines


def _play(clip: Path, client: socket.socket, server: Server) -> None:
    number, source = random.randrange(1 << 16), random.randrange(1 << 32)
    with av.open(str(clip)) as container:
        to_units = av.BitStreamFilterContext("h264_mp4toannexb", container.streams.video[0])
        for packet in paced_packets(clip, server):
            stamp = round(time_of(packet) * CLOCK) % (1 << 32)
            units = [unit for part in to_units.filter(packet) for unit in _units(bytes(part))]
            payloads = [(payload, unit is units[-1]) for unit in units for payload in _payloads(unit)]
            for place, (payload, last_unit) in enumerate(payloads):
                last = last_unit and place == len(payloads) - 1
                number = (number + 1) % (1 << 16)
                head = bytes([0x80, 96 | last << 7]) + number.to_bytes(2, "big")
                data = head + stamp.to_bytes(4, "big") + source.to_bytes(4, "big") + payload
                client.sendall(b"$\0" + len(data).to_bytes(2, "big") + data)


def _units(stream: bytes) -> list[bytes]:
    """Split a byte stream into NAL units (H.264, annex B)."""
    return [unit.rstrip(b"\0") for unit in stream.split(b"\0\0\1") if unit.strip(b"\0")]


def _payloads(unit: bytes) -> Iterator[bytes]:
    """Yield a NAL unit whole, or in fragments (FU-A)."""
    if len(unit) <= MOST_PAYLOAD:
        yield unit
        return
    kind, rest = unit[0], unit[1:]
    for start in range(0, len(rest), MOST_PAYLOAD):
        first, last = start == 0, start + MOST_PAYLOAD >= len(rest)
        yield bytes([kind & 0xE0 | 28, first << 7 | last << 6 | kind & 0x1F]) + rest[start : start + MOST_PAYLOAD]


@contextlib.contextmanager
def hls(clip: Path, folder: Path) -> Iterator[str]:
    """Return the URL of a live playlist with a sliding window (RFC 8216)."""
    options = {"hls_time": "1", "hls_list_size": "4", "hls_flags": "delete_segments+omit_endlist"}

    def write() -> None:
        playlist = str(folder / "live.m3u8")
        with av.open(str(clip)) as source, av.open(playlist, "w", "hls", options=options) as container:
            stream = container.add_stream_from_template(source.streams.video[0])
            for packet in paced_packets(clip, playback):
                packet.stream = stream
                container.mux(packet)

    playback = PlaybackControl()
    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        with web_folder(folder) as address:
            yield f"{address}/live.m3u8"
    finally:
        playback.stopped.set()
        thread.join(5)


class WebServer(http.server.ThreadingHTTPServer):
    """A web server that does not report disconnected clients, since stderr belongs to the program."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def web_folder(folder: Path) -> Iterator[str]:
    """Serve a folder and return the URL."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with WebServer((HOST, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(5)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass
