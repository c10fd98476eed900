"""The web page in a real headless Chromium, on a real server."""

import base64
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from axe_core_python.base import AXE_SCRIPT
from chromium import EXECUTABLE, Chromium, chromium
from fake_hub import MIB, Hub, serve_hub
from http_server import CPU, GOLDEN, POCKET, SCENES, SECONDS, Served, endless, raw_request, served
from PIL import Image

from mdtool.server.media_jobs import MediaJob, Outcome
from mdtool.server.served_models import ServedModel
from mdtool.server.server_settings import ServerSettings

playwright = pytest.importorskip("playwright.sync_api")

SAMPLES = SCENES.parent
MANY, PORTRAIT, SHAPES = SCENES / "many.png", SAMPLES / "portrait.jpg", SAMPLES / "shapes.mp4"
MODELS = POCKET | {
    "centerface": ServedModel("centerface", CPU),
    "anything": ServedModel(str(GOLDEN / "moondream2"), CPU),  # random weights: it answers whatever is asked
    "chatting": ServedModel(str(GOLDEN / "qwen3-vl"), CPU),
}
MILLISECONDS = 1000 * SECONDS
TEST_SECONDS = 3 * SECONDS  # of a test in all, where single calls of the browser have no limit
PHONE = {"width": 390, "height": 844}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(EXECUTABLE is None, reason="needs Chromium")]


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(MODELS) as running:
        yield running


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with playwright.sync_playwright() as started, chromium(started, tmp_path_factory.mktemp("chromium")) as launched:
        yield launched


@pytest.fixture
def browser(running: Chromium) -> Iterator[Any]:
    with running.limit(TEST_SECONDS):
        yield running.browser


@contextmanager
def opened(browser: Any, url: str, **options: Any) -> Iterator[Any]:
    """The page, when it has read what the server can do; its errors fail the test."""
    with closing(browser.new_context(ignore_https_errors=True, accept_downloads=True, **options)) as context:
        page = context.new_page()
        page.set_default_timeout(MILLISECONDS)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        page.wait_for_selector("#model option", state="attached")
        yield page
        assert not errors


@pytest.fixture
def page(browser: Any, server: Served) -> Iterator[Any]:
    with opened(browser, server.url) as ready:
        yield ready


def until(page: Any, expression: str, argument: object = None) -> None:
    """Wait for JavaScript to be true. Playwright's own wait evaluates text, which the page's policy forbids."""
    end = time.monotonic() + MILLISECONDS / 1000
    while not page.evaluate(expression, argument):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def wait_until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def busy(server: Served) -> Iterator[None]:
    """Another job keeps the server's only worker, so that the page's own one is queued until the end of the block."""
    end, jobs = threading.Event(), server.service.jobs

    def work(job: MediaJob) -> Outcome:
        end.wait(SECONDS)
        return Outcome()

    folder = jobs.new_folder()
    other = MediaJob("redact", "other.mp4", folder, folder / "other.mp4", None, work)
    jobs.add(other)
    try:
        wait_until(lambda: other.status != "queued")
        yield
    finally:
        end.set()


def choose(page: Any, file: Path) -> None:
    page.set_input_files("#file", str(file))
    page.wait_for_function(
        "name => document.querySelector('#picture-info').textContent.startsWith(name)", arg=file.name
    )


def run(page: Any, tab: str, form: str) -> str:
    """Press the button of a tab; return the status line when it is done."""
    page.click(f"#tab-{tab}")
    page.click(f"#{form} [type=submit]")
    until(page, "form => !document.querySelector(`#${form} [type=submit]`).disabled", form)
    status: str = page.inner_text("#status")
    return status


def ask(page: Any, question: str) -> str:
    """Ask, and return the last turn."""
    page.click("#tab-query")
    page.fill("#question", question)
    run(page, "query", "ask")
    turn: str = page.locator("#turns li").last.inner_text()
    return turn


def test_a_picture_is_described_asked_about_and_searched(page: Any) -> None:
    choose(page, MANY)
    assert "pocket" in run(page, "caption", "caption")
    assert page.inner_text("#caption-text").endswith(".")
    assert ask(page, "How many yellow stars are there?").isdigit()
    page.click("#tab-detect")
    page.fill("#object", "yellow star")
    run(page, "detect", "find")
    rows = page.locator("#objects tbody tr")
    assert page.locator("#overlay rect").count() == rows.count() > 0
    assert page.locator("#overlay rect title").first.text_content().startswith("yellow star")
    page.check("[name=as][value=point]")
    run(page, "detect", "find")
    assert page.locator("#labels .point").count() == rows.count() > 0
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#copy")
    assert len(json.loads(page.evaluate("navigator.clipboard.readText()"))) == rows.count()


