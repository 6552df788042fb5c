"""Which models are in memory: GET /models/loaded, /models/load/{model} and /models/unload/{model}.

Both change something although they are asked for with GET, so a client may repeat them only because they are promised
to do nothing the second time.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

from hypothesis import strategies as st

from resilient_foundry.harness import ALONE, MAY, MUST, OWN, SHOULD, Answer, Session, contract, each, one_of

_PART: Final = "json-text"
"""The model that is loaded and unloaded here. Others don't leave work behind with it, which would keep it busy."""
_LONG_SECONDS: Final = 600.0
"""A real model takes minutes to load."""
_UNKNOWN: Final = st.from_regex(r"no-such-[a-z0-9.-]{1,40}", fullmatch=True)


def _load(session: Session, name: str) -> Answer:
    return session.get(f"/models/load/{name}", read=_LONG_SECONDS)


def _unload(session: Session, name: str) -> Answer:
    return session.get(f"/models/unload/{name}", read=_LONG_SECONDS)


def _loaded(session: Session) -> Answer:
    return session.get("/models/loaded").status(200).has(each(str))


def _is_loaded(session: Session, part: str = _PART) -> None:
    answer = _loaded(session)
    times = answer.json.count(session.model(part))
    answer.holds(times == 1, f"{session.model(part)} is listed {times} times, not once")


def _is_not_loaded(session: Session, part: str = _PART) -> None:
    answer = _loaded(session)
    answer.holds(session.model(part) not in answer.json, f"{session.model(part)} is listed still")


@contextmanager
def _unloaded(session: Session) -> Generator[None]:
    """The model is not in memory at first, and is again at the end."""
    _unload(session, session.alias(_PART)).status(200)
    try:
        yield
    finally:
        _load(session, session.alias(_PART))


def _chat(session: Session, part: str = _PART) -> dict[str, Any]:
    messages = [{"role": "user", "content": "What is resilience?"}]
    return {"model": session.model(part), "messages": messages, "max_tokens": 4}


def _stream(session: Session) -> dict[str, Any]:
    """A stream that takes half a second, so that something can be done meanwhile."""
    return {
        "model": session.model("slow"),
        "messages": [{"role": "user", "content": "Take your time."}],
        "stream": True,
    }


def _is_whole(answer: Answer) -> None:
    answer.status(200).ended()
    answer.holds([event.data.strip() for event in answer.events][-1:] == ["[DONE]"], "the stream ended without [DONE]")


@contract(MUST, needs="chat")
def lists_what_is_loaded(session: Session) -> None:
    """The models in memory are one JSON array of the ids that requests name them by."""
    answer = session.get("/models/loaded").status(200).media("application/json").has(each(str, least=1))
    wanted = session.model("chat")
    answer.holds(wanted in answer.json, f"{wanted} is in memory, and is not listed")


@contract(MUST, needs=[OWN, _PART])
def loads_by_alias(session: Session) -> None:
    """A model is loaded by its alias, and is listed as loaded once the answer is there."""
    with _unloaded(session):
        _is_not_loaded(session)
        _load(session, session.alias(_PART)).status(200)
        _is_loaded(session)


@contract(SHOULD, needs=[OWN, _PART])
def loads_by_id(session: Session) -> None:
    """A model is loaded by the id that requests name it by, too, so that a client needs one name only."""
    with _unloaded(session):
        _load(session, session.model(_PART)).status(200)
        _is_loaded(session)


@contract(MAY, needs=[OWN, _PART])
def loads_by_encoded_id(session: Session) -> None:
    """The colon of an id may be percent-encoded, as the SDK of 1.x does (RFC 3986 section 2.1)."""
    with _unloaded(session):
        _load(session, session.model(_PART).replace(":", "%3A")).status(200)
        _is_loaded(session)


@contract(MAY, needs=[OWN, _PART])
def loads_by_name(session: Session) -> None:
    """A model is loaded by its name without a version, too."""
    with _unloaded(session):
        _load(session, session.model(_PART).partition(":")[0]).status(200)
        _is_loaded(session)


