"""Redaction and moderation over HTTP: pictures at once, videos as jobs."""

import base64
import io
import json
import time
from collections.abc import Iterator
from typing import Any

import av
import httpx
import numpy as np
import pytest
from http_server import CPU, POCKET, SCENES, SECONDS, Served, base64_of, served
from PIL import Image

from mdtool.server.served_models import ServedModel
from mdtool.server.server_settings import ServerSettings

SAMPLES = SCENES.parent
PORTRAIT, SHAPES, MANY = SAMPLES / "portrait.jpg", SAMPLES / "shapes.mp4", SCENES / "many.png"
MODELS = POCKET | {"centerface": ServedModel("centerface", CPU)}
MB = 1_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(MODELS, ServerSettings(max_upload_bytes=MB, max_pixels=500_000)) as running:
        yield running


def short_video(frames: int) -> bytes:
    """The beginning of the shapes, encoded again."""
    buffer = io.BytesIO()
    with av.open(str(SHAPES)) as read, av.open(buffer, "w", format="mp4") as written:
        stream = written.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = (
            read.streams.video[0].width,
            read.streams.video[0].height,
            "yuv420p",
        )
        for frame, _ in zip(read.decode(video=0), range(frames), strict=False):
            frame.pts = None
            written.mux(stream.encode(frame))
        written.mux(stream.encode(None))
    return buffer.getvalue()


def upload(server: Served, path: str, data: bytes) -> dict[str, Any]:
    response = server.post(path, content=data, headers={"Content-Type": "video/mp4"})
    assert response.status_code == 202, response.text
    job: dict[str, Any] = response.json()
    return job


def ended(server: Served, job: dict[str, Any]) -> dict[str, Any]:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        state: dict[str, Any] = server.get(f"/v1/jobs/{job['id']}").json()
        if state["status"] not in ("queued", "running"):
            return state
        time.sleep(0.05)
    raise AssertionError("the job did not end")


def error(response: httpx.Response) -> tuple[int, str]:
    message: str = response.json()["error"]["message"]
    return response.status_code, message


def test_a_face_in_a_picture_is_hidden_in_each_style(server: Served) -> None:
    body = {"image_url": base64_of(PORTRAIT), "styles": ["solid", "blur"]}
    answer = server.post("/v1/redact", body).json()
    assert answer["model"] == "centerface"
    [face] = answer["objects"]
    assert face["label"] == "face"
    images = {
        style: np.array(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))
        for style, url in answer["images"].items()
    }
    assert list(images) == ["solid", "blur"]
    assert (images["solid"] < 30).all(axis=2).mean() > 0.1 > (images["blur"] < 30).all(axis=2).mean()


def test_the_first_model_that_finds_it_is_taken_or_the_one_that_is_named(server: Served) -> None:
    body = {"image_url": base64_of(MANY), "prompts": ["yellow star"]}
    assert server.post("/v1/redact", body).json()["model"] == "pocket"
    status, message = error(server.post("/v1/redact", body | {"model": "centerface"}))
    assert (status, "yellow star" in message) == (400, True)
    assert error(server.post("/v1/redact", body | {"model": "nothing"}))[0] == 404


def test_a_picture_is_judged_by_prompts_or_a_policy(server: Served) -> None:
    body = {"image_url": base64_of(MANY)}
    verdict = server.post("/v1/moderate", body | {"prompts": ["yellow star"]}).json()["verdict"]
    assert [rule["rule"] for rule in verdict["rules"] if rule["hit"]] == ["yellow star"]
    assert "finds naked person" in error(server.post("/v1/moderate", body | {"policy": "family"}))[1]
    for wrong in ({"policy": "../family"}, {}, {"policy": "family", "prompts": ["gun"]}, {"prompts": [" "]}):
        assert error(server.post("/v1/moderate", body | wrong))[0] == 400


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"image_url": "aGVsbG8="}, 400, "no known format"),
        ({"image_url": "?"}, 400, "not valid base64"),
        ({"image_url": base64_of(PORTRAIT)[:2000]}, 400, ""),
        ({"image_url": base64_of(PORTRAIT), "styles": ["invisible"]}, 400, "styles"),
        ({"image_url": base64_of(PORTRAIT), "prompts": ["face", ""]}, 400, "empty"),
        ({}, 400, "image_url"),
    ],
)
def test_what_can_not_be_redacted_is_told(server: Served, body: Any, status: int, message: str) -> None:
    got = error(server.post("/v1/redact", body))
    assert got[0] == status
    assert message in got[1]
    assert "aGVsbG8" not in got[1]


