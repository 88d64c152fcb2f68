"""The order of candidates: what fits first, then score, then speed, and what decides between equals."""

from __future__ import annotations

from reconciler.domain.estimate import Assessment, Candidate

OrderKey = tuple[bool, float, float, bool, int, int, int, str]
Standing = tuple[bool, float, float]
"""Whether it does not fit, score and speed, both negative and as coarse as the order reads them."""

SCORE_DIGITS = 1
"""Of a score, as far as the order reads it."""


def order_key(assessment: Assessment) -> OrderKey:
    """What the ranking sorts by, ascending: what fits first, then score, then tokens a second, both descending; the
    publisher's own repository before packagers; popularity; the smaller file; the plainer name; the candidate's key.

    The score is rounded to 0.1, far below any interval, and the speed to two digits: 16 bits where 8 are as good lose
    by their speed, and the last megabyte of two files of one quant puts no packager before the publisher.
    """
    score, speed = assessment.score, assessment.speed.tokens_per_second
    standing = (not assessment.fits, -round(score, SCORE_DIGITS), -float(f"{speed:.1e}"))
    return key_of(standing, assessment.candidate)


def key_of(standing: Standing, candidate: Candidate) -> OrderKey:
    """The place of a candidate that stands so."""
    model, repository, build = candidate.model, candidate.repository, candidate.build
    return (
        *standing,
        repository.organisation.lower() != model.publisher.lower(),
        -(model.downloads + 50 * model.likes),
        build.bytes,
        len(repository.id),
        candidate.key,
    )