@contract(MAY, needs=[OWN, _PART])
def takes_a_time_to_live(session: Session) -> None:
    """The query `ttl` of older services does no harm."""
    with _unloaded(session):
        _load(session, f"{session.alias(_PART)}?ttl={session.vary(600, st.integers(1, 86_400))}").status(200)
        _is_loaded(session)


@contract(SHOULD, needs=[OWN, _PART])
def says_in_json_that_it_loaded(session: Session) -> None:
    """The answer to a load is JSON, and says that the model was loaded."""
    with _unloaded(session):
        answer = _load(session, session.alias(_PART)).status(200)
        answer.media("application/json").has({"status": "loaded"})


@contract(SHOULD, needs=[OWN, _PART])
def says_in_json_that_it_was_loaded(session: Session) -> None:
    """The answer to a load that was not necessary says so."""
    answer = _load(session, session.alias(_PART)).status(200)
    answer.media("application/json").has({"status": "already_loaded"})


@contract(MUST, needs=[OWN, _PART])
def loading_again_changes_nothing(session: Session) -> None:
    """Loading what is loaded succeeds, and it is loaded once: a load may be repeated when its answer was lost."""
    for _ in range(2):
        _load(session, session.alias(_PART)).status(200)
        _is_loaded(session)


@contract(MUST, needs=[OWN, _PART])
def loads_at_the_same_time_agree(session: Session) -> None:
    """Clients that load the same model at the same time all succeed, and it is loaded once."""
    with _unloaded(session):
        for answer in session.together(*[lambda: _load(session, session.alias(_PART))] * 4):
            answer.status(200)
        _is_loaded(session)


@contract(MAY, needs=[OWN, _PART])
def one_of_many_loads_says_that_it_loaded(session: Session) -> None:
    """Of clients that load a model at the same time one is told that it did, and the others that it was there."""
    with _unloaded(session):
        answers = session.together(*[lambda: _load(session, session.alias(_PART))] * 4)
        said = [answer.has({"status": one_of("loaded", "already_loaded")}).json["status"] for answer in answers]
        session.expect(
            said.count("loaded") == 1, f"{said.count('loaded')} of {len(said)} were told that they loaded it"
        )


@contract(MUST, needs=[OWN, _PART, "chat"])
def others_are_served_meanwhile(session: Session) -> None:
    """A chat with one model is answered while another model is loaded."""
    with _unloaded(session):
        loaded, answer = session.together(
            lambda: _load(session, session.alias(_PART)),
            lambda: session.post("/v1/chat/completions", json=_chat(session, "chat")),
        )
        loaded.status(200)
        answer.status(200).has({"choices": [dict]})


@contract(MUST, needs=[OWN, _PART])
def answers_as_soon_as_it_has_loaded(session: Session) -> None:
    """A model that was unloaded and loaded again answers the first chat after it."""
    with _unloaded(session):
        _load(session, session.alias(_PART)).status(200)
        session.post("/v1/chat/completions", json=_chat(session)).status(200).has({"choices": [dict]})


@contract(MUST, needs=[OWN, _PART])
def refuses_a_chat_with_what_is_not_loaded(session: Session) -> None:
    """A chat with a model that is not in memory is refused with 400, and the message says that it is not loaded."""
    with _unloaded(session):
        answer = session.post("/v1/chat/completions", json=_chat(session)).refused(400)
        message = answer.json["error"]["message"]
        answer.holds("not loaded" in message, f"the message does not say that the model is not loaded: {message}")


@contract(MUST, needs=[OWN, _PART])
def unloads(session: Session) -> None:
    """A model is unloaded by its alias, and is not listed any more once the answer is there."""
    try:
        _is_loaded(session)
        _unload(session, session.alias(_PART)).status(200)
        _is_not_loaded(session)
    finally:
        _load(session, session.alias(_PART))