def test_what_is_misspelt_or_given_twice_is_no_redaction_of_something_else(server: Served) -> None:
    picture, video = {"image_url": base64_of(MANY)}, {"content": b"x", "headers": {"Content-Type": "video/mp4"}}
    for wrong in ({"prompt": "star"}, {"style": "solid"}, {"Prompts": ["star"]}):
        status, message = error(server.post("/v1/redact", picture | wrong))
        assert (status, next(iter(wrong)) in message) == (400, True)
    for query in ("prompts=star", "style=blur&style=solid", "style=nope", "threshold=nan", "threshold=-1"):
        status, message = error(server.post(f"/v1/redact?{query}", **video))
        assert (status, query.partition("=")[0] in message) == (400, True)
    assert error(server.post("/v1/redact?prompt=star", picture))[0] == 400
    assert "a form" in error(server.post("/v1/redact", files={"file": b"x"}))[1]


def test_another_web_page_may_not_use_the_server(server: Served) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert error(server.post("/v1/models/moondream2/pull", {}, headers=headers))[0] == 403
    assert server.get("/v1/models", headers=headers).status_code == 200


def test_the_faces_of_a_phones_jpeg_and_of_any_frame_of_an_animation_are_told(server: Served) -> None:
    face = Image.open(PORTRAIT).convert("RGB").resize((240, 192)).rotate(-90, expand=True)
    blank = Image.new("RGB", face.size, "white")
    phone, animation = io.BytesIO(), io.BytesIO()
    face.save(phone, "MPO", save_all=True, append_images=[blank])
    blank.save(animation, "GIF", save_all=True, append_images=[face, face], duration=100)
    for file in (phone, animation):
        body = {"image_url": base64.b64encode(file.getvalue()).decode()}
        assert len(server.post("/v1/redact", body).json()["objects"]) == 1


def test_pictures_of_formats_that_can_only_be_read_are_judged(server: Served) -> None:
    scene = Image.open(MANY).convert("RGB")
    for form in ("MPO", "BMP", "TGA", "JPEG2000", "PPM"):
        file = io.BytesIO()
        scene.save(file, form)
        body = {"image_url": base64.b64encode(file.getvalue()).decode(), "prompts": ["yellow star"]}
        answer = server.post("/v1/moderate", body).json()
        assert answer["verdict"]["hit"], form
    for wrong in (b"hello", b""):
        body = {"image_url": base64.b64encode(wrong).decode(), "prompts": ["yellow star"]}
        assert error(server.post("/v1/moderate", body))[0] == 400


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(server: Served) -> None:
    buffer = io.BytesIO()
    Image.new("L", (1000, 600)).save(buffer, "PNG")
    body = {"image_url": base64.b64encode(buffer.getvalue()).decode()}
    assert error(server.post("/v1/redact", body))[0] == 413
    assert error(server.post("/v1/moderate", body | {"prompts": ["star"]}))[0] == 413


def test_a_video_is_redacted_as_a_job_and_again_without_a_track(server: Served) -> None:
    video = short_video(24)
    job = upload(server, "/v1/redact?prompt=red%20circle&style=solid&name=my%20clip.mp4", video)
    events = "\n".join(_lines(server, f"/v1/jobs/{job['id']}/events"))
    assert "event: progress" in events
    assert "event: frame" in events
    last = json.loads(events.rpartition("data: ")[2])
    assert (last["status"], last["result"], last["total_frames"]) == ("done", True, 24)
    assert server.get(f"/v1/jobs/{job['id']}/frame").content[:2] == b"\xff\xd8"
    result = server.get(f"/v1/jobs/{job['id']}/result")
    assert "my%20clip.redacted.mp4" in result.headers["Content-Disposition"]
    with av.open(io.BytesIO(result.content), "r") as container:
        assert len(list(container.decode(video=0))) == 24
    part = server.get(f"/v1/jobs/{job['id']}/result", headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, result.content[:10])
    [track] = last["tracks"]
    again = server.post(f"/v1/jobs/{job['id']}/again", {"without_tracks": [{"track": track["track"]}]}).json()
    assert ended(server, again)["status"] == "done"
    bare = server.get(f"/v1/jobs/{again['id']}/result").content
    assert bare != result.content
    status, message = error(server.post(f"/v1/jobs/{job['id']}/again", {"without_tracks": [{"track": 99}]}))
    assert (status, "no such track" in message) == (400, True)


