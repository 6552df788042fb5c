"""A real Jaeger on loopback ports, with its memory as storage."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

BINARY = os.environ.get("RESILIENT_FOUNDRY_JAEGER") or shutil.which("jaeger")
_SECONDS = 30.0
"""The longest that it may take to come up: a binary takes 0.2 s, a container seconds."""

# What Jaeger does by itself without a configuration, but with ports of ours, and without telemetry of its own. Spans
# become visible a moment after they were sent, as they do there; and it sets clocks right, as many that are shared do.
_CONFIGURATION = """
service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces: {{receivers: [otlp], processors: [batch], exporters: [jaeger_storage_exporter]}}
  telemetry:
    metrics: {{level: none}}
    logs: {{level: warn}}
extensions:
  jaeger_storage: {{backends: {{memory: {{memory: {{max_traces: 10000}}}}}}}}
  jaeger_query:
    storage: {{traces: memory}}
    enable_tracing: false
    max_clock_skew_adjust: 30s
    http: {{endpoint: "${{env:JAEGER_LISTEN_HOST:-127.0.0.1}}:{query}"}}
    grpc: {{endpoint: "127.0.0.1:0"}}
receivers:
  otlp: {{protocols: {{http: {{endpoint: "${{env:JAEGER_LISTEN_HOST:-127.0.0.1}}:{otlp}"}}}}}}
processors:
  batch: {{timeout: 50ms}}
exporters:
  jaeger_storage_exporter: {{trace_storage: memory}}
"""


class JaegerServer:
    """What is sent to `otlp` is read at `url`."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "jaeger.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._ports = query, otlp = _free_ports(2)
        self.url = f"http://127.0.0.1:{query}"
        self.otlp = f"http://127.0.0.1:{otlp}"

    def start(self) -> None:
        """Returns when it takes spans and answers questions."""
        assert BINARY is not None
        query, otlp = self._ports
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [BINARY, f"--config=yaml:{_CONFIGURATION.format(query=query, otlp=otlp)}"],
                # Where it runs in a container, these are the ports that lead into it, and it listens otherwise there.
                env={
                    **os.environ,
                    "JAEGER_LISTEN_HOST": "127.0.0.1",
                    "RESILIENT_FOUNDRY_JAEGER_PORTS": f"{query} {otlp}",
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + _SECONDS
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > until:
                self.end()
                raise AssertionError(f"Jaeger did not come up: {self._log.read_text()[-2000:]}")
            time.sleep(0.02)

    def end(self) -> None:
        """Ask it to end, and insist where it doesn't."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _is_ready(self) -> bool:
        """The receiver of spans comes last, so both have to answer."""
        try:
            for url in (f"{self.otlp}/", f"{self.url}/api/services"):
                httpx.get(url, timeout=1, trust_env=False)
        except httpx.TransportError:
            return False
        return True

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()


def _free_ports(count: int) -> list[int]:
    """Below those that the system gives to whoever asks for any: no other server takes them until Jaeger has them."""
    found: list[int] = []
    at = 20_000 + os.getpid() * 10 % 10_000  # each process begins elsewhere
    while len(found) < count:
        at += 1
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", at)):
            found.append(at)
    return found
