"""How a request is aimed at another origin, or asks for another model."""

import json
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from resilient_foundry import Target
from resilient_foundry.call import CIRCUIT, OPTIONS
from resilient_foundry.policies.target import aimed_at

LIBRARIES = [httpx, httpx2]
SECRETS = {
    "Authorization": "Bearer secret",
    "Cookie": "session=secret",
    "Proxy-Authorization": "Basic secret",
    "Api-Key": "secret",
    "X-Api-Key": "secret",
    "X-Goog-Api-Key": "secret",
    "X-Auth-Token": "secret",
    "X-Amz-Security-Token": "secret",
    "Ocp-Apim-Subscription-Key": "secret",
}


def aimed(target: Target, request: httpx.Request) -> httpx.Request:
    """The request as this target gets it."""
    at: Any = aimed_at(target, request)
    assert isinstance(at, httpx.Request)
    assert at is not request
    return at


def asks(url: str = "http://main:5273/v1/chat", **settings: Any) -> httpx.Request:
    return httpx.Request("POST", url, **settings)


# Another origin


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.__name__)
@pytest.mark.parametrize(
    ("target", "url", "host"),
    [
        ("http://other:5274", "http://other:5274/v1/chat?a=1&b=%20", "other:5274"),
        ("http://other:5274/", "http://other:5274/v1/chat?a=1&b=%20", "other:5274"),
        ("https://models.example/v2/", "https://models.example/v2/v1/chat?a=1&b=%20", "models.example"),
        ("https://models.example:443", "https://models.example/v1/chat?a=1&b=%20", "models.example"),
        ("http://[::1]:8080", "http://[::1]:8080/v1/chat?a=1&b=%20", "[::1]:8080"),
    ],
)
def test_the_path_and_the_query_go_to_the_other_origin_and_the_host_follows(
    library: ModuleType, target: str, url: str, host: str
) -> None:
    request = library.Request("POST", "http://main:5273/v1/chat?a=1&b=%20", content=b"body")
    at: Any = aimed_at(Target(target), request)
    assert (type(at), str(at.url), at.headers["host"]) == (library.Request, url, host)
    assert (at.method, at.read()) == ("POST", b"body")
    assert str(request.url) == "http://main:5273/v1/chat?a=1&b=%20"


def test_keys_cookies_and_passwords_stay_at_home() -> None:
    """As a client does when a redirect leads elsewhere; and keys of models wherever they stand."""
    at = aimed(Target("http://other"), asks(headers={**SECRETS, "X-Kept": "yes"}))
    assert "secret" not in repr(at.headers.raw)
    assert at.headers["x-kept"] == "yes"


def test_a_password_in_the_url_stays_at_home_as_well() -> None:
    at = aimed(Target("http://other"), asks("http://user:secret@main/v1"))
    assert str(at.url) == "http://other/v1"
    assert at.url.userinfo == b""


def test_a_trusted_target_gets_them() -> None:
    at = aimed(Target("http://other", trusted=True), asks(headers=SECRETS))
    assert {name: at.headers[name] for name in SECRETS} == SECRETS


def test_a_target_may_have_a_key_of_its_own() -> None:
    at = aimed(Target("http://other", headers={"Authorization": "Bearer its own"}), asks(headers=SECRETS))
    assert at.headers.get_list("authorization") == ["Bearer its own"]
    assert "secret" not in repr(at.headers.raw)


def test_the_same_origin_under_another_path_is_no_stranger() -> None:
    at = aimed(Target("http://MAIN:5273/v2"), asks(headers=SECRETS))
    assert at.url.path == "/v2/v1/chat"
    assert at.headers["authorization"] == "Bearer secret"


def test_the_name_on_the_certificate_is_that_of_the_new_origin() -> None:
    """Else TLS would ask the other server for the certificate of the first."""
    at = aimed(Target("https://other"), asks(extensions={"sni_hostname": "main", "timeout": {"read": 1}}))
    assert at.extensions == {"timeout": {"read": 1}}


def test_what_was_asked_already_is_not_asked_again() -> None:
    """One list of targets may serve the clients of all of them."""
    request = asks(json={"model": "a"})
    for target in (Target("http://main:5273"), Target(model="a"), Target("http://main:5273/", model="a")):
        assert aimed_at(target, request) is request


def test_the_same_address_with_other_headers_is_another_target() -> None:
    at = aimed(Target("http://main:5273", headers={"X-Region": "north"}), asks())
    assert at.headers["x-region"] == "north"


# Another model


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/problem+JSON"])
def test_another_model_is_written_into_the_body(kind: str) -> None:
    body = {"model": "big", "messages": [{"role": "user", "content": "grüße \U0001f600"}], "temperature": 0.1}
    request = asks(content=json.dumps(body), headers={"content-type": kind})
    at = aimed(Target(model="small"), request)
    content = at.read()
    assert json.loads(content) == {**body, "model": "small"}
    assert at.headers.get_list("content-length") == [str(len(content))]
    assert at.headers["content-type"] == kind
    assert json.loads(request.content) == body


def test_another_model_is_told_to_the_circuit() -> None:
    """A model that fails is no reason not to ask its server for another."""
    options = object()
    at = aimed(Target(model="small"), asks(json={"model": "big"}, extensions={OPTIONS: options}))
    assert at.extensions == {CIRCUIT: "small", OPTIONS: options}


