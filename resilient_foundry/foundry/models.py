"""Models by whatever name they are called: listing, finding the exact one, loading and unloading.

1.x takes alias, name or id everywhere. 2.x wants the exact id for inference and the alias for loading, and never says
which id an alias means; so there an alias is made definite by loading it, which is harmless when it is loaded, and by
looking at what is loaded afterwards. Names are never guessed from prefixes alone: `phi-4-mini` also begins the name of
`phi-4-mini-reasoning`, which is another model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from resilient_foundry.foundry import operations
from resilient_foundry.foundry.asks import Story, enter, now, send
from resilient_foundry.foundry.deviations import Tolerance, tolerates
from resilient_foundry.foundry.errors import (
    FoundryError,
    LoadFailedError,
    ModelBusyError,
    ModelNotCachedError,
    ModelNotFoundError,
    ServiceFailedError,
)
from resilient_foundry.foundry.occupancy import Use
from resilient_foundry.foundry.payloads import LoadResult, ModelInfo
from resilient_foundry.foundry.session import Session, generation_of

State = Literal["loaded", "already_loaded", "unloaded", "not_loaded"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The model of one call: what is sent, and every name of it that is known."""

    key: str
    names: frozenset[str]


def list_models(session: Session) -> Story[list[ModelInfo]]:
    """The models of the service, with what is loaded marked."""
    generation = yield from generation_of(session)
    models = yield from send(operations.list_models(generation, patience=session.patience))
    loaded = yield from send(operations.loaded_models(generation, patience=session.patience))
    aliases = {identity: alias for alias, identity in (session.ids | dict(session.aliases)).items()}
    return [replace(m, loaded=is_loaded(m.id, loaded), alias=m.alias or aliases.get(m.id)) for m in models]


def loaded_models(session: Session) -> Story[list[str]]:
    """The ids of the models in memory."""
    generation = yield from generation_of(session)
    return list((yield from send(operations.loaded_models(generation, patience=session.patience))))


def missing(session: Session, key: str) -> Story[str | None]:
    """Which models are loaded, in a few words, if this one is not among them; None if it is, or nobody knows."""
    loaded = yield from loaded_models(session)
    if not loaded:
        return "there are none"
    known = yield from _on_disk(session)
    if not known:
        return None  # its catalog can't be reached, so an alias says nothing
    aliases = [model.alias for model in known if model.alias and is_loaded(model.id, loaded)]
    names = {one.lower() for one in [*loaded, *(one.partition(":")[0] for one in loaded), *aliases]}
    return None if key.lower() in names else _few(loaded)


def choose(session: Session, model: str | None) -> Story[Chosen]:
    """The key that inference takes for this model."""
    generation = yield from generation_of(session)
    name = session.chosen(model)
    identity = session.aliases.get(name)
    if identity is None and not tolerates(generation, Tolerance.LOAD_BY_ALIAS):
        return Chosen(name, frozenset({name}))
    if identity is None and ":" in name:
        identity = name
    if identity is None:
        identity = session.ids.get(name) or (yield from _exact(session, name))
    if identity is None:
        identity = (yield from _load_alias(session, name)).id
    key = identity or name
    return Chosen(key, frozenset({name, key}))


def load_model(session: Session, model: str | None) -> Story[LoadResult]:
    """Have the model in memory, by whatever name it is called."""
    generation = yield from generation_of(session)
    name = session.chosen(model)
    started = yield from now()
    if not tolerates(generation, Tolerance.LOAD_BY_ALIAS):
        result = yield from _load_by_any_name(session, name)
    elif ":" in name or (yield from _exact(session, name)) is not None:
        result = yield from _load_by_id(session, name)
    else:
        result = yield from _load_alias(session, name)
    session.put_in(frozenset({name} | ({result.id} if result.id else set())))
    return replace(result, elapsed=(yield from now()) - started)


def load_needed(session: Session, key: str) -> Story[LoadResult]:
    """Have a model in memory that a call turned out to need, by the key of inference; nothing else stays there."""
    generation = yield from generation_of(session)
    if not tolerates(generation, Tolerance.LOAD_BY_ALIAS):
        return (yield from _load_by_any_name(session, key))
    result = yield from _load_variant(session, key)
    if result.id != key and result.state == "loaded":
        with suppress(FoundryError):
            yield from send(operations.unload(generation, result.model, patience=session.patience))
    return _as_asked(key, result)


