"""`resilient-foundry health` and `resilient-foundry models`: looking after a service."""

from __future__ import annotations

from rich.table import Table

from resilient_foundry.cli.output import console, print_json, size
from resilient_foundry.foundry import FoundryClient

_COLOURS = {"healthy": "green", "degraded": "yellow", "unreachable": "red"}


def health(*, url: str | None, as_json: bool) -> int:
    """Print how the service does; 0 when it is healthy."""
    with FoundryClient(url) as foundry:
        found = foundry.health_check()
    if as_json:
        print_json(found)
    else:
        console.print(f"[{_COLOURS[found.status]}]{found.status}[/]" + (f"  {found.url}" if found.url else ""))
        if found.reason:
            console.print(found.reason, soft_wrap=True, markup=False)
        if found.status != "unreachable":
            console.print(f"  generation     {found.generation}.x")
            console.print(f"  loaded models  {', '.join(found.loaded_models) or 'none'}")
            console.print(f"  memory         {size(found.memory_usage)}")
            if found.latency is not None:
                console.print(f"  latency        {found.latency * 1000:.1f} ms")
    return 0 if found.status == "healthy" else 1


def list_models(*, url: str | None, as_json: bool) -> None:
    """Print the models that the service knows, and which of them are loaded."""
    with FoundryClient(url) as foundry:
        models = foundry.list_models()
    if as_json:
        print_json(models)
        return
    table = Table(box=None, pad_edge=False)
    for column in ("model", "alias", "loaded"):
        table.add_column(column)
    for model in models:
        table.add_row(model.id, model.alias or "", {True: "yes", False: "no", None: "unknown"}[model.loaded])
    console.print(table)
    if not models:
        console.print("The service lists no model: none is downloaded, or it could not reach its catalogue.")


def load(model: str, *, url: str | None, as_json: bool) -> None:
    """Load a model and say what became of it."""
    with FoundryClient(url) as foundry, console.status(f"loading {model}"):
        result = foundry.load_model(model)
    _tell(result.state, result.id or result.model, result.elapsed, as_json=as_json, value=result)


def unload(model: str, *, url: str | None, as_json: bool) -> None:
    """Unload a model and say what became of it."""
    with FoundryClient(url) as foundry:
        result = foundry.unload_model(model)
    _tell(result.state, result.id or result.model, result.elapsed, as_json=as_json, value=result)


def _tell(state: str, model: str, elapsed: float | None, *, as_json: bool, value: object) -> None:
    if as_json:
        print_json(value)
    else:
        took = f" in {elapsed:.2f} s" if elapsed is not None else ""
        console.print(f"{model}: {state.replace('_', ' ')}{took}")
