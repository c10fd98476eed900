"""Cameras and streams: what is recorded plays at the speed of life, nothing shows, and what is lost is got back."""

import itertools
import json
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runner import FAST_ENCODING, Outcome, redact, run, running_program, spawn, wait_until
from make_media import SAMPLES, frames_of, is_face_visible, make_video, overwrite_packet, packets_of, times_of
from stream_servers import Server, hls, mpegts, rtsp, serve_clients, web_folder

from mdtool.media.image.image_file import read_image
from mdtool.media.sources.address import Address, parse_address
from mdtool.media.sources.live import SILENT_SECONDS, WallClockMapper
from mdtool.media.video.frame import Frame
from mdtool.media.video.reader import VideoReader

if sys.platform != "win32":
    import resource

CLIP = SAMPLES / "crossing.mp4"
SECONDS = ("--duration", "2")
PATIENT = ("--delay", "20")  # so that every frame is judged, however slow the machine is
DARK = 40  # grey levels


def redact_live(*arguments: str | Path) -> Outcome:
    """In a process of its own, so that what serves the stream keeps its pace."""
    return spawn("redact", *FAST_ENCODING, *arguments)


def seconds_of(path: Path) -> float:
    times = times_of(path)
    return float(times[-1] - times[0])


@pytest.mark.live
@pytest.mark.parametrize("protocol", ["tcp", pytest.param("rtsp", marks=pytest.mark.slow)])
def test_a_stream_is_recorded_at_its_own_speed(tmp_path: Path, protocol: str) -> None:
    target = tmp_path / "out.mp4"
    with serve_clients(mpegts(CLIP) if protocol == "tcp" else rtsp(CLIP)) as server:
        outcome = redact_live(f"{protocol}://127.0.0.1:{server.port}/live", "-o", target, *SECONDS)
    assert outcome.code == 0, outcome.err
    assert "delay" in outcome.err
    assert seconds_of(target) == pytest.approx(2, abs=0.5)
    times = times_of(target)
    assert all(a < b for a, b in itertools.pairwise(times))


@pytest.mark.live
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("redact", "--style", "solid"), id="redact"),
        pytest.param(
            ("moderate", "-p", "face", "--action", "solid", "--margin", "0.3"), id="moderate", marks=pytest.mark.slow
        ),
    ],
)
def test_nothing_shows_of_a_face(tmp_path: Path, command: tuple[str, ...]) -> None:
    """A frame is hidden whole, or where the truth has a face on the frame of the clip that it is."""
    target = tmp_path / "out.mkv"
    with serve_clients(mpegts(CLIP)) as server:
        address = f"tcp://127.0.0.1:{server.port}"
        outcome = spawn(*command, address, "-o", target, *SECONDS, *PATIENT, "--crf", "1")
    assert outcome.code == 0, outcome.err
    clean = np.stack([frame.to_ndarray(format="gray")[::4, ::4].astype(np.int16) for frame in frames_of(CLIP)])
    truth = json.loads(Path(f"{CLIP}.gt.json").read_text())["frames"]
    faces = 0
    for frame in frames_of(target):
        picture = frame.to_ndarray(format="gray").astype(int)
        if picture.max() < DARK:
            continue
        apart = np.abs(picture[::4, ::4] - clean).reshape(len(clean), -1)
        same = int((np.median(apart, 1) + apart.mean(1)).argmin())
        for box in truth[same]["boxes"]:
            x0, y0, x1, y1 = (max(0, round(side)) for side in box["xyxy"])
            assert (picture[y0:y1, x0:x1] < DARK).mean() > 0.95
            faces += 1
    assert faces > 10


@pytest.mark.live
def test_what_is_not_judged_in_time_is_hidden_whole(tmp_path: Path) -> None:
    target = tmp_path / "out.mkv"
    with serve_clients(mpegts(CLIP)) as server:
        address = f"tcp://127.0.0.1:{server.port}"
        outcome = redact_live(
            address, "-o", target, *SECONDS, "--delay", "0.05", "--detail", "high", "--style", "solid"
        )
    assert outcome.code == 0, outcome.err
    pictures = [frame.to_ndarray(format="gray") for frame in frames_of(target)]
    assert any(picture.max() < DARK for picture in pictures)


