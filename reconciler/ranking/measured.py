"""What a measured point is about, in the ranking's own words: model, build, machine, requirement.

So that estimates are judged on what the ranking itself would have said, and on nothing else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from reconciler.domain.catalog import Architecture, Build, CatalogModel, Catalogue
from reconciler.domain.estimate import KvCache, Requirement
from reconciler.domain.hardware import Hardware, Platform
from reconciler.domain.units import GIB, Bytes
from reconciler.formats.measured_file import MeasuredPoint
from reconciler.ranking.decode import Runner, weights_read
from reconciler.ranking.measured_devices import Place, devices, place_of
from reconciler.ranking.measured_names import active_billions, looks_layers_up, mlx_by_name
from reconciler.ranking.measured_names import quant_of as named_quant
from reconciler.ranking.quants import normalise

DEFAULT_TOKENS = 256
"""Generated, where a point does not say how many."""
ASSUMED_RAM_BYTES = 64 * GIB
ASSUMED_RAM_GBPS = 60.0
"""Of a machine whose RAM a point does not describe: dual-channel DDR4-3600 and slow DDR5 are near it. It matters only
where part of the model lies outside the accelerator."""

_SAME_WEIGHTS = 0.2
"""A point whose parameter count is further than this from its catalogue model's is of other weights."""
_TELLING = 7
"""Letters and digits of a name that tell a model apart."""
_DEPTH_STEP = 1024
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

# Words of a repository's or file's name that say how the weights are packed or tuned, not which dimensions they have.
_PACKAGING = re.compile(
    r"[-_.:](gguf|mlx.*|awq.*|i1|u?d|ud[-_].*|q\d.*|iq\d.*|bf16|fp16|f16|nvfp4.*|fp8.*|mxfp4.*|instruct|it|chat|pt|"
    r"base|ollama|qat|hf|\d+bit|unquantized|q4_0|latest)(?=$|[-_.:])",
    re.IGNORECASE,
)
_MLX_ENGINES = ("lm studio", "lmstudio", "lm-studio", "ollama")
"""Engines that run MLX files on a Mac beside others."""
_Q8_CACHE = ("q8", "fp8", "int8")
_Q4_CACHE = ("q4", "turbo", "int4", "q5")


@dataclass(frozen=True, slots=True)
class Subject:
    """One measured point as a question to the ranking."""

    point: MeasuredPoint
    """As submitted; whether it is a mixture is told where it did not say."""
    model: CatalogModel
    """The catalogue's where it knows the point's model, else made of what the point says."""
    build: Build
    hardware: Hardware
    requirement: Requirement
    """Its context is what was allocated; where that is not known, what was read and written."""
    depth: float
    """Tokens in the cache halfway through the generation."""
    generated: int
    """Tokens, as the point says, else the usual number."""
    runner: Runner
    known: bool
    """The dimensions are the catalogue's."""


class ModelNames:
    """Models by every name a point may use: id, repositories, Ollama tag, and the name without its packaging."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._exact: dict[str, CatalogModel] = {}
        self._plain: dict[str, CatalogModel] = {}
        for model in catalogue.models:
            names = [model.id, *(repository.id for repository in model.repositories)]
            for name in (*names, *([model.ollama_tag] if model.ollama_tag else ())):
                self._exact.setdefault(name.lower(), model)
                self._plain.setdefault(plain_name(name), model)

    def find(self, point: MeasuredPoint) -> CatalogModel | None:
        """The model of a point, the source of its parameter count asked first; None where no name is known."""
        stated = (point.params_src or "").strip()
        named = [stated.partition(":")[2]] if stated.startswith("catalogue:") else []
        for name in (point.model, *named):
            found = self._exact.get(name.lower()) or self._plain.get(plain_name(name))
            if found is not None:
                return found
        return self._derived(point)

    def _derived(self, point: MeasuredPoint) -> CatalogModel | None:
        """The model whose name is part of the point's, or begins with it, with about the same weights: the longest."""
        name = plain_name(point.model)
        near = [
            (len(plain), plain)
            for plain, model in self._plain.items()
            if len(plain) >= _TELLING and (plain in name or (len(name) >= _TELLING and plain.startswith(name)))
            and abs(point.params_b * 1e9 / (model.params or math.inf) - 1) <= _SAME_WEIGHTS
        ]  # fmt: skip
        return self._plain[max(near)[1]] if near else None


def plain_name(name: str) -> str:
    """A model's name without publisher, packaging and punctuation.

    >>> plain_name("bartowski/microsoft_Phi-4-mini-instruct-Q4_K_M")
    'phi4mini'
    """
    tail = name.lower().rsplit("/", 1)[-1]
    tail = re.sub(r"^(microsoft|google|qwen|deepseek-ai|openai|nvidia|tencent|arcee-ai|meta)_", "", tail)
    before = None
    while before != tail:
        before, tail = tail, _PACKAGING.sub("", tail)
    return re.sub(r"[^a-z0-9.]", "", tail)


def subjects(points: Iterable[MeasuredPoint], catalogue: Catalogue) -> tuple[Subject, ...]:
    """Every point as a question to the ranking, in the same order."""
    names = ModelNames(catalogue)
    return tuple(subject(point, names) for point in points)


