"""What the engine loop reports to the metrics at each scrape."""

from collections.abc import Iterable

from prometheus_client.core import HistogramMetricFamily, Metric

from mdtool.server.engine_loop import EngineLoop
from mdtool.server.metrics import counter, gauge

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)


def engine_metrics(engine: EngineLoop) -> Iterable[Metric]:
    """Return the gauges and counters of an engine loop."""
    hits, misses, size = engine.image_cache
    yield gauge("num_requests_running", "Requests that are prepared or under way.", engine.running)
    yield gauge("num_requests_waiting", "Requests in the queue.", engine.waiting)
    yield counter("image_cache_hits", "Images that were encoded before.", hits)
    yield counter("image_cache_misses", "Images that had to be encoded.", misses)
    yield gauge("image_cache_bytes", "Memory of encoded images.", size)
    yield counter("engine_steps", "Steps of the engine.", engine.counters.steps)
    yield _batch_sizes(dict(engine.counters.batch_sizes))


def _batch_sizes(steps: dict[int, int]) -> Metric:
    """Return the histogram of how many requests share a step."""
    buckets = [(str(bound), sum(count for size, count in steps.items() if size <= bound)) for bound in BATCH_SIZES]
    buckets.append(("+Inf", sum(steps.values())))
    total = sum(size * count for size, count in steps.items())
    return HistogramMetricFamily("mdtool:batch_size", "Requests that share a step.", buckets=buckets, sum_value=total)
