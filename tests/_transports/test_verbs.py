"""What a policy may ask for beyond sending: to wait, to sleep, to work, to answer itself, to fail; in all six ways."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from resilient_foundry import Stack
from resilient_foundry.flow import (
    Flow,
    Proceed,
    Request,
    Response,
    fail,
    give,
    now,
    respond,
    sleep,
    wait,
    work,
)
from resilient_foundry.signal import Signal
from resilient_foundry.testing import VirtualTime, ok, rehearse
from tests.servers import PATIENCE, Gate, Server, closed_port, replies
from tests.ways import Way, ledger_of


@dataclass(frozen=True)
class Story:
    """A policy that is one function."""

    story: Callable[[Request, Proceed], Flow[Response]]

    def flow(self, request: Request, proceed: Proceed) -> Flow[Response]:
        """Tell it."""
        return self.story(request, proceed)


def test_a_call_waits_until_a_signal_is_given_from_another_thread(way: Way) -> None:
    """Whichever event loop it lives in."""
    signal, waits = Signal(), Gate()

    def story(request: Request, proceed: Proceed) -> Flow[Response]:
        waits.open()
        assert (yield from wait(signal, (yield from now()) + PATIENCE)) is True
        return (yield from proceed(request))

    with Server(replies(200, b"here")) as server:
        client = way.client(Stack(Story(story)))
        with way.meanwhile(lambda: client.get(server.url)) as call:
            waits.wait()
            assert server.asked == []
            signal.give()
            assert call.result(PATIENCE).content == b"here"


def test_a_signal_that_was_given_before_is_not_waited_for(way: Way) -> None:
    signal = Signal()
    signal.give()

    def story(request: Request, proceed: Proceed) -> Flow[Response]:
        assert (yield from wait(signal, None)) is True
        return (yield from proceed(request))

    with Server(replies(200)) as server:
        assert way.client(Stack(Story(story))).get(server.url).status_code == 200


def test_a_wait_ends_at_its_moment(way: Way) -> None:
    """And says that the signal was not given; one whose moment has passed ends at once."""
    signal = Signal()

    def story(request: Request, proceed: Proceed) -> Flow[Response]:
        moment = yield from now()
        assert (yield from wait(signal, moment - 1)) is False
        assert (yield from wait(signal, moment + 0.01)) is False
        assert (yield from now()) >= moment + 0.01 - 0.005
        return (yield from proceed(request))

    with Server(replies(200)) as server:
        assert way.client(Stack(Story(story))).get(server.url).status_code == 200


def test_many_wait_for_one_signal_in_threads_and_tasks(way: Way) -> None:
    signal, waiting = Signal(), threading.Semaphore(0)

    def story(request: Request, proceed: Proceed) -> Flow[Response]:
        waiting.release()
        yield from wait(signal, None)
        return (yield from proceed(request))

    def give_when_all_wait() -> None:
        for _ in range(8):
            assert waiting.acquire(timeout=PATIENCE)
        signal.give()

    with Server(replies(200)) as server:
        client = way.client(Stack(Story(story)))
        giver = threading.Thread(target=give_when_all_wait)
        giver.start()
        assert [call.result().status_code for call in way.together(8, lambda: client.get(server.url))] == [200] * 8
        giver.join()


def test_sleeping_lets_time_pass(way: Way) -> None:
    def story(request: Request, proceed: Proceed) -> Flow[Response]:
        began = yield from now()
        yield from sleep(0.01)
        assert (yield from now()) - began >= 0.01 - 0.005
        return (yield from proceed(request))

    with Server(replies(200)) as server:
        assert way.client(Stack(Story(story))).get(server.url).status_code == 200


def test_what_blocks_is_done_beside_the_event_loop(way: Way) -> None:
    """In synchronous code it blocks nobody else and stays where it is."""
    worked_in = list[int]()

    def story(request: Request, proceed: Proceed) -> Flow[Response]:
        began = threading.get_ident()
        where = yield from work(threading.get_ident)
        assert (where == began) is (way.colour == "sync")
        worked_in.append(where)
        with pytest.raises(ZeroDivisionError):
            yield from work(lambda: 1 / 0)
        return (yield from proceed(request))

    with Server(replies(200)) as server:
        assert way.client(Stack(Story(story))).get(server.url).status_code == 200
    assert len(worked_in) == 1


def test_a_policy_may_answer_itself(way: Way) -> None:
    """The caller gets an answer of its own library, and a ledger without an attempt."""

    def story(request: Request, proceed: Proceed) -> Flow[Response]:
        del request, proceed
        return (yield from respond(203, {"x-from": "a policy"}, b"made here"))

    answer = way.client(Stack(Story(story))).get(closed_port())
    assert isinstance(answer, way.library.Response)
    assert (answer.status_code, answer.headers["x-from"], answer.content) == (203, "a policy", b"made here")
    assert ledger_of(answer).attempts == []


def test_a_policy_may_fail_as_the_library_does(way: Way) -> None:
    def story(request: Request, proceed: Proceed) -> Flow[Response]:
        del request, proceed
        return (yield from fail("ConnectError", "on purpose"))

    with pytest.raises(way.library.ConnectError, match="on purpose") as caught:
        way.client(Stack(Story(story))).get(closed_port())
    assert ledger_of(caught.value).attempts == []


def test_a_failure_that_a_policy_asked_for_can_be_caught_by_it(way: Way) -> None:
    def story(request: Request, proceed: Proceed) -> Flow[Response]:
        with pytest.raises(way.library.ReadError):
            yield from fail("ReadError", "on purpose")
        return (yield from proceed(request))

    with Server(replies(200)) as server:
        assert way.client(Stack(Story(story))).get(server.url).status_code == 200


def test_only_the_story_of_a_body_gives_chunks(way: Way) -> None:
    def story(request: Request, proceed: Proceed) -> Flow[Response]:
        yield from give(b"no")
        return (yield from proceed(request))

    with pytest.raises(TypeError, match="only the story of a body may do"):
        way.client(Stack(Story(story))).get(closed_port())


def test_a_rehearsal_sleeps_and_waits_in_no_time() -> None:
    """Nobody gives a signal meanwhile, so a wait without an end is a mistake of the test."""
    clock, signal = VirtualTime(), Signal()

    def story(request: Request, proceed: Proceed) -> Flow[Response]:
        began = yield from now()
        yield from sleep(30.0)
        assert (yield from wait(signal, began + 40.0)) is False
        assert (yield from now()) == began + 40.0
        return (yield from proceed(request))

    assert rehearse(Stack(Story(story)), ok(), clock=clock).elapsed == 40.0

    def endless(request: Request, proceed: Proceed) -> Flow[Response]:
        yield from wait(signal, None)
        return (yield from proceed(request))

    with pytest.raises(AssertionError, match="waits for ever"):
        rehearse(Stack(Story(endless)), ok())
