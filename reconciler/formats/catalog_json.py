"""A catalogue as JSON and back, exactly: the shape of the bundled snapshot and of every cached catalogue.

Positional rows and a table of repeated texts, because a catalogue is read at every start: no schema library is asked,
yet every value's type is checked, so that a damaged file is refused and never half-used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import fields
from datetime import date
from typing import Any, Literal, NoReturn, get_args

from reconciler.domain.catalog import (
    Architecture,
    Attention,
    BenchmarkObservation,
    Build,
    CatalogModel,
    Catalogue,
    CatalogueSource,
    Evidence,
    Repository,
)

FORMAT_VERSION = 1
_ORIGINS = ("bundled", "cached", "live", "fallback")
_FORMATS: tuple[Literal["gguf", "mlx", "safetensors"], ...] = ("gguf", "mlx", "safetensors")
_EVIDENCE: tuple[str, ...] = get_args(Evidence)
_COLUMNS = (
    "model", "benchmark", "value", "scale", "source", "observedAt", "evidence", "quant", "release", "variant",
)  # fmt: skip
_NONE = type(None)
_MODEL_TYPES: tuple[tuple[type, ...], ...] = (
    (str,), (str,), (str,), (str,), (int, _NONE), (int, _NONE), (int, _NONE), (list,), (int, _NONE), (str, _NONE),
    (str, _NONE), (list,), (list,), (str, _NONE), (int,), (int,), (int,), (list,),
)  # fmt: skip
_ARCHITECTURE_TYPES: tuple[tuple[type, ...], ...] = ((str, _NONE), *((int, _NONE),) * 8, (dict, _NONE))
_WIDTH_TYPES: tuple[tuple[type, ...], ...] = ((int, _NONE),) * 3
"""Widths within a layer stand at the end of a row that knows one."""
_REPOSITORY_TYPES: tuple[tuple[type, ...], ...] = ((str,), (int,), (bool,), (int,), (bool, _NONE), (list,))
_BUILD_TYPES: tuple[tuple[type, ...], ...] = ((int,), (int,), (bool,), (list,), (list,), (bool, _NONE))
_ATTENTION_DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(Attention)}
_ATTENTION_TYPES: dict[str, tuple[type, ...]] = {
    name: (str,) if name in {"kind", "source"} else (bool,) if name == "unverified" else (int,)
    for name in _ATTENTION_DEFAULTS
    if name != "compressed_layers"
}


def catalogue_to_json(catalogue: Catalogue) -> str:
    """One line per model, deterministic: equal catalogues give equal text."""
    texts = _Texts()
    models = [_model_row(model, texts) for model in catalogue.models]
    columns = _columns(catalogue.observations, texts)
    head = {
        "formatVersion": FORMAT_VERSION,
        "generatedAt": catalogue.generated_at.isoformat(),
        "origin": catalogue.origin,
        "notes": list(catalogue.notes),
        "sources": [
            [each.id, each.title, each.license, each.collected.isoformat(), each.url] for each in catalogue.sources
        ],
        "texts": texts.all,
        "observations": columns,
    }
    opening = ",\n".join(f"{_dump(key)}:{_dump(value)}" for key, value in head.items())
    rows = ",\n".join(_dump(row) for row in models)
    return f'{{{opening},\n"models":[\n{rows}\n]}}\n'


def catalogue_from_json(text: str | bytes) -> Catalogue:
    """The catalogue a text describes; the inverse of ``catalogue_to_json``.

    Raises:
        ValueError: not JSON, another format version, or any value of the wrong type; the message names the place.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("formatVersion") != FORMAT_VERSION:
        raise ValueError(f"formatVersion is not {FORMAT_VERSION}")
    texts = _each(document, "texts", _text)
    return Catalogue(
        models=_each(document, "models", lambda row: _model(row, texts)),
        observations=_at("observations", lambda: tuple(_observations(document["observations"], texts))),
        generated_at=_at("generatedAt", lambda: date.fromisoformat(document["generatedAt"])),
        origin=_at("origin", lambda: _member(document["origin"], _ORIGINS)),
        notes=_each(document, "notes", _text),
        sources=_each(document, "sources", _source),
    )