def test_a_place_that_is_drawn_becomes_part_of_the_question(page: Any) -> None:
    choose(page, MANY)
    page.select_option("#model", "anything")
    area = page.locator("#overlay").bounding_box()
    corners = [(area["x"] + share * area["width"], area["y"] + share * area["height"]) for share in (0.25, 0.75)]
    page.mouse.move(*corners[0])
    page.mouse.down()
    page.mouse.move(*corners[1])
    page.mouse.up()
    with page.expect_request("**/v1/query") as asked:
        ask(page, "What is there?")
    [place] = asked.value.post_data_json["spatial_refs"]
    assert place == pytest.approx([0.25, 0.25, 0.75, 0.75], abs=0.01)


def test_a_conversation_has_several_turns(page: Any) -> None:
    choose(page, MANY)
    page.select_option("#model", "chatting")
    messages: list[int] = []

    def briefly(route: Any) -> None:  # random weights never end by themselves
        body = route.request.post_data_json
        messages.append(len(body["messages"]))
        route.continue_(post_data=json.dumps(body | {"max_tokens": 5}))

    page.route("**/v1/chat/completions", briefly)
    ask(page, "What is there?")
    ask(page, "And where?")
    assert page.locator("#turns li").count() == 4
    assert messages == [1, 3]
    assert "greatest length" in page.inner_text("#status")


def test_gaze_is_shown_as_on_the_command_line(page: Any) -> None:
    choose(page, SCENES / "look.png")
    assert "pocket" in run(page, "gaze", "gaze")
    assert "P1 looks at a place in the picture." in page.inner_text("#gaze-found")
    assert page.inner_text("#labels .person") == "P1"
    assert page.locator("#overlay line.model:not(.edge)").count() == page.locator("#labels .gaze").count() == 1


def test_the_direction_of_a_head_is_shown_where_no_model_sees_the_eyes(browser: Any) -> None:
    with served({"centerface": MODELS["centerface"]}) as server, opened(browser, server.url) as page:
        choose(page, PORTRAIT)
        assert "centerface" in run(page, "gaze", "gaze")
        assert page.inner_text("#labels .person").startswith("P1 head")
        assert "direction of the head" in page.inner_text("#gaze-found")
        assert "mdtool models pull moondream2" in page.inner_text("#gaze-found code")


