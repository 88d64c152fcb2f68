"""The origin's two live benchmark sources, read so that every observation keeps the name of its model.

Pure: parsed JSON in, observations and coded warnings out. ``integrations.catalog.benchmarks_file`` asks for the JSON.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from reconciler.domain.catalog import BenchmarkObservation

_LIKE_WEIGHT = 50
"""How many downloads one like counts for. Source: the origin, ``benchmarks/sources.ts``, 0.2.0."""


@dataclass(frozen=True, slots=True)
class SourceWarning:
    """Why a source, or one row of it, gave nothing."""

    code: Literal["fetch_failed", "parse_failed", "schema_invalid"]
    source: str
    message: str


@dataclass(frozen=True, slots=True)
class SourceAnswer:
    """What one source gave at one date."""

    source: str
    observations: tuple[BenchmarkObservation, ...]
    warnings: tuple[SourceWarning, ...]
    fetched_at: date


@dataclass(frozen=True, slots=True)
class OriginSource:
    """Where to ask, and how to read the answer."""

    name: str
    url: str
    parse: Callable[[object, date], SourceAnswer]


def parse_open_llm_leaderboard(payload: object, fetched: date) -> SourceAnswer:
    """One direct observation per model and benchmark of ``{models: [{model, scores: {slug: number}}]}``.

    A model without scores is a warning; one value that is no number refuses the whole payload.
    """
    name = "open-llm-leaderboard"
    rows = payload.get("models") if isinstance(payload, dict) else None
    if not isinstance(rows, list) or not all(_is_scored(row) for row in rows):
        return _nothing(name, "not a list of models with numeric scores", fetched)
    observations = tuple(
        BenchmarkObservation(row["model"], slug, float(value), "0-100", name, fetched)
        for row in rows
        for slug, value in row["scores"].items()
    )
    empty = tuple(
        SourceWarning("schema_invalid", name, f"{row['model']} has no scores") for row in rows if not row["scores"]
    )
    return SourceAnswer(name, observations, empty, fetched)


def parse_hf_popularity(payload: object, fetched: date) -> SourceAnswer:
    """Popularity of each listed model, 100 for the most popular: (downloads + 50 × likes) ÷ the largest × 100."""
    name = "hf-popularity"
    if not isinstance(payload, list) or not all(_is_listed(row) for row in payload):
        return _nothing(name, "not a list of models with downloads and likes", fetched)
    composites = [(_model_id(row), row["downloads"] + _LIKE_WEIGHT * row["likes"]) for row in payload]
    largest = max((composite for _, composite in composites), default=0)
    if largest <= 0:
        return _nothing(name, "no model has a download or a like", fetched)
    observations = tuple(
        BenchmarkObservation(model, name, composite / largest * 100, "0-100", name, fetched, "interpolated")
        for model, composite in composites
    )
    return SourceAnswer(name, observations, (), fetched)


ORIGIN_SOURCES = {
    source.name: source
    for source in (
        OriginSource(
            "open-llm-leaderboard",
            "https://huggingface.co/api/datasets/open-llm-leaderboard/contents/v2/leaderboard.json",
            parse_open_llm_leaderboard,
        ),
        OriginSource(
            "hf-popularity",
            "https://huggingface.co/api/models?filter=text-generation&sort=downloads&limit=100",
            parse_hf_popularity,
        ),
    )
}


def failed(source: str, code: Literal["fetch_failed", "parse_failed"], cause: str, fetched: date) -> SourceAnswer:
    """An answer without observations that says what went wrong before it could be read."""
    return SourceAnswer(source, (), (SourceWarning(code, source, cause),), fetched)


def _nothing(source: str, reason: str, fetched: date) -> SourceAnswer:
    return SourceAnswer(source, (), (SourceWarning("schema_invalid", source, reason),), fetched)


def _is_scored(row: Any) -> bool:
    scores = row.get("scores") if isinstance(row, dict) else None
    if not isinstance(scores, dict) or not isinstance(row.get("model"), str):
        return False
    return all(_is_number(value) for value in scores.values())


def _is_listed(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and bool(_model_id(row))
        and all(_is_number(row.get(key)) and row[key] >= 0 for key in ("downloads", "likes"))
    )


def _model_id(row: dict[str, Any]) -> str:
    name = row.get("id", row.get("modelId"))
    return name if isinstance(name, str) else ""


def _is_number(value: object) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 2**63
    return isinstance(value, float) and math.isfinite(value)
