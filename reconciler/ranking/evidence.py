"""How close an observation is to the candidate it is used for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from reconciler.domain.catalog import BenchmarkObservation, Evidence
from reconciler.ranking.quants import normalise

LADDER: dict[Evidence, float] = {
    "direct": 1.0, "variant": 0.85, "base": 0.7, "interpolated": 0.5, "self-reported": 0.35,
}  # fmt: skip
"""Weight of each grade, strongest first. Source: the origin's ``evidence.ts``."""

_ORDER: tuple[Evidence, ...] = tuple(LADDER)
_MIRROR = re.compile(r"-(?:gguf|mlx|awq|gptq)$", re.IGNORECASE)
_TUNED = re.compile(r"-(?:instruct|chat|it|base)$", re.IGNORECASE)
_SIZE = re.compile(r"-\d+(?:\.\d+)?b(?:-a\d+(?:\.\d+)?b)?$", re.IGNORECASE)


@lru_cache(maxsize=65_536)
def plain_id(model: str) -> str:
    """A model id without the suffix of a mirror, in lower case."""
    return _MIRROR.sub("", model.strip()).lower()


@lru_cache(maxsize=65_536)
def family_root(model: str) -> str:
    """What is left of an id without its mirror suffix, its tuning suffixes and one size: its publisher's family.

    >>> family_root("Qwen/Qwen3-30B-A3B-Instruct-GGUF")
    'qwen/qwen3'
    """
    root = plain_id(model)
    while (shorter := _TUNED.sub("", root)) != root:
        root = shorter
    return _SIZE.sub("", root)


def _quants_agree(observed: str | None, wanted: str | None) -> bool:
    if not observed or not wanted:
        return False
    one, other = normalise(observed), normalise(wanted)
    return one.known and other.known and one.canonical == other.canonical


def grade(
    observed_model: str,
    wanted_model: str,
    *,
    observed_quant: str | None = None,
    wanted_quant: str | None = None,
    declared: Evidence | None = None,
) -> Evidence:
    """How close an observation of one model at one quant is to another.

    Self-reported stays self-reported, whatever matches. The same model is direct where both quants are known and
    agree, else a variant; the same family is a base; anything else is interpolated. Source: the origin's
    ``evidence.ts``.
    """
    if declared == "self-reported":
        return "self-reported"
    if plain_id(observed_model) == plain_id(wanted_model):
        return "direct" if _quants_agree(observed_quant, wanted_quant) else "variant"
    if family_root(observed_model) == family_root(wanted_model):
        return "base"
    return "interpolated"


def grade_observation(observation: BenchmarkObservation, model: str, quant: str | None) -> Evidence:
    """The grade of an observation for a candidate.

    An observation that does not say which quant was measured keeps the grade its source declares, as long as it is of
    the same model: leaderboards measure the published weights, and what a quant loses against those is charged by the
    quant's own factor, not a second time by the grade.
    """
    if observation.quant is None and plain_id(observation.model) == plain_id(model):
        return observation.evidence
    return grade(
        observation.model, model, observed_quant=observation.quant, wanted_quant=quant, declared=observation.evidence
    )


def weakest(grades: Iterable[Evidence]) -> Evidence:
    """The weakest of several grades; interpolated where there is none."""
    found = sorted({_ORDER.index(grade_) for grade_ in grades})
    return _ORDER[found[-1]] if found else "interpolated"
