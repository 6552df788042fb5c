"""What a caller may say of a call, and what a policy may ask."""

import re
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from resilient_foundry import CallOptions, Deadline, Retry, Stack
from resilient_foundry.call import OPTIONS, SHARED, Shared, derive, options_of, shared_of
from resilient_foundry.effects import Now
from resilient_foundry.flow import Flow, Policy, Proceed, Request, Response, now
from resilient_foundry.testing import failed, lost, ok, rehearse

LIBRARIES = [httpx, httpx2]


def request_with(options: object) -> httpx.Request:
    return httpx.Request("GET", "http://foundry.local/", extensions={OPTIONS: options})


def test_nothing_said_is_the_default() -> None:
    assert options_of(httpx.Request("GET", "http://foundry.local/")) == CallOptions()


def test_options_may_be_said_as_a_mapping_of_their_fields() -> None:
    """An SDK that hands extensions through need not know our class."""
    said = {"repeatable": True, "deadline": 2.0, "name": "chat", "attributes": {"a": 1}}
    expected = CallOptions(repeatable=True, deadline=2.0, name="chat", attributes={"a": 1})
    assert options_of(request_with(said)) == expected


def test_an_unknown_option_is_named_together_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match="unknown resilience option 'retries'; known are attributes, deadline, elastic, kind"
    ):
        options_of(request_with({"retries": 3}))


def test_what_is_no_options_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match=r"extensions\['resilience'\] is a CallOptions or a mapping, not list"):
        options_of(request_with(["retry"]))


def test_an_unknown_option_reaches_the_caller_before_anything_is_sent() -> None:
    request = httpx.Request("GET", "http://foundry.local/", extensions={OPTIONS: {"retries": 3}})
    sent: list[httpx.Request] = []

    def serve(asked: httpx.Request) -> httpx.Response:
        sent.append(asked)
        return httpx.Response(200)

    client = httpx.Client(transport=Stack(Deadline(1), Retry()).over(httpx.MockTransport(serve)))
    with client, pytest.raises(ValueError, match="'retries'"):
        client.send(request)
    assert sent == []


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_deadline_of_a_call_is_a_positive_number_of_seconds(value: float) -> None:
    with pytest.raises(ValueError, match=r"CallOptions\.deadline is a positive number of seconds or None"):
        CallOptions(deadline=value)


def test_a_kind_of_span_is_one_of_two_words() -> None:
    with pytest.raises(ValueError, match=r"CallOptions\.kind is 'internal' or 'client', not 'server'"):
        CallOptions(kind="server")


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda module: module.__name__)
def test_a_derived_request_is_the_same_but_for_what_was_said(library: ModuleType) -> None:
    """The caller's own request is never changed."""
    request = library.Request("POST", "http://foundry.local/v1?a=b", content=b"{}", extensions={"mine": 1})
    derived = derive(request, headers={"x-more": "1"}, extensions={"timeout": {"read": 1.0}})
    assert type(derived) is library.Request
    assert (derived.method, str(derived.url)) == ("POST", "http://foundry.local/v1?a=b")
    assert b"".join(derived.stream) == b"{}"
    assert derived.headers["content-length"] == "2"
    assert derived.headers["x-more"] == "1"
    assert derived.extensions == {"mine": 1, "timeout": {"read": 1.0}}
    assert "x-more" not in request.headers
    assert request.extensions == {"mine": 1}


def test_repeated_headers_stay_repeated_when_a_request_is_derived() -> None:
    request = httpx.Request("GET", "http://foundry.local/", headers=[("accept", "a"), ("accept", "b")])
    assert derive(request, headers={"x": "y"}).headers.get_list("accept") == ["a", "b"]


def test_legs_of_one_call_share_one_object() -> None:
    """Httpx copies extensions to the next leg of a redirect; what they hold in common stays the same object."""
    request = httpx.Request("GET", "http://foundry.local/")
    shared = shared_of(request)
    assert isinstance(shared, Shared)
    assert shared_of(request) is shared
    assert shared_of(derive(request)) is shared
    assert request.extensions[SHARED] is shared


