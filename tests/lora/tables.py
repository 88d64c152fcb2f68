"""Routes and providers for tests of LoRA work; the shipped table where the facts themselves matter."""

from __future__ import annotations

from typing import Any

from reconciler.domain.catalog import CatalogModel
from reconciler.integrations.lora_routes import load_routes
from reconciler.lora.capabilities import CapabilityRow
from reconciler.lora.dialect import OURS, Dialect
from reconciler.lora.route_table import Provider, RouteTable
from reconciler.lora.routes import NamedBase, Route, route_of

ROW = {"source": "test", "verified": "2026-11-23"}
TABLE = load_routes()


def provider(name: str = "served", **facts: Any) -> Provider:
    return Provider.model_validate({"id": name, "title": name.title(), "kind": "managed_process", **ROW, **facts})


def table(*providers: Provider, **capabilities: Any) -> RouteTable:
    """A table of some providers; one row of capabilities for every route where some are given."""
    row = CapabilityRow.model_validate({"provider": "*", "models": ["*"], **ROW, **capabilities})
    return RouteTable(format_version=1, providers=providers, capabilities=(row,) if capabilities else ())


def route(
    name: str = "acme/coyote-8b",
    at: str = "vllm",
    dialect: Dialect = OURS,
    *,
    model: CatalogModel | None = None,
    **known: Any,
) -> Route:
    """A route at a provider of the shipped table, with these capabilities and no others."""
    rows = table(*TABLE.providers, **known)
    return route_of(NamedBase(name, name, model), at, rows, dialect)
