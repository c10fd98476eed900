"""Keys, origins, prefixes, ids, the log, the metrics and the pages."""

import re
from collections.abc import Iterator

import httpx
import openai
import pytest
from http_server import SCENES, SECONDS, Served, base64_of, data_url, image_message, served

from mdtool.server.server_settings import ServerSettings

ONE = data_url(SCENES / "one.png")
CAPTION = {"image_url": ONE}


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served() as running:
        yield running


@pytest.fixture(scope="module")
def locked() -> Iterator[Served]:
    settings = ServerSettings(api_keys=("first", "second"), cors=("https://a.example",), root_path="/vision")
    with served(settings=settings) as running:
        yield running


@pytest.mark.parametrize(
    "headers", [{"Authorization": "Bearer first"}, {"authorization": "bearer second"}, {"X-Moondream-Auth": "first"}]
)
def test_a_key_lets_in(locked: Served, headers: dict[str, str]) -> None:
    assert locked.get("/v1/models", headers=headers).status_code == 200
    assert locked.post("/v1/caption", CAPTION, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer firs"}, {"Authorization": "first"},
     {"X-Moondream-Auth": ""}, {"X-Moondream-Auth": "third"}, {"Authorization": "Basic first"}],
)  # fmt: skip
def test_without_one_all_is_refused_but_what_is_public(locked: Served, headers: dict[str, str]) -> None:
    reply = locked.post("/v1/caption", CAPTION, headers=headers)
    assert reply.status_code == 401
    assert reply.json()["error"]["code"] == "invalid_api_key"
    assert reply.headers["www-authenticate"] == "Bearer"
    for path in ("/metrics", "/v1/models", "/api/tags", "/nope"):
        assert locked.get(path, headers=headers).status_code == 401
    for path in ("/health", "/ready", "/docs", "/openapi.json", "/vision/health"):
        assert locked.get(path, headers=headers).status_code == 200


def test_openais_client_with_a_wrong_key(locked: Served) -> None:
    with openai.OpenAI(base_url=f"{locked.url}/v1", api_key="wrong", timeout=SECONDS) as client:
        with pytest.raises(openai.AuthenticationError, match="a valid API key is needed"):
            client.models.list()
        client.api_key = "second"
        assert client.models.list().data


def test_pages_of_listed_origins_may_call(locked: Served, server: Served) -> None:
    asks = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,x-stainless-os"}  # fmt: skip
    reply = httpx.options(f"{locked.url}/v1/caption", headers=asks)
    assert reply.status_code == 200  # a preflight has no key
    assert reply.headers["access-control-allow-origin"] == "https://a.example"
    assert "x-stainless-os" in reply.headers["access-control-allow-headers"]
    refused = locked.post("/v1/caption", CAPTION, headers={"Origin": "https://a.example"})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://a.example"
    other = locked.get("/health", headers={"Origin": "https://b.example"})
    assert "access-control-allow-origin" not in other.headers
    assert "access-control-allow-origin" not in server.get("/health", headers={"Origin": "https://a.example"}).headers


@pytest.mark.parametrize("prefix", ["", "/vision"])
def test_behind_a_prefix_that_the_proxy_strips_or_not(locked: Served, prefix: str) -> None:
    headers = {"Authorization": "Bearer first"}
    assert locked.post(f"{prefix}/v1//caption", CAPTION, headers=headers).status_code == 200
    assert locked.get(f"{prefix}/api/tags", headers=headers).json()["models"]
    assert locked.post(f"{prefix}/api/nope", {}, headers=headers).json() == {"error": "no such route; /docs lists all"}
    assert locked.get("/openapi.json").json()["servers"] == [{"url": "/vision"}]


def test_request_ids(server: Served) -> None:
    reply = server.post("/v1/detect", CAPTION | {"object": "star"}, headers={"X-Request-ID": "abc-1.2:3"})
    assert reply.headers["x-request-id"] == reply.json()["request_id"] == "abc-1.2:3"
    for bad in ("a b", "x" * 200, ""):
        assert re.fullmatch(
            "[0-9a-f]{32}", server.get("/health", headers={"X-Request-ID": bad}).headers["x-request-id"]
        )
    assert server.get("/nope").headers["x-request-id"]


def test_the_log_has_no_prompts_and_no_images(server: Served) -> None:
    question = "how many purple stars are there?"
    reply = server.post("/v1/query", CAPTION | {"question": question})
    line = server.logged(reply)
    assert line["status"] == 200
    assert (line["model"], line["skill"], line["finish"]) == ("pocket", "query", "stop")
    assert line["prompt_tokens"] > 100
    assert set(line["timings"]) == {"queue", "encode", "prefill", "decode", "time_to_first_token"}
    refused = server.logged(server.post("/v1/detect", CAPTION | {"object": "a secret wish"}))
    assert refused["status"] == 400
    text = server.log.getvalue()
    assert not any(secret in text for secret in (question, "secret wish", base64_of(SCENES / "one.png")[:40]))


