"""`resilient-foundry health` and `resilient-foundry models`: looking after a service."""

from __future__ import annotations

from rich.table import Table

from resilient_foundry.cli.complaints import in_commands
from resilient_foundry.cli.output import console, errors, print_json, say, size
from resilient_foundry.cli.service import connect
from resilient_foundry.foundry import Health, LoadResult

_COLOURS = {"healthy": "green", "degraded": "yellow", "unreachable": "red"}


def health(*, url: str | None, as_json: bool) -> int:
    """Print how the service does; 0 when it is healthy."""
    with connect(url) as foundry:
        found = foundry.health_check()
    if as_json:
        print_json(found)
    else:
        _show(found)
    return 0 if found.status == "healthy" else 1


def list_models(*, url: str | None, as_json: bool) -> None:
    """Print the models that the service knows, and which of them are loaded."""
    with connect(url) as foundry:
        models = foundry.list_models()
    if as_json:
        print_json(models)
        return
    if not models:
        say("The service lists no model: none is downloaded, or it could not reach its catalogue.")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("model", overflow="fold")
    has_aliases = any(model.alias for model in models)
    if has_aliases:
        table.add_column("alias", overflow="fold")
    table.add_column("loaded")
    for model in models:
        alias = [model.alias or ""] if has_aliases else []
        table.add_row(model.id, *alias, {True: "yes", False: "no", None: "unknown"}[model.loaded])
    console.print(table)


def load(model: str, *, url: str | None, as_json: bool) -> None:
    """Load a model and say what became of it."""
    with connect(url) as foundry, errors.status(f"loading {model}"):
        result = foundry.load_model(model)
    _tell(result, as_json=as_json)


def unload(model: str, *, url: str | None, as_json: bool) -> None:
    """Unload a model and say what became of it."""
    with connect(url) as foundry:
        result = foundry.unload_model(model)
    _tell(result, as_json=as_json)


def _show(found: Health) -> None:
    say(found.status, style=_COLOURS[found.status])
    if found.reason:
        say(in_commands(found.reason))
    facts = {
        "url": found.url if found.status != "unreachable" else None,
        "generation": found.generation.value if found.generation else None,
        "loaded models": (", ".join(found.loaded_models) or "none") if found.status != "unreachable" else None,
        "memory": size(found.memory_usage) if found.status != "unreachable" else None,
        "latency": None if found.latency is None else f"{found.latency * 1000:.1f} ms",
    }
    for name, fact in facts.items():
        if fact is not None:
            say(f"  {name:<14} {fact}")


def _tell(result: LoadResult, *, as_json: bool) -> None:
    if as_json:
        print_json(result)
    else:
        took = f" in {result.elapsed:.2f} s" if result.elapsed is not None else ""
        say(f"{result.id or result.model}: {result.state.replace('_', ' ')}{took}")
