"""What a failure means."""

import ssl
from types import ModuleType

import httpx
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_foundry.faults import Fault, Verdict, fault_of, judge_by_status
from resilient_foundry.testing import scripted

LIBRARIES = [httpx, httpx2]

UNSENT = ("ConnectError", "ConnectTimeout", "PoolTimeout")
UNKNOWN = ("ReadTimeout", "WriteTimeout", "ReadError", "WriteError", "CloseError", "ProxyError", "RemoteProtocolError")
OURS = (
    "LocalProtocolError",
    "UnsupportedProtocol",
    "TooManyRedirects",
    "DecodingError",
    "InvalidURL",
    "StreamConsumed",
)


@pytest.fixture(autouse=True)
def _known() -> None:  # pyright: ignore[reportUnusedFunction] - pytest finds it
    """A library is known once one of its transports was met."""
    for library in LIBRARIES:
        scripted(module=library)


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda module: module.__name__)
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        *((name, Fault.UNSENT) for name in UNSENT),
        *((name, Fault.UNKNOWN) for name in UNKNOWN),
        *((name, Fault.OURS) for name in OURS),
    ],
)
def test_how_far_a_call_got_is_known_from_the_class_of_its_error(library: ModuleType, name: str, fault: Fault) -> None:
    kind = getattr(library, name)
    assert fault_of(kind() if name == "StreamConsumed" else kind("scripted")) is fault


def test_an_error_that_nobody_knows_is_ours() -> None:
    """A bug in a program is not repeated, and no server is blamed for it."""
    assert fault_of(ZeroDivisionError()) is Fault.OURS
    assert fault_of(KeyboardInterrupt()) is Fault.OURS


def test_a_class_derived_from_a_known_one_means_the_same() -> None:
    class Slower(httpx.ReadTimeout):
        pass

    assert fault_of(Slower("scripted")) is Fault.UNKNOWN


@pytest.mark.parametrize("link", ["__cause__", "__context__"])
def test_a_certificate_that_is_refused_now_is_refused_again(link: str) -> None:
    """Httpx reports it as a connect error, which would be tried again for nothing."""
    error = httpx.ConnectError("certificate verify failed")
    setattr(error, link, ssl.SSLCertVerificationError("self-signed"))
    assert fault_of(error) is Fault.OURS


def test_another_failure_of_tls_may_pass() -> None:
    error = httpx.ConnectError("eof")
    error.__cause__ = ssl.SSLEOFError("eof")
    assert fault_of(error) is Fault.UNSENT


@pytest.mark.parametrize(
    ("verdict", "statuses"),
    [
        (Verdict.GOOD, [101, 200, 204, 206, 301, 304]),
        (Verdict.CALLER, [400, 401, 403, 404, 409, 413, 422, 501, 505]),
        (Verdict.BUSY, [425, 429, 503]),
        (Verdict.SERVER, [408, 500, 502, 504, 507, 520]),
    ],
)
def test_a_status_says_which_side_is_to_blame(verdict: Verdict, statuses: list[int]) -> None:
    assert {status: judge_by_status(status, {}, b"") for status in statuses} == dict.fromkeys(statuses, verdict)


@given(status=st.integers(100, 599), body=st.binary(max_size=20))
def test_the_status_alone_decides(status: int, body: bytes) -> None:
    """`judge_by_status` is total, and looks at nothing else."""
    assert judge_by_status(status, {"x": "y"}, body) is judge_by_status(status, {}, b"")
