"""How the service does, without ever raising for a service that does badly."""

from __future__ import annotations

from dataclasses import replace

from resilient_foundry.foundry import operations
from resilient_foundry.foundry.asks import Story, memory_of, now, send
from resilient_foundry.foundry.payloads import Health
from resilient_foundry.foundry.session import Session, locate, look


def check(session: Session) -> Story[Health]:
    """Healthy: it answers and a model is loaded. Degraded: it answers. Unreachable: nothing we can speak to does."""
    try:
        yield from locate(session)
        started = yield from now()
        status = yield from look(session)
        latency = (yield from now()) - started
    except session.failures as error:
        return Health(
            "unreachable", url=session.url, generation=session.generation, reason=_sentence(session, error), error=error
        )
    memory = None
    if status.pid is not None:
        memory = yield from memory_of(status.pid, status.endpoints)
    health = Health(
        "healthy",
        memory_usage=memory,
        latency=latency,
        generation=status.generation,
        pid=status.pid,
        url=session.url,
    )
    try:
        loaded = yield from send(operations.loaded_models(status.generation, patience=session.patience))
    except session.failures as error:
        reason = f"it answers, and does not say which models are loaded: {error}"
        return replace(health, status="degraded", reason=reason, error=error)
    if not loaded:
        return replace(health, status="degraded", reason="it answers, and no model is loaded: call load_model")
    return replace(health, loaded_models=loaded)


def _sentence(session: Session, error: Exception) -> str:
    """What went wrong, and where: the HTTP libraries do not say with whom they spoke."""
    said = str(error) or type(error).__name__
    return said if session.url is None or session.url in said else f"{session.url} does not answer: {said}"
