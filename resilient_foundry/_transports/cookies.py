"""Cookies of answers that the caller never sees: a client keeps only those of the answer that it gets."""

from __future__ import annotations

from typing import Any


class Cookies:
    """What the answers of one call said to remember, in order."""

    def __init__(self) -> None:
        self._baked: list[tuple[object, list[tuple[bytes, bytes]]]] = []

    def bake(self, request: Any, response: Any) -> None:  # both the library's own
        """Take note of what an answer says."""
        lines = [line for line in response.headers.raw if line[0].lower() == b"set-cookie"]
        self._baked.append((_site(request), lines))

    def keep(self, request: Any, response: Any) -> None:
        """Write all of it on the answer that the caller gets; but nothing that another host said than the one asked."""
        home = _site(request)
        lines = [line for site, lines in self._baked if site == home for line in lines]
        there = [line for line in response.headers.raw if line[0].lower() == b"set-cookie"]
        if there != lines:
            rest = [line for line in response.headers.raw if line[0].lower() != b"set-cookie"]
            response.headers = type(response.headers)([*rest, *lines])


def _site(request: Any) -> object:
    """Cookies belong to a host, whatever its port (RFC 6265 section 8.5)."""
    return request.url.host
