"""What ranking says about one candidate: memory, speed, quality, score; each by its parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from reconciler.domain.catalog import Build, CatalogModel, Evidence, Repository
from reconciler.domain.hardware import Confidence
from reconciler.domain.units import Bytes

Profile = Literal["general", "coding", "reasoning", "vision", "embedding"]
PROFILES: tuple[Profile, ...] = ("general", "coding", "reasoning", "vision", "embedding")
KvCache = Literal["f16", "q8_0", "q4_0"]
"""Element type of the key and value cache, as llama.cpp and Ollama spell it."""

_NO_BYTES = Bytes(0)
_CAMEL_CASE = ConfigDict(alias_generator=to_camel, populate_by_name=True)
"""For the values below that cross to JSON as they are: plain while they are ranked, camelCase outside."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One variant (a model at one quant) as one installable artifact (a build in a repository)."""

    model: CatalogModel
    repository: Repository
    build: Build

    @property
    def key(self) -> str:
        """``model-id@quant <- repository``: unique, and the last word of every ordering."""
        return f"{self.model.id}@{self.build.quant} <- {self.repository.id}"

    @property
    def quant(self) -> str:
        return self.build.quant

    @property
    def bytes(self) -> Bytes:
        return self.build.bytes


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a slot asks of the model that fills it, as far as numbers are concerned."""

    profile: Profile = "general"
    context: int = 4096
    """Tokens."""
    kv_cache: KvCache = "f16"
    parallel: int = 1
    """Sequences served at once, each with a context of its own."""
    kv_unified: bool = False
    """The sequences share one context instead (llama-server's ``--kv-unified``, its default without ``--parallel``)."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes a loaded model takes at a context, by parts."""

    __pydantic_config__: ClassVar[ConfigDict] = _CAMEL_CASE

    weights_bytes: Bytes
    kv_bytes: Bytes
    """As allocated: whole cells, and room for the tokens in flight beside each window."""
    kv_bytes_per_token: float
    """What the tokens of the asked context need, over their number, windows as they cost there; state is its own
    part, and what an allocation rounds up is not in it."""
    state_bytes: Bytes
    compute_bytes: Bytes
    """Buffers of the computation and of its outputs, on every device."""
    overhead_bytes: Bytes
    """What the backend itself takes, on every device."""
    total_bytes: Bytes
    basis: Literal["architecture", "seed-formula"]
    """From the real dimensions, or by the origin's approximation because nothing is known."""
    weights_basis: Literal["file", "approximate-file", "bits-per-weight"]
    max_context: int | None
    """The largest context that fits this machine, at most the model's own; None when not even one token does, or when
    nobody knows the model's own and memory alone would hold more than was asked."""
    max_context_basis: Literal["memory", "model", "unknown"] = "memory"
    """What ends ``max_context``; ``unknown``: it is None because nobody knows how long the model can go."""
    split_bytes: Bytes = _NO_BYTES
    """On several devices: what may stay unused on each because a layer lies on one device whole."""


@dataclass(frozen=True, slots=True)
class SpeedEstimate:
    """Decode speed of one stream."""

    __pydantic_config__: ClassVar[ConfigDict] = _CAMEL_CASE

    tokens_per_second: float
    low: float
    high: float
    """80 % interval."""
    confidence: Confidence
    offloaded: float
    """Share of the bytes that live outside the accelerator, 0 to 1."""
    bytes_per_token: Bytes
    effective_bandwidth_gbps: float
    backend: str
    basis: Literal["measured", "estimated"] = "estimated"
    measured_at: str | None = None
    """ISO date of the measurement, where ``basis`` is ``measured``."""
    doubtful: bool = False
    """It was measured, but only once, or while other work ran."""
    prefill_tokens_per_second: float | None = None
    """Tokens of a prompt, as long as what the cache holds, that are read a second; None: nobody measured such a
    machine, or part of the model lies outside the accelerators."""
    first_token_seconds: float | None = None
    """From the prompt to the first token of the answer, the model being loaded."""
    prefill_confidence: Confidence | None = None
    """In the two above; low: they may be off by a factor of two."""
    prefill_basis: Literal["measured", "estimated"] = "estimated"
    """Measured: of a short prompt on this very machine, which an accelerator reads slower than a long one. Without
    ``first_token_seconds`` it is that prompt's, as nothing tells how it falls with the length."""


@dataclass(frozen=True, slots=True)
class EvidencePart:
    """One observation as it entered the quality of one candidate."""

    __pydantic_config__: ClassVar[ConfigDict] = _CAMEL_CASE

    benchmark: str
    source: str
    observed_at: str
    """ISO date."""
    value: float
    """As published."""
    normalised: float
    """0 to 100 among the models that took the benchmark."""
    evidence: Evidence
    """Graded against this candidate."""
    evidence_weight: float
    recency_weight: float
    source_weight: float
    weight: float
    """Product of the three."""
    share: float = 1.0
    """How much the benchmark says about the profile, 0 to 1; the modes of one benchmark divide it."""


@dataclass(frozen=True, slots=True)
class QualityEstimate:
    """Quality of a candidate for a profile, 0 to 100, with an interval."""

    __pydantic_config__: ClassVar[ConfigDict] = _CAMEL_CASE

    score: float
    low: float
    high: float
    evidence: Evidence
    """The weakest grade among the parts."""
    confidence: Confidence
    parts: tuple[EvidencePart, ...]
    quant_factor: float
    """1 means the quant costs nothing."""
    multiplier: float = 1.0
    """What the confidence in the evidence leaves of the score, 0.6 to 1; ``Assessment.score`` has it applied."""
    covered: float = 1.0
    """Share of the profile that ``parts`` measure of this very model, 0 to 1; the rest is inherited."""
    measured_score: float | None = None
    """Mean of the parts by weight × share, at the reference quant; None where nothing of it was measured."""
    inherited_score: float | None = None
    """What stands for the rest, at the reference quant; None where everything was measured."""
    inherited_from: tuple[str, ...] = ()
    """Models that lend it, the nearest first; none: it rests on size and date."""
    judged_as: Profile | None = None
    """The profile whose benchmarks stand in, where nobody measured the asked one."""
    reference_quant_factor: float = 1.0
    """``score`` is (covered × measured + rest × inherited) × ``quant_factor`` / this, 100 at most."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """A candidate on one machine for one requirement."""

    candidate: Candidate
    memory: MemoryEstimate
    speed: SpeedEstimate
    quality: QualityEstimate
    fits: bool
    """Memory at the asked context is within the machine's capacity."""
    score: float
    """0 to 100; 0 when it does not fit."""
    low: float
    high: float
