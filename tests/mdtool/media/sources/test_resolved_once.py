"""FFmpeg connects to the address that was checked: a name is not looked up a second time, and led elsewhere then."""

from functools import partial

import pytest
from make_media import SAMPLES
from stream_servers import mpegts, rtsp, serve_clients

from mdtool.media.sources import live
from mdtool.media.sources.address import Address
from mdtool.network.reach import Reach

NAME = "camera.invalid"  # which no resolver knows (RFC 6761)


@pytest.mark.parametrize("scheme", ["tcp", "rtsp"])
def test_a_name_is_looked_up_once(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def names(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    monkeypatch.setattr(live, "Reach", partial(Reach, resolver=names, public=lambda address: True))
    clip = SAMPLES / "blink.mp4"
    with serve_clients(mpegts(clip) if scheme == "tcp" else rtsp(clip)) as server:
        container, _ = live.open_address(Address(f"{scheme}://{NAME}:{server.port}"))
        with container:
            assert container.streams.video
    assert set(asked) == {NAME}


@pytest.mark.parametrize(
    ("url", "pinned"),
    [
        ("rtsp://camera:8554/live?a=1#x", "rtsp://10.0.0.7:8554/live?a=1#x"),
        ("rtsp://user:camera@camera/camera", "rtsp://user:camera@10.0.0.7/camera"),
        ("tcp://[::1]:99", "tcp://10.0.0.7:99"),
        ("srt://camera:9000?streamid=#!::r=a", "srt://10.0.0.7:9000?streamid=#!::r=a"),
    ],
)
def test_the_rest_of_an_address_stays(url: str, pinned: str) -> None:
    assert Address(url).at("10.0.0.7") == pinned
    assert Address(url).at("::1") == pinned.replace("10.0.0.7", "[::1]")
