"""How an answer is chosen and when it ends: `max_tokens`, `stop`, `seed`, `temperature`, `top_p`, penalties, `n`."""

from hypothesis import strategies as st

from resilient_foundry.harness import MAY, MUST, SHOULD, Answer, Session, contract, each
from resilient_foundry.harness.conversations import (
    SPLIT_TEXT,
    Json,
    chat,
    few_tokens,
    finish,
    fractions,
    heard,
    message,
    question,
    said,
    streamed,
)

_TOO_LARGE = 2**32 + 1
"""More than 32 bits; cut down to them it is 1."""
_LOOSE: dict[str, Json] = {"temperature": 2, "top_p": 1, "metadata": {"top_k": "200"}, "max_tokens": 400}
"""Chance gets a say: without `top_k`, which these servers take from the metadata, the likeliest token always wins."""


@contract(MUST, needs="endless")
def max_tokens_is_kept(session: Session) -> None:
    """No answer is longer than `max_tokens`."""
    limit = session.vary(8, few_tokens)
    _is_kept(chat(session, "endless", messages=question(session), max_tokens=limit), limit)


@contract(MUST, needs="endless")
def max_completion_tokens_is_kept(session: Session) -> None:
    """No answer is longer than `max_completion_tokens`, as newer clients call it."""
    limit = session.vary(8, few_tokens)
    _is_kept(chat(session, "endless", messages=question(session), max_completion_tokens=limit), limit)


@contract(SHOULD, needs="endless")
def says_length_where_max_completion_tokens_ended_it(session: Session) -> None:
    """An answer that was cut off at `max_completion_tokens` has the finish_reason `length`."""
    answer = chat(session, "endless", max_completion_tokens=session.vary(8, few_tokens))
    answer.holds(finish(answer) == "length", f"the finish_reason is {finish(answer)!r}, not 'length'")


@contract(SHOULD, needs="chat")
def refuses_max_tokens_that_it_cannot_count(session: Session) -> None:
    """A limit of more than 32 bits is refused, and not cut down to them."""
    chat(session, max_tokens=_TOO_LARGE).refused(400, 422)


@contract(MUST, needs="chat")
def temperature_may_be_set(session: Session) -> None:
    """Temperatures from 0 to 2 are accepted."""
    temperature = session.vary(0.7, lambda: fractions(0, 2))
    message(chat(session, messages=question(session), max_tokens=8, temperature=temperature))


@contract(MUST, needs="chat")
def the_same_question_has_the_same_answer_at_temperature_zero(session: Session) -> None:
    """With temperature 0 chance has no say: a request that is sent again is answered again with the same text."""
    settings: dict[str, Json] = {"messages": question(session), "max_tokens": 16, "temperature": 0}
    first, second = said(chat(session, **settings)), said(chat(session, **settings))
    session.expect(first == second, f"the answers are {first!r} and {second!r}")


@contract(SHOULD, needs="chat")
def refuses_a_temperature_of_another_type(session: Session) -> None:
    """A temperature that is no number is refused, and not left out."""
    wrong = session.vary("hot", st.from_regex(r"[a-z]{1,8}", fullmatch=True))
    chat(session, max_tokens=4, temperature=wrong).refused(400, 422)


@contract(MUST, needs="chat")
def top_p_may_be_set(session: Session) -> None:
    """A `top_p` of more than 0 and up to 1 is accepted."""
    top_p = session.vary(0.9, lambda: fractions(0.125, 1))
    message(chat(session, messages=question(session), max_tokens=8, top_p=top_p))


@contract(SHOULD, needs="endless")
def the_same_seed_has_the_same_answer(session: Session) -> None:
    """Where chance has a say, answers to the same `seed` are the same."""
    settings: dict[str, Json] = {**_LOOSE, "seed": session.vary(7, st.integers(0, 2**31 - 1))}
    first, second = said(chat(session, "endless", **settings)), said(chat(session, "endless", **settings))
    session.expect(first == second, "two answers to the same seed differ")