def test_the_log_has_prompts_if_that_is_wanted() -> None:
    with served(log_prompts=True) as server:
        line = server.logged(server.post("/v1/query", CAPTION | {"question": "how many stars?"}))
        assert line["prompt"] == "how many stars?"
        assert line["answer"]
        chat = {"model": "pocket", "messages": [image_message(ONE, "how many rings?")]}
        assert server.logged(server.post("/v1/chat/completions", chat))["prompt"] == "how many rings?"
        assert base64_of(SCENES / "one.png")[:40] not in server.log.getvalue()


def test_health_and_readiness(server: Served) -> None:
    assert server.get("/health").json()["status"] == "ok"
    assert server.get("/ready").json() == {"status": "ready", "models": ["pocket"]}
    service = server.service
    service.lifecycle.draining = True
    try:
        assert server.get("/ready").status_code == 503
        assert server.get("/health").status_code == 200
        reply = server.post("/v1/caption", CAPTION)
        assert reply.status_code == 503
        assert reply.headers["retry-after"]
    finally:
        service.lifecycle.draining = False
    assert server.post("/v1/caption", CAPTION).status_code == 200


def test_an_engine_that_stopped_shows(server: Served) -> None:
    with served() as other:
        other.service.engine.close()
        assert other.get("/health").status_code == 503
        assert other.get("/ready").status_code == 503
        assert other.post("/v1/caption", CAPTION).status_code == 503


def test_metrics() -> None:
    with served() as server:
        for _ in range(2):
            assert server.post("/v1/caption", CAPTION).status_code == 200
        server.post("/v1/caption", {"image_url": "!"})
        server.wait_until_idle()
        expected = {
            "mdtool:request_success_total": 2,
            "mdtool:num_requests_running": 0,
            "mdtool:num_requests_waiting": 0,
            "mdtool:time_to_first_token_seconds_count": 2,
            "mdtool:inter_token_latency_seconds_count": 2,
            "mdtool:e2e_request_latency_seconds_count": 2,
            "mdtool:request_queue_time_seconds_count": 2,
            "mdtool:request_prefill_time_seconds_count": 2,
            "mdtool:request_decode_time_seconds_count": 2,
            "mdtool:image_cache_hits_total": 1,
            "mdtool:image_cache_misses_total": 1,
            "mdtool:images_decoded_total": 2,
        }
        assert {name: server.metric(name) for name in expected} == expected
        assert server.metric("mdtool:prompt_tokens_total") > 200
        assert server.metric("mdtool:batch_size_count") >= server.metric("mdtool:generation_tokens_total") > 10
        assert server.metric("process_resident_memory_bytes") > 1e7
        text = server.get("/metrics").text
        assert 'mdtool:http_requests_total{route="/v1/caption",status="400"} 1.0' in text
        assert 'model_name="pocket"' in text


def test_the_description_of_the_api_names_every_route_and_its_fields(server: Served) -> None:
    document = server.get("/openapi.json").json()
    routes = {
        "/v1/caption", "/v1/query", "/v1/detect", "/v1/point", "/v1/gaze", "/v1/segment", "/v1/chat/completions",
        "/v1/responses", "/v1/models", "/v1/models/{name}", "/api/chat", "/api/generate", "/api/tags", "/api/show",
        "/api/ps", "/api/version", "/health", "/ready", "/metrics", "/v1/queue/{request_id}", "/v1/redact",
        "/v1/moderate", "/v1/jobs/{id}", "/v1/jobs/{id}/events", "/v1/jobs/{id}/frame", "/v1/jobs/{id}/result",
        "/v1/jobs/{id}/again",
    }  # fmt: skip
    assert set(document["paths"]) == routes
    body = document["paths"]["/v1/caption"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    schema = document["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    assert {"image_url", "length", "stream", "settings", "model"} <= set(schema["properties"])


def test_the_page_needs_nothing_from_elsewhere(server: Served) -> None:
    reply = server.get("/docs")
    assert reply.headers["content-type"].startswith("text/html")
    assert reply.headers["content-security-policy"].startswith("default-src 'none'")
    assert "POST /v1/caption" in reply.text
    assert not re.search(r"(src|href)=.?(https?:)?//", reply.text)


def test_models_by_name_and_path(server: Served) -> None:
    assert server.get("/v1/models/pocket").json()["id"] == "pocket"
    assert server.post("/v1/caption", CAPTION | {"model": "moondream/pocket"}).status_code == 200
    assert server.post("/v1/caption", CAPTION | {"model": "pocket/../../etc/passwd"}).status_code == 404
    assert server.post("/v1/caption", CAPTION | {"model": ""}).status_code == 200