def test_a_policy_is_any_object_with_a_flow() -> None:
    """A Protocol, no base class: what a user writes is a policy like ours."""
    moments: list[float] = []

    class Clocked:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            moments.append((yield from now()))
            response = yield from proceed(request)
            moments.append((yield from now()))
            return response

    policy = Clocked()
    assert isinstance(policy, Policy)
    history = rehearse(policy, ok(after=2.5))
    assert history.status == 200
    assert moments[1] - moments[0] == 2.5


def test_a_question_that_no_driver_answers_is_a_type_error() -> None:
    class Odd:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            question: Any = "what is the weather like?"
            yield question
            return (yield from proceed(request))

    error = rehearse(Odd(), ok()).error
    assert isinstance(error, TypeError)
    assert "'what is the weather like?'" in str(error)


def test_an_error_answered_to_a_question_can_be_caught_where_it_was_asked() -> None:
    """`try: yield from proceed(...) except` is how every policy is written."""

    class Forgiving:
        def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
            try:
                return (yield from proceed(request))
            except httpx.ReadError:
                return (yield from proceed(request))

    assert rehearse(Forgiving(), lost(), ok()).status == 200


def test_effects_are_values() -> None:
    assert Now() == Now()


def test_retry_false_sends_a_call_once() -> None:
    assert rehearse(Retry(attempts=3), failed(503), options=CallOptions(retry=False)).sent == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"repeatable": "no"}, "CallOptions.repeatable is True or False, not 'no'"),
        ({"retry": 0}, "CallOptions.retry is True or False, not 0"),
        ({"deadline": "3"}, "CallOptions.deadline is a positive number of seconds or None, not '3'"),
        ({"deadline": 0}, "CallOptions.deadline is a positive number of seconds or None, not 0"),
    ],
)
def test_options_say_what_they_accept(options: dict[str, Any], sentence: str) -> None:
    """A word that is true to Python must not make a payment go out twice."""
    with pytest.raises(ValueError, match=re.escape(sentence)):
        CallOptions(**options)


@pytest.mark.parametrize("module", LIBRARIES)
def test_a_request_may_be_derived_for_another_address(module: ModuleType) -> None:
    """With the `Host` of that address, whatever the body."""
    library: Any = module
    request = library.Request("POST", "http://one:1/v1/chat?a=b", content=b"body", headers={"X-Mine": "kept"})
    fresh = derive(request, url=request.url.copy_with(host="two", port=2))
    assert (str(fresh.url), fresh.headers["host"]) == ("http://two:2/v1/chat?a=b", "two:2")
    assert (fresh.read(), fresh.headers["x-mine"]) == (b"body", "kept")
    assert (str(request.url), request.headers["host"]) == ("http://one:1/v1/chat?a=b", "one:1")
    assert str(derive(request, url="http://three/status").url) == "http://three/status"


@pytest.mark.parametrize("module", LIBRARIES)
def test_a_request_may_be_derived_with_another_body(module: ModuleType) -> None:
    """What tells the length of the old one does not go along."""
    library: Any = module
    request = library.Request("POST", "http://one/", content=iter([b"a", b"b"]), headers={"Content-Type": "text/plain"})
    fresh = derive(request, content=b"another")
    assert fresh.read() == b"another"
    assert fresh.headers["content-length"] == "7"
    assert "transfer-encoding" not in fresh.headers
    assert fresh.headers["content-type"] == "text/plain"


@pytest.mark.parametrize("module", LIBRARIES)
def test_a_request_may_be_derived_without_some_headers(module: ModuleType) -> None:
    """Repeated headers that stay, stay repeated."""
    library: Any = module
    headers = [("Authorization", "secret"), ("X-Many", "1"), ("X-Many", "2")]
    request = library.Request("GET", "http://one/", headers=headers)
    fresh = derive(request, without=("authorization",), method="HEAD", headers={"X-New": "yes"})
    assert fresh.method == "HEAD"
    assert "authorization" not in fresh.headers
    assert fresh.headers.get_list("x-many") == ["1", "2"]
    assert fresh.headers["x-new"] == "yes"
    assert request.headers["authorization"] == "secret"


@pytest.mark.parametrize("value", ["high", 1.5, True])
def test_a_priority_is_a_whole_number(value: object) -> None:
    with pytest.raises(ValueError, match=re.escape(f"CallOptions.priority is a whole number, not {value!r}")):
        CallOptions(priority=value)  # type: ignore[arg-type]
