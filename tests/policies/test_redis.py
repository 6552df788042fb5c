"""Circuits that several processes share, through Redis. Without waiting: what the thread does is asked for."""

import gc
import logging
import os
import threading
import time
import traceback
import warnings
import weakref
from typing import Any

import fakeredis
import httpx
import pybreaker
import pytest
import redis

from resilient_foundry import CircuitBreaker
from resilient_foundry.policies.redis import redis_storage
from resilient_foundry.policies.shared_storage import SharedStorage
from resilient_foundry.testing import VirtualTime, failed, ok, rehearse

URL = "http://foundry.local:5273/v1/models"
REDIS = "redis://:secret@127.0.0.1/0"


class Redis(fakeredis.FakeServer):
    """May be away, and may go away in the middle of what it is told."""

    takes_no_state = False


class Client(fakeredis.FakeRedis):
    """One of redis-py, whose annotations serve both of its colours at once."""

    def set(self, name: Any, *words: Any, **settings: Any) -> Any:
        server: Any = self.connection_pool.connection_kwargs["server"]
        if server.takes_no_state and name.endswith(":state"):
            raise redis.ConnectionError
        return super().set(name, *words, **settings)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> fakeredis.FakeServer:
    """One Redis for all clients of a test."""
    server = Redis()

    def from_url(url: str, **settings: Any) -> fakeredis.FakeRedis:
        assert url.startswith("redis://:secret@")
        assert settings["socket_timeout"] <= 1, "no answer is waited for long"
        return Client(server=server)

    monkeypatch.setattr(redis.Redis, "from_url", from_url)
    return server


class Process:
    """What one of several processes has."""

    def __init__(self, clock: VirtualTime, *, failures: int = 2, url: str = REDIS, **settings: Any) -> None:
        self.storage = redis_storage(url)
        self.breaker = CircuitBreaker(failures=failures, storage=self.storage, **settings)
        self.circuit = self.breaker.circuit(httpx.URL(URL))
        self.clock = clock

    def call(self, *answers: Any) -> int:
        """How many requests a call sends."""
        return rehearse(self.breaker, *answers, url=URL, clock=self.clock).sent

    @property
    def state(self) -> str:
        return self.circuit.state


def meet(*processes: Process) -> None:
    """Their threads have gone their rounds, each after each."""
    for process in (*processes, *processes):
        process.storage.synchronise()


@pytest.mark.usefixtures("server")
def test_failures_that_several_processes_saw_add_up() -> None:
    clock = VirtualTime()
    one, other = Process(clock), Process(clock)
    one.call(failed())
    meet(one, other)
    other.call(failed())
    meet(one, other)
    assert (one.call(), other.call()) == (0, 0)


@pytest.mark.usefixtures("server")
def test_a_success_that_one_process_saw_makes_the_failures_of_all_forgotten() -> None:
    clock = VirtualTime()
    one, other = Process(clock), Process(clock)
    one.call(failed())
    meet(one, other)
    other.call(ok())
    meet(one, other)
    one.call(failed())
    assert one.state == "closed"


@pytest.mark.usefixtures("server")
def test_a_probe_of_one_process_closes_the_circuit_of_all() -> None:
    clock = VirtualTime()
    one, other = Process(clock, failures=1), Process(clock, failures=1)
    one.call(failed())
    meet(one, other)
    assert other.call() == 0
    clock.pass_(5)
    assert one.call(ok()) == 1
    meet(one, other)
    assert other.state == "closed"
    assert other.call(ok()) == 1


@pytest.mark.usefixtures("server")
def test_what_a_hand_did_in_one_process_is_told_without_a_call() -> None:
    """Whoever opens it for all, from a console say, calls nobody afterwards."""
    one, other = Process(VirtualTime()), Process(VirtualTime())
    meet(one, other)
    began = time.monotonic()
    one.circuit.breaker.open()
    while other.state != "open":
        other.storage.synchronise()
        assert time.monotonic() < began + 20, "nobody told it"
    one.circuit.force_open()
    meet(one, other)
    assert (other.state, other.circuit.forced) == ("open", None)


@pytest.mark.usefixtures("server")
def test_while_one_process_probes_the_circuit_of_the_others_is_open() -> None:
    clock = VirtualTime()
    one, other = Process(clock, failures=1), Process(clock, failures=1)
    one.call(failed())
    clock.pass_(4)
    meet(one, other)
    assert other.call() == 0
    clock.pass_(1)
    one.circuit.admit(clock.now)
    assert one.state == "half-open"
    meet(one, other)
    assert (one.state, other.state) == ("half-open", "open")
    assert other.call() == 0


@pytest.mark.usefixtures("server")
def test_a_probe_that_failed_elsewhere_makes_the_break_longer_here_too() -> None:
    clock = VirtualTime()
    one, other = (Process(clock, failures=1, open_seconds=5, growth=2) for _ in range(2))
    one.call(failed())
    meet(one, other)
    assert (one.call(), other.call()) == (0, 0)
    clock.pass_(5)
    one.call(failed())
    meet(one, other)
    clock.pass_(9)
    assert other.call() == 0
    clock.pass_(10)
    assert other.call(ok()) == 1


