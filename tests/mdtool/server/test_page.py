"""The web page in a real headless Chromium, on a real server."""

import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from axe_core_python.sync_playwright import Axe
from http_server import CPU, GOLDEN, POCKET, SCENES, Served, served

from mdtool.server.served_models import ServedModel
from mdtool.server.server_settings import ServerSettings

playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SAMPLES = SCENES.parent
MANY, PORTRAIT, SHAPES = SCENES / "many.png", SAMPLES / "portrait.jpg", SAMPLES / "shapes.mp4"
MODELS = POCKET | {
    "centerface": ServedModel("centerface", CPU),
    "anything": ServedModel(str(GOLDEN / "moondream2"), CPU),  # random weights: it answers whatever is asked
    "chatting": ServedModel(str(GOLDEN / "qwen3-vl"), CPU),
}
MILLISECONDS = 30_000  # more than anything here takes on a busy machine
PHONE = {"width": 390, "height": 844}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(MODELS) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


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


def choose(page: Any, file: Path) -> None:
    page.set_input_files("#file", str(file))
    page.wait_for_function(
        "name => document.querySelector('#picture-info').textContent.startsWith(name)", arg=file.name
    )


def run(page: Any, tab: str, form: str) -> str:
    """Press the button of a tab; return the status line when it is done."""
    page.click(f"#tab-{tab}")
    page.evaluate("document.getElementById('status').textContent = ''")
    page.click(f"#{form} [type=submit]")
    until(page, "document.getElementById('status').textContent || !document.getElementById('notice').hidden")
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
    boxes = page.locator("#overlay rect").count()
    assert boxes == page.locator("#objects tbody tr").count() > 0
    assert page.locator("#overlay rect title").first.text_content().startswith("yellow star")
    page.check("[name=as][value=point]")
    run(page, "detect", "find")
    assert page.locator("#labels .point").count() == boxes
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#copy")
    assert len(json.loads(page.evaluate("navigator.clipboard.readText()"))) == boxes


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


def test_gaze_is_shown(page: Any) -> None:
    choose(page, MANY)
    run(page, "gaze", "gaze")
    assert page.inner_text("#gaze-found")
    assert page.is_hidden("#notice")


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
    download.value.save_as(tmp_path / "blurred.jpg")
    assert (tmp_path / "blurred.jpg").stat().st_size > 10_000


def test_a_video_is_redacted_and_again_without_a_track(page: Any, server: Served, tmp_path: Path) -> None:
    choose(page, SHAPES)
    page.click("#tab-redact")
    page.fill("#hidden-object", "red circle")
    page.click("#hide [type=submit]")
    page.wait_for_selector("#hide-job progress")
    page.wait_for_selector("#hide-job img.frame:not([hidden])")
    page.wait_for_selector("#hide-job fieldset")
    first = page.get_attribute("#hide-job a", "href")
    page.uncheck("#hide-job fieldset input")
    page.click("#hide-job fieldset button")
    until(page, "old => document.querySelector('#hide-job a')?.getAttribute('href') !== old", first)
    page.wait_for_selector("#hide-job a")
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
    page.click("#hide [type=submit]")
    page.wait_for_selector("#hide-job progress")
    with page.expect_response(lambda response: response.request.method == "DELETE"):
        page.click("#hide [data-stop]")
    assert page.inner_text("#status") == "Stopped."


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
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            violations = Axe().run(page)["violations"]
            serious = [each for each in violations if each["impact"] in ("serious", "critical")]
            assert not serious, [(each["id"], [node["html"] for node in each["nodes"]]) for each in serious]


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


def test_a_large_video_is_taken_and_a_large_picture_is_refused_with_its_size(page: Any, tmp_path: Path) -> None:
    large, picture = tmp_path / "large.mp4", tmp_path / "large.png"
    free = (50_000_000).to_bytes(4, "big") + b"free"  # a box that players skip
    large.write_bytes(SHAPES.read_bytes() + free + bytes(50_000_000 - 8))
    picture.write_bytes(MANY.read_bytes() + bytes(50_000_000))
    choose(page, large)
    page.click("#tab-redact")
    page.fill("#hidden-object", "red circle")
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
        self.listener.close()


def test_a_connection_that_breaks_in_the_middle_of_an_answer_is_told(browser: Any, server: Served) -> None:
    with closing(Proxy(server.port)) as proxy, opened(browser, f"http://127.0.0.1:{proxy.port}") as page:
        choose(page, MANY)
        proxy.cut_after = b'"chunk"'
        run(page, "caption", "caption")
        assert "lost in the middle of the answer" in page.inner_text("#notice")
        assert page.inner_text("#caption-text")
        proxy.cut_after = b""
        assert "pocket" in run(page, "caption", "caption")


def test_a_job_whose_stream_breaks_goes_on_where_it_was(browser: Any, server: Served) -> None:
    with closing(Proxy(server.port)) as proxy, opened(browser, f"http://127.0.0.1:{proxy.port}") as page:
        choose(page, SHAPES)
        page.click("#tab-redact")
        page.fill("#hidden-object", "red circle")
        proxy.cut_after = b"event: progress"
        page.click("#hide [type=submit]")
        page.wait_for_selector("#notice:has-text('can\\'t be reached')")
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