class _Texts:
    """Repeated texts by number, in order of first use."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        if text not in self._numbers:
            self._numbers[text] = len(self.all)
            self.all.append(text)
        return self._numbers[text]


def _model_row(model: CatalogModel, texts: _Texts) -> list[Any]:
    return [
        model.id,
        model.lineage,
        model.generation,
        model.line,
        model.params,
        model.active_params,
        model.gguf_weights,
        _architecture_row(model.architecture),
        model.context_length,
        model.license,
        None if model.released is None else model.released.isoformat(),
        [[name, [texts.number(source) for source in sources]] for name, sources in model.capabilities],
        [_repository_row(repository, texts) for repository in model.repositories],
        model.ollama_tag,
        model.generation_rank,
        model.downloads,
        model.likes,
        [texts.number(source) for source in model.sources],
    ]


def _architecture_row(it: Architecture) -> list[Any]:
    sizes = [it.layers, it.hidden, it.heads, it.kv_heads, it.head_dim, it.vocab, it.experts, it.active_experts]
    attention = it.attention and {
        name: getattr(it.attention, name)
        for name, default in _ATTENTION_DEFAULTS.items()
        if getattr(it.attention, name) != default
    }
    widths = [it.feed_forward, it.expert_feed_forward, it.per_layer_embedding]
    return [it.name, *sizes, attention, *(widths if any(widths) else ())]


def _repository_row(repository: Repository, texts: _Texts) -> list[Any]:
    """Builds that only state a size become a flat run of (quant, bytes); the fifth value tells whether exact."""
    builds = repository.builds
    plain = {build.exact for build in builds if not (build.files or build.sha256 or build.sharded is not None)}
    is_flat = len(plain) == 1 and not any(build.files or build.sha256 or build.sharded is not None for build in builds)
    rows: list[Any] = (
        [value for build in builds for value in (texts.number(build.quant), build.bytes)]
        if is_flat
        else [
            [texts.number(each.quant), each.bytes, each.exact, list(each.files), list(each.sha256), each.sharded]
            for each in builds
        ]
    )
    return [
        repository.id,
        texts.number(repository.source),
        repository.claimed,
        _FORMATS.index(repository.format),
        plain.pop() if is_flat else None,
        rows,
    ]


def _columns(observations: Iterable[BenchmarkObservation], texts: _Texts) -> dict[str, list[Any]]:
    number = texts.number
    rows = [
        (
            number(each.model),
            number(each.benchmark),
            float(each.value),
            number(each.scale),
            number(each.source),
            number(each.observed_at.isoformat()),
            _EVIDENCE.index(each.evidence),
            None if each.quant is None else number(each.quant),
            None if each.release is None else number(each.release),
            None if each.variant is None else number(each.variant),
        )
        for each in observations
    ]
    return {name: [row[place] for row in rows] for place, name in enumerate(_COLUMNS)}


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _model(row: Any, texts: tuple[str, ...]) -> CatalogModel:
    _typed(row, _MODEL_TYPES)
    (
        name, lineage, generation, line, params, active, gguf_weights, architecture, context, licence, released,
        capabilities, repositories, tag, rank, downloads, likes, sources,
    ) = row  # fmt: skip
    return CatalogModel(
        name,
        lineage,
        generation,
        line,
        params,
        active,
        gguf_weights,
        _architecture(architecture),
        context,
        licence,
        None if released is None else date.fromisoformat(released),
        tuple((_text(claim), tuple(_pick(texts, each) for each in claimed)) for claim, claimed in capabilities),
        tuple(_repository(each, texts) for each in repositories),
        tag,
        rank,
        downloads,
        likes,
        tuple(_pick(texts, each) for each in sources),
    )


def _architecture(row: Any) -> Architecture:
    has_widths = type(row) is list and len(row) > len(_ARCHITECTURE_TYPES)
    _typed(row, (*_ARCHITECTURE_TYPES, *_WIDTH_TYPES) if has_widths else _ARCHITECTURE_TYPES)
    name, layers, hidden, heads, kv_heads, head_dim, vocab, experts, active, attention, *widths = row
    return Architecture(
        name,
        layers,
        hidden,
        heads,
        kv_heads,
        head_dim,
        vocab,
        experts,
        active,
        None if attention is None else _attention(attention),
        *widths,
    )


def _attention(named: dict[str, Any]) -> Attention:
    for key, value in named.items():
        if key == "compressed_layers":
            named = {**named, key: tuple((_whole(ratio), _whole(layers)) for ratio, layers in value)}
        elif key not in _ATTENTION_TYPES or type(value) not in _ATTENTION_TYPES[key]:
            _refuse(f"attention.{key} is {value!r}")
    return Attention(**named)


def _repository(row: Any, texts: tuple[str, ...]) -> Repository:
    _typed(row, _REPOSITORY_TYPES)
    name, source, claimed, kind, exact, rows = row
    if exact is None:
        builds = tuple(_build(each, texts) for each in rows)
    else:
        if not set(map(type, rows)) <= {int} or len(rows) % 2 or (rows and min(rows) < 0):
            _refuse(f"builds of {name} are not pairs of whole numbers")
        builds = tuple(Build(texts[quant], size, exact) for quant, size in zip(rows[::2], rows[1::2], strict=True))
    return Repository(name, builds, _pick(texts, source), claimed, _FORMATS[_whole(kind)])


def _build(row: Any, texts: tuple[str, ...]) -> Build:
    _typed(row, _BUILD_TYPES)
    quant, size, exact, files, digests, sharded = row
    return Build(
        _pick(texts, quant),
        size,
        exact,
        tuple(_text(each) for each in files),
        tuple(_text(each) for each in digests),
        sharded,
    )


def _observations(columns: Any, texts: tuple[str, ...]) -> Iterable[BenchmarkObservation]:
    if not isinstance(columns, dict) or set(columns) != set(_COLUMNS):
        _refuse("columns are missing")
    values = columns["value"]
    if not all(type(value) is float and math.isfinite(value) for value in values):
        _refuse("a value is not a finite number with a decimal point")
    for name in _COLUMNS:
        if name != "value" and not all(value is None or (type(value) is int and value >= 0) for value in columns[name]):
            _refuse(f"{name} is not a list of whole numbers")
    lookup = (*texts, None)
    days = {number: date.fromisoformat(texts[number]) for number in set(columns["observedAt"])}
    optional = [[lookup[-1 if number is None else number] for number in columns[name]] for name in _COLUMNS[7:]]
    return map(
        BenchmarkObservation,
        [texts[number] for number in columns["model"]],
        [texts[number] for number in columns["benchmark"]],
        values,
        [texts[number] for number in columns["scale"]],
        [texts[number] for number in columns["source"]],
        [days[number] for number in columns["observedAt"]],
        [_EVIDENCE[number] for number in columns["evidence"]],
        *optional,
    )


def _source(row: Any) -> CatalogueSource:
    _typed(row, ((str,),) * 5)
    return CatalogueSource(row[0], row[1], row[2], date.fromisoformat(row[3]), row[4])


def _each(document: dict[str, Any], key: str, read: Callable[[Any], Any]) -> tuple[Any, ...]:
    rows = document.get(key)
    if not isinstance(rows, list):
        raise ValueError(f"{key}: not a list")  # noqa: TRY004 - one error type for a damaged document
    found = []
    for number, row in enumerate(rows):
        try:
            found.append(read(row))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise ValueError(f"{key}[{number}]: {error}") from error
    return tuple(found)


def _at(place: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"{place}: {error}") from error


def _typed(row: Any, types: tuple[tuple[type, ...], ...]) -> None:
    """Refuses a row of another length or with a value of another type; True is no whole number here."""
    if type(row) is not list or len(row) != len(types):
        _refuse(f"not a row of {len(types)} values")
    for place, (value, allowed) in enumerate(zip(row, types, strict=True)):
        if type(value) not in allowed:
            _refuse(f"value {place} is {value!r:.60}")
        if type(value) is int and value < 0:
            _refuse(f"value {place} is negative")


def _text(value: Any) -> str:
    return value if type(value) is str else _refuse(f"{value!r:.60} is no text")


def _whole(value: Any) -> int:
    return value if type(value) is int and value >= 0 else _refuse(f"{value!r:.60} is no whole number")


def _pick(texts: tuple[str, ...], number: Any) -> str:
    return texts[_whole(number)]


def _member(value: Any, allowed: tuple[str, ...]) -> Any:
    return value if value in allowed else _refuse(f"{value!r:.60} is not one of {', '.join(allowed)}")


def _refuse(reason: str) -> NoReturn:
    raise ValueError(reason)