def test_another_model_keeps_the_credentials_of_its_origin() -> None:
    at = aimed(Target(model="small"), asks(json={"model": "big"}, headers=SECRETS))
    assert at.headers["authorization"] == "Bearer secret"


def test_another_body_goes_under_no_idempotency_key() -> None:
    """The server would take it for the first one come again, or refuse it as a forgery."""
    at = aimed(Target(model="small"), asks(json={"model": "big"}, headers={"Idempotency-Key": "k"}))
    assert "idempotency-key" not in at.headers
    assert aimed(Target("http://other"), asks(headers={"Idempotency-Key": "k"})).headers["idempotency-key"] == "k"


@pytest.mark.parametrize("name", ["Content-Digest", "Repr-Digest", "Digest", "Content-MD5"])
def test_another_body_has_no_digest_of_the_first(name: str) -> None:
    """RFC 9530: a server that compares them would refuse it."""
    assert name not in aimed(Target(model="small"), asks(json={"model": "big"}, headers={name: "d"})).headers
    assert aimed(Target("http://other"), asks(headers={name: "d"})).headers[name] == "d"


def test_another_model_at_another_origin_is_both() -> None:
    at = aimed(Target("http://other", model="small"), asks(json={"model": "big"}, headers=SECRETS))
    assert (str(at.url), json.loads(at.content)) == ("http://other/v1/chat", {"model": "small"})
    assert at.extensions[CIRCUIT] == "small"
    assert "secret" not in repr(at.headers.raw)


def chunks() -> Iterator[bytes]:
    yield b'{"model": "big"}'


NAMELESS: dict[str, dict[str, Any]] = {
    "no body": {},
    "an empty body": {"content": b"", "headers": {"content-type": "application/json"}},
    "JSON that does not say so": {"content": b'{"model": "big"}'},
    "a body that is made as it is sent": {"content": chunks(), "headers": {"content-type": "application/json"}},
    "half of it": {"content": b'{"model": "big"', "headers": {"content-type": "application/json"}},
    "compressed": {"content": b"\x1f\x8b\xff", "headers": {"content-type": "application/json"}},
    "too deep": {"content": b"[" * 100_000, "headers": {"content-type": "application/json"}},
    "no number": {"content": b'{"model": "big", "n": 1e999}', "headers": {"content-type": "application/json"}},
    "a list": {"json": ["model"]},
    "no model": {"json": {"messages": []}},
    "a model by number": {"json": {"model": 7}},
}


@pytest.mark.parametrize("settings", NAMELESS.values(), ids=NAMELESS)
def test_a_request_that_names_no_model_in_json_can_not_ask_for_another(settings: dict[str, Any]) -> None:
    assert aimed_at(Target(model="small"), asks(**settings)) is None


# What it says, and doesn't


def test_a_target_is_told_by_its_url_and_model() -> None:
    assert str(Target("http://other:5274")) == "http://other:5274"
    assert str(Target(model="phi-4-mini")) == "model phi-4-mini"
    assert str(Target("http://other:5274", model="phi-4-mini")) == "http://other:5274, model phi-4-mini"


def test_what_prints_it_tells_no_secret() -> None:
    target = Target("http://other", model="m", headers={"Authorization": "Bearer secret"}, trusted=True)
    assert repr(target) == "Target('http://other', model='m', trusted=True)"
    assert repr(Target(model="m")) == "Target(model='m')"


def test_targets_are_values() -> None:
    assert Target("http://a", headers={"x": "1"}) == Target("http://a", headers={"x": "1"})
    assert len({Target("http://a", headers={"x": "1"}), Target("http://a", headers={"x": "1"})}) == 1


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (Target, "Target has a url, a model or both, not neither"),
        (lambda: Target("other:5274"), r"Target\.url is an absolute URL such as .*, not 'other:5274'"),
        (lambda: Target("ftp://other"), r"not 'ftp://other'"),
        (lambda: Target("http://"), r"not 'http://'"),
        (lambda: Target("http://other:port"), r"not 'http://other:port'"),
        (lambda: Target("http://other?key=1"), r"not 'http://other\?key=1'"),
        (lambda: Target("http://other#x"), r"not 'http://other#x'"),
        (lambda: Target("http://ot her"), r"not 'http://ot her'"),
        (lambda: Target("http://ot\ther"), r"not 'http://ot\\ther'"),
        (lambda: Target("http://other/a\r\nb"), r"Target\.url is an absolute URL"),
        (lambda: Target("http://öther"), r"not 'http://öther'"),
        (lambda: Target(5274), r"not 5274"),  # type: ignore[arg-type]
        (lambda: Target(model=""), r"Target\.model is a text or None, not ''"),
        (lambda: Target(model=3), r"Target\.model is a text or None, not 3"),  # type: ignore[arg-type]
        (lambda: Target("http://a", headers=["x"]), r"Target\.headers maps names to values"),  # type: ignore[arg-type]
        (lambda: Target("http://a", headers={"x": 1}), r"Target\.headers maps names to values"),  # type: ignore[dict-item]
        (lambda: Target("http://a", trusted="yes"), r"Target\.trusted is True or False, not 'yes'"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_setting_is_named(make: Callable[[], Target], complaint: str) -> None:
    with pytest.raises((ValueError, TypeError), match=complaint):
        make()


def test_a_url_with_a_password_is_refused_and_not_quoted() -> None:
    with pytest.raises(ValueError, match="without user, query and fragment") as caught:
        Target("http://user:secret@other")
    assert "secret" not in str(caught.value)
