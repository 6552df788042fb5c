"""The service itself: GET /status, which is how a client finds out that it lives and of which generation it is."""

from resilient_foundry.harness import MAY, MUST, SHOULD, Session, contract, each

_PATIENT_SECONDS = 10.0


def _is_url(value: object) -> bool:
    return isinstance(value, str) and value.startswith("http://")


@contract(MUST)
def answers(session: Session) -> None:
    """The service says in JSON at which addresses it listens."""
    session.get("/status").status(200).media("application/json").has({"endpoints": each(_is_url, least=1)})


@contract(SHOULD)
def tells_its_process(session: Session) -> None:
    """The service says which process it is, so that a restart can be noticed and its memory be read."""
    answer = session.get("/status").status(200).has({"pid": int})
    answer.holds(answer.json["pid"] > 0, "the process has no number")


@contract(SHOULD)
def tells_where_models_are(session: Session) -> None:
    """The service says under `modelCachePath` where it keeps its models."""
    session.get("/status").status(200).has({"modelCachePath": str})


@contract(MUST)
def stays_the_same(session: Session) -> None:
    """Asked again, the service says the same: what changes means another process."""
    first, again = session.get("/status").status(200), session.get("/status").status(200)
    again.holds(again.json == first.json, f"it said {first.text} first, and then {again.text}")


@contract(MUST, needs="chat")
def answers_while_it_generates(session: Session) -> None:
    """The service answers within ten seconds while it generates for others: silence means that it is gone."""
    chat = {
        "model": session.model("chat"),
        "messages": [{"role": "user", "content": "What is resilience?"}],
        "max_tokens": 64,
    }
    *answers, look = session.together(
        lambda: session.post("/v1/chat/completions", json=chat),
        lambda: session.post("/v1/chat/completions", json=chat),
        lambda: session.get("/status", read=_PATIENT_SECONDS),
    )
    for answer in answers:
        answer.status(200).has({"choices": [dict]})
    look.status(200).has({"endpoints": each(str, least=1)})


@contract(MAY)
def tells_nothing_secret(session: Session) -> None:
    """What the service says of itself holds no key and no token: anybody on this machine may ask."""
    answer = session.get("/status").status(200)
    names = {name.lower() for name in answer.json}
    telling = {name for name in names if any(word in name for word in ("key", "token", "secret", "password"))}
    answer.holds(not telling, f"it tells {', '.join(sorted(telling))}")