def subject(point: MeasuredPoint, names: ModelNames) -> Subject:
    """One point as a question to the ranking. Never raises: what is not known is taken as the ranking takes it."""
    found = names.find(point)
    model = _model(point, found)
    prompt, generated = point.prompt_tokens or 0, point.gen_tokens or DEFAULT_TOKENS
    context = point.ctx_alloc or prompt + generated
    return Subject(
        replace(point, moe=_is_mixture(point, model)),
        model,
        _build(point, model),
        _hardware(point, place_of(point)),
        Requirement(context=max(1, context), kv_cache=_cache_type(point)),
        _depth(point, prompt, generated),
        generated,
        runner_of(point),
        known=found is not None,
    )


def _depth(point: MeasuredPoint, prompt: int, generated: int) -> float:
    """Tokens read on average. A benchmark that starts at a depth allocates depth + prompt + generated: what is left
    of the allocation is then a round number, and stands in the cache; a server's allocation is round itself.
    """
    rest = (point.ctx_alloc or 0) - prompt - generated
    if point.prompt_tokens is not None and rest > 0 and rest % _DEPTH_STEP == 0:
        prompt += rest
    return prompt + generated / 2


def _cache_type(point: MeasuredPoint) -> KvCache:
    text = (point.kv_dtype or "").lower()
    if text.startswith(_Q8_CACHE):
        return "q8_0"
    return "q4_0" if text.startswith(_Q4_CACHE) else "f16"


def platform_of(point: MeasuredPoint) -> Platform:
    """Where the point ran, by the device's name, else by the backend."""
    return place_of(point).platform


def runner_of(point: MeasuredPoint) -> Runner:
    """The program's kernels, as far as they differ. Ollama and LM Studio run MLX for MLX files on a Mac."""
    engine, backend = (point.engine or "").lower(), (point.backend or "").lower()
    if "mlx" in engine or "mlx" in backend:
        return "mlx"
    either = not engine or engine.startswith(_MLX_ENGINES)
    if either and platform_of(point) == "macos" and mlx_by_name(point):
        return "mlx"
    if "vllm" in engine:
        return "vllm"
    if "vulkan" in backend:
        return "vulkan"
    return "hipfire" if "hipfire" in engine else "ollama" if "ollama" in engine else "llama.cpp"


def quant_of(point: MeasuredPoint) -> str:
    """The quant's one name; by the model's name, else the usual 4-bit one, where the point names none."""
    return named_quant(point, mlx=runner_of(point) == "mlx")


def _model(point: MeasuredPoint, found: CatalogModel | None) -> CatalogModel:
    params = round(point.params_b * 1e9)
    if found is None:
        name = "gemma4" if looks_layers_up(point) else None
        return CatalogModel(
            point.model, point.model, "", "general", params, _weights(active_billions(point)), None,
            Architecture(name), None, None, None,
        )  # fmt: skip
    known = found.params or found.gguf_weights
    if known is None or abs(params / known - 1) > _SAME_WEIGHTS:
        share = found.active_params / known if found.active_params and known else None
        active = _weights(active_billions(point, share and share * point.params_b))
        return replace(found, params=params, active_params=active, gguf_weights=None, repositories=())
    active = None if found.active_params is not None else _weights(_missing_active(point, found))
    return found if active is None else replace(found, active_params=active)


def _missing_active(point: MeasuredPoint, found: CatalogModel) -> float | None:
    """10⁹ weights; where the catalogue has the model's dimensions, it is a mixture only by a figure or its name."""
    if found.architecture.experts:
        return point.active_params_b
    return active_billions(replace(point, moe=None) if found.architecture.layers else point)


def _weights(billions: float | None) -> int | None:
    return None if billions is None else max(1, round(billions * 1e9))


def _is_mixture(point: MeasuredPoint, model: CatalogModel) -> bool:
    """What the point says; else what its model is."""
    return point.moe if point.moe is not None else weights_read(model).is_mixture


def _build(point: MeasuredPoint, model: CatalogModel) -> Build:
    """The catalogue's file of that quant where it lists one, else a size by bits per weight."""
    quant = quant_of(point)
    weights = model.gguf_weights or model.params or 0
    if not normalise(quant).known and point.bytes_per_weight_nominal:
        return Build(quant, Bytes(round(weights * point.bytes_per_weight_nominal)), exact=False)
    listed = [
        (repository.id.lower() != point.model.lower(), not build.exact, build.bytes, repository.id)
        for repository in (model.repositories if _is_gguf(point) else ())
        for build in repository.builds
        if build.bytes > 0 and normalise(build.quant).canonical == quant
    ]
    if not listed:
        return Build(quant, Bytes(0), exact=False)
    _, approximate, size, _ = min(listed)
    return Build(quant, Bytes(size), exact=not approximate)


def _is_gguf(point: MeasuredPoint) -> bool:
    """Whether the point's weights are a GGUF file, whose real size a catalogue may list."""
    return runner_of(point) in ("llama.cpp", "ollama", "vulkan")


def _hardware(point: MeasuredPoint, place: Place) -> Hardware:
    memory = Bytes(round((point.mem_gb or 0) * GIB))
    unified = point.hw_class == "UNIFIED" or place.platform == "macos"
    ram = memory if memory and (unified or place.platform == "cpu") else Bytes(ASSUMED_RAM_BYTES)
    return Hardware(
        platform=place.platform,
        devices=devices(point, place, unified=unified),
        ram_bytes=ram,
        ram_bandwidth_gbps=(point.bw_gbps if place.platform == "cpu" else None) or ASSUMED_RAM_GBPS,
        ram_reserve_bytes=Bytes(0),
        cpu_name=point.hardware,
        cpu_count=8,
        confidence="high" if place.sure else "low",
        detected_at=_EPOCH,
    )
