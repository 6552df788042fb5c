"""Bodies are sent whole a second time, or not at all."""

from __future__ import annotations

import io
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from resilient_foundry import Backoff, Retry, Stack
from resilient_foundry.events import RetryDenied
from tests.servers import Server, closed_port, replies, script
from tests.ways import Way, ledger_of

RETRYING = Stack(Retry(attempts=2, backoff=Backoff(base=0.0)))


def pieces(way: Way) -> Any:
    """A body that can be read once."""

    def sync() -> Iterator[bytes]:
        yield b"one "
        yield b"two"

    async def asynchronous() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    return sync() if way.colour == "sync" else asynchronous()


class Unseekable(io.BytesIO):
    """A file like a pipe."""

    def seekable(self) -> bool:
        """It is not."""
        return False


def temporary() -> Any:
    """A file on the disk, of which the first words have been read already."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by whoever asks for it
    file.write(b"skip whole")
    file.seek(5)
    return file


REPLAYED: dict[str, tuple[Callable[[], dict[str, Any]], bytes]] = {
    "bytes": (lambda: {"content": b"whole"}, b"whole"),
    "json": (lambda: {"json": ["whole"]}, b'["whole"]'),
    "form": (lambda: {"data": {"a": "whole"}}, b"a=whole"),
    "nothing": (dict[str, Any], b""),
    "multipart of bytes": (lambda: {"files": {"a": b"whole"}}, b"whole"),
    "multipart of a file": (lambda: {"files": {"a": io.BytesIO(b"whole")}}, b"whole"),
}


@pytest.mark.parametrize(("settings", "said"), REPLAYED.values(), ids=REPLAYED)
def test_what_can_be_replayed_is_sent_whole_twice(
    way: Way, settings: Callable[[], dict[str, Any]], said: bytes
) -> None:
    """Both requests have the same body, to the byte."""
    with Server(script(replies(503), replies(200))) as server:
        assert way.client(RETRYING).request("PUT", server.url, **settings()).status_code == 200
        first, second = (asked.body for asked in server.asked)
        assert first == second
        assert said in first


@pytest.mark.parametrize("way", ["httpx-sync", "httpx2-sync"], indirect=True)
def test_a_file_is_put_back_to_where_it_began(way: Way) -> None:
    """Httpx would send it empty the second time, and nobody would complain."""
    with Server(script(replies(503), replies(200))) as server, temporary() as file:
        way.client(RETRYING).request("PUT", server.url, content=file, headers={"transfer-encoding": "chunked"})
        assert [asked.body for asked in server.asked] == [b"whole", b"whole"]


@pytest.mark.parametrize("way", ["httpx-sync", "httpx2-sync"], indirect=True)
@pytest.mark.parametrize("multipart", [False, True], ids=["content", "multipart"])
def test_a_file_that_cannot_be_put_back_is_sent_once(way: Way, *, multipart: bool) -> None:
    """The caller gets the answer to the only attempt."""
    file = Unseekable(b"whole")
    settings: dict[str, Any] = {"files": {"a": file}} if multipart else {"content": file}
    with Server(replies(503, b"busy")) as server:
        response = way.client(RETRYING).request("PUT", server.url, **settings)
        assert response.content == b"busy"
        assert len(server.asked) == 1
        denied = [event.why for _, event in ledger_of(response).events if isinstance(event, RetryDenied)]
        assert denied == ["body_sent"]


def test_an_iterator_is_sent_once(way: Way) -> None:
    """What has been read can't be read again."""
    with Server(replies(503, b"busy")) as server:
        response = way.client(RETRYING).request("PUT", server.url, content=pieces(way))
        assert response.content == b"busy"
        assert [asked.body for asked in server.asked] == [b"one two"]


def test_an_iterator_that_nobody_has_begun_may_be_sent_again(way: Way) -> None:
    """Where no connection came about, nothing was read."""
    with pytest.raises(way.library.ConnectError) as caught:
        way.client(RETRYING).request("PUT", closed_port(), content=pieces(way))
    assert len(ledger_of(caught.value).attempts) == 2
