"""From quality and speed to one number, 0 to 100."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.domain.estimate import QualityEstimate, SpeedEstimate
from reconciler.domain.hardware import Confidence

SPEED_MULTIPLIER: dict[Confidence, float] = {"high": 1.0, "medium": 0.9, "low": 0.75}
"""Source: the origin's ``algorithm.ts``."""
READING_SPEED = 4.0
"""Tokens a second below which a person waits for every word; a faster model is not better for it, a slower one is
worse by the square root. ``minTokensPerSecond`` of a slot is the hard bound."""


@dataclass(frozen=True, slots=True)
class Score:
    """A score with its interval; all 0 where the candidate does not fit."""

    score: float
    low: float
    high: float


def score_factor(confidence: Confidence, tokens_per_second: float, multiplier: float) -> float:
    """What a score keeps of the quality, 0 to 1: by the confidence in the speed, the evidence's, and slowness."""
    factor = SPEED_MULTIPLIER[confidence] * multiplier
    if tokens_per_second < READING_SPEED:
        factor *= (max(0.0, tokens_per_second) / READING_SPEED) ** 0.5
    return factor


def scale_score(fits: bool, quality: QualityEstimate, speed: SpeedEstimate) -> Score:
    """Quality × what the speed's confidence and the evidence's confidence leave of it.

    The confidence of the evidence scales the interval too, so that a doubtful candidate is low and wide, not low and
    sure.
    """
    if not fits:
        return Score(0.0, 0.0, 0.0)
    factor = score_factor(speed.confidence, speed.tokens_per_second, quality.multiplier)
    return Score(quality.score * factor, quality.low * factor, min(100.0, quality.high * factor))
