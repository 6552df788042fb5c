"""The end of the service: POST /shutdown. Each of these has a process of its own, which it ends."""

from resilient_foundry.harness import ALONE, MUST, SHOULD, Session, contract
from resilient_foundry.harness.evidence import COMPLETE

_SOON = 5
"""So many times a server may still answer while it ends."""


@contract(SHOULD, needs=ALONE)
def says_that_it_will_end(session: Session) -> None:
    """A shutdown is answered before the service ends, so that the client knows that it was heard."""
    answer = session.post("/shutdown")
    answer.holds(200 <= answer.code < 300, f"the status is {answer.code}")


@contract(SHOULD, needs=ALONE)
def serves_no_more(session: Session) -> None:
    """Soon after a shutdown nobody answers any more."""
    session.get("/status").status(200)
    session.post("/shutdown")
    looks = (session.get("/status") for _ in range(_SOON))
    session.expect(any(look.exchange.response is None for look in looks), f"it answers still, {_SOON} times")


@contract(MUST, needs=ALONE)
def is_not_ended_by_looking(session: Session) -> None:
    """GET /shutdown ends nothing: a browser or a crawler may come by."""
    looked = session.get("/shutdown")
    looked.holds(looked.code >= 400, f"the status is {looked.code}")
    session.get("/status").status(200)


@contract(MUST, needs=[ALONE, "slow"])
def cuts_streams_so_that_it_shows(session: Session) -> None:
    """A stream that a shutdown cuts does not look complete: without its `[DONE]` it ends as a broken connection."""
    messages = [{"role": "user", "content": "Take your time."}]
    chat = {"model": session.model("slow"), "messages": messages, "stream": True}
    with session.stream("POST", "/v1/chat/completions", json=chat) as stream:
        stream.event()
        stream.answer.status(200)
        session.post("/shutdown")
        answer = stream.rest()
    done = any(event.data.strip() == "[DONE]" for event in answer.events)
    answer.holds(done or answer.exchange.ended.how != COMPLETE, "the stream ended properly, and without [DONE]")
