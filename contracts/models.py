"""Which models there are: GET /v1/models and /v1/models/{id}."""

from typing import Any

from hypothesis import strategies as st

from resilient_foundry.harness import MAY, MUST, SHOULD, Answer, Session, contract, each

_MODEL = {"id": str, "object": "model", "owned_by": str}
_LOOKED_AT = 3
"""So many of the models that are listed are looked at one by one; a real catalogue has hundreds."""


def _listed(session: Session) -> tuple[Answer, list[Any]]:
    """The list, and the models in it."""
    answer = session.get("/v1/models").status(200).has({"data": each({"id": str})})
    return answer, answer.json["data"]


@contract(MUST)
def lists_models(session: Session) -> None:
    """The models are one JSON list, and each says its id and whose it is."""
    answer = session.get("/v1/models").status(200).media("application/json")
    answer.has({"object": "list", "data": each(_MODEL, least=1)})


@contract(SHOULD)
def says_when_a_model_was_made(session: Session) -> None:
    """Each model carries the moment of its making, in seconds since 1970."""
    answer, _ = _listed(session)
    answer.has({"data": each({"created": int}, least=1)})


@contract(SHOULD, needs="chat")
def lists_the_id_that_requests_name(session: Session) -> None:
    """A model is listed under the very id that a request names it by, so that a client may choose from the list."""
    answer, models = _listed(session)
    wanted = session.model("chat")
    answer.holds(wanted in [each["id"] for each in models], f"{wanted} can be asked for, and is not listed")


@contract(SHOULD)
def lists_each_model_once(session: Session) -> None:
    """No two models of the list share an id."""
    answer, models = _listed(session)
    ids = [each["id"] for each in models]
    answer.holds(len(set(ids)) == len(ids), "the same id is listed twice")


@contract(SHOULD)
def lists_the_same_again(session: Session) -> None:
    """Asked again, the list holds the same models: asking changes nothing."""
    _, first = _listed(session)
    answer, again = _listed(session)
    answer.holds({each["id"] for each in again} == {each["id"] for each in first}, "the second list is another one")


@contract(MAY, needs="not-downloaded")
def lists_what_could_be_downloaded(session: Session) -> None:
    """The list holds the models of the catalogue that are not on this machine as well."""
    answer, models = _listed(session)
    name = session.model("not-downloaded").partition(":")[0]
    known = {each["id"].partition(":")[0] for each in models}
    answer.holds(name in known, f"{name} is in the catalogue, and is not listed")


@contract(MAY)
def lists_what_openai_lists_and_no_more(session: Session) -> None:
    """A model has the four members of OpenAI's API and none besides, so that strict clients can read it."""
    answer, models = _listed(session)
    foreign = {name for model in models for name in model} - {"id", "object", "created", "owned_by"}
    answer.holds(not foreign, f"models have {', '.join(sorted(foreign))} as well")


@contract(SHOULD, needs="chat")
def gives_the_model_that_requests_name(session: Session) -> None:
    """One model can be asked for by the id that requests name it by."""
    wanted = session.model("chat")
    session.get(f"/v1/models/{wanted}").status(200).media("application/json").has(_MODEL | {"id": wanted})


@contract(MUST)
def gives_each_model_that_it_lists(session: Session) -> None:
    """A model can be asked for by the id that it is listed under, and is the same as in the list."""
    _, models = _listed(session)
    for model in models[:_LOOKED_AT]:
        session.get(f"/v1/models/{model['id']}").status(200).has(model)


@contract(MAY)
def reads_an_id_that_is_percent_encoded(session: Session) -> None:
    """An id is understood where a letter of it is percent-encoded, which means the same (RFC 3986 section 6.2.2.2)."""
    _, models = _listed(session)
    known: str = models[0]["id"]
    session.get(f"/v1/models/%{ord(known[0]):02X}{known[1:]}").status(200).has({"id": known})


@contract(MUST)
def refuses_a_model_that_it_does_not_know(session: Session) -> None:
    """A model that is not there is refused with 404 and the envelope of errors, and the message says which it was."""
    name = session.vary("no-such-model", st.from_regex(r"no-such-[a-z0-9.-]{1,40}(:[1-9])?", fullmatch=True))
    answer = session.get(f"/v1/models/{name}").refused(404)
    answer.holds(name in answer.json["error"]["message"], f"the message does not name {name}")


@contract(SHOULD)
def says_by_a_code_that_a_model_is_not_known(session: Session) -> None:
    """The code of that error is `model_not_found`, so that no client has to read the message."""
    session.get("/v1/models/no-such-model").status(404).has({"error": {"code": "model_not_found"}})