@pytest.mark.live
def test_what_was_damaged_on_the_way_is_masked_whole(tmp_path: Path) -> None:
    source, target = tmp_path / "damaged.mp4", tmp_path / "out.mkv"
    shutil.copy(CLIP, source)
    for number in range(5, 150, 20):
        overwrite_packet(source, number, in_half=True)
    with serve_clients(mpegts(source)) as server:
        address = f"tcp://127.0.0.1:{server.port}"
        outcome = redact_live(address, "-o", target, *SECONDS, *PATIENT, "--style", "solid")
    assert outcome.code == 0, outcome.err
    masked = sum(frame.to_ndarray(format="gray").max() < DARK for frame in frames_of(target))
    assert masked > 1
    assert f"{masked} frames masked whole: damaged on the way" in outcome.err


@pytest.mark.live
@pytest.mark.slow
def test_a_stream_that_is_cut_is_got_back(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    with serve_clients(rtsp(CLIP)) as server:
        address = f"rtsp://127.0.0.1:{server.port}/live"
        with running_program("redact", address, "-o", target, "--duration", "6", "--preset", "ultrafast") as process:
            wait_until(lambda: server.served and (tmp_path / ".out.mp4.part").exists())
            time.sleep(1)
            server.cut()
            assert process.wait(40) == 0
            err = process.stderr.read().decode()
    assert "reconnected once" in err
    assert 4 < seconds_of(target) < 7


@pytest.mark.live
@pytest.mark.slow
def test_one_that_falls_silent_is_got_back(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    with serve_clients(rtsp(CLIP)) as server:
        address = f"rtsp://127.0.0.1:{server.port}/live"
        with running_program("redact", address, "-o", target, "--duration", "16", "--preset", "ultrafast") as process:
            wait_until(lambda: (tmp_path / ".out.mp4.part").exists())
            time.sleep(1)
            before = server.served
            server.silent.set()
            wait_until(lambda: server.served > before, SILENT_SECONDS + 10)
            server.silent.clear()
            assert process.wait(40) == 0
            err = process.stderr.read().decode()
    assert "reconnected once" in err
    times = times_of(target)
    assert max(b - a for a, b in itertools.pairwise(times)) > SILENT_SECONDS - 2  # the gap stays where it was
    assert seconds_of(target) == pytest.approx(16, abs=2)


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize("cut", [True, False], ids=["when it is got back", "while it plays"])
def test_one_that_changes_its_size_keeps_that_of_the_recording(tmp_path: Path, cut: bool) -> None:
    """And nothing shows of the face in either."""
    often: dict[str, Any] = {"face": True, "gop_size": 15}  # key frames: where it can be joined
    large = make_video(tmp_path / "large.mp4", 90, size=(640, 480), **often)
    small = make_video(tmp_path / "small.mp4", 60, size=(320, 240), **often)
    clips = iter([large, small])
    target = tmp_path / "out.mkv"

    def serve(client: Any, server: Server) -> None:
        (mpegts(next(clips)) if cut else mpegts(large, small))(client, server)

    with serve_clients(serve) as server:
        options = ("--duration", "5", "--preset", "ultrafast", "--style", "solid")
        with running_program("redact", f"tcp://127.0.0.1:{server.port}", "-o", target, *options) as process:
            wait_until(lambda: (tmp_path / ".out.mkv.part").exists())
            if cut:
                time.sleep(1.5)
                server.cut()
            assert process.wait(40) == 0, process.stderr.read().decode()
    assert {(frame.width, frame.height) for frame in frames_of(target)} == {(640, 480)}
    assert seconds_of(target) == pytest.approx(5, abs=1.5)
    assert not any(is_face_visible(frame) for frame in frames_of(target))


@pytest.mark.live
@pytest.mark.slow
def test_one_that_stays_away_ends_with_what_there_was(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    with serve_clients(rtsp(CLIP)) as server:
        address = f"rtsp://127.0.0.1:{server.port}/live"
        with running_program("redact", address, "-o", target, "--preset", "ultrafast") as process:
            wait_until(lambda: server.served and (tmp_path / ".out.mp4.part").exists())
            time.sleep(1.5)
            server.close()
            assert process.wait(50) == 1
            err = process.stderr.read().decode()
    assert "was lost" in err
    assert seconds_of(target) > 0.5


@pytest.mark.posix("signals to a process")
@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_segments_are_whole_when_it_is_stopped(tmp_path: Path, signum: signal.Signals) -> None:
    with serve_clients(mpegts(CLIP)) as server:
        address = f"tcp://127.0.0.1:{server.port}"
        options = ("--segment", "1", "--preset", "ultrafast")
        with running_program("redact", address, "-o", tmp_path / "out.mp4", *options) as process:
            wait_until(lambda: (tmp_path / "out-0002.mp4").exists())
            process.send_signal(signum)
            assert process.wait(20) == 130
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[:2] == ["out-0001.mp4", "out-0002.mp4"]
    assert not [name for name in names if name.endswith(".part")]
    assert all(times_of(tmp_path / name) for name in names)
    assert seconds_of(tmp_path / "out-0001.mp4") == pytest.approx(1, abs=0.2)
    assert times_of(tmp_path / "out-0002.mp4")[0] < 0.2


@pytest.mark.live
@pytest.mark.slow
def test_a_live_playlist_plays_at_its_own_speed(tmp_path: Path) -> None:
    folder, target = tmp_path / "served", tmp_path / "out.mp4"
    folder.mkdir()
    with hls(CLIP, folder) as address:
        wait_until(lambda: len(list(folder.glob("*.ts"))) > 2)
        outcome = redact_live(address, "-o", target, "--duration", "3")
    assert outcome.code == 0, outcome.err
    times = times_of(target)
    assert seconds_of(target) == pytest.approx(3, abs=0.7)
    assert max(b - a for a, b in itertools.pairwise(times)) < 0.5


@pytest.mark.live
def test_the_picture_that_comes_next_is_asked_about() -> None:
    with serve_clients(rtsp(CLIP)) as server:
        outcome = spawn("detect", f"rtsp://127.0.0.1:{server.port}/live", "face", "--json")
    assert outcome.code == 0, outcome.err
    (record,) = outcome.json
    assert (record["width"], record["height"]) == (640, 360)


@pytest.mark.live
def test_to_stdout(tmp_path: Path) -> None:
    with serve_clients(mpegts(CLIP)) as server:
        outcome = redact_live(f"tcp://127.0.0.1:{server.port}", "-o", "-", "--duration", "1")
    assert outcome.code == 0, outcome.err
    (tmp_path / "out.mkv").write_bytes(outcome.out)
    assert seconds_of(tmp_path / "out.mkv") > 0.5


@pytest.mark.slow
@pytest.mark.live
def test_to_an_address(tmp_path: Path) -> None:
    received = tmp_path / "received.ts"

    def receive(client: Any, server: Any) -> None:
        with received.open("wb") as file:
            while data := client.recv(1 << 16):
                file.write(data)

    with serve_clients(receive) as sink, serve_clients(mpegts(CLIP)) as server:
        to = f"tcp://127.0.0.1:{sink.port}"
        outcome = redact_live(f"tcp://127.0.0.1:{server.port}", "-o", to, "--duration", "1.5")
        assert outcome.code == 0, outcome.err
        wait_until(lambda: received.exists() and received.stat().st_size > 1000)
    assert seconds_of(received) > 0.5


def test_a_video_on_a_server_is_redacted_as_a_file_is(tmp_path: Path) -> None:
    with web_folder(SAMPLES) as address:
        outcome = redact(f"{address}/vfr.mp4", "-o", tmp_path / "out.mp4")
    assert outcome.code == 0, outcome.err
    assert times_of(tmp_path / "out.mp4") == times_of(SAMPLES / "vfr.mp4")


def test_a_photo_on_a_server(tmp_path: Path) -> None:
    with web_folder(SAMPLES) as address:
        outcome = redact(f"{address}/group.png", "-o", tmp_path / "out.png")
        assert outcome.code == 0, outcome.err
        (record,) = run("detect", f"{address}/group.png", "face", "--json").json
    assert record["objects"]
    assert read_image(tmp_path / "out.png").pixels.shape == read_image(SAMPLES / "group.png").pixels.shape


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("http://127.0.0.1:1/clip.mp4", "can't be read"),
        ("rtsp://127.0.0.1:1/live", "can't be read"),
        ("rtsp://somebody:secret@127.0.0.1:1/live", "rtsp://somebody:***@127.0.0.1:1/live"),
        ("camera:99", "no camera 99"),
    ],
)
def test_a_source_that_is_not_there(tmp_path: Path, source: str, message: str) -> None:
    outcome = redact(source, "-o", tmp_path / "out.mp4")
    assert outcome.code == 1
    assert message in outcome.lines[-1]
    assert "secret" not in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_page_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html>no video</html>")
    with web_folder(tmp_path) as address:
        outcome = redact(f"{address}/page.html", "-o", tmp_path / "out.mp4")
    assert outcome.code == 1
    assert "not a video" in outcome.err


def test_a_playlist_can_not_name_files_of_this_machine(tmp_path: Path) -> None:
    shutil.copy(CLIP, tmp_path / "secret.mp4")
    lines = ("#EXTM3U", "#EXT-X-TARGETDURATION:5", "#EXTINF:5,", f"file://{tmp_path}/secret.mp4", "#EXT-X-ENDLIST", "")
    (tmp_path / "list.m3u8").write_text("\n".join(lines))
    with web_folder(tmp_path) as address:
        outcome = redact(f"{address}/list.m3u8", "-o", tmp_path / "out.mp4")
    assert outcome.code == 1
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("option", ["--delay", "--duration", "--segment"])
def test_a_time_of_nothing_is_refused(option: str) -> None:
    outcome = run("redact", "camera:99", "-o", "out.mp4", option, "0")
    assert outcome.code == 2
    assert f"{option}: must be more than 0" in outcome.err


def test_where_it_goes_must_be_said() -> None:
    outcome = run("redact", "rtsp://127.0.0.1:1/live")
    assert outcome.code == 2
    assert "give -o" in outcome.err


@pytest.mark.parametrize(
    "text", ["clip.mp4", "camera:", "camera:x", "C:\\clip.mp4", "file:///etc/passwd", "concat:a|b"]
)
def test_what_is_no_address(text: str) -> None:
    assert parse_address(text) is None


def test_passwords_are_not_shown() -> None:
    address = parse_address("rtsp://me:se@cret@host:554/live?key=1")
    assert address is not None
    assert "cret" not in str(address)
    assert address.file_name == Path("host-554-live")
    assert parse_address("camera:2") == Address("camera:2", 2)


def test_times_follow_the_source_as_long_as_it_keeps_to_the_clock() -> None:
    stamps = WallClockMapper(start=100.0, faster_than_real_time=False)
    assert stamps.at(7.0, 100.0) == 0
    assert stamps.at(7.04, 100.09) == pytest.approx(0.04)  # late on its way
    assert stamps.at(7.08, 100.10) == pytest.approx(0.08)


def test_times_are_set_anew_after_a_gap() -> None:
    stamps = WallClockMapper(start=0.0, faster_than_real_time=False)
    stamps.at(0.0, 0.0)
    assert stamps.at(0.04, 5.0) == pytest.approx(5.0)
    assert stamps.at(0.08, 5.04) == pytest.approx(5.04)
    assert stamps.at(900.0, 5.08) == pytest.approx(5.08)


def test_times_always_go_on() -> None:
    stamps = WallClockMapper(start=0.0, faster_than_real_time=True)
    times = [stamps.at(said, now) for said, now in [(1.0, 0.0), (1.0, 0.01), (0.5, 0.02), (None, 0.01), (9.0, 0.03)]]
    assert all(a < b for a, b in itertools.pairwise(times))


def test_a_source_that_delivers_unevenly_keeps_its_own_pace() -> None:
    """Late frames, the first one too, and a burst, do not squeeze those that come in time."""
    mapper = WallClockMapper(start=0.0, faster_than_real_time=False)
    late = [0.0, 0.25, 0.1, 0.3, 0.0, 0.0, 0.2, 0.0]  # by which frames come later than at the soonest possible
    times = [mapper.at(5 + n * 0.04, n * 0.04 + late[n] - 0.3) for n in range(len(late))]
    assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx([0.04] * 7)


def test_a_source_whose_clock_runs_fast_is_followed() -> None:
    mapper = WallClockMapper(start=0.0, faster_than_real_time=False)
    times = [mapper.at(n * 0.0404, n * 0.04) for n in range(5000)]
    assert times[-1] - 4999 * 0.04 == pytest.approx(0.5, abs=0.01)
    assert min(b - a for a, b in itertools.pairwise(times)) > 0.035


def paced(clip: Path, lateness: float) -> Any:
    """Serve a clip at its own speed, but each packet late by a random time up to `lateness`, in order."""

    def serve(client: Any, server: Server) -> None:
        chance, content = random.Random(7), clip.read_bytes()
        begin, step = time.monotonic(), 188 * 40
        for at in range(0, len(content), step):
            due = begin + seconds_of(clip) * at / len(content) + chance.uniform(0, lateness)
            if server.stopped.wait(max(0.0, due - time.monotonic())):
                return
            client.sendall(content[at : at + step])
        server.stopped.wait(1)

    return serve


@pytest.mark.live
@pytest.mark.parametrize("suffix", [".mp4", pytest.param(".mkv", marks=pytest.mark.slow)])
def test_late_packets_are_recorded_whole(tmp_path: Path, suffix: str) -> None:
    """With their sound from the start, and at the pace of the source."""
    clip, target = make_video(tmp_path / "a.ts", 100, with_sound=True, gop_size=10), tmp_path / f"out{suffix}"
    with serve_clients(paced(clip, 0.3)) as server:
        outcome = redact_live(f"tcp://127.0.0.1:{server.port}", "-o", target, "--duration", "3")
    assert outcome.code == 0, outcome.err
    times = times_of(target)
    assert times[0] < 0.1
    assert float(np.median([b - a for a, b in itertools.pairwise(times)])) == pytest.approx(1 / 30, abs=0.002)
    ((first, _), *_, (last, _)) = packets_of(target, "audio")[0]
    assert first < 0.2
    assert float(last) > float(times[-1]) - 1


@pytest.mark.live
def test_each_segment_has_its_sound(tmp_path: Path) -> None:
    clip = make_video(tmp_path / "a.ts", 120, with_sound=True, gop_size=10)
    with serve_clients(paced(clip, 0.0)) as server:
        to = ("-o", tmp_path / "out.mkv", "--segment", "1.5", "--duration", "3.5")
        outcome = redact_live(f"tcp://127.0.0.1:{server.port}", *to)
    assert outcome.code == 0, outcome.err
    for name in ("out-0001.mkv", "out-0002.mkv"):
        sounds = [float(at) for at, _ in packets_of(tmp_path / name, "audio")[0]]
        assert sounds[0] < 0.3
        assert max(b - a for a, b in itertools.pairwise(sounds)) < 0.3
        assert sounds[-1] > seconds_of(tmp_path / name) - 0.3


@pytest.mark.posix("a limit to the size of files")
@pytest.mark.live
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", pytest.param(".ts", marks=pytest.mark.slow)])
def test_what_was_recorded_before_an_error_is_kept(tmp_path: Path, suffix: str) -> None:
    """The disk is full; what was written plays, nothing of the face shows, and it is named."""
    clip = make_video(tmp_path / "a.ts", 120, face=True, with_sound=True, size=(320, 240), gop_size=10)
    target = tmp_path / f"out{suffix}"

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, 90_000))

    with serve_clients(paced(clip, 0.0)) as server:
        address = f"tcp://127.0.0.1:{server.port}"
        options = ("--style", "solid", "--crf", "6", "--delay", "2", "--duration", "4", *FAST_ENCODING)
        outcome = spawn("redact", address, "-o", target, *options, before=limited)
    assert outcome.code == 74, outcome.err
    assert "what was recorded until then" in outcome.err
    assert str(target) in outcome.err
    with VideoReader(target) as reader:
        frames = [event for event in reader if isinstance(event, Frame)]
    assert len(frames) > 5
    assert not any(is_face_visible(frame.image) for frame in frames if not frame.corrupt)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ts", target.name]
