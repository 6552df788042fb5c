"""What went over the wire in one exchange: the request, the answer chunk by chunk, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

COMPLETE: Final = "complete"
"""The answer came to its proper end."""
ABANDONED: Final = "abandoned"
"""The client closed the answer before its end."""

_SHOWN_PATH: Final = 100

Headers = tuple[tuple[str, str], ...]
"""Names in lower case, in the order of the wire, repeated where they were repeated."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked. `path` holds the query as well."""

    method: str
    path: str
    headers: Headers = ()
    body: bytes = b""

    def __str__(self) -> str:
        path = self.path if len(self.path) <= _SHOWN_PATH else f"{self.path[:_SHOWN_PATH]}…"
        return f"{self.method} {path}"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of a body as they came, `at` so many seconds after the request."""

    at: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: its head `at` so many seconds after the request, and the chunks of its body."""

    status: int
    headers: Headers = ()
    at: float = 0.0
    chunks: tuple[Chunk, ...] = ()
    reason: str = ""
    http_version: str = "HTTP/1.1"

    @property
    def body(self) -> bytes:
        """All chunks as one."""
        return b"".join(chunk.data for chunk in self.chunks)

    def header(self, name: str) -> str | None:
        """The value of a header, joined by commas where it came more than once; None without it."""
        values = [value for known, value in self.headers if known == name.lower()]
        return ", ".join(values) if values else None


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended, `at` so many seconds after the request.

    `how` is "complete", "abandoned", or the name of the error class of httpx that was raised, and `says` its message.
    """

    how: str = COMPLETE
    at: float = 0.0
    says: str = ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and what became of it; `response` is None where no head arrived.

    `connection` numbers the connections of a recording from 1, so that two exchanges on the same one can be told.
    """

    request: Request
    response: Response | None = None
    ended: Ended = Ended()
    connection: int | None = None