@contract(SHOULD, needs=[OWN, _PART])
def says_in_json_that_it_unloaded(session: Session) -> None:
    """The answer to an unload is JSON, and says that the model was unloaded, or that it was not loaded."""
    try:
        first = _unload(session, session.alias(_PART)).status(200).media("application/json")
        first.has({"status": "unloaded"})
        _unload(session, session.alias(_PART)).status(200).has({"status": "not_loaded"})
    finally:
        _load(session, session.alias(_PART))


@contract(MUST, needs=[OWN, _PART])
def unloading_again_changes_nothing(session: Session) -> None:
    """Unloading what is not loaded succeeds: an unload may be repeated when its answer was lost."""
    with _unloaded(session):
        _unload(session, session.alias(_PART)).status(200)
        _is_not_loaded(session)


@contract(MUST, needs=OWN)
def does_not_load_what_it_does_not_know(session: Session) -> None:
    """Loading a model that is not there does not succeed."""
    answer = _load(session, session.vary("no-such-model", _UNKNOWN))
    answer.holds(answer.code >= 400, f"the status is {answer.code}, as if it were loaded")


@contract(SHOULD, needs=OWN)
def says_that_it_does_not_know_a_model(session: Session) -> None:
    """Loading a model that is not there is refused with 404 and the envelope of errors."""
    _load(session, session.vary("no-such-model", _UNKNOWN)).refused(404)


@contract(SHOULD, needs=[OWN, "not-downloaded"])
def says_that_a_model_is_not_downloaded(session: Session) -> None:
    """Loading a model whose files are not here is refused with 400, and the message says that it must be downloaded."""
    answer = _load(session, session.alias("not-downloaded")).refused(400)
    message = answer.json["error"]["message"]
    answer.holds("download" in message, f"the message does not speak of downloading: {message}")


@contract(MAY, needs=OWN)
def refuses_to_unload_what_it_does_not_know(session: Session) -> None:
    """Unloading a model that is not there is refused with 404, so that a wrong name is noticed."""
    _unload(session, session.vary("no-such-model", _UNKNOWN)).refused(404)


@contract(MUST, needs=[OWN, "slow"])
def goes_on_streaming_when_loaded_again(session: Session) -> None:
    """Loading a model that is busy succeeds, and its stream comes to its proper end."""
    with session.stream("POST", "/v1/chat/completions", json=_stream(session)) as stream:
        stream.event()
        _load(session, session.alias("slow")).status(200)
        _is_whole(stream.rest())


@contract(SHOULD, needs=[ALONE, "slow"])
def survives_an_unload_while_it_streams(session: Session) -> None:
    """Unloading a model that is busy does not end the server, whatever the answer is."""
    with session.stream("POST", "/v1/chat/completions", json=_stream(session)) as stream:
        stream.event()
        stream.answer.status(200)
        _unload(session, session.alias("slow"))
        stream.rest()
    session.get("/status").status(200).has({"endpoints": each(str, least=1)})


@contract(SHOULD, needs=[ALONE, "slow"])
def refuses_to_unload_what_is_busy(session: Session) -> None:
    """Unloading a model that is busy is refused, in the envelope of errors, and its stream comes to its proper end."""
    with session.stream("POST", "/v1/chat/completions", json=_stream(session)) as stream:
        stream.event()
        stream.answer.status(200)
        _unload(session, session.alias("slow")).refused(409, 500, 503)
        _is_whole(stream.rest())


@contract(SHOULD, needs=[OWN, "empty"])
def unloads_what_stored_answers_came_from(session: Session) -> None:
    """A model can be unloaded although answers of it are stored: what is stored is text, and needs no model."""
    told = {"model": session.model("empty"), "input": "Is anybody there?", "store": True}
    stored = session.post("/v1/responses", json=told).status(200).has({"id": str})
    try:
        _unload(session, session.alias("empty")).status(200)
    finally:
        session.delete(f"/v1/responses/{stored.json['id']}")
        _load(session, session.alias("empty"))
