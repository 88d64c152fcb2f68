"""From what a person types for a base and a provider to a route. Every ``lora`` command begins here."""

from __future__ import annotations

from reconciler.domain.catalog import CatalogModel, Catalogue
from reconciler.domain.names import is_ollama_name, split_repo
from reconciler.errors import UsageError
from reconciler.lora.dialect import Dialect
from reconciler.lora.route_table import RouteTable
from reconciler.lora.routes import NamedBase, Route, route_of
from reconciler.ranking.named import Named, find, meaning


def resolve_route(
    selector: str, provider: str | None, catalogue: Catalogue, table: RouteTable, dialect: Dialect
) -> Route:
    """The route of a base at a provider.

    A base is found as every command finds models: by id, repository, or Ollama name. One that the catalogue does not
    know is taken all the same when it is ``organisation/name``, for servers load it by that; nothing is known of it.

    Args:
        selector: what the base is called.
        provider: by any spelling; None or blank: inferred from what the base is.
        catalogue: the models known.
        table: the facts about providers and their tool calls.
        dialect: the origin's takes any name for a base, and knows names of its own.

    Raises:
        UsageError: blank (``usage``), or nothing has this name (``unknown-model``, with the nearest names).
    """
    return route_of(resolve_base(selector, catalogue, table, dialect), provider, table, dialect)


def resolve_base(
    selector: str, catalogue: Catalogue, table: RouteTable, dialect: Dialect, flag: str = "--base"
) -> NamedBase:
    """What a selector means, before anybody asks who serves it; raises as ``resolve_route``.

    Args:
        selector: as it was typed.
        catalogue: the models known.
        table: for the origin's own names.
        dialect: whether those count, and whether any name does.
        flag: named in errors.
    """
    typed = selector.strip()
    if not typed:
        raise UsageError(f"{flag} is empty", hint="name a model, such as Qwen/Qwen3-8B")
    alias = table.base(typed) if dialect.aliases else None
    if alias is not None:
        known = meaning(catalogue.models, alias.id)
        return NamedBase(selector, alias.id, known.model if known else None, alias)
    found = meaning(catalogue.models, typed)
    if found is None and (dialect.any_base or _is_repository(typed)):
        return NamedBase(selector, typed, format=None if dialect.any_base else _format_of_name(typed))
    found = found or find(catalogue.models, typed)
    if dialect.any_base:
        return NamedBase(selector, typed, found.model)
    return NamedBase(selector, found.model.id, found.model, format=_format(found, typed), repository=found.repository)


def _format_of_name(repository: str) -> str | None:
    """What a repository that the catalogue does not know says of its files by its name, as the Hub's are called."""
    organisation, _, name = repository.casefold().partition("/")
    if name.endswith("-gguf"):
        return "gguf"
    return "mlx" if organisation == "mlx-community" or name.endswith("-mlx") else None


def _is_repository(name: str) -> bool:
    try:
        split_repo(name)
    except ValueError:
        return False
    return True


def _format(found: Named, typed: str) -> str | None:
    """Of the repository that was named, or ``ollama`` for a name only an Ollama has."""
    if found.repository is not None:
        return next((one.format for one in found.model.repositories if one.id == found.repository), None)
    return "ollama" if _is_tag(found.model, typed) else None


def _is_tag(model: CatalogModel, typed: str) -> bool:
    return is_ollama_name(typed) and (model.ollama_tag or "").partition(":")[0].casefold() == (
        typed.partition(":")[0].casefold()
    )
