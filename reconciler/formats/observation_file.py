"""Our file format for third-party observations: parsed JSON in, observations or every flaw out.

``docs/benchmarks-format.md`` describes it for those who write such files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from reconciler.domain.catalog import BenchmarkObservation, Catalogue, Evidence
from reconciler.errors import Problem
from reconciler.formats.flaws import Flawed, problems_of

ROW_LIMIT = 500_000
_RANGES = {"0-100": (0.0, 100.0), "0-100 (lower is better)": (0.0, 100.0), "elo": (0.0, 10_000.0)}

_Text = Annotated[str, Field(min_length=1, max_length=300)]
_Slug = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class _Row(_Strict):
    model: Annotated[str, Field(pattern=r"^[^/\s]+/[^/\s]+$", max_length=200)]
    benchmark: _Slug
    value: Annotated[float, Field(strict=True, allow_inf_nan=False)]
    scale: Literal["0-100", "0-100 (lower is better)", "elo"] = "0-100"
    source: _Text | None = None
    observed_at: date | None = None
    evidence: Evidence = "direct"
    quant: _Text | None = None
    release: _Text | None = None
    variant: _Text | None = None


class _Document(_Strict):
    format_version: Literal[1]
    source: _Text | None = None
    observed_at: date | None = None
    observations: Annotated[list[_Row], Field(max_length=ROW_LIMIT)]


def parse_observations(document: object) -> tuple[BenchmarkObservation, ...] | Flawed:
    """The observations of one document, in its order; or its flaws. ``source`` and ``observedAt`` of the document
    stand in for rows without their own.
    """
    try:
        parsed = _Document.model_validate(document)
    except ValidationError as error:
        return Flawed.of(list(problems_of(error)))
    problems = [problem for number, row in enumerate(parsed.observations) for problem in _gaps(number, row, parsed)]
    if problems:
        return Flawed.of(problems)
    return tuple(_observation(row, parsed) for row in parsed.observations)


def with_observations(catalogue: Catalogue, added: Iterable[BenchmarkObservation]) -> Catalogue:
    """The catalogue with observations added; one of the same model, benchmark, source, release, variant and quant
    replaces what stood there.
    """
    merged = {_identity(each): each for each in (*catalogue.observations, *added)}
    return replace(catalogue, observations=tuple(merged.values()))


def _identity(it: BenchmarkObservation) -> tuple[str | None, ...]:
    return (it.model, it.benchmark, it.source, it.release, it.variant, it.quant)


def _gaps(number: int, row: _Row, document: _Document) -> Iterable[Problem]:
    place = f"observations[{number}]"
    if row.source is None and document.source is None:
        yield Problem(f"{place}.source", "missing, and the document names none for all rows")
    if row.observed_at is None and document.observed_at is None:
        yield Problem(f"{place}.observedAt", "missing, and the document names none for all rows")
    low, high = _RANGES[row.scale]
    if not low <= row.value <= high:
        yield Problem(f"{place}.value", f"{row.value:g} is outside the scale {row.scale} ({low:g} to {high:g})")


def _observation(row: _Row, document: _Document) -> BenchmarkObservation:
    observed_at = row.observed_at or document.observed_at
    assert observed_at is not None  # noqa: S101 - _gaps refused the others
    return BenchmarkObservation(
        model=row.model,
        benchmark=row.benchmark,
        value=row.value,
        scale=row.scale,
        source=row.source or document.source or "",
        observed_at=observed_at,
        evidence=row.evidence,
        quant=row.quant,
        release=row.release,
        variant=row.variant,
    )
