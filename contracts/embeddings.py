"""Texts as vectors: POST /v1/embeddings."""

import base64
import math
import struct
from collections.abc import Sequence
from typing import Any, Final

from hypothesis import strategies as st

from resilient_foundry.harness import ALONE, MAY, MUST, SHOULD, Answer, Session, contract, each

_TEXTS: Final = st.text(min_size=1, max_size=200).filter(lambda text: bool(text.strip()))
_NEAR: Final = 1e-4
"""Two runs may add up in another order; closer than this, vectors are the same."""


def _embed(session: Session, texts: Any, **more: Any) -> Answer:  # Any: what is sent may be wrong on purpose
    return session.post("/v1/embeddings", json={"model": session.model("embedding"), "input": texts} | more)


def _vectors(answer: Answer) -> list[list[float]]:
    answer.status(200).has({"data": each({"embedding": each(float, least=1)}, least=1)})
    return [item["embedding"] for item in answer.json["data"]]


def _near(one: Sequence[float], other: Sequence[float]) -> bool:
    return len(one) == len(other) and all(abs(a - b) < _NEAR for a, b in zip(one, other, strict=True))


@contract(MUST, needs="embedding")
def turns_a_text_into_a_vector(session: Session) -> None:
    """A text is answered with one JSON object that holds one vector of numbers, and says by which model it is."""
    answer = _embed(session, session.vary("Every call is a promise.", _TEXTS))
    answer.status(200).media("application/json").has(
        {
            "object": "list",
            "model": session.model("embedding"),
            "data": [{"index": 0, "embedding": each(float, least=1)}],
        }
    )


@contract(SHOULD, needs="embedding")
def says_what_each_item_is(session: Session) -> None:
    """Each item of the answer says that it is an embedding."""
    _embed(session, "Every call is a promise.").status(200).has({"data": [{"object": "embedding"}]})


@contract(MUST, needs="embedding")
def keeps_the_order_of_texts(session: Session) -> None:
    """Several texts get a vector each, in their order, of one length."""
    texts = session.vary(["naïve café", "東京", "👋🏽"], st.lists(_TEXTS, min_size=2, max_size=6))
    answer = _embed(session, texts)
    vectors = _vectors(answer)
    answer.has({"data": [{"index": place} for place in range(len(texts))]})
    answer.holds(len({len(vector) for vector in vectors}) == 1, "the vectors differ in length")


@contract(MUST, needs="embedding")
def gives_each_text_the_vector_that_it_has_alone(session: Session) -> None:
    """What else is asked for at the same time does not change the vector of a text."""
    text, other = session.vary("hello", _TEXTS), session.vary("a rather longer companion", _TEXTS)
    (alone,) = _vectors(_embed(session, text))
    answer = _embed(session, [other, text])
    answer.holds(_near(_vectors(answer)[1], alone), "beside another text it has another vector")


@contract(MUST, needs="embedding")
def gives_the_same_vector_again(session: Session) -> None:
    """The same text gets the same vector, so that a call may be repeated and vectors be kept."""
    text = session.vary("hello", _TEXTS)
    (first,) = _vectors(_embed(session, text))
    again = _embed(session, text)
    again.holds(_near(_vectors(again)[0], first), "the second vector is another one")


@contract(MUST, needs="embedding")
def serves_several_clients_at_once(session: Session) -> None:
    """Clients that ask at the same time get the vectors that they get one after another."""
    texts = ["one", "two", "three", "four"]
    expected = _vectors(_embed(session, texts))
    answers = session.together(*[lambda text=text: _embed(session, text) for text in texts])
    for answer, vector in zip(answers, expected, strict=True):
        answer.holds(_near(_vectors(answer)[0], vector), "asked for at the same time, it has another vector")


@contract(SHOULD, needs="embedding")
def gives_vectors_of_length_one(session: Session) -> None:
    """Vectors are normalised, so that their product is their likeness."""
    answer = _embed(session, session.vary("hello", _TEXTS))
    (vector,) = _vectors(answer)
    length = math.hypot(*vector)
    answer.holds(abs(length - 1) < 1e-3, f"the vector is {length:g} long")


@contract(SHOULD, needs="embedding")
def tells_apart_what_differs(session: Session) -> None:
    """Different texts have different vectors."""
    answer = _embed(session, ["Every call is a promise.", "0123456789"])
    one, other = _vectors(answer)
    answer.holds(not _near(one, other), "both texts have the same vector")


