"""Composable resilience transports for httpx and httpx2, and a client for Foundry Local that stands on them."""

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
