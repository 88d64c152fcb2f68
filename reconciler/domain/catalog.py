"""The models known: identity, dimensions, repositories with their builds, third-party observations.

Slotted values, not pydantic: there are tens of thousands. Keys are camelCase where they cross a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import ClassVar, Literal

from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from reconciler.domain.units import Bytes

_CONFIG = ConfigDict(alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True, extra="forbid")

Evidence = Literal["direct", "variant", "base", "interpolated", "self-reported"]


@dataclass(frozen=True, slots=True)
class Attention:
    """How a model's layers attend, where it is not full attention with one head layout in every layer."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    kind: str
    """swa · chunked · mla · hybrid-linear · hybrid-mamba · hybrid-mamba-parallel · hybrid-conv · compressed ·
    no-attention-layers · full (every layer keeps the whole context; only the value heads are of another width)."""
    full_layers: int | None = None
    """Layers that keep keys and values for the whole context. None: not known."""
    window_layers: int | None = None
    """Layers that keep at most ``window`` tokens."""
    window: int | None = None
    """Tokens a sliding-window or chunked layer keeps."""
    global_every: int | None = None
    """One layer in so many is a full-attention layer."""
    kv_lora_rank: int | None = None
    """Multi-head latent attention: width of the compressed cache."""
    qk_rope_head_dim: int | None = None
    v_head_dim: int | None = None
    global_head_dim: int | None = None
    """Head size of the full layers, where it differs."""
    global_kv_heads: int | None = None
    kv_shared_layers: int = 0
    """Last layers that store no cache of their own."""
    state_bytes: int = 0
    """Recurrent and convolution state of one sequence, all layers together, independent of the context."""
    unverified: bool = False
    """The exact layer list or window was not seen: taken from the class default of the architecture."""
    compressed_layers: tuple[tuple[int, int], ...] = ()
    """(tokens per cached entry, layers) of ``compressed``; ratio 0 keeps the window only."""
    source: str = ""
    """Where the layout comes from."""
    indexer_head_dim: int = 0
    """Keys of a sparse-attention index, one per token and layer beside the cache."""
    full_elements: int = 0
    """Values per token that all full layers together cache, where heads differ by layer; 0: as the fields above say."""
    window_elements: int = 0
    """The same of all window layers."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Dimensions that decide memory and speed. None where no source states them."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    name: str | None
    layers: int | None = None
    hidden: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    vocab: int | None = None
    experts: int | None = None
    active_experts: int | None = None
    attention: Attention | None = None
    feed_forward: int | None = None
    """Width of the widest dense feed-forward layer."""
    expert_feed_forward: int | None = None
    """Width of one expert."""
    per_layer_embedding: int | None = None
    """Width of an embedding that each layer has of its own beside the model's."""


@dataclass(frozen=True, slots=True)
class Build:
    """One quant of one repository: what an install of it would fetch."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    quant: str
    """Canonical quant name (``ranking.quants``)."""
    bytes: Bytes
    """All shards together, projector excluded."""
    exact: bool
    """False: rounded by the source, or computed; shown with ≈."""
    files: tuple[str, ...] = ()
    """Paths in the repository, shard 1 first; empty while only a resolve can tell."""
    sha256: tuple[str, ...] = ()
    """Digest of each of ``files``, where a source states them."""
    sharded: bool | None = None
    """None: not known before resolving."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A Hub repository with files of one model."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    id: str
    """``organisation/name``, case-sensitive."""
    builds: tuple[Build, ...]
    source: str = ""
    """Which source states the builds, with its date."""
    claimed: bool = False
    """That it packages this model is the packager's own claim (the Hub's ``base_model``), not our catalogue's."""
    format: Literal["gguf", "mlx", "safetensors", "ollama"] = "gguf"
    """``ollama``: one tag of a registry; ``id`` is then who packages it, a slash, and the tag's full name."""

    @property
    def organisation(self) -> str:
        return self.id.partition("/")[0]


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """One model as its publisher released it."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    id: str
    """``publisher/name``."""
    lineage: str
    """``qwen``: the family without its generation."""
    generation: str
    """``2.5``; empty where there is none."""
    line: str
    """general · coder · reasoning · vision · embedding · math · reranker · guard · medical · ocr · …"""
    params: int | None
    """Weights in all, as published."""
    active_params: int | None
    """Weights read per token of a mixture-of-experts model; None for dense ones."""
    gguf_weights: int | None
    """Weights that really load as a text model (no vision tower); None: take ``params``."""
    architecture: Architecture
    context_length: int | None
    license: str | None
    """Normalised slug."""
    released: date | None
    capabilities: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(capability, sources that claim it); absence is not a denial."""
    repositories: tuple[Repository, ...] = ()
    ollama_tag: str | None = None
    """Name in the Ollama library, ``qwen3:8b``."""
    generation_rank: int = 0
    downloads: int = 0
    likes: int = 0
    sources: tuple[str, ...] = ()

    @property
    def publisher(self) -> str:
        return self.id.partition("/")[0]

    @property
    def is_moe(self) -> bool:
        return self.active_params is not None or bool(self.architecture.experts)


@dataclass(frozen=True, slots=True)
class BenchmarkObservation:
    """One measured quality value of one model, as its source publishes it."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    model: str
    """Catalogue id of the model that was measured: an observation keeps its model's name."""
    benchmark: str
    """Slug, such as ``mmlu-pro`` or ``livebench_coding``."""
    value: float
    """On the source's own scale."""
    scale: str
    """``0-100`` · ``elo`` · ``0-100 (lower is better)``."""
    source: str
    observed_at: date
    evidence: Evidence = "direct"
    """As declared by the source; graded again against each candidate."""
    quant: str | None = None
    release: str | None = None
    """Benchmark release: values of different releases are not comparable."""
    variant: str | None = None
    """Reasoning effort or mode, as the source names it."""


@dataclass(frozen=True, slots=True)
class CatalogueSource:
    """One place facts of a catalogue come from."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    id: str
    """As facts name it, or the beginning of their name: ``aiconfigurator`` covers ``aiconfigurator:Qwen--…``."""
    title: str
    license: str
    """Terms as found; ``none found`` where there was no licence file and only facts were taken."""
    collected: date
    url: str = ""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything known of models at one date."""

    __pydantic_config__: ClassVar[ConfigDict] = _CONFIG

    models: tuple[CatalogModel, ...]
    observations: tuple[BenchmarkObservation, ...]
    generated_at: date
    """Of the snapshot, or of the newest live answer merged into it."""
    origin: Literal["bundled", "cached", "live", "fallback"]
    notes: tuple[str, ...] = ()
    """What a person should know: how old it is, what could not be refreshed."""
    sources: tuple[CatalogueSource, ...] = ()
    """Where its facts come from, with terms and date."""