@pytest.mark.usefixtures("server")
def test_a_process_that_comes_later_finds_the_circuit_open() -> None:
    clock = VirtualTime()
    one = Process(clock, failures=1)
    one.call(failed())
    meet(one)
    later = Process(clock, failures=1)
    meet(later)
    assert later.call() == 0


@pytest.mark.usefixtures("server")
def test_origins_have_states_of_their_own() -> None:
    clock = VirtualTime()
    one, other = Process(clock, failures=1), Process(clock, failures=1)
    rehearse(one.breaker, failed(), url="http://a/", clock=clock)
    meet(one, other)
    assert rehearse(other.breaker, ok(), url="http://b/", clock=clock).status == 200


def test_keys_are_pybreakers_own_and_stand_under_the_name_space(server: fakeredis.FakeServer) -> None:
    storage = redis_storage(REDIS, namespace="mine")
    rehearse(CircuitBreaker(failures=1, storage=storage), failed(), url=URL)
    storage.synchronise()
    client: Any = fakeredis.FakeRedis(server=server)  # redis-py's annotations serve both of its colours at once
    keys: list[bytes] = client.keys("*")
    assert keys
    assert all(key.startswith(b"mine:http://foundry.local:5273") for key in keys), keys
    theirs = pybreaker.CircuitRedisStorage("closed", client, namespace="mine:http://foundry.local:5273")
    assert theirs.state == "open"
    assert theirs.opened_at is not None


# Redis is away


