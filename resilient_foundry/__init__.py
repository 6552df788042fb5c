"""Composable resilience transports for httpx and httpx2, and a client for Foundry Local that stands on them."""

from typing import TYPE_CHECKING

from resilient_foundry._extras import on_first_use

if TYPE_CHECKING:
    from resilient_foundry.call import CallOptions
    from resilient_foundry.embed import wrap
    from resilient_foundry.errors import (
        CircuitOpenError,
        ConcurrencyLimitError,
        DeadlineExceededError,
        RateLimitError,
        ResilienceError,
        StackError,
    )
    from resilient_foundry.events import Ledger
    from resilient_foundry.foundry import AsyncFoundryClient, FoundryClient
    from resilient_foundry.policies.adaptive import AdaptiveLimit
    from resilient_foundry.policies.backoff import Backoff
    from resilient_foundry.policies.breaker import CircuitBreaker
    from resilient_foundry.policies.budget import RetryBudget
    from resilient_foundry.policies.chaos import Chaos
    from resilient_foundry.policies.deadline import Deadline
    from resilient_foundry.policies.fallback import Fallback
    from resilient_foundry.policies.hedge import Hedge
    from resilient_foundry.policies.limit import ConcurrencyLimit
    from resilient_foundry.policies.rate_limit import RateLimit
    from resilient_foundry.policies.redis import redis_storage
    from resilient_foundry.policies.remedy import Cure, Remedy
    from resilient_foundry.policies.retry import Retry
    from resilient_foundry.policies.stream_guard import StreamGuard
    from resilient_foundry.policies.target import Target
    from resilient_foundry.policies.timeouts import AttemptTimeout
    from resilient_foundry.policies.tracing import Tracing
    from resilient_foundry.stack import Stack

__all__ = [
    "AdaptiveLimit",
    "AsyncFoundryClient",
    "AttemptTimeout",
    "Backoff",
    "CallOptions",
    "Chaos",
    "CircuitBreaker",
    "CircuitOpenError",
    "ConcurrencyLimit",
    "ConcurrencyLimitError",
    "Cure",
    "Deadline",
    "DeadlineExceededError",
    "Fallback",
    "FoundryClient",
    "Hedge",
    "Ledger",
    "RateLimit",
    "RateLimitError",
    "Remedy",
    "ResilienceError",
    "Retry",
    "RetryBudget",
    "Stack",
    "StackError",
    "StreamGuard",
    "Target",
    "Tracing",
    "redis_storage",
    "wrap",
]

_HOMES = {
    "AdaptiveLimit": "policies.adaptive",
    "AsyncFoundryClient": "foundry",
    "AttemptTimeout": "policies.timeouts",
    "Backoff": "policies.backoff",
    "CallOptions": "call",
    "Chaos": "policies.chaos",
    "CircuitBreaker": "policies.breaker",
    "CircuitOpenError": "errors",
    "ConcurrencyLimit": "policies.limit",
    "ConcurrencyLimitError": "errors",
    "Cure": "policies.remedy",
    "Deadline": "policies.deadline",
    "DeadlineExceededError": "errors",
    "Fallback": "policies.fallback",
    "FoundryClient": "foundry",
    "Hedge": "policies.hedge",
    "Ledger": "events",
    "RateLimit": "policies.rate_limit",
    "RateLimitError": "errors",
    "Remedy": "policies.remedy",
    "ResilienceError": "errors",
    "Retry": "policies.retry",
    "RetryBudget": "policies.budget",
    "Stack": "stack",
    "StackError": "errors",
    "StreamGuard": "policies.stream_guard",
    "Target": "policies.target",
    "Tracing": "policies.tracing",
    "redis_storage": "policies.redis",
    "wrap": "embed",
}
"""The module of each name. They are imported on first use, so that importing the package costs next to nothing."""

if not TYPE_CHECKING:  # for type checkers the names above are all there is
    __getattr__, __dir__ = on_first_use(__name__, _HOMES)
