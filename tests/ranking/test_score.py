"""One number from quality and speed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.estimate import QualityEstimate, SpeedEstimate
from reconciler.domain.units import Bytes
from reconciler.ranking.score import Score, scale_score

QUALITY = QualityEstimate(60.0, 50.0, 70.0, "direct", "high", (), 1.0)
SPEED = SpeedEstimate(40.0, 30.0, 50.0, "high", 0.0, Bytes(5 * 10**9), 1008.0, "cuda")


def test_what_does_not_fit_scores_0() -> None:
    assert scale_score(False, QUALITY, SPEED) == Score(0.0, 0.0, 0.0)


def test_full_confidence_leaves_the_quality_as_it_is() -> None:
    assert scale_score(True, QUALITY, SPEED) == Score(60.0, 50.0, 70.0)


def test_both_confidences_multiply() -> None:
    doubtful = scale_score(True, replace(QUALITY, multiplier=0.85), replace(SPEED, confidence="medium"))
    assert doubtful.score == pytest.approx(60 * 0.85 * 0.9)
    assert (doubtful.low, doubtful.high) == pytest.approx((50 * 0.85 * 0.9, 70 * 0.85 * 0.9))


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0.6, 1), st.floats(0.6, 1))
def test_more_of_either_is_never_less(one: float, other: float, doubt: float, trust: float) -> None:
    worse, better = sorted((one, other))
    less, more = sorted((doubt, trust))
    quality = replace(QUALITY, score=worse, low=worse, high=worse, multiplier=less)
    assert scale_score(True, quality, SPEED).score <= scale_score(True, replace(quality, score=better), SPEED).score
    assert scale_score(True, quality, SPEED).score <= scale_score(True, replace(quality, multiplier=more), SPEED).score
    by_confidence = [
        scale_score(True, quality, replace(SPEED, confidence=level)).score for level in ("low", "medium", "high")
    ]
    assert all(low <= high for low, high in pairwise(by_confidence))


@given(st.floats(0, 1000), st.floats(0, 1000))
def test_a_faster_model_never_scores_less(one: float, other: float) -> None:
    slow, fast = sorted((one, other))
    at = [scale_score(True, QUALITY, replace(SPEED, tokens_per_second=speed)).score for speed in (slow, fast)]
    assert at[0] <= at[1] <= 60
