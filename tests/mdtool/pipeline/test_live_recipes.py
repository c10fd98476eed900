"""What plays live is moderated, followed with the eyes, and recorded as data, as it comes."""

import json
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from cli_runner import FAST_ENCODING, running_program, spawn, wait_until
from make_media import SAMPLES, frames_of
from stream_servers import mpegts, rtsp, serve_clients

from mdtool.pipeline.silence import Silencer

CLIP = SAMPLES / "crossing.mp4"
SECONDS = ("--duration", "2")
PATIENT = ("--delay", "20")  # so that every frame is judged, however slow the machine is


@pytest.fixture
def address() -> Iterator[str]:
    with serve_clients(mpegts(CLIP)) as server:
        yield f"tcp://127.0.0.1:{server.port}"


@pytest.mark.live
def test_a_verdict_comes_with_no_picture_made(address: str, tmp_path: Path) -> None:
    page, found = tmp_path / "page.html", tmp_path / "found.jsonl"
    how = ("-p", "face", "--report-only", "--fail-on", "any", "--report", page, "--findings", found, "--json")
    outcome = spawn("moderate", address, *how, *SECONDS, *PATIENT)
    assert outcome.code == 5, outcome.err
    (verdict,) = outcome.json
    (rule,) = verdict["rules"]
    assert verdict["source"] == address
    assert rule["hit"]
    assert 0.5 < rule["seconds"] < 3
    assert "face" in page.read_text()
    assert len(found.read_text().splitlines()) == verdict["frames"]


@pytest.mark.live
def test_no_rule_is_hit_and_nothing_is_hidden(address: str, tmp_path: Path) -> None:
    """No face fills nearly all of the picture."""
    target = tmp_path / "out.mp4"
    rule = ("-p", "face", "--action", "cover", "--min-share", "0.9", "--fail-on", "any")
    outcome = spawn("moderate", address, *rule, "-o", target, *SECONDS, *PATIENT, *FAST_ENCODING, "--json")
    assert outcome.code == 0, outcome.err
    assert not outcome.json[0]["hit"]
    assert all(frame.to_ndarray(format="gray").max() > 100 for frame in frames_of(target))


@pytest.mark.live
@pytest.mark.parametrize(
    ("action", "heard"), [("flag", True), pytest.param("mute", False, marks=pytest.mark.slow), ("cut", False)]
)
def test_there_is_no_sound_where_it_is_silenced(address: str, tmp_path: Path, action: str, heard: bool) -> None:
    """There are faces all the time."""
    target = tmp_path / "out.mkv"
    how = (*SECONDS, *PATIENT, *FAST_ENCODING)
    outcome = spawn("moderate", address, "-p", "face", "--action", action, "-o", target, *how)
    assert outcome.code == 0, outcome.err
    with av.open(str(target)) as container:
        packets = [packet for packet in container.demux() if packet.size and packet.stream.type == "audio"]
    assert bool(packets) == heard
    dark = [frame.to_ndarray(format="gray").max() < 40 for frame in frames_of(target)]
    assert all(dark) if action == "cut" else not any(dark)


@pytest.mark.live
@pytest.mark.slow
def test_one_that_is_lost_has_its_verdict_told(tmp_path: Path) -> None:
    with serve_clients(rtsp(CLIP)) as server:
        address, found = f"rtsp://127.0.0.1:{server.port}/live", tmp_path / "found.jsonl"
        command = ("moderate", address, "-p", "face", "--report-only", "--json", "--findings", found)
        with running_program(*command) as process:
            wait_until(lambda: found.exists() and found.read_text().count("\n") > 15)
            server.close()
            assert process.wait(50) == 1
            out, err = process.stdout.read(), process.stderr.read().decode()
    assert json.loads(out)["hit"]
    assert "was lost" in err


@pytest.mark.live
def test_where_people_look_is_drawn_and_told_while_it_plays(address: str, tmp_path: Path) -> None:
    target, lines = tmp_path / "out.mp4", tmp_path / "gaze.jsonl"
    how = ("--duration", "3", "--delay", "6", *FAST_ENCODING)
    with running_program("gaze", address, "-o", target, "--jsonl", lines, *how) as process:
        wait_until(lambda: lines.exists() and lines.read_text().count("\n") > 10)
        assert not target.exists()
        assert process.wait(30) == 0
    told = [json.loads(line) for line in lines.read_text().splitlines()]
    assert len(told) == len(list(frames_of(target)))
    assert sum(bool(line["people"]) for line in told) > len(told) / 2


@pytest.mark.slow
@pytest.mark.live
def test_where_people_look_is_told_without_a_picture(address: str) -> None:
    outcome = spawn("gaze", address, "--report-only", "--jsonl", "-", *SECONDS, *PATIENT)
    assert outcome.code == 0, outcome.err
    assert any(line["people"] for line in outcome.json)


def test_a_heat_map_of_what_plays_live_is_refused(address: str, tmp_path: Path) -> None:
    outcome = spawn("gaze", address, "--report-only", "--heatmap", tmp_path / "heat.png", *SECONDS)
    assert outcome.code == 2
    assert "give a recording" in outcome.lines[-1]


@pytest.mark.live
def test_what_is_found_is_recorded_as_it_comes(address: str) -> None:
    begin = time.monotonic()
    outcome = spawn("detect", address, "face", "--jsonl", "-", *SECONDS)
    assert outcome.code == 0, outcome.err
    assert any(line.get("objects") for line in outcome.json)
    assert time.monotonic() - begin > 2


def sound(number: int) -> "av.Packet[Any]":
    """Of 20 milliseconds, the first at 0."""
    packet = av.Packet(b"sound")
    packet.pts, packet.duration, packet.time_base = 20 * number, 20, Fraction(1, 1000)
    return packet


def test_silence_begins_and_ends_a_packet_early_and_late() -> None:
    """Frames every 50 milliseconds, silent from 0.1 to 0.2."""
    silencer, heard = Silencer(), []
    for number in range(20):
        silencer.push(sound(number))
    for frame in range(9):
        heard += [packet.pts for packet in silencer.known(frame * 0.05, silent=frame in (2, 3))]
    assert heard == [0, 20, 40, 60, *range(220, 361, 20)]


def test_nothing_is_heard_before_it_is_known() -> None:
    silencer = Silencer()
    silencer.push(sound(0))
    assert list(silencer.known(0.0, silent=False)) == []
    assert [packet.pts for packet in silencer.known(0.05, silent=False)] == [0]