@contract(SHOULD, needs="chat")
def stop_ends_an_answer(session: Session) -> None:
    """An answer ends before the first of the words in `stop`, with the finish_reason `stop`."""
    whole = said(chat(session, max_tokens=16, temperature=0))
    word = whole.split()[len(whole.split()) // 2]
    answer = chat(session, max_tokens=16, temperature=0, stop=session.vary(word, st.sampled_from([word, [word]])))
    until = whole[: whole.index(word)]
    answer.holds(said(answer) == until, f"the text is {said(answer)!r}, not {until!r}")
    answer.holds(finish(answer) == "stop", f"the finish_reason is {finish(answer)!r}, not 'stop'")


@contract(SHOULD, needs="chat")
def stop_ends_a_stream(session: Session) -> None:
    """The text of a stream ends before the first of the words in `stop`, and no part of that word is sent."""
    whole = said(chat(session, max_tokens=16, temperature=0))
    words = whole[len(whole) // 3 : len(whole) // 2]  # more than one token, so that it must be waited for
    answer = streamed(session, max_tokens=16, temperature=0, stop=[words])
    until = whole[: whole.index(words)]
    answer.holds(heard(answer) == until, f"the text is {heard(answer)!r}, not {until!r}")


@contract(SHOULD, needs="split-utf8")
def stop_may_be_any_text(session: Session) -> None:
    """An answer ends before a character of several bytes as well."""
    character = session.vary("京", st.sampled_from("ïé東京👋¡ó"))
    answer = chat(session, "split-utf8", stop=character)
    until = SPLIT_TEXT[: SPLIT_TEXT.index(character)]
    answer.holds(said(answer) == until, f"the text is {said(answer)!r}, not {until!r}")


@contract(MUST, needs="chat")
def a_stop_that_is_never_said_changes_nothing(session: Session) -> None:
    """Words in `stop` that don't come leave the answer as it is."""
    plain = said(chat(session, max_tokens=16, temperature=0))
    never = session.vary(["\x1f never"], st.lists(st.text("\x1c\x1d\x1e\x1f", min_size=1), min_size=1, max_size=4))
    stopped = said(chat(session, max_tokens=16, temperature=0, stop=never))
    session.expect(stopped == plain, f"the answers are {plain!r} and {stopped!r}")


@contract(SHOULD, needs="chat")
def refuses_a_stop_that_is_empty(session: Session) -> None:
    """An empty text ends nothing: it is the client's mistake."""
    chat(session, max_tokens=4, stop="").refused(400, 422)


@contract(SHOULD, needs="chat")
def refuses_more_than_four_stops(session: Session) -> None:
    """OpenAI's reference allows four; more are refused, and not left out."""
    stops = session.vary(list("abcde"), st.lists(st.text("xyz", min_size=1), min_size=5, max_size=9))
    chat(session, max_tokens=4, stop=stops).refused(400, 422)


@contract(MUST, needs="chat")
def penalties_of_nothing_are_accepted(session: Session) -> None:
    """Penalties of 0, which many clients send with everything, change nothing."""
    plain = said(chat(session, max_tokens=8, temperature=0))
    with_them = said(chat(session, max_tokens=8, temperature=0, presence_penalty=0, frequency_penalty=0))
    session.expect(plain == with_them, f"the answers are {plain!r} and {with_them!r}")


@contract(SHOULD, needs="chat")
def penalties_are_accepted(session: Session) -> None:
    """`presence_penalty` and `frequency_penalty` up to 2 are accepted, as OpenAI's reference has them."""
    penalty = session.vary(0.5, lambda: fractions(0.25, 2))
    message(chat(session, max_tokens=8, presence_penalty=penalty, frequency_penalty=penalty))


@contract(SHOULD, needs="chat")
def n_gives_so_many_answers(session: Session) -> None:
    """`n` asks for so many choices, and so many come, or it is refused."""
    count = session.vary(2, st.integers(2, 4))
    answer = chat(session, max_tokens=4, n=count).status(200, 400, 422)
    if answer.code == 200:
        answer.has({"choices": each(dict, least=count)})


@contract(MAY, needs="chat")
def logprobs_are_given_or_refused(session: Session) -> None:
    """Whoever asks for `logprobs` gets them, or is told that there are none."""
    answer = chat(session, max_tokens=2, logprobs=True, top_logprobs=2).status(200, 400, 422)
    if answer.code == 200:
        answer.has({"choices": [{"logprobs": {"content": each({"token": str, "logprob": float}, least=1)}}]})


def _is_kept(answer: Answer, limit: int) -> None:
    answer.status(200).has({"usage": {"completion_tokens": int}})
    counted = answer.json["usage"]["completion_tokens"]
    answer.holds(counted <= limit, f"the answer has {counted} tokens, and {limit} were allowed")