def unload_model(session: Session, model: str | None, *, wait: float) -> Story[LoadResult]:
    """Have the model out of memory, once no answer of this client runs on it any more."""
    generation = yield from generation_of(session)
    name = session.chosen(model)
    started = yield from now()
    loaded = yield from send(operations.loaded_models(generation, patience=session.patience))
    names = yield from _every_name(session, name, loaded)
    use = Use(names, alone=True)
    if not (yield from enter(use, wait)):
        raise ModelBusyError(
            f"{name!r} was not unloaded: an answer of this client still ran on it after {wait:g} s, and unloading "
            "under a running answer corrupts the service; finish or close its streams first"
        )
    try:
        if not tolerates(generation, Tolerance.LOAD_BY_ALIAS):
            key = session.aliases.get(name, name)
            was_loaded = _in_memory(key, names, loaded)
            yield from send(operations.unload(generation, key, patience=session.patience))
            state: State = "unloaded" if was_loaded else "not_loaded"
        else:
            state = yield from _unload_by_alias(session, name, loaded)
    finally:
        session.occupancy.leave(use)
    identity = _id_among(name, names, loaded)
    session.put_out(names | {identity} if identity and state == "unloaded" else frozenset({name}))
    return LoadResult(state, name, id=identity, elapsed=(yield from now()) - started)


def is_loaded(name: str, loaded: Iterable[str]) -> bool:
    """Whether the id, or a name without version (1.x), is among the loaded ids."""
    return any(name in (one, one.partition(":")[0]) for one in loaded)


def _load_by_any_name(session: Session, name: str) -> Story[LoadResult]:
    """Load where any name will do; where a load that fails gives no reason, what can be known is looked up before."""
    generation = yield from generation_of(session)
    key = session.aliases.get(name, name)
    loaded = yield from send(operations.loaded_models(generation, patience=session.patience))
    known = yield from _on_disk(session)
    names = _listed_names(key, known)
    if _in_memory(key, names, loaded):
        return LoadResult("already_loaded", name, id=_id_among(key, names, loaded))
    looks = tolerates(generation, Tolerance.LOOK_BEFORE_LOADING)
    if looks and known and _listed(key, known) is None:
        raise ModelNotCachedError(
            f"{name!r} is not among the models on the service's disk ({_few(m.alias or m.id for m in known)}): "
            "download it first, or check its name"
        )
    yield from send(operations.load(generation, key, patience=session.patience))
    after = yield from send(operations.loaded_models(generation, patience=session.patience))
    return LoadResult("loaded", name, id=_id_among(key, names, after))


def _load_alias(session: Session, alias: str) -> Story[LoadResult]:
    """Load by alias, and learn which id the service took."""
    generation = yield from generation_of(session)
    patience = session.patience
    before = yield from send(operations.loaded_models(generation, patience=patience))
    use = Use(frozenset({alias}))
    if not (yield from enter(use, patience)):
        raise ModelBusyError(f"{alias!r} is being unloaded by this client")
    try:
        state = yield from send(operations.load(generation, alias, patience=patience))
        after = yield from send(operations.loaded_models(generation, patience=patience))
    except ModelNotFoundError as error:
        raise (yield from _unknown(session, alias, error)) from error
    finally:
        session.occupancy.leave(use)
    identity = session.aliases.get(alias) or _meant(alias, before, after)
    if identity is None:
        raise ModelNotFoundError(
            f"{alias!r} is loaded and the service does not say which of {_few(after)} it is: pass the exact id, "
            f"or aliases={{{alias!r}: '...'}} to the client"
        )
    session.ids = {**session.ids, alias: identity}
    return LoadResult("already_loaded" if state == "already_loaded" else "loaded", alias, id=identity)


def _load_by_id(session: Session, name: str) -> Story[LoadResult]:
    identity = name if ":" in name else (yield from _exact(session, name)) or name
    return replace(_as_asked(identity, (yield from _load_variant(session, identity))), model=name)


def _load_variant(session: Session, identity: str) -> Story[LoadResult]:
    """Load an exact model where loading takes an alias and the service picks the variant: the result says both."""
    generation = yield from generation_of(session)
    loaded = yield from send(operations.loaded_models(generation, patience=session.patience))
    if identity in loaded:
        return LoadResult("already_loaded", identity, id=identity)
    alias = _alias_of(session, identity)
    candidates = [alias] if alias is not None else _possible_aliases(identity)
    for candidate in candidates:
        with suppress(ModelNotFoundError):
            return (yield from _load_alias(session, candidate))
    raise ModelNotFoundError(
        f"2.x loads models by alias only, and the alias of {identity!r} is not known: pass the alias, "
        f"or aliases={{'...': {identity!r}}} to the client"
    )


def _as_asked(identity: str, result: LoadResult) -> LoadResult:
    """The result, if the service loaded this very model."""
    if result.id == identity:
        return result
    raise LoadFailedError(
        f"{identity!r} was asked for, and the service loaded {result.id!r} for its alias {result.model!r}, as 2.x "
        "picks the variant itself: use that one, or select the variant with foundry-local-sdk"
    )


