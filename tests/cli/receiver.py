"""A small OTLP receiver on a loopback port: what an OpenTelemetry collector would have got."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Receiver:
    """What has arrived."""

    url: str = ""
    paths: list[str] = field(default_factory=list[str])
    services: set[str] = field(default_factory=set[str])
    spans: list[Span] = field(default_factory=list[Span])
    metrics: set[str] = field(default_factory=set[str])

    def take(self, path: str, body: bytes) -> None:
        """One request."""
        self.paths.append(path)
        if path.endswith("/v1/metrics"):
            for measured in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.metrics.update(metric.name for scope in measured.scope_metrics for metric in scope.metrics)
            return
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.services.add(named["service.name"])
            self.spans.extend(span for scope in resource.scope_spans for span in scope.spans)

    def children_of(self, parent: Span) -> list[Span]:
        """The spans right under this one."""
        return [span for span in self.spans if span.parent_span_id == parent.span_id]


@contextmanager
def receiver() -> Generator[Receiver]:
    """A receiver for the time of the block."""
    received = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Take the spans."""
            received.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        received.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield received
        finally:
            server.shutdown()
            thread.join()
