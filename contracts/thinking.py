"""Models that think before they answer: `reasoning_content`, and `reasoning_effort`."""

from hypothesis import strategies as st

from resilient_foundry.harness import CHAT, MAY, SHOULD, Session, contract
from resilient_foundry.harness.conversations import chat, deltas, heard, message, question, said, streamed, user

_THOUGHT = "Two and two make four."
_ANSWER = "The answer is 4."
_EFFORTS = ("minimal", "low", "medium", "high")


@contract(SHOULD, needs="thinking")
def the_text_holds_the_answer_alone(session: Session) -> None:
    """What a model thinks, and the marks around it, are no part of the text of its answer."""
    answer = chat(session, "thinking", messages=question(session))
    answer.holds(said(answer) == _ANSWER, f"the text is {said(answer)!r}, not {_ANSWER!r}")


@contract(SHOULD, needs="thinking")
def the_thought_has_a_field_of_its_own(session: Session) -> None:
    """What a model thinks stands in `reasoning_content`, beside its answer."""
    answer = chat(session, "thinking", messages=question(session))
    thought = message(answer).get("reasoning_content")
    answer.holds(thought == _THOUGHT, f"reasoning_content is {thought!r}, not {_THOUGHT!r}")


@contract(SHOULD, needs="thinking")
def a_stream_tells_the_answer_alone_as_its_text(session: Session) -> None:
    """The deltas of `content`, joined, are the answer without the thought."""
    answer = streamed(session, "thinking", messages=question(session))
    answer.holds(heard(answer) == _ANSWER, f"the text is {heard(answer)!r}, not {_ANSWER!r}")


@contract(SHOULD, needs="thinking")
def a_stream_tells_the_thought_apart(session: Session) -> None:
    """The deltas of `reasoning_content`, joined, are the thought."""
    answer = streamed(session, "thinking", messages=question(session))
    thought = heard(answer, "reasoning_content")
    answer.holds(thought == _THOUGHT, f"the thought is {thought!r}, not {_THOUGHT!r}")


@contract(SHOULD, needs="thinking")
def a_stream_thinks_before_it_answers(session: Session) -> None:
    """No delta of a stream brings thought once one has brought text, and none brings both."""
    answer = streamed(session, "thinking").order(CHAT)
    kinds = [(bool(delta.get("reasoning_content")), bool(delta.get("content"))) for delta in deltas(answer)]
    brought = [kind for kind in kinds if any(kind)]
    answer.holds((True, True) not in brought, "a delta brings thought and text")
    answer.holds(brought == sorted(brought, reverse=True), "thought comes after text")


@contract(SHOULD, needs="thinking")
def a_thought_that_is_cut_off_is_no_answer(session: Session) -> None:
    """Where `max_tokens` ends the thought, the text is empty, and the reason for the end is `length`."""
    answer = chat(session, "thinking", max_tokens=3)
    answer.holds(said(answer) == "", f"the text is {said(answer)!r}, and the thought was not over")
    answer.has({"choices": [{"finish_reason": "length"}]})


@contract(MAY, needs="thinking")
def thinking_is_counted(session: Session) -> None:
    """The usage says how many tokens the thought took: some, and not all."""
    answer = chat(session, "thinking", messages=question(session)).status(200)
    answer.has({"usage": {"completion_tokens": int, "completion_tokens_details": {"reasoning_tokens": int}}})
    usage = answer.json["usage"]
    thought, whole = usage["completion_tokens_details"]["reasoning_tokens"], usage["completion_tokens"]
    answer.holds(0 < thought < whole, f"{thought} of {whole} tokens are counted as thought")


@contract(SHOULD, needs="thinking")
def takes_an_effort(session: Session) -> None:
    """How much a model is to think may be said."""
    effort = session.vary("low", st.sampled_from(_EFFORTS))
    message(chat(session, "thinking", reasoning_effort=effort))


@contract(SHOULD, needs="thinking")
def refuses_an_effort_that_there_is_not(session: Session) -> None:
    """An effort of another name is a mistake, and said to be one."""
    effort = session.vary("enormous", st.from_regex(r"x-[a-z]{1,20}", fullmatch=True))
    chat(session, "thinking", reasoning_effort=effort).refused(400, 422)


@contract(SHOULD, needs="thinking")
def a_model_that_is_told_not_to_think_and_does_is_no_trouble(session: Session) -> None:
    """With the effort `none`, what a model thinks all the same is still no part of its text."""
    answer = chat(session, "thinking", reasoning_effort="none")
    answer.holds(said(answer) == _ANSWER, f"the text is {said(answer)!r}, not {_ANSWER!r}")


@contract(SHOULD, needs="thinking")
def earlier_thoughts_may_be_sent_along(session: Session) -> None:
    """A message of the assistant may be sent back as it came, with what it thought."""
    earlier = {"role": "assistant", "content": _ANSWER, "reasoning_content": _THOUGHT}
    message(chat(session, "thinking", messages=[user("Two and two?"), earlier, user("Are you sure?")]))
