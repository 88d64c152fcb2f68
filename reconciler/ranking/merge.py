"""Many observations of one model become one number, with how sure we are of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from reconciler.domain.catalog import Evidence
from reconciler.domain.estimate import EvidencePart
from reconciler.domain.hardware import Confidence
from reconciler.ranking.evidence import LADDER

UNKNOWN_SOURCE = 0.5
STRONG_RECENCY, STRONG_WEIGHT = 0.8, 0.3

# By the first word of a source that matches. The first two are the origin's ``merge.ts``; ours are run by third
# parties on one harness each, like the first.
SOURCE_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "open-llm-leaderboard": 1.0, "hf-popularity": 0.25, "open llm leaderboard": 1.0, "livebench": 1.0,
        "lmarena": 1.0, "arena.ai": 1.0, "evalplus": 1.0, "aider": 1.0, "gorilla": 1.0, "bfcl": 1.0, "mteb": 1.0,
        "embeddings-benchmark": 1.0, "vectara": 1.0, "localmodels": 1.0,
    }
)  # fmt: skip


def source_weight(source: str, table: Mapping[str, float] = SOURCE_WEIGHTS) -> float:
    """Trust in a source: its own line in the table, else that of a name it contains, else 0.5."""
    name = source.lower()
    exact = table.get(source, table.get(name))
    if exact is not None:
        return exact
    return next((weight for key, weight in table.items() if key in name), UNKNOWN_SOURCE)


@dataclass(frozen=True, slots=True)
class Merged:
    """One number from many observations, 0 to 100."""

    score: float
    confidence: Confidence
    multiplier: float
    """What the confidence does to the score, 0.6 to 1."""
    weight: float
    """Sum of the observations' combined weights."""
    spread: float
    """Weighted standard deviation of the observations around the score."""


def _confidence(grades: Sequence[tuple[Evidence, float, float]]) -> Confidence:
    """From (grade, recency, combined weight) of each observation; the rule of the origin's ``merge.ts``."""
    if any(g == "direct" and r >= STRONG_RECENCY and w >= STRONG_WEIGHT for g, r, w in grades):
        return "high"
    if all(w < STRONG_WEIGHT for _, _, w in grades) or all(
        g in ("interpolated", "self-reported") for g, _, _ in grades
    ):
        return "low"
    return "medium"


def _multiplier(grades: Sequence[tuple[Evidence, float, float]]) -> float:
    """1 · 0.85 · 0.6 for high, medium and low as in the origin, but without its cliffs.

    An observation that ages past a threshold must not cost a model a sixth of its score from one day to the next, or
    what is installed would be swapped by the calendar. So 1 falls to 0.85 while a direct observation's recency falls
    from 0.8 to 0.5, and 0.85 falls to 0.6 while the best combined weight falls from 0.3 to 0.05.
    """
    known = [(g, r, w) for g, r, w in grades if g not in ("interpolated", "self-reported")]
    best = max((w for _, _, w in known), default=0.0)
    floor = 0.6 + 0.25 * _ramp(best, 0.05, STRONG_WEIGHT)
    fresh = max((r for g, r, w in known if g == "direct" and w >= STRONG_WEIGHT), default=0.0)
    return floor + 0.15 * _ramp(fresh, 0.5, STRONG_RECENCY)


def _ramp(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))


def combined_weight(evidence: Evidence, recency_weight: float, source: float) -> float:
    """Weight of one observation: grade × recency × source."""
    return LADDER[evidence] * recency_weight * source


def merge(parts: Sequence[EvidencePart], shares: Sequence[float] | None = None) -> Merged:
    """The weighted mean of the parts' normalised values, with its confidence.

    Args:
        parts: observations as graded; ``normalised`` is 0 to 100, ``weight`` the product of its three weights.
        shares: how much each benchmark says about the profile, 0 to 1; all 1 where not given. They shift the mean
            and never the confidence.

    Returns:
        Score 0, low, where there is nothing or nothing has weight.
    """
    if not parts:
        return Merged(0.0, "low", 0.6, 0.0, 0.0)
    by = shares if shares is not None else [1.0] * len(parts)
    weights = [part.weight * share for part, share in zip(parts, by, strict=True)]
    grades = [(part.evidence, part.recency_weight, part.weight) for part in parts]
    total = sum(weights)
    if total <= 0:
        return Merged(0.0, _confidence(grades), _multiplier(grades), 0.0, 0.0)
    values = [min(100.0, max(0.0, part.normalised)) for part in parts]
    score = sum(value * weight for value, weight in zip(values, weights, strict=True)) / total
    variance = sum(weight * (value - score) ** 2 for value, weight in zip(values, weights, strict=True)) / total
    return Merged(score, _confidence(grades), _multiplier(grades), total, variance**0.5)