def test_while_redis_is_away_each_process_decides_by_itself_and_says_so_once(
    server: fakeredis.FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    def said() -> list[tuple[str, str]]:
        return [(one.levelname, one.getMessage()) for one in caplog.records if "redis.local" in one.getMessage()]

    caplog.set_level(logging.INFO)
    here = Process(VirtualTime(), failures=1, url="redis://:secret@redis.local:6400/0")
    elsewhere = Process(VirtualTime(), failures=1)
    meet(here, elsewhere)
    server.connected = False
    assert here.call(failed()) == 1
    meet(here)
    meet(here)
    assert (here.call(), elsewhere.call(ok())) == (0, 1)
    lost = "Redis at redis.local:6400 can't be used (ConnectionError); circuits are decided in this process alone"
    assert said() == [("WARNING", f"{lost} meanwhile")]
    assert "secret" not in caplog.text
    server.connected = True
    meet(here)
    assert said()[1:] == [("INFO", "Redis at redis.local:6400 can be used again")]
    assert not any(record.name == "pybreaker" for record in caplog.records)


def test_what_happened_meanwhile_is_told_when_redis_is_back(server: fakeredis.FakeServer) -> None:
    clock = VirtualTime()
    one, other = Process(clock, failures=1), Process(clock, failures=1)
    server.connected = False
    one.call(failed())
    meet(one, other)
    server.connected = True
    meet(one, other)
    assert other.call() == 0


def test_a_circuit_is_made_and_calls_go_out_where_redis_never_was(server: fakeredis.FakeServer) -> None:
    server.connected = False
    one = Process(VirtualTime(), failures=1)
    assert one.call(failed()) == 1
    assert one.call() == 0


def test_what_others_wrote_under_our_names_harms_no_call(
    server: fakeredis.FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody's own keys, or an older format."""
    client: Any = fakeredis.FakeRedis(server=server)
    name = "resilient-foundry:http://foundry.local:5273:pybreaker"
    client.set(f"{name}:state", "ajar")
    client.set(f"{name}:fail_counter", "many")
    one = Process(VirtualTime(), failures=1)
    assert one.call(failed()) == 1
    meet(one)
    assert one.call() == 0
    others = [f"http://other{number}:80" for number in range(8)]
    for other in others:
        rehearse(one.breaker, failed(), url=other)
    meet(one)
    assert [client.get(f"resilient-foundry:{other}:pybreaker:state") for other in others] == [b"open"] * 8
    assert "can't be used (ValueError)" in caplog.text
    client.set(f"{name}:fail_counter", "0")
    meet(one)
    assert client.get(f"{name}:state") == b"open"


@pytest.mark.parametrize("forgets", [False, True])
def test_failures_that_several_processes_saw_meanwhile_add_up(server: fakeredis.FakeServer, *, forgets: bool) -> None:
    """None of them takes the others' for its own."""
    one, other = Process(VirtualTime(), failures=4), Process(VirtualTime(), failures=4)
    server.connected = False
    for each in (one, other):
        each.call(failed())
        each.call(failed())
    meet(one, other)
    server.connected = True
    if forgets:
        client: Any = fakeredis.FakeRedis(server=server)
        client.flushall()
    meet(one, other)
    assert (one.circuit.breaker.fail_counter, other.circuit.breaker.fail_counter) == (4, 4)


def test_failures_are_not_forgotten_though_redis_forgot_them(server: fakeredis.FakeServer) -> None:
    one = Process(VirtualTime(), failures=4)
    one.call(failed())
    one.call(failed())
    meet(one)
    server.connected = False
    one.call(failed())
    meet(one)
    server.connected = True
    client: Any = fakeredis.FakeRedis(server=server)
    client.flushall()
    meet(one)
    later = Process(VirtualTime(), failures=4)
    meet(later)
    later.call(failed())
    assert later.state == "open"


def test_what_redis_heard_only_half_of_it_is_told_again(server: Redis) -> None:
    """It went away between the moment of an opening and the state."""
    clock = VirtualTime()
    one, other = Process(clock, failures=1), Process(clock, failures=1)
    one.call(failed())
    server.takes_no_state = True
    meet(one)
    server.takes_no_state = False
    meet(one, other)
    assert (one.call(), one.state, other.state) == (0, "open", "open")


def test_all_circuits_that_have_news_tell_them_when_redis_is_back(server: Redis) -> None:
    """Also those that nobody asks any more; another one is asked."""
    one = Process(VirtualTime(), failures=1)
    server.connected = False
    one.call(failed())
    meet(one)
    server.connected = True
    client: Any = fakeredis.FakeRedis(server=server)
    began = time.monotonic()
    while client.get("resilient-foundry:http://foundry.local:5273:pybreaker:state") != b"open":
        rehearse(one.breaker, ok(), url="http://elsewhere/")
        assert time.monotonic() < began + 20


# The thread


@pytest.mark.usefixtures("server")
def test_nobody_asks_redis_before_there_is_a_call() -> None:
    before = set(threading.enumerate())
    breaker = CircuitBreaker(storage=redis_storage(REDIS))
    assert set(threading.enumerate()) <= before
    rehearse(breaker, ok(), url=URL)
    (thread,) = set(threading.enumerate()) - before
    assert (thread.name, thread.daemon) == ("Redis at 127.0.0.1:6379", True)


@pytest.mark.usefixtures("server")
def test_where_no_thread_can_be_had_calls_go_out_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system has no more of them, or the interpreter is shutting down."""

    def start(thread: threading.Thread) -> None:
        raise RuntimeError(f"can't start {thread.name}")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        one = Process(VirtualTime(), failures=1)
        assert one.call(failed()) == 1
        assert one.call() == 0
    before = set(threading.enumerate())
    assert one.call() == 0
    assert len(set(threading.enumerate()) - before) == 1


@pytest.mark.usefixtures("server")
def test_the_thread_ends_with_the_storage_and_keeps_nothing_alive() -> None:
    storage = redis_storage(REDIS)
    breaker = CircuitBreaker(storage=storage)
    before = set(threading.enumerate())
    rehearse(breaker, ok(), url=URL)
    (thread,) = set(threading.enumerate()) - before
    storage.synchronise()  # nothing more is asked for: the thread sleeps
    gone = weakref.ref(storage)
    del breaker, storage
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
    assert gone() is None


@pytest.mark.usefixtures("server")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_process_has_a_thread_of_its_own() -> None:
    one = Process(VirtualTime(), failures=1)
    one.call(ok())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this process has threads: that is the point
        child = os.fork()
    if child == 0:
        code = 1
        try:
            one.call(failed())
            one.storage.synchronise()
            has_thread = any(thread.name == "Redis at 127.0.0.1:6379" for thread in threading.enumerate())
            code = (2 if not has_thread else 0) + (4 if one.call() != 0 else 0)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert one.state == "closed"


@pytest.mark.usefixtures("server")
def test_circuits_that_are_dropped_are_synchronised_no_more() -> None:
    one = Process(VirtualTime(), max_origins=2)
    for number in range(20):
        rehearse(one.breaker, ok(), url=f"http://origin{number}/")
    gc.collect()
    assert isinstance(one.storage, SharedStorage)
    assert len(list(one.breaker.circuits)) == 2
    meet(one)


def test_a_url_that_is_none_is_named_at_once() -> None:
    with pytest.raises(ValueError, match="Redis URL"):
        redis_storage("127.0.0.1:6379")


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hid/den@127.0.0.1/0",
        "redis://:hid#den@127.0.0.1/0",
        "redis://:hid?den@127.0.0.1/0",
        "redis://:hid[den@127.0.0.1/0",
        "redis://:12/hidden@127.0.0.1/0",
        "redis://127.0.0.1:hidden/0",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url: str) -> None:
    """The standard library's own message quotes what stands where a port is expected."""
    with pytest.raises(ValueError, match="can't be read") as refused:
        redis_storage(url)
    shown = "".join(traceback.format_exception(refused.value))
    assert not any(part in shown for part in ("'hid", "hidden'", "den@"))
    assert refused.value.__context__ is None


@pytest.mark.usefixtures("server")
def test_neither_storage_nor_breaker_shows_the_password() -> None:
    storage = redis_storage(REDIS)
    breaker = CircuitBreaker(storage=storage)
    assert "secret" not in f"{storage!r} {breaker!r} {breaker.circuit(URL)!r}"
