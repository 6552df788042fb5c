"""Whether the body of a request can be sent once more.

httpx replays bytes, and multipart forms of bytes and of files that it can rewind. A file given as `content` is an
iterable that is empty the second time, and nothing complains: here it is put back to where it began, or not sent again.
"""

from __future__ import annotations

from typing import Any

from resilient_foundry._transports.library import Library
from resilient_foundry.effects import Rewind


def rewind_of(request: Any, library: Library) -> Rewind:  # request: the library's own
    """Remember how the body begins; to be asked before it is sent for the first time."""
    stream = request.stream
    if isinstance(stream, library.ByteStream):
        return _always
    fields = getattr(stream, "fields", None)  # a multipart form
    if fields is not None:
        files = [file for file in (getattr(field, "file", None) for field in fields) if hasattr(file, "read")]
        return _rewinding(files) if all(map(_seekable, files)) else _unless_begun(stream)
    source = getattr(stream, "_stream", None)  # what an iterator body iterates over
    if hasattr(source, "read") and _seekable(source):
        return _rewinding([source])
    return _unless_begun(stream)


def _always() -> bool:
    return True


def _rewinding(files: list[Any]) -> Rewind:  # files as the caller opened them
    beginnings = [(file, file.tell()) for file in files]

    def rewind() -> bool:
        try:
            for file, beginning in beginnings:
                file.seek(beginning)
        except (OSError, ValueError):  # closed meanwhile
            return False
        return True

    return rewind


def _unless_begun(stream: Any) -> Rewind:
    """An iterator can be sent as long as nobody has begun to read it."""

    def untouched() -> bool:
        return getattr(stream, "_is_stream_consumed", True) is False

    return untouched


def _seekable(file: Any) -> bool:
    try:
        return bool(file.seekable())
    except (AttributeError, ValueError):
        return False
