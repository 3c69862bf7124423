"""A report's gauges sent once to an OpenTelemetry collector, as OTLP over HTTP."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from weighbridge import __version__
from weighbridge.errors import DeliveryProblem, UsageProblem
from weighbridge.metrics import Gauge, gauges
from weighbridge.report.model import Report

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Observation

__all__ = ["push"]

PUSH_SECONDS = 15.0
PATH = "/v1/metrics"


def push(report: Report, address: str, *, timeout: float = PUSH_SECONDS) -> None:
    """Send every gauge of the run. `address` is the collector, with or without `/v1/metrics`.

    Headers, a CA and a client certificate are taken from the standard OTEL_EXPORTER_OTLP_* variables. Raises
    UsageProblem where the extra is not installed, DeliveryProblem, without the address, where nothing was taken.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExportResult
        from opentelemetry.sdk.resources import Resource
    except ImportError:
        raise UsageProblem(
            "[nightly] otlp needs an extra that is not installed: pip install 'weighbridge[otel]'."
        ) from None

    reader = InMemoryMetricReader()
    resource = Resource.create({"service.name": "weighbridge", "weighbridge.project": report.run.project})
    provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    meter = provider.get_meter("weighbridge", __version__)
    for gauge in gauges(report):
        meter.create_observable_gauge(f"weighbridge.{gauge.name}", [_observed(gauge)], description=gauge.says)
    url = address.rstrip("/")
    exporter = OTLPMetricExporter(url if url.endswith(PATH) else url + PATH, timeout=timeout)
    try:
        data = reader.get_metrics_data()
        with _quiet():
            taken = data is not None and exporter.export(data) is MetricExportResult.SUCCESS
    finally:
        exporter.shutdown()
        provider.shutdown()
    if not taken:
        raise DeliveryProblem("The OpenTelemetry collector did not take the metrics; check nightly.otlp.")


def _observed(gauge: Gauge) -> Callable[[CallbackOptions], Iterator[Observation]]:
    from opentelemetry.metrics import Observation

    def observe(_options: Any) -> Iterator[Observation]:
        for labels, figure in gauge.rows:
            yield Observation(figure, dict(labels))

    return observe


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter logs each failed try with its address, which may carry a token; the failure is told by us."""
    logger = logging.getLogger("opentelemetry.exporter.otlp.proto.http.metric_exporter")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
