"""Every name under which something is told to OpenTelemetry: one table, with a profile where conventions are moving.

HTTP, server, network, URL and error names are stable (OpenTelemetry semantic conventions 1.44,
https://opentelemetry.io/docs/specs/semconv/http/). Those for generative AI are in development: the default follows
1.41, the last release that holds their text; `inference` is what their own repository is moving to. What no convention
names has the prefix of this package.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

PREFIX = "resilient_foundry"
SCOPE = "resilient_foundry"
"""The instrumentation scope of everything told here."""
EVENT_NAME = "otel.event.name"
"""The field of a log record that names the event, where the record has no place of its own for that."""
PROVIDER = "foundry_local"
"""The value of `gen_ai.provider.name`; a custom value is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The table. Times are in seconds, sizes in bytes."""

    # Spans
    call: str = "resilience {pipeline}"
    management: str = "foundry_local {operation}"

    # Attributes of attempts (HTTP, stable)
    method: str = "http.request.method"
    url: str = "url.full"
    template: str = "url.template"
    server_address: str = "server.address"
    server_port: str = "server.port"
    status: str = "http.response.status_code"
    protocol_version: str = "network.protocol.version"
    peer_address: str = "network.peer.address"
    peer_port: str = "network.peer.port"
    error_type: str = "error.type"
    resend_count: str = "http.request.resend_count"

    # Attributes of attempts (ours)
    attempt_number: str = f"{PREFIX}.attempt.number"
    attempt_outcome: str = f"{PREFIX}.attempt.outcome"
    """`success`, `retryable`, `fatal`, `cancelled` or `abandoned`."""
    stream_completed: str = f"{PREFIX}.stream.completed"
    stream_chunks: str = f"{PREFIX}.stream.chunks"
    stream_bytes: str = f"{PREFIX}.stream.bytes"
    time_to_headers: str = f"{PREFIX}.stream.time_to_headers"
    time_to_first_event: str = f"{PREFIX}.stream.time_to_first_event"
    hedge: str = f"{PREFIX}.hedge"
    aside: str = f"{PREFIX}.aside"
    """Whether it is a question beside the call, as a probe of a circuit, and none of its attempts."""

    # Attributes of calls (ours)
    pipeline: str = f"{PREFIX}.pipeline"
    outcome: str = f"{PREFIX}.outcome"
    """`success`, `recovered`, `failed`, `rejected`, `cancelled` or `abandoned`."""
    attempts: str = f"{PREFIX}.attempts"
    total_delay: str = f"{PREFIX}.retry.total_delay"
    deadline: str = f"{PREFIX}.deadline"
    deadline_remaining: str = f"{PREFIX}.deadline.remaining"

    # Attributes of calls (generative AI, in development)
    operation: str = "gen_ai.operation.name"
    provider: str = "gen_ai.provider.name"
    request_model: str = "gen_ai.request.model"
    request_stream: str = "gen_ai.request.stream"
    request_max_tokens: str = "gen_ai.request.max_tokens"
    request_temperature: str = "gen_ai.request.temperature"
    request_top_p: str = "gen_ai.request.top_p"
    request_seed: str = "gen_ai.request.seed"
    request_stop: str = "gen_ai.request.stop_sequences"
    request_presence_penalty: str = "gen_ai.request.presence_penalty"
    request_frequency_penalty: str = "gen_ai.request.frequency_penalty"
    request_choices: str = "gen_ai.request.choice.count"
    request_top_k: str = "gen_ai.request.top_k"
    output_type: str = "gen_ai.output.type"
    response_id: str = "gen_ai.response.id"
    response_model: str = "gen_ai.response.model"
    finish_reasons: str = "gen_ai.response.finish_reasons"
    time_to_first_chunk: str = "gen_ai.response.time_to_first_chunk"
    input_tokens: str = "gen_ai.usage.input_tokens"
    output_tokens: str = "gen_ai.usage.output_tokens"
    reasoning_tokens: str = "gen_ai.usage.reasoning.output_tokens"
    cache_read_tokens: str = "gen_ai.usage.cache_read.input_tokens"
    token_type: str = "gen_ai.token.type"  # noqa: S105 - of a language model
    input_messages: str = "gen_ai.input.messages"
    output_messages: str = "gen_ai.output.messages"
    tool_definitions: str = "gen_ai.tool.definitions"

    # Events
    retry_scheduled: str = f"{PREFIX}.retry.scheduled"
    retry_exhausted: str = f"{PREFIX}.retry.exhausted"
    retry_denied: str = f"{PREFIX}.retry.denied"
    circuit_changed: str = f"{PREFIX}.circuit_breaker.state_change"
    circuit_rejected: str = f"{PREFIX}.circuit_breaker.rejected"
    circuit_probed: str = f"{PREFIX}.circuit_breaker.probed"
    circuit_listener_failed: str = f"{PREFIX}.circuit_breaker.listener_failed"
    timeout: str = f"{PREFIX}.timeout"
    stream_stalled: str = f"{PREFIX}.stream.stalled"
    stream_resumed: str = f"{PREFIX}.stream.resumed"
    resume_denied: str = f"{PREFIX}.stream.resume_denied"
    hedge_started: str = f"{PREFIX}.hedge.started"
    hedge_denied: str = f"{PREFIX}.hedge.denied"
    hedge_won: str = f"{PREFIX}.hedge.won"
    queued: str = f"{PREFIX}.limiter.queued"
    shed: str = f"{PREFIX}.limiter.rejected"
    limit_changed: str = f"{PREFIX}.limiter.limit_changed"
    held_back: str = f"{PREFIX}.rate_limit.held_back"
    fell_back: str = f"{PREFIX}.fallback.taken"
    fallback_denied: str = f"{PREFIX}.fallback.denied"
    remedied: str = f"{PREFIX}.remedy"
    chaos: str = f"{PREFIX}.chaos.injected"
    attempt_started: str = f"{PREFIX}.attempt.started"
    attempt_answered: str = f"{PREFIX}.attempt.answered"
    attempt_ended: str = f"{PREFIX}.attempt.ended"

    # Metrics
    request_duration: str = "http.client.request.duration"
    operation_duration: str = "gen_ai.client.operation.duration"
    operation_first_chunk: str = "gen_ai.client.operation.time_to_first_chunk"
    operation_per_chunk: str = "gen_ai.client.operation.time_per_output_chunk"
    token_usage: str = "gen_ai.client.token.usage"  # noqa: S105 - of a language model
    call_duration: str = f"{PREFIX}.client.call.duration"
    call_attempts: str = f"{PREFIX}.client.call.attempts"
    retry_delay: str = f"{PREFIX}.client.retry.delay"
    rejections: str = f"{PREFIX}.client.rejections"
    timeouts: str = f"{PREFIX}.client.timeouts"
    circuit_state: str = f"{PREFIX}.circuit_breaker.state"
    circuit_transitions: str = f"{PREFIX}.circuit_breaker.transitions"
    hedges: str = f"{PREFIX}.client.hedges"

    def attempt_span(self, method: str, template: str | None) -> str:
        """The name of the span of an attempt: the method, and the path's template where one is known."""
        return f"{method} {template}" if template else method


STABLE = Names()
INFERENCE = replace(
    STABLE,
    operation_duration="gen_ai.client.inference.duration",
    operation_first_chunk="gen_ai.client.inference.time_to_first_chunk",
    operation_per_chunk="gen_ai.client.inference.time_per_output_chunk",
    token_usage="gen_ai.client.inference.token.usage",  # noqa: S106 - of a language model
)
PROFILES = {"1.41": STABLE, "inference": INFERENCE}
"""What `Tracing(conventions=...)` takes."""
