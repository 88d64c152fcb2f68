"""What is known of who serves models: each provider's adapters, its native tool calls, and bases by the origin's names.

The facts are a table of ours with a source and a date in every row. What no source states is None, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from pydantic import model_validator

from reconciler.domain.document import Frozen
from reconciler.lora.capabilities import Capabilities, CapabilityRow, Sourced
from reconciler.lora.dialect import Dialect

ValueFormat = Literal["name_path", "json_with_base_model", "path"]
RuntimeFormat = Literal["peft", "gguf", "mlx"]
"""A form of adapters that some program loads; what can be attached is a ``domain.adapter.AdapterFormat``."""

_VERSION = re.compile(r"v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?!\d)")


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


def _folded(name: str) -> str:
    return name.strip().casefold().replace("_", "-")