def test_what_a_model_reasoned_and_the_places_it_speaks_of_are_shown(page: Any) -> None:
    choose(page, MANY)
    page.select_option("#model", "anything")
    reasoning = {"text": "A star is here.", "grounding": [{"start_idx": 2, "end_idx": 6, "points": [[0.25, 0.5]]}]}
    events = ({"chunk": "Yes.", "completed": False}, {"chunk": "", "completed": True, "reasoning": reasoning})
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)  # random weights speak of no place
    page.route("**/v1/query", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    page.check("#reasoning")
    with page.expect_request("**/v1/query") as asked:
        assert "A star is here." in ask(page, "Is there a star?")
    assert asked.value.post_data_json["reasoning"] is True
    page.click("#turns .grounded")
    point = page.locator("#labels .point")
    assert point.get_attribute("title") == "star"
    assert point.evaluate("one => one.style.left + ' ' + one.style.top") == "25% 50%"


def test_a_picture_of_the_camera_is_asked_about(page: Any) -> None:
    page.click("#camera")
    until(page, "document.getElementById('video').videoWidth > 0")
    page.click("#snap")
    until(page, "document.getElementById('image').naturalWidth > 0")
    assert page.is_hidden("#video")
    assert page.inner_text("#picture-info").startswith("camera.jpg, ")
    assert "pocket" in run(page, "caption", "caption")


def test_pictures_are_dropped_and_pasted_and_other_files_refused(page: Any) -> None:
    give = """([kind, name, type, content]) => {
        const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(atob(content), (one) => one.charCodeAt(0))], name, { type }));
        const event = kind === "paste" ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
                                       : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
        document.getElementById("drop").dispatchEvent(event);
    }"""
    content = base64.b64encode(MANY.read_bytes()).decode()
    for kind in ("drop", "paste"):
        page.evaluate(give, [kind, f"{kind}.png", "image/png", content])
        until(page, "name => document.getElementById('picture-info').textContent.startsWith(name)", f"{kind}.png, ")
    page.evaluate(give, ["drop", "letter.pdf", "application/pdf", content])
    assert page.inner_text("#notice") == "letter.pdf is neither a picture nor a video."


def test_a_large_photo_is_sent_as_it_is_or_smaller_and_that_is_said(page: Any, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    Image.effect_noise((2048, 1024), 50).save(large)
    choose(page, large)

    def sent() -> bytes:
        with page.expect_request("**/v1/caption") as asked:
            run(page, "caption", "caption")
        url: str = asked.value.post_data_json["image_url"]
        return base64.b64decode(url.partition(",")[2])

    assert page.inner_text("#picture-info").endswith("sent as it is")
    assert sent() == large.read_bytes()
    page.check("#smaller")
    said = page.inner_text("#picture-info")
    assert "sent as 1024 × 512" in said
    assert "may be lost" in said
    (tmp_path / "sent.jpg").write_bytes(sent())
    with Image.open(tmp_path / "sent.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (1024, 512))


def test_a_picture_that_the_browser_cannot_show_is_sent_all_the_same(page: Any, tmp_path: Path) -> None:
    picture = tmp_path / "scene.tif"
    Image.open(MANY).save(picture)
    choose(page, picture)
    assert "this browser can't show it" in page.inner_text("#picture-info")
    assert "pocket" in run(page, "caption", "caption")


def test_a_face_is_hidden_in_four_styles(page: Any, tmp_path: Path) -> None:
    choose(page, PORTRAIT)
    assert "centerface" in run(page, "redact", "hide")
    assert page.inner_text("#hide-found") == "1 found."
    assert page.locator("#styles img").count() == 4
    page.locator("#styles button").nth(2).click()
    assert page.get_attribute("#styles div:nth-child(3) button", "aria-pressed") == "true"
    page.fill("#slider", "100")
    assert page.evaluate("document.getElementById('compare').style.getPropertyValue('--split')") == "100%"
    with page.expect_download() as download:
        page.locator("#styles a").first.click()
    assert download.value.suggested_filename == "portrait.blur.redacted.jpg"
    download.value.save_as(tmp_path / "blurred.jpg")
    assert (tmp_path / "blurred.jpg").stat().st_size > 10_000
    choose(page, MANY)
    page.fill("#hidden-object", "yellow star")
    run(page, "redact", "hide")
    assert page.get_attribute("#styles a", "download") == "many.blur.redacted.png"


def test_a_video_is_redacted_and_again_without_a_track(page: Any, server: Served) -> None:
    choose(page, SHAPES)
    page.click("#tab-redact")
    page.fill("#hidden-object", "red circle")
    with page.expect_request("**/frame?n=*"):
        with busy(server):
            page.click("#hide [type=submit]")
            page.wait_for_selector("#hide-job progress")
            page.wait_for_selector("#hide-job p:has-text('place 1 in the queue')")
        page.wait_for_selector("#hide-job fieldset")
    first = page.get_attribute("#hide-job a", "href")
    page.uncheck("#hide-job fieldset input")
    with busy(server):
        page.click("#hide-job fieldset button")
        page.wait_for_selector("#hide-job progress")
        with page.expect_response(lambda response: response.request.method == "DELETE"):
            page.click("#hide [data-stop]")
        page.wait_for_selector("#hide-job fieldset")  # what was made before is there again
    assert page.inner_text("#status") == "Stopped."
    assert page.get_attribute("#hide-job a", "href") == first
    assert not page.is_checked("#hide-job fieldset input")
    page.click("#hide-job fieldset button")
    until(
        page, "old => ![null, old].includes(document.querySelector('#hide-job a')?.getAttribute('href') ?? null)", first
    )
    with page.expect_download() as download:
        page.click("#hide-job a")
    assert download.value.suggested_filename == "shapes.redacted.mp4"


def test_what_is_not_allowed_is_told_in_pictures_and_videos(page: Any) -> None:
    choose(page, MANY)
    page.click("#tab-moderate")
    page.fill("#not-allowed", "yellow star")
    assert "pocket" in run(page, "moderate", "judge")
    assert page.inner_text("#verdict") == "Found: yellow star."
    choose(page, SHAPES)
    page.fill("#not-allowed", "red circle")
    assert "pocket" in run(page, "moderate", "judge")
    assert page.inner_text("#verdict").startswith("Found: red circle 0.")
    page.select_option("#policy", "family")
    assert page.is_hidden("#not-allowed")


def test_a_video_that_is_stopped_leaves_no_job(page: Any, server: Served) -> None:
    choose(page, SHAPES)
    page.click("#tab-redact")
    page.fill("#hidden-object", "red circle")
    with busy(server):
        page.click("#hide [type=submit]")
        page.wait_for_selector("#hide-job progress")
        with page.expect_response(lambda response: response.request.method == "DELETE"):
            page.click("#hide [data-stop]")
    until(page, "document.getElementById('status').textContent === 'Stopped.'")


def test_the_place_in_the_queue_is_told(browser: Any, endless_model: Path) -> None:
    with served(endless(endless_model), batch=1) as server, opened(browser, server.url) as page:
        other = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1_000_000, "stream": True}
        with raw_request(server.port, "/v1/chat/completions", other):
            wait_until(lambda: server.service.engine.running)
            page.fill("#question", "And now?")
            page.press("#question", "Enter")
            page.wait_for_selector("#notice:has-text('in the queue')")
        until(page, "document.querySelector('#turns .assistant').textContent")
        assert page.is_hidden("#notice")
        page.click("#ask [data-stop]")


WEIGHTS = b"\x02\0\0\0\0\0\0\0{}" + bytes(12 * MIB)  # nobody loads them
REPOS = {
    ("vikhyatk/moondream2", "2025-06-21"): {"model.safetensors": WEIGHTS, "config.json": b"{}"},
    ("moondream/starmie-v1", "35192e10a54e36eabe0a7cc57a2c1aab371cafc5"): {"tokenizer.json": b"{}"},
}


@contextmanager
def server_process(hub: Hub, folder: Path) -> Iterator[str]:
    """`mdtool serve` on a machine without models, since it reads where the hub is once; its address."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE"))}
    environment |= {"HF_HOME": str(folder), "HF_ENDPOINT": hub.url, "NO_PROXY": "*", "no_proxy": "*"}
    command = [sys.executable, "-m", "mdtool", "serve", "--model", "pocket", "--port", "0"]
    lines = folder / "lines.txt"
    with lines.open("w") as file, subprocess.Popen(command, stderr=file, env=environment) as process:
        try:
            wait_until(lambda: re.search(r"on (http://\S+)\n", lines.read_text()))
            yield re.findall(r"on (http://\S+)\n", lines.read_text())[0]
        finally:
            process.kill()


def test_a_model_is_pulled_with_its_progress_and_what_fails_is_told(browser: Any, tmp_path: Path) -> None:
    with (
        serve_hub(REPOS, stall=11 * MIB) as hub,
        server_process(hub, tmp_path) as url,
        opened(browser, url) as page,
    ):
        page.select_option("#model", "moondream2")
        assert "3.9 GB, Apache-2.0" in page.inner_text("#unable")
        page.click("#unable button")
        page.wait_for_selector("#unable:has-text('10.5 MB of 12.6 MB')")  # the hub waits here
        assert page.evaluate("document.querySelector('#unable progress').value") == pytest.approx(10 / 12, abs=0.01)
        page.reload()  # follows the same download
        page.wait_for_selector("#unable:has-text('10.5 MB of 12.6 MB')")
        hub.go_on.set()
        page.wait_for_selector("#unable", state="hidden")
        assert page.is_enabled("#ask [type=submit]")
        assert [one.range for one in hub.fetched("model.safetensors")] == [None, f"bytes={10 * MIB}-"]
        page.select_option("#model", "qwen3-vl-2b")
        page.click("#unable button")
        page.wait_for_selector("#notice:not([hidden])")
        assert "\n" not in page.inner_text("#notice")
        assert "or it is private" in page.inner_text("#notice")
        page.wait_for_selector("#unable button:enabled")


def test_a_model_that_is_here_but_not_served_is_served_by_a_button(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for (repo, revision), files in REPOS.items():
        folder = tmp_path / f"models--{repo.replace('/', '--')}" / "snapshots" / revision
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with served({"centerface": MODELS["centerface"]}) as server, opened(browser, server.url) as page:
        page.click("#tab-caption")
        assert "Choose moondream2 above." in page.inner_text("#unable")
        page.select_option("#model", "moondream2")
        assert "moondream2 is on this machine" in page.inner_text("#unable")
        assert page.inner_text("#unable code") == "mdtool serve --model moondream2"
        assert page.inner_text("#unable button") == "Serve it now"
        page.select_option("#language", "zh")
        assert "moondream2 已在这台机器上" in page.inner_text("#unable")
        assert page.inner_text("#unable button") == "立即启用"
        page.click("#unable button")
        page.wait_for_selector("#unable", state="hidden")
        assert page.is_enabled("#caption [type=submit]")
        assert "moondream2" in server.service.models.names


def test_what_a_model_cannot_do_is_greyed_with_the_way_to_one_that_can(page: Any) -> None:
    page.select_option("#model", "centerface")
    page.click("#tab-caption")
    assert "unable" in page.get_attribute("#tab-caption", "class")
    assert page.is_disabled("#caption [type=submit]")
    assert "pocket" in page.inner_text("#unable")
    page.select_option("#model", "moondream2")
    assert "mdtool models pull moondream2" in page.inner_text("#unable")
    assert "3.9 GB, Apache-2.0" in page.inner_text("#unable")


def test_tabs_and_language_by_keyboard(page: Any) -> None:
    page.focus("#tab-query")
    page.keyboard.press("ArrowRight")
    assert page.get_attribute("#tab-caption", "aria-selected") == "true"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.get_attribute("#tab-moderate", "aria-selected") == "true"
    page.select_option("#language", "zh")
    assert page.inner_text("#tab-moderate") == "审核"
    assert page.evaluate("document.documentElement.lang") == "zh"
    page.reload()
    page.wait_for_selector("#model option", state="attached")
    assert page.inner_text("#tab-query") == "提问"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [{"width": 1280, "height": 860}, PHONE], ids=["wide", "phone"])
def test_it_fits_and_has_no_serious_fault_of_accessibility(
    browser: Any, server: Served, size: dict[str, int], scheme: str
) -> None:
    with opened(browser, server.url, viewport=size, color_scheme=scheme) as page:
        choose(page, MANY)
        page.click("summary")
        for tab in ("query", "caption", "detect", "gaze", "redact", "moderate"):
            page.click(f"#tab-{tab}")
            check_fit_and_accessibility(page)


def check_fit_and_accessibility(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    violations = page.evaluate("axe.run({ resultTypes: ['violations'] })")["violations"]
    serious = [each for each in violations if each["impact"] in ("serious", "critical")]
    assert not serious, [(each["id"], [node["html"] for node in each["nodes"]]) for each in serious]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_so_do_results(browser: Any, server: Served, scheme: str) -> None:
    with opened(browser, server.url, viewport=PHONE, color_scheme=scheme, locale="zh-CN") as page:
        choose(page, PORTRAIT)
        page.select_option("#model", "centerface")
        run(page, "gaze", "gaze")
        check_fit_and_accessibility(page)
        page.click("#tab-detect")
        page.fill("#object", "face")
        run(page, "detect", "find")
        check_fit_and_accessibility(page)
        run(page, "redact", "hide")
        check_fit_and_accessibility(page)
        page.select_option("#model", "moondream2")  # which is not here
        check_fit_and_accessibility(page)


def test_it_asks_no_other_server(browser: Any, server: Served) -> None:
    with opened(browser, server.url) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.reload()
        choose(page, MANY)
        run(page, "caption", "caption")
        assert asked
        assert all(url.startswith((server.url, "blob:", "data:")) for url in asked)


def test_two_tabs_at_once(browser: Any, server: Served) -> None:
    with opened(browser, server.url) as one, opened(browser, server.url) as other:
        for page in (one, other):
            choose(page, MANY)
            page.click("#tab-caption")
            page.click("#caption [type=submit]")
        for page in (one, other):
            until(page, "document.getElementById('status').textContent")
        assert one.inner_text("#caption-text") == other.inner_text("#caption-text") != ""


def test_an_api_key_is_asked_for(browser: Any) -> None:
    with served(POCKET, ServerSettings(api_keys=("secret",))) as server, closing(browser.new_context()) as context:
        page = context.new_page()
        page.set_default_timeout(MILLISECONDS)
        page.goto(server.url)
        page.wait_for_selector("#key")
        assert "API key" in page.inner_text("#notice")
        page.fill("#key", "secret")
        page.press("#key", "Enter")
        page.wait_for_selector("#model option", state="attached")
        choose(page, MANY)
        assert "pocket" in run(page, "caption", "caption")


def test_a_large_video_is_taken_and_a_large_picture_is_refused_with_its_size(
    page: Any, server: Served, tmp_path: Path
) -> None:
    large, picture = tmp_path / "large.mp4", tmp_path / "large.png"
    free = (50_000_000).to_bytes(4, "big") + b"free"  # a box that players skip
    large.write_bytes(SHAPES.read_bytes() + free + bytes(50_000_000 - 8))
    picture.write_bytes(MANY.read_bytes() + bytes(50_000_000))
    choose(page, large)
    page.click("#tab-redact")
    page.fill("#hidden-object", "red circle")
    with busy(server):
        page.click("#hide [type=submit]")
        page.wait_for_selector("#hide-job progress")
        page.click("#hide [data-stop]")
    choose(page, picture)
    run(page, "caption", "caption")
    assert "the server takes 64.0 MB at most" in page.inner_text("#notice")


class Proxy:
    """Passes bytes between a browser and a server; can cut the connections."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.server_port, self.context = port, context
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.cut_after = b""  # in a server's event, after which both sides are closed
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if self.context:
                client = self.context.wrap_socket(client, server_side=True)
            server = socket.create_connection(("127.0.0.1", self.server_port))
        except OSError:
            client.close()
            return
        threading.Thread(target=self._copy, args=[client, server, False], daemon=True).start()
        self._copy(server, client, True)

    def _copy(self, source: socket.socket, target: socket.socket, from_server: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                cuts = from_server and self.cut_after and self.cut_after in data
                if cuts:  # what else has arrived with this event is lost
                    data = data[: data.index(b"\n\n", data.index(self.cut_after)) + 2]
                target.sendall(data)
                if cuts:
                    time.sleep(0.5)  # in which the browser reads it
                    break
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def close(self) -> None:
        with suppress(OSError):  # where it is not connected; elsewhere this ends the thread that accepts
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def test_an_answer_whose_connection_breaks_goes_on_where_it_was(browser: Any, server: Served) -> None:
    with closing(Proxy(server.port)) as proxy, opened(browser, f"http://127.0.0.1:{proxy.port}") as page:
        choose(page, MANY)
        run(page, "caption", "caption")
        whole = page.inner_text("#caption-text")
        proxy.cut_after = b'"chunk"'
        page.click("#caption [type=submit]")
        page.wait_for_selector("#notice:has-text('The connection was lost')")
        arrived = page.inner_text("#caption-text")
        assert whole.startswith(arrived)
        assert arrived
        proxy.cut_after = b""
        until(page, "document.getElementById('status').textContent")
        assert page.inner_text("#caption-text") == whole
        assert page.is_hidden("#notice")


def test_a_job_whose_stream_breaks_goes_on_where_it_was(browser: Any, server: Served) -> None:
    with closing(Proxy(server.port)) as proxy, opened(browser, f"http://127.0.0.1:{proxy.port}") as page:
        choose(page, SHAPES)
        page.click("#tab-redact")
        page.fill("#hidden-object", "red circle")
        with busy(server):
            proxy.cut_after = b"event: progress"
            page.click("#hide [type=submit]")
            page.wait_for_selector("#notice:has-text('The connection was lost')")
            proxy.cut_after = b""
        page.wait_for_selector("#hide-job fieldset")


def test_it_works_below_a_prefix_behind_a_proxy_with_tls(browser: Any, tmp_path: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("needs openssl, for a certificate")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), check=True, capture_output=True, cwd=tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with (
        served(POCKET, ServerSettings(root_path="/some/prefix")) as server,
        closing(Proxy(server.port, context)) as proxy,
        opened(browser, f"https://127.0.0.1:{proxy.port}/some/prefix") as page,
    ):
        assert page.url.endswith("/some/prefix/")
        choose(page, MANY)
        assert "pocket" in run(page, "caption", "caption")
