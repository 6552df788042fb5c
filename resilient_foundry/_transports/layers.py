"""Who else repeats calls, below our Retry and above it: two such layers multiply their attempts."""

from __future__ import annotations

from typing import Any

from resilient_foundry._warnings import warn
from resilient_foundry.call import options_of
from resilient_foundry.effects import Request

_COUNTED = "x-stainless-retry-count"
"""How often the SDK has tried again before this request. SDKs that Stainless generates send it: openai's, anthropic's,
groq's and others."""


def warn_of_retries_below(transport: Any) -> None:  # transport: the library's own
    """Say so where the network transport repeats connecting by itself.

    httpx tells nobody what its `retries=` was: httpcore's pool holds it, under a private name.
    """
    retries = getattr(getattr(transport, "_pool", None), "_retries", 0)
    if isinstance(retries, int) and retries > 0:
        warn(
            f"the transport underneath has retries={retries}, and this stack has a Retry, which repeats failures to "
            f"connect as well: their attempts multiply; leave retries= out"
        )


def warn_of_a_stack_below(stack: object) -> None:
    """Say so where a stack stands over one that repeats calls already."""
    warn(f"the transport underneath is one of {stack!r}, and both have a Retry: their attempts multiply; keep one")


def repeated_above(request: Request) -> bool:
    """Whether an SDK sends this request again of its own accord, where our Retry may repeat it as well."""
    headers = request.headers
    return _COUNTED in headers and headers[_COUNTED] not in {"", "0"} and options_of(request).retry


def warn_of_retries_above() -> None:
    """Say so where an SDK repeats what a stack with a Retry has given up."""
    warn(
        "an SDK repeats calls over a stack that has a Retry: their attempts multiply; "
        "switch the SDK's own retries off (max_retries=0)"
    )