def _unload_by_alias(session: Session, name: str, loaded: Sequence[str]) -> Story[State]:
    """Unload where that takes an alias."""
    generation = yield from generation_of(session)
    identity = name if ":" in name else (yield from _exact(session, name))
    if identity is None:
        candidates = [name]
    elif identity not in loaded:
        return "not_loaded"
    else:
        alias = _alias_of(session, identity)
        candidates = [alias] if alias is not None else _possible_aliases(identity)
    unknown: FoundryError | None = None
    for candidate in candidates:
        try:
            state = yield from send(operations.unload(generation, candidate, patience=session.patience))
        except ModelNotFoundError as error:
            unknown = error
        else:
            return "not_loaded" if state == "not_loaded" else "unloaded"
    if identity is not None:
        raise ModelNotFoundError(
            f"2.x unloads models by alias only, and the alias of {identity!r} is not known: pass the alias, "
            f"or aliases={{'...': {identity!r}}} to the client"
        ) from unknown
    raise (yield from _unknown(session, name, unknown)) from unknown


def _exact(session: Session, name: str) -> Story[str | None]:
    """The id, if this is the name of a model without its version, and no alias known to the caller."""
    generation = yield from generation_of(session)
    if name in session.aliases:
        return None
    models = yield from send(operations.list_models(generation, patience=session.patience))
    versions = [model for model in models if model.name == name]
    newest = max(versions, key=lambda model: _number(model.version), default=None)
    return newest.id if newest else None


def _on_disk(session: Session) -> Story[tuple[ModelInfo, ...]]:
    """The downloaded models of 1.x; none where its catalog can't be reached (500)."""
    generation = yield from generation_of(session)
    with suppress(ServiceFailedError):
        return (yield from send(operations.list_models(generation, patience=session.patience)))
    return ()


def _every_name(session: Session, name: str, loaded: Sequence[str]) -> Story[frozenset[str]]:
    """All names under which an answer of this client could run on the model."""
    generation = yield from generation_of(session)
    if not tolerates(generation, Tolerance.LOAD_BY_ALIAS):
        known = yield from _on_disk(session)
        names = _listed_names(session.aliases.get(name, name), known) | {name}
        return names | {one for one in loaded if one.partition(":")[0] in names}
    identity = session.aliases.get(name) or session.ids.get(name) or (name if ":" in name else None)
    identity = identity or (yield from _exact(session, name))
    if identity is None:  # an alias that this client never used: it may mean any of the loaded ones
        return frozenset({name, *loaded})
    alias = _alias_of(session, identity)
    return frozenset({name, identity} | ({alias} if alias else set()))


def _listed_names(key: str, known: Iterable[ModelInfo]) -> frozenset[str]:
    model = _listed(key, known)
    return frozenset({key} | ({model.id, model.name, model.alias or model.name} if model else set()))


def _listed(key: str, known: Iterable[ModelInfo]) -> ModelInfo | None:
    """1.x lists the name and the alias of a model; an id is its name with a version."""
    return next((m for m in known if key in (m.id, m.alias) or key.partition(":")[0] == m.name), None)


def _in_memory(key: str, names: Iterable[str], loaded: Sequence[str]) -> bool:
    return key in loaded if ":" in key else any(is_loaded(one, loaded) for one in names)


def _unknown(session: Session, name: str, error: FoundryError | None) -> Story[ModelNotFoundError]:
    """The error for an alias that the service does not know; an empty catalog is told apart."""
    generation = yield from generation_of(session)
    models = yield from send(operations.list_models(generation, patience=session.patience))
    hint = (
        f"it has {_few(model.id for model in models)}; loading takes the alias of a model"
        if models
        else "its catalog is empty, so it may have started without a network: restart it"
    )
    status, body = (error.status, error.body) if error else (None, b"")
    found = ModelNotFoundError(f"the service knows no model {name!r}; {hint}", status=status, body=body)
    found.resilience = error.resilience if error else None
    return found


def _meant(alias: str, before: Sequence[str], after: Sequence[str]) -> str | None:
    """The id that an alias came to: what is new, what bears its name, or the only one there is."""
    for group in ([one for one in after if one not in before], list(after)):
        if len(group) == 1:
            return group[0]
        named = [one for one in group if one.partition(":")[0] == alias or one.startswith(f"{alias}-")]
        if len(named) == 1:
            return named[0]
    return None


def _alias_of(session: Session, identity: str) -> str | None:
    known = session.ids | dict(session.aliases)
    return next((alias for alias, one in known.items() if one == identity), None)


def _possible_aliases(identity: str) -> list[str]:
    """The longest first: `phi-4-mini-reasoning-cpu` is tried as `phi-4-mini-reasoning` before `phi-4-mini`."""
    words = identity.partition(":")[0].split("-")
    return ["-".join(words[:count]) for count in range(len(words), 0, -1)]


def _id_among(name: str, names: Iterable[str], loaded: Iterable[str]) -> str | None:
    found = [one for one in loaded if one == name or is_loaded(one, names) or one.partition(":")[0] in names]
    return found[0] if len(found) == 1 else None


def _number(version: str | None) -> int:
    return int(version) if version and version.isascii() and version.isdigit() else -1


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")  # noqa: PLR2004 - enough for a sentence
