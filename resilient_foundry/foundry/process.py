"""The memory of the service's own process, where it runs on this machine."""

from __future__ import annotations

import importlib
from typing import Any
from urllib.parse import urlsplit

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "0.0.0.0", "::"})  # noqa: S104 - compared, not bound


def resident_bytes(pid: int, endpoints: tuple[str, ...]) -> int | None:
    """The resident memory of the process, in bytes; None without psutil, or if the process isn't the service.

    A pid says little by itself: behind a tunnel or in a container it belongs to another machine. So the process must
    listen at one of the ports that the service says are its own, unless the system does not let us look.
    """
    try:
        psutil: Any = importlib.import_module("psutil")  # optional, so unknown to the checker
    except ImportError:
        return None
    urls = [urlsplit(endpoint) for endpoint in endpoints]
    ports = {url.port for url in urls if url.hostname in _LOOPBACK}
    if not ports:
        return None
    try:
        process: Any = psutil.Process(pid)
        try:
            listening = {at.laddr.port for at in process.net_connections("tcp") if at.status == psutil.CONN_LISTEN}
        except psutil.AccessDenied:
            listening = ports
        return int(process.memory_info().rss) if ports & listening else None
    except psutil.Error:
        return None
