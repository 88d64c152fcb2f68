"""A route: one base model at one provider, with what is known of its tool calls, and of the provider's adapters.

The facts are a table of ours with a source and a date in every row. What no source states is None, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import model_validator

from reconciler.domain.catalog import CatalogModel
from reconciler.domain.document import Frozen
from reconciler.domain.names import nearest
from reconciler.lora.capabilities import Capabilities, CapabilityRow, Sourced
from reconciler.lora.dialect import Dialect

ValueFormat = Literal["name_path", "json_with_base_model", "path"]
RuntimeFormat = Literal["peft", "gguf", "mlx"]
"""A form of adapters that some program loads; what can be attached is a ``domain.adapter.AdapterFormat``."""

DEFAULT_PROVIDER = "vllm"
"""Serves what nothing says otherwise of: it loads whole weights by their Hub name, and PEFT adapters beside them."""
_VERSION = re.compile(r"v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?!\d)")
_BY_FORMAT = {"gguf": "llamacpp", "mlx": "mlx", "safetensors": DEFAULT_PROVIDER, "ollama": "ollama"}


def version_of(text: str | None) -> tuple[int, int, int] | None:
    """The numbers that a version begins with; None: it does not begin with three, or nobody told it.

    >>> version_of("0.32.0"), version_of("0.33.1rc2.dev7+g1234"), version_of("dev"), version_of(None)
    ((0, 32, 0), (0, 33, 1), None, None)
    """
    found = _VERSION.match(text or "")
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


class HotLoad(Frozen):
    """How adapters come and go while the server runs."""

    load: str
    """Method and path."""
    unload: str
    needs: str | None = None
    """What the server must be started with."""


class Provider(Sourced):
    """What one provider can do with adapters. None: no source says."""

    id: str
    title: str
    kind: Literal["managed_process", "daemon_api", "external"]
    """Started with a model, a daemon that loads models by itself, or somebody else's."""
    aliases: tuple[str, ...] = ()
    """Other spellings, lower case, ``-`` for ``_``."""
    command: tuple[str, ...] = ()
    """The program that serves a base."""
    default_port: int | None = None
    model_arg: str | None = None
    """The flag before the base; None where there is a command: the base stands alone."""
    repository_arg: str | None = None
    """The flag before a base that is fetched by its Hub name, where that is another."""
    native_tools_args: tuple[str, ...] = ()
    """The flags that let any model call tools natively."""
    tool_call_parser_args: tuple[str, ...] = ()
    """The flags before the name of a parser of native tool calls."""
    enable_lora_arg: str | None = None
    lora_modules_arg: str | None = None
    """The flag that names adapters at start. None: there is none."""
    lora_modules_value_format: ValueFormat | None = None
    max_lora_rank_arg: str | None = None
    allowed_ranks: tuple[int, ...] | None = None
    """What the rank flag takes, ascending. None: any, or not known."""
    default_max_rank: int | None = None
    """The largest rank it takes without the flag."""
    value_refuses: str = ""
    """Letters that a name or a path cannot hold behind that flag, for it reads them as something else."""
    takes_hub_adapters: bool | None = None
    """It fetches an adapter that is named by its repository. False: it reads its own disk."""
    hub_adapters_alone: bool = False
    """Only where the repository stands alone behind the flag, ``@revision`` after it; requests call it by that."""
    launch_caveats: tuple[str, ...] = ()
    """Why its launch command may not do what it says."""
    adapter_formats: tuple[RuntimeFormat, ...] | None = None
    serves_many_adapters: bool | None = None
    """Several at once, each a model name of its own."""
    names_adapters: bool | None = None
    """A request picks its adapter by model name."""
    supports_dora: bool | None = None
    """Adapters that use it are served as they were trained. False, also below: refused, ignored or scaled otherwise."""
    supports_rslora: bool | None = None
    supports_modules_to_save: bool | None = None
    supports_bias: bool | None = None
    supports_rank_pattern: bool | None = None
    supports_alpha_pattern: bool | None = None
    supports_fan_in_fan_out: bool | None = None
    """Bases that keep their matrices turned round (GPT-2)."""
    supports_layer_replication: bool | None = None
    supports_target_parameters: bool | None = None
    """Experts in one stack."""
    supports_trainable_tokens: bool | None = None
    supports_extra_vocabulary: bool | None = None
    """Whole embeddings beside the pairs, for tokens that the base does not have."""
    supports_shards: bool | None = None
    """Weights in several files with an index."""
    supports_init_lora_weights: bool | None = None
    """Starts that change the base before training (PiSSA, OLoRA, CorDA, LoftQ), not converted when they were saved."""
    supports_alora: bool | None = None
    """Active from certain tokens on only."""
    supports_bdlora: bool | None = None
    """Pairs in blocks along the diagonal."""
    supports_qalora: bool | None = None
    """Pairs over groups of a quantised base's inputs."""
    since: Mapping[str, str] = {}
    """The first version that is known to take a feature, by its word; earlier ones refuse it, or serve it otherwise."""
    hot_load: HotLoad | None = None
    harn_launches_lora: bool = False
    """The origin's own launcher knows its adapter flags."""
    notes: tuple[str, ...] = ()
    """What a person should know before serving an adapter there."""

    @model_validator(mode="after")
    def _agree(self) -> Provider:
        if (self.lora_modules_arg is None) != (self.lora_modules_value_format is None):
            raise ValueError(f"{self.id}: an adapter flag and the format of its value go together")
        if self.allowed_ranks is not None and sorted(set(self.allowed_ranks)) != list(self.allowed_ranks):
            raise ValueError(f"{self.id}: allowed ranks must ascend")
        for feature, version in self.since.items():
            if getattr(self, f"supports_{feature}", None) is not True or version_of(version) is None:
                raise ValueError(f"{self.id}: since {version} of {feature}: what it takes, and a version of numbers")
        return self

    @property
    def launches_lora(self) -> bool:
        """It can be started with adapters."""
        return self.lora_modules_arg is not None

    @property
    def limits_rank(self) -> bool:
        """It has a flag for the largest rank, beside that for adapters."""
        return self.launches_lora and self.max_lora_rank_arg is not None

    @property
    def value_format(self) -> ValueFormat:
        return self.lora_modules_value_format or "name_path"

    def rank_for(self, rank: int) -> int | None:
        """The smallest rank limit that it takes and that holds ``rank``; None: there is none.

        >>> facts = {"id": "v", "title": "v", "kind": "external", "source": "s", "verified": "2026-01-01"}
        >>> vllm = Provider.model_validate(facts | {"allowed_ranks": (16, 32)})
        >>> vllm.rank_for(24), vllm.rank_for(64)
        (32, None)
        """
        if self.allowed_ranks is None:
            return rank
        return next((allowed for allowed in self.allowed_ranks if allowed >= rank), None)

    def seen_by(self, dialect: Dialect) -> Provider:
        """The provider without what a dialect's launcher cannot do."""
        if dialect.own_adapter_support or self.harn_launches_lora:
            return self
        return self.model_copy(
            update={
                "enable_lora_arg": None,
                "lora_modules_arg": None,
                "lora_modules_value_format": None,
                "max_lora_rank_arg": None,
            }
        )


