"""The origin's benchmark snapshot, version 1: read so that its three rows keep ranking as they did.

Our own snapshot has another shape (``formats.catalog_json``); this one is read, never written.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reconciler.domain.catalog import Architecture, BenchmarkObservation, CatalogModel, Catalogue, Evidence, Repository

_NEVER = date(1970, 1, 1)
_FAMILY = re.compile(r"(.*[a-z]{2})-?(\d+(?:\.\d+)*)")
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_BILLIONS_LIMIT = 1_000_000


class _Row(BaseModel):
    model_config = ConfigDict(strict=True)


class _Observation(_Row):
    source: str
    benchmark: str
    value: _Finite
    evidence: Evidence
    observedAt: str  # noqa: N815 - the origin's key


class _Model(_Row):
    hfRepoId: str  # noqa: N815
    family: str
    sizeB: Annotated[float, Field(ge=0, le=_BILLIONS_LIMIT)]  # noqa: N815
    observations: list[_Observation]
    ollamaName: Any = None  # noqa: N815 - kept only when it is a string
    activeB: Any = None  # noqa: N815 - kept only when it is a number


class _Snapshot(_Row):
    version: Literal[1]
    generatedAt: str  # noqa: N815
    source: Literal["seed", "snapshot"]
    models: list[_Model]


def seed_catalogue(document: object, *, today: date = _NEVER) -> Catalogue:
    """The catalogue a version-1 snapshot describes. Never raises: any flaw gives an empty one that says why.

    Args:
        document: the parsed JSON.
        today: UTC date an empty fallback carries.

    Returns:
        Origin ``bundled``, or ``fallback`` with one note that names the reason and the place.
    """
    try:
        snapshot = _Snapshot.model_validate(document)
        generated = date.fromisoformat(snapshot.generatedAt[:10])
        models = tuple(_model(model) for model in snapshot.models)
        observations = tuple(_observation(model, row) for model in snapshot.models for row in model.observations)
    except ValueError as error:
        return Catalogue((), (), today, "fallback", (f"benchmark snapshot ignored: {_reason(error)}",))
    return Catalogue(models, observations, generated, "bundled")


def _model(row: _Model) -> CatalogModel:
    lineage, generation = split_family(row.family)
    is_number = isinstance(row.activeB, int | float) and not isinstance(row.activeB, bool)
    active = row.activeB if is_number and 0 <= row.activeB <= _BILLIONS_LIMIT else None
    return CatalogModel(
        id=row.hfRepoId,
        lineage=lineage,
        generation=generation,
        line="general",
        params=round(row.sizeB * 1e9),
        active_params=None if active is None else round(active * 1e9),
        gguf_weights=None,
        architecture=Architecture(name=None),
        context_length=None,
        license=None,
        released=None,
        repositories=(Repository(id=row.hfRepoId, builds=(), source="seed"),),
        ollama_tag=row.ollamaName if isinstance(row.ollamaName, str) else None,
        sources=("seed",),
    )


def _observation(model: _Model, row: _Observation) -> BenchmarkObservation:
    return BenchmarkObservation(
        model=model.hfRepoId,
        benchmark=row.benchmark,
        value=row.value,
        scale="0-100",
        source=row.source,
        observed_at=date.fromisoformat(row.observedAt[:10]),
        evidence=row.evidence,
    )


def split_family(family: str) -> tuple[str, str]:
    """(lineage, generation) of a family as the origin spells it.

    >>> split_family("qwen3"), split_family("llama-3"), split_family("deepseek-r1")
    (('qwen', '3'), ('llama', '3'), ('deepseek-r1', ''))
    """
    match = _FAMILY.fullmatch(family)
    return (match[1], match[2]) if match else (family, "")


def _reason(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_context=False)[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    return f"{place or 'document'}: {first['msg']}"
