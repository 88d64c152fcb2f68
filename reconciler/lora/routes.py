"""A route: one base model at one provider, with what the table knows of both."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.domain.catalog import CatalogModel
from reconciler.domain.document import Frozen
from reconciler.domain.names import nearest
from reconciler.lora.capabilities import Capabilities
from reconciler.lora.dialect import Dialect
from reconciler.lora.route_table import BaseAlias, Provider, RouteTable, ValueFormat

DEFAULT_PROVIDER = "vllm"
"""Serves what nothing says otherwise of: it loads whole weights by their Hub name, and PEFT adapters beside them."""
_BY_FORMAT = {"gguf": "llamacpp", "mlx": "mlx", "safetensors": DEFAULT_PROVIDER, "ollama": "ollama"}


@dataclass(frozen=True, slots=True)
class NamedBase:
    """What a selector means, before anybody asks who serves it."""

    selector: str
    """As it was written."""
    id: str
    model: CatalogModel | None = None
    """None: the catalogue does not know it."""
    alias: BaseAlias | None = None
    format: str | None = None
    """Of the repository that was named: gguf · mlx · safetensors · ollama. None: no repository was named."""
    repository: str | None = None
    """The repository that was named."""


@dataclass(frozen=True, slots=True)
class Route:
    """One base at one provider."""

    selector: str
    id: str
    provider: str
    resolved_alias: str | None
    """The name it was found by, where that is not its id."""
    tool_format: str
    """Default of the route, whatever a command asks for."""
    tier: str | None
    family: str | None
    lineage: str | None
    catalog_name: str | None
    context_window: int | None
    capabilities: Capabilities
    runtime: Provider | None
    """What the provider can do with adapters, as the dialect sees it. None: it is not in the table."""
    model: CatalogModel | None = None
    """The catalogue's entry; None: it has none."""
    is_inferred: bool = False
    """Nobody said who serves it."""
    alike: tuple[str, ...] = ()
    """Providers of the table with a name like this one, which is none of them."""
    repository: str | None = None
    """The repository of its files, where one was named."""

    @property
    def launches_lora(self) -> bool:
        return self.runtime is not None and self.runtime.launches_lora

    @property
    def limits_rank(self) -> bool:
        return self.runtime is not None and self.runtime.limits_rank

    @property
    def value_format(self) -> ValueFormat:
        """How an adapter is written behind its flag."""
        return self.runtime.value_format if self.runtime else "name_path"

    @property
    def is_function_gemma(self) -> bool:
        return "functiongemma" in self._words

    @property
    def is_gemma4(self) -> bool:
        """FunctionGemma goes first, and is none."""
        return not self.is_function_gemma and ("gemma-4" in self._words or "gemma4" in self._words)

    @property
    def _words(self) -> str:
        return f"{self.id} {self.family or ''} {self.lineage or ''}".lower()


class BaseReport(Frozen):
    """A route as reports show it; every command's ``base``."""

    selector: str
    id: str
    provider: str
    resolved_alias: str | None
    tool_format: str
    tier: str | None
    family: str | None
    lineage: str | None
    catalog_name: str | None
    context_window: int | None

    @classmethod
    def of(cls, route: Route) -> BaseReport:
        return cls(**{name: getattr(route, name) for name in cls.model_fields})


class ToolCallingReport(Frozen):
    """A route's capabilities as reports show them; every command's ``tool_calling``."""

    native_tools: bool | None
    preferred_tool_format: str | None
    text_tool_wire_format_supported: bool | None
    structured_output_mode: str | None
    recommended_endpoint: str | None

    @classmethod
    def of(cls, route: Route) -> ToolCallingReport:
        return cls(**{name: getattr(route.capabilities, name) for name in cls.model_fields})


def inferred_provider(base: NamedBase, table: RouteTable, dialect: Dialect) -> str | None:
    """Who serves a base, by what was named; None: nothing says.

    What nobody knows and begins with a provider's name is that provider's. An Ollama name is Ollama's; a repository of
    GGUF files llama.cpp's, of MLX weights MLX's. A model that is named by itself, or its own repository, is loaded by a
    server of whole weights.
    """
    if base.alias is not None:
        return base.alias.provider
    first, slash, _ = base.id.partition("/")
    if base.model is None and slash and table.provider(first) is not None:
        return table.provider_id(first)
    if dialect.inferred_provider is not None:
        return dialect.inferred_provider
    if base.format is not None:
        return _BY_FORMAT.get(base.format)
    return DEFAULT_PROVIDER if base.model is not None else None


def route_of(base: NamedBase, provider: str | None, table: RouteTable, dialect: Dialect) -> Route:
    """A base at a provider.

    Args:
        base: what the selector means.
        provider: as it was typed, by any spelling; None or blank: inferred.
        table: the facts.
        dialect: whose defaults.
    """
    typed = (provider or "").strip()
    name = table.provider_id(typed) if typed else inferred_provider(base, table, dialect) or DEFAULT_PROVIDER
    known = table.capabilities_of(name, base.id, dialect)
    runtime = table.provider(name)
    model, alias = base.model, base.alias
    selector = base.selector.strip()
    return Route(
        selector=base.selector,
        id=base.id,
        provider=name,
        resolved_alias=selector if selector != base.id and (model or alias) else None,
        tool_format=_default_format(known, alias, dialect),
        tier=alias.tier if alias else None,
        family=_family(model),
        lineage=model.lineage if model else None,
        catalog_name=(alias.catalog_name if alias else None) or (model.id.partition("/")[2] if model else None),
        context_window=(alias.context_window if alias else None) or (model.context_length if model else None),
        capabilities=_as_dialect(known, dialect),
        runtime=runtime.seen_by(dialect) if runtime else None,
        model=model,
        is_inferred=not typed,
        alike=() if runtime else nearest(name, (each for one in table.providers for each in (one.id, *one.aliases))),
        repository=base.repository,
    )


def _default_format(known: Capabilities, alias: BaseAlias | None, dialect: Dialect) -> str:
    if alias is not None and alias.tool_format:
        return alias.tool_format
    if known.preferred_tool_format:
        return known.preferred_tool_format
    return "native" if known.native_tools else dialect.unknown_tool_format


def _as_dialect(known: Capabilities, dialect: Dialect) -> Capabilities:
    """The origin has no unknown: what nobody says is a no, and text always travels."""
    if dialect.knows_unknown:
        return known
    text = known.text_tool_wire_format_supported
    return known.model_copy(
        update={
            "native_tools": bool(known.native_tools),
            "text_tool_wire_format_supported": True if text is None else text,
            "structured_output_mode": known.structured_output_mode or "none",
        }
    )


def _family(model: CatalogModel | None) -> str | None:
    if model is None:
        return None
    return f"{model.lineage}-{model.generation}" if model.generation else model.lineage