class BaseAlias(Sourced):
    """A base under the origin's own name."""

    alias: str
    id: str
    provider: str
    tier: str | None = None
    tool_format: str | None = None
    context_window: int | None = None
    catalog_name: str | None = None


class RouteTable(Frozen):
    """All of it."""

    format_version: Literal[1]
    providers: tuple[Provider, ...]
    capabilities: tuple[CapabilityRow, ...]
    bases: tuple[BaseAlias, ...] = ()

    def provider(self, name: str) -> Provider | None:
        """The provider of an id or another spelling; None: not known."""
        folded = _folded(name)
        return next((one for one in self.providers if folded == _folded(one.id) or folded in one.aliases), None)

    def provider_id(self, name: str) -> str:
        """The id of a provider by any spelling; what nobody knows stays as it is written.

        Source:
            section 1 of the origin's commands: any case, ``_`` as ``-``, a handful of other names.
        """
        found = self.provider(name)
        return found.id if found else name.strip()

    def capabilities_of(self, provider: str, base: str, dialect: Dialect) -> Capabilities:
        row = next((one for one in self.capabilities if one.means(provider, base, dialect)), None)
        if row is None:
            return Capabilities()
        return Capabilities(**{name: getattr(row, name) for name in Capabilities.model_fields})

    def base(self, selector: str) -> BaseAlias | None:
        """A base of the table by its alias, or by the id behind it."""
        folded = selector.strip().casefold()
        rows = [*((one.alias, one) for one in self.bases), *((one.id, one) for one in self.bases)]
        return next((one for name, one in rows if name.casefold() == folded), None)


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


def _folded(name: str) -> str:
    return name.strip().casefold().replace("_", "-")
