"""How much of a profile a benchmark may cover: all of it where our table knows it, a part where it says less.

A raw percentage is not on the common scale, and 95 % of a quiz that nobody else took is no reason to lead a ranking.
So beside benchmarks of the table, what the table does not name covers half of a profile together, and what stands as it
is, or what fewer than eight models took, a quarter: each of them a thirty-second for every model that took it. Where
the catalogue has no benchmark of the table at all, such values are compared with each other only, and stand in full.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from reconciler.ranking.profiles import is_listed
from reconciler.ranking.scales import FEWEST_TAKERS, Group, Scale

UNLISTED, RAW = 0.5, 0.25
"""Most of a profile that benchmarks outside the table cover together, and the raw ones among them."""
UNCHECKED = 0.25
"""Most a raw one is trusted, whoever its source says it is: too little to make a model a certain one by itself."""


def bounds(scales: Mapping[Group, Scale]) -> dict[Group, float]:
    """The benchmarks that cover a part of a profile at most, with that part; the others are not named."""
    if not any(is_listed(group[0]) and not scale.as_is for group, scale in scales.items()):
        return {}
    found: dict[Group, float] = {}
    for group, scale in scales.items():
        listed = is_listed(group[0])
        if scale.as_is or (not listed and scale.takers < FEWEST_TAKERS):
            found[group] = RAW * min(1.0, scale.takers / FEWEST_TAKERS)
        elif not listed:
            found[group] = UNLISTED
    return found


def at_most(shares: Sequence[float], weights: Sequence[float], most: Sequence[float]) -> list[float]:
    """The shares of a model's observations, those of one bound kept within it together.

    Each covers what its bound leaves of its share, and all of a kind together no more than one alone can. That holds
    for what they cover and for what they weigh: one fresh percentage beside an old leaderboard would cover a quarter
    and decide two thirds.

    Args:
        shares: how much each says about the profile, 0 to 1.
        weights: what each weighs by its grade, age and source.
        most: the bound of each; 1 where there is none.
    """
    kept = [share * own for share, own in zip(shares, most, strict=True)]
    for bound in (RAW, UNLISTED):
        covered = _total(kept, most, bound)
        if covered <= 0:
            continue
        kept = _scaled(kept, most, bound, min(1.0, bound / covered))
        weighed = [share * weight for share, weight in zip(kept, weights, strict=True)]
        loose, said = _total(weighed, most, bound), bound / min(1.0, math.fsum(kept))
        firm = math.fsum(weighed) - loose
        if firm > 0 and said < 1 and loose > 0:
            kept = _scaled(kept, most, bound, min(1.0, firm * said / (1.0 - said) / loose))
    return kept


def _total(values: Sequence[float], most: Sequence[float], bound: float) -> float:
    return math.fsum(value for value, own in zip(values, most, strict=True) if own <= bound)


def _scaled(values: Sequence[float], most: Sequence[float], bound: float, factor: float) -> list[float]:
    return [value * factor if own <= bound else value for value, own in zip(values, most, strict=True)]
