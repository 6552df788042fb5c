"""Chats answered whole: POST /v1/chat/completions."""

from hypothesis import strategies as st

from resilient_foundry.harness import MUST, Session, contract, one_of


@contract(MUST, needs="chat")
def answers_in_one_object(session: Session) -> None:
    """A chat is answered with one JSON object: one choice, a message of the assistant, and why it ended."""
    answer = session.post(
        "/v1/chat/completions",
        json={
            "model": session.model("chat"),
            "messages": [{"role": "user", "content": session.vary("What is resilience?", st.text(min_size=1))}],
            "max_tokens": session.vary(8, st.integers(1, 64)),
        },
    )
    answer.status(200).media("application/json").has(
        {
            "object": "chat.completion",
            "model": session.model("chat"),
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": str},
                    "finish_reason": one_of("stop", "length"),
                }
            ],
        }
    )
