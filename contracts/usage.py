"""How many tokens a chat took: `usage`, and `stream_options.include_usage`."""

from resilient_foundry.harness import MAY, MUST, SHOULD, Session, contract
from resilient_foundry.harness.conversations import Json, adds_up, chat, chunks, few_tokens, question, streamed

_ASKED = {"include_usage": True}


@contract(MUST, needs="chat")
def a_plain_answer_counts_its_tokens(session: Session) -> None:
    """An answer in one piece says how many tokens prompt and answer took, and they make the total."""
    answer = chat(session, messages=question(session), max_tokens=session.vary(8, few_tokens)).status(200)
    adds_up(answer, answer.json.get("usage"))


@contract(MUST, needs="chat")
def a_prompt_takes_tokens(session: Session) -> None:
    """The prompt is counted, the marks around it as well: it is never free."""
    answer = chat(session, messages=question(session), max_tokens=1).status(200).has({"usage": {"prompt_tokens": int}})
    answer.holds(answer.json["usage"]["prompt_tokens"] > 0, "the prompt is counted as no tokens")


@contract(MUST, needs="endless")
def every_token_of_an_answer_is_counted(session: Session) -> None:
    """An answer that `max_tokens` cut off is counted as so many tokens."""
    limit = session.vary(8, few_tokens)
    chat(session, "endless", max_tokens=limit).status(200).has({"usage": {"completion_tokens": limit}})


@contract(SHOULD, needs="empty")
def an_empty_answer_costs_nothing(session: Session) -> None:
    """An answer without a token is counted as none."""
    chat(session, "empty").status(200).has({"usage": {"completion_tokens": 0}})


@contract(MAY, needs="chat")
def says_what_the_tokens_were_for(session: Session) -> None:
    """Of the tokens, those that were found in a cache and those that were thought are counted apart."""
    details = {"prompt_tokens_details": {"cached_tokens": int}, "completion_tokens_details": {"reasoning_tokens": int}}
    chat(session, max_tokens=1).status(200).has({"usage": details})


@contract(MUST, needs="chat")
def a_stream_counts_its_tokens_where_it_is_asked_to(session: Session) -> None:
    """With `include_usage` the last chunk has no choice, and the tokens of the whole answer."""
    answer = streamed(session, messages=question(session), max_tokens=8, stream_options=_ASKED)
    found = chunks(answer)
    answer.holds(found and found[-1].get("choices") == [], "the last chunk has a choice, and ought to have none")
    adds_up(answer, found[-1].get("usage"), "$[-1].usage")


@contract(SHOULD, needs="chat")
def a_stream_counts_as_the_plain_answer_does(session: Session) -> None:
    """The same request takes the same tokens, streamed or not."""
    settings: dict[str, Json] = {
        "messages": question(session),
        "max_tokens": session.vary(8, few_tokens),
        "temperature": 0,
    }
    plain = chat(session, **settings).status(200).has({"usage": dict}).json["usage"]
    answer = streamed(session, **settings, stream_options=_ASKED)
    last = chunks(answer)[-1].get("usage")
    answer.holds(last == plain, f"the stream counts {last}, the plain answer {plain}")


@contract(SHOULD, needs="chat")
def a_stream_says_nothing_of_tokens_unasked(session: Session) -> None:
    """Without `include_usage` no chunk has usage, and there is none without a choice: clients read `choices[0]`."""
    answer = streamed(session, messages=question(session), max_tokens=8)
    told = sum(chunk.get("usage") is not None for chunk in chunks(answer))
    answer.holds(not told, f"{told} chunks count tokens, and nobody asked")
    answer.holds(all(chunk.get("choices") for chunk in chunks(answer)), "a chunk has no choice")


@contract(SHOULD, needs="chat")
def a_stream_says_nothing_of_tokens_where_it_is_asked_not_to(session: Session) -> None:
    """`include_usage` may be false, and then no chunk has usage."""
    answer = streamed(session, max_tokens=4, stream_options={"include_usage": False})
    told = sum(chunk.get("usage") is not None for chunk in chunks(answer))
    answer.holds(not told, f"{told} chunks count tokens, and it was asked not to")


@contract(SHOULD, needs="chat")
def a_stream_counts_only_at_its_end(session: Session) -> None:
    """With `include_usage` the chunks before the last have none, or null: their counts would be added up twice."""
    answer = streamed(session, max_tokens=4, stream_options=_ASKED)
    early = sum(chunk.get("usage") is not None for chunk in chunks(answer)[:-1])
    answer.holds(not early, f"{early} chunks before the last count tokens")
