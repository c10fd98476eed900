"""Metrics in Prometheus' text format, named as vLLM names its own."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mdtool.server.api_error import ApiError
from mdtool.server.request_record import RequestRecord

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)
TOKEN_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2)


class Metrics:
    """The metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        """Start at zero."""
        self.registry = CollectorRegistry()
        self._http = self._counter("http_requests", "Requests by route and status.", "route", "status")
        self._success = self._counter("request_success", "Answered requests.", "model_name", "finished_reason")
        self._rejected = self._counter("requests_rejected", "Refused requests.", "reason")
        self._cancelled = self._counter("cancelled", "Requests whose client went away.")
        self._prompt = self._counter("prompt_tokens", "Tokens of prompts, images included.", "model_name")
        self._generated = self._counter("generation_tokens", "Generated tokens.", "model_name")
        self._images = self._counter("images_decoded", "Images that were decoded.")
        self._first = self._histogram("time_to_first_token_seconds", "From submission to the first text.")
        self._between = self._histogram("inter_token_latency_seconds", "Mean of an answer.", TOKEN_SECONDS)
        self._whole = self._histogram("e2e_request_latency_seconds", "From the first byte to the end.")
        self._queue = self._histogram("request_queue_time_seconds", "In the queue.")
        self._encode = self._histogram("request_encode_time_seconds", "Encoding of images.")
        self._prefill = self._histogram("request_prefill_time_seconds", "Prefill of the prompt.")
        self._decode = self._histogram("request_decode_time_seconds", "From the first token to the last.")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"mdtool:{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...] = SECONDS) -> Histogram:
        return Histogram(f"mdtool:{name}", text, ("model_name",), registry=self.registry, buckets=buckets)

    def observe(self, collect: Callable[[], Iterable[Metric]]) -> None:
        """Also collect what a function returns at each scrape."""
        self.registry.register(_Collected(collect))

    def rejected(self, error: ApiError) -> None:
        """Count a request that a limit of the server refused."""
        if error.reason:
            self._rejected.labels(error.reason).inc()

    def images_decoded(self, count: int) -> None:
        """Count images."""
        self._images.inc(count)

    def ended(self, record: RequestRecord, seconds: float) -> None:
        """Count a request that has ended, after so many seconds."""
        self._http.labels(record.route, str(record.status or 0)).inc()
        if record.gone.is_set():
            self._cancelled.inc()
        model, timings = record.model, record.timings
        if model is None or timings is None or record.finish is None:
            return
        self._success.labels(model, record.finish).inc()
        self._prompt.labels(model).inc(record.prompt_tokens)
        self._generated.labels(model).inc(record.completion_tokens)
        self._whole.labels(model).observe(seconds)
        self._first.labels(model).observe(timings.time_to_first_token)
        self._queue.labels(model).observe(timings.queue)
        self._encode.labels(model).observe(timings.encode)
        self._prefill.labels(model).observe(timings.prefill)
        self._decode.labels(model).observe(timings.decode)
        if record.completion_tokens > 1:
            self._between.labels(model).observe(timings.decode / (record.completion_tokens - 1))

    def text(self) -> bytes:
        """Return all metrics, as Prometheus scrapes them."""
        return generate_latest(self.registry)


class _Collected(Collector):
    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        return self._collect()


def gauge(name: str, text: str, value: float) -> Metric:
    """Return a number that goes up and down."""
    return GaugeMetricFamily(f"mdtool:{name}", text, value=value)


def counter(name: str, text: str, value: float) -> Metric:
    """Return a number that only grows."""
    return CounterMetricFamily(f"mdtool:{name}", text, value=value)
