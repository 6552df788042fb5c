"""Speech as text: POST /v1/audio/transcriptions.

2.x takes JSON with the path of a file on its own machine; OpenAI's API takes the file itself, as a form. The runtime
that these contracts are recorded from has no model that listens, so what is promised here is how requests are refused.
That speech becomes text, in one answer or streamed, is not exercised.
"""

from typing import Any

from hypothesis import strategies as st

from resilient_foundry.harness import MAY, SHOULD, Answer, Session, contract

_HERE_BUT_SILENT = "/dev/null"
"""A file that is there on every machine but Windows, where it is refused for not being there."""


def _transcribe(session: Session, **fields: Any) -> Answer:
    return session.post("/v1/audio/transcriptions", json=fields)


@contract(MAY, needs="chat")
def is_offered(session: Session) -> None:
    """The service knows the route: a request for it is refused for what is in it, and not for where it goes."""
    answer = _transcribe(session, model=session.model("chat"), filename="/no/such/speech.wav")
    answer.status(400).media("application/json")


@contract(SHOULD, needs="chat")
def says_that_a_file_is_not_there(session: Session) -> None:
    """A file that is not on the server's machine is refused with 400, and the message names it."""
    name = session.vary("/no/such/speech.wav", st.from_regex(r"/no/such/[a-z0-9]{1,20}\.wav", fullmatch=True))
    answer = _transcribe(session, model=session.model("chat"), filename=name).refused(400)
    message = answer.json["error"]["message"]
    answer.holds(name in message, f"the message does not name the file: {message}")


@contract(SHOULD, needs="chat")
def refuses_a_model_that_can_not_listen(session: Session) -> None:
    """A model that can only chat is refused with 400."""
    _transcribe(session, model=session.model("chat"), filename=_HERE_BUT_SILENT).refused(400)


@contract(SHOULD)
def refuses_a_model_that_it_does_not_know(session: Session) -> None:
    """A model that is not there is refused with 404."""
    _transcribe(session, model="no-such-model", filename=_HERE_BUT_SILENT).refused(404)


@contract(SHOULD, needs="chat")
def says_that_the_file_is_missing(session: Session) -> None:
    """A request that names no file is refused with 400, and the message says which field is missing."""
    answer = _transcribe(session, model=session.model("chat")).refused(400)
    message = answer.json["error"]["message"]
    answer.holds("filename" in message, f"the message does not name the field: {message}")


@contract(SHOULD)
def says_that_the_model_is_missing(session: Session) -> None:
    """A request that names no model is refused with 400, and the message says which field is missing."""
    answer = _transcribe(session, filename="/no/such/speech.wav").refused(400)
    message = answer.json["error"]["message"]
    answer.holds("model" in message, f"the message does not name the field: {message}")


@contract(SHOULD)
def refuses_what_is_no_json(session: Session) -> None:
    """A body that is no JSON is refused with 400."""
    session.post("/v1/audio/transcriptions", content=b"{", headers={"content-type": "application/json"}).refused(400)


@contract(SHOULD)
def takes_an_uploaded_file(session: Session) -> None:
    """The file itself is taken, as a form, which is what OpenAI's SDKs send; here for a model that is not there."""
    form = (
        b'--form\r\ncontent-disposition: form-data; name="model"\r\n\r\nno-such-model\r\n'
        b'--form\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\ncontent-type: audio/wav\r\n\r\n'
        b"RIFF\r\n--form--\r\n"
    )
    headers = {"content-type": "multipart/form-data; boundary=form"}
    session.post("/v1/audio/transcriptions", content=form, headers=headers).refused(404)