def _lines(server: Served, path: str) -> list[str]:
    with httpx.stream("GET", server.url + path, timeout=SECONDS) as response:
        return list(response.iter_lines())


def test_a_video_is_judged_as_a_job(server: Served) -> None:
    job = upload(server, "/v1/moderate?prompt=red%20circle", short_video(24))
    state = ended(server, job)
    assert state["verdict"]["hit"]
    assert not state["result"]
    assert "event: frame" in _lines(server, f"/v1/jobs/{job['id']}/events")  # for whoever comes when it has ended, too
    assert server.get(f"/v1/jobs/{job['id']}/result").status_code == 404


def test_where_all_people_look_is_told_as_on_the_command_line(server: Served) -> None:
    [gaze] = server.post("/v1/gaze", {"image_url": base64_of(SCENES / "look.png"), "model": "pocket"}).json()["gazes"]
    one = server.post("/v1/gaze", {"image_url": base64_of(SCENES / "look.png"), "model": "pocket", "eye": gaze["eye"]})
    assert one.json()["gaze"] == gaze["gaze"]
    assert (gaze["person"], gaze["in_frame"], gaze["method"]) == (1, True, "model")
    answer = server.post("/v1/gaze", {"image_url": base64_of(PORTRAIT), "model": "centerface"}).json()
    [head] = answer["gazes"]
    assert (answer["model"], head["method"]) == ("centerface", "head")
    assert head["face"]["score"] > 0.5


def test_what_is_no_video_fails_with_its_reason_and_leaves_no_result(server: Served) -> None:
    state = ended(server, upload(server, "/v1/redact?name=my%20clip.mp4", b"this is no video" * 100))
    assert state["status"] == "failed"
    assert state["error"]
    assert "mdtool-job-" not in state["error"]
    assert not state["result"]


def test_a_picture_with_the_name_of_a_video_is_redacted_as_a_picture(server: Served) -> None:
    job = upload(server, "/v1/redact?prompt=yellow%20star&name=scene.mp4", MANY.read_bytes())
    assert ended(server, job)["error"] is None
    result = server.get(f"/v1/jobs/{job['id']}/result")
    assert "scene.redacted.png" in result.headers["Content-Disposition"]
    assert Image.open(io.BytesIO(result.content)).format == "PNG"


def test_uploads_are_bounded_and_not_empty(server: Served) -> None:
    headers = {"Content-Type": "video/mp4"}
    assert error(server.post("/v1/redact", content=bytes(MB + 1), headers=headers))[0] == 413
    assert server.post("/v1/redact", content=bytes(MB + 1), headers=headers).json()["error"]["limit_bytes"] == MB
    assert error(server.post("/v1/redact", content=b"", headers=headers))[0] == 400


def test_a_deleted_job_and_its_files_are_gone(server: Served) -> None:
    job = upload(server, "/v1/redact?prompt=red%20circle", short_video(24))
    folder = server.service.jobs.find(job["id"])
    assert folder
    assert httpx.delete(f"{server.url}/v1/jobs/{job['id']}").status_code == 204
    assert error(server.get(f"/v1/jobs/{job['id']}"))[0] == 404
    end = time.monotonic() + SECONDS
    while folder.folder.exists():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_job_needs_no_key_but_its_id() -> None:
    with served(MODELS, ServerSettings(api_keys=("secret",))) as server:
        assert server.post("/v1/redact", content=b"x", headers={"Content-Type": "video/mp4"}).status_code == 401
        assert server.get("/").status_code == 200
        assert server.get("/v1/page").status_code == 401
        assert server.get("/v1/jobs/unknown").status_code == 404


def test_the_page_says_what_the_models_can_do(server: Served) -> None:
    page = server.get("/v1/page").json()
    by_name = {model["id"]: model for model in page["models"]}
    assert {"caption", "query", "detect", "point", "gaze"} <= set(by_name["pocket"]["skills"])
    assert by_name["pocket"]["here"]
    assert not by_name["moondream2"]["here"]
    assert by_name["moondream2"]["licence"] == "Apache-2.0"
    assert "family" in page["policies"]
    headers = server.get("/").headers
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert server.get("/page.js").headers["Content-Type"].startswith("text/javascript")
