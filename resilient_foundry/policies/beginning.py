"""What is left to a caller of an answer that a policy closed before its end, to ask somebody else."""

from __future__ import annotations

from resilient_foundry.call import attempt_of
from resilient_foundry.events import Outcome
from resilient_foundry.flow import Flow, Response, Source, fail, give, pour, pull


def as_far_as_it_came(response: Response) -> Flow[Response]:
    """The answer as it is, where its body came whole; else what was held of it, and then the library's ReadError."""
    attempt = attempt_of(response)
    if attempt is not None and attempt.outcome is Outcome.ABANDONED:
        held, status = attempt.chunks, response.status_code

        def story(source: Source) -> Flow[None]:
            for _ in range(held):
                yield from give((yield from pull(source)) or b"")
            yield from fail("ReadError", f"this answer ({status}) was closed before its end, to ask once more")

        yield from pour(response, story)
    return response