@contract(SHOULD, needs="embedding")
def says_what_it_cost(session: Session) -> None:
    """The answer carries the tokens that it took."""
    _embed(session, "hello").status(200).has({"usage": {"prompt_tokens": int, "total_tokens": int}})


@contract(MAY, needs="embedding")
def counts_the_tokens(session: Session) -> None:
    """The tokens that it took are those of the text, which has some."""
    answer = _embed(session, "hello").status(200).has({"usage": {"prompt_tokens": int, "total_tokens": int}})
    usage = answer.json["usage"]
    answer.holds(0 < usage["prompt_tokens"] <= usage["total_tokens"], f"it counts {usage['prompt_tokens']} tokens")


@contract(SHOULD, needs="embedding")
def packs_vectors_as_base64(session: Session) -> None:
    """Asked for base64, it gives the vector as 32-bit numbers in base64: OpenAI's SDK asks for that by itself."""
    (plain,) = _vectors(_embed(session, "hello"))
    answer = _embed(session, "hello", encoding_format="base64").status(200).has({"data": [{"embedding": str}]})
    packed = base64.b64decode(answer.json["data"][0]["embedding"])
    answer.holds(len(packed) == 4 * len(plain), f"{len(packed)} bytes are packed, not {4 * len(plain)}")
    answer.holds(_near(struct.unpack(f"<{len(plain)}f", packed), plain), "the packed vector is another one")


@contract(MAY, needs="embedding")
def shortens_vectors(session: Session) -> None:
    """Asked for fewer dimensions, it gives so many, or refuses with 400."""
    answer = _embed(session, "hello", dimensions=4).status(200, 400)
    if answer.code == 200:
        (vector,) = _vectors(answer)
        answer.holds(len(vector) == 4, f"the vector has {len(vector)} numbers, not 4")


@contract(SHOULD, needs="embedding")
def refuses_no_texts(session: Session) -> None:
    """An empty list is refused with 400."""
    _embed(session, []).refused(400)


@contract(SHOULD, needs="embedding")
def refuses_an_empty_text(session: Session) -> None:
    """An empty text is refused with 400, since its vector says nothing."""
    _embed(session, "").refused(400)


@contract(SHOULD, needs="embedding")
def refuses_a_request_without_texts(session: Session) -> None:
    """A request that names no text is refused with 400."""
    session.post("/v1/embeddings", json={"model": session.model("embedding")}).refused(400)


@contract(SHOULD)
def refuses_a_request_without_a_model(session: Session) -> None:
    """A request that names no model is refused with 400."""
    session.post("/v1/embeddings", json={"input": "hello"}).refused(400)


@contract(SHOULD)
def refuses_what_is_no_json(session: Session) -> None:
    """A body that is no JSON is refused with 400: it is the client's fault, and asking again won't help."""
    session.post("/v1/embeddings", content=b"{", headers={"content-type": "application/json"}).refused(400)


@contract(SHOULD, needs="embedding")
def takes_or_refuses_tokens(session: Session) -> None:
    """Tokens instead of a text are embedded, as OpenAI's API does, or refused with 400, and not with 5xx."""
    answer = _embed(session, [1, 2, 3]).status(200, 400)
    if answer.code == 400:
        answer.refused(400)
    else:
        _vectors(answer)


@contract(SHOULD)
def refuses_a_model_that_it_does_not_know(session: Session) -> None:
    """A model that is not there is refused with 404."""
    session.post("/v1/embeddings", json={"model": "no-such-model", "input": "hello"}).refused(404)


@contract(MUST, needs="not-downloaded")
def refuses_a_model_that_is_not_loaded(session: Session) -> None:
    """A model that is not in memory is refused with 400, and the message says that it is not loaded."""
    answer = session.post("/v1/embeddings", json={"model": session.model("not-downloaded"), "input": "hello"})
    message = answer.refused(400).json["error"]["message"]
    answer.holds("not loaded" in message, f"the message does not say that the model is not loaded: {message}")


@contract(SHOULD, needs=[ALONE, "chat"])
def survives_a_model_for_chats(session: Session) -> None:
    """A model that can only chat is refused somehow, and the server lives on."""
    answer = session.post("/v1/embeddings", json={"model": session.model("chat"), "input": "hello"})
    answer.holds(answer.code >= 400, f"the status is {answer.code}")
    session.get("/status").status(200)


@contract(SHOULD, needs=[ALONE, "chat"])
def refuses_a_model_for_chats(session: Session) -> None:
    """A model that can only chat is refused with 400: asking again won't help."""
    session.post("/v1/embeddings", json={"model": session.model("chat"), "input": "hello"}).refused(400)
