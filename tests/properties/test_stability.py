"""The challenger rule: what noise in the scores can and cannot make a plan do.

Scores are made by the ranking itself: each model has one fresh percentage of its own, which jitters around a fixed mean
from round to round on one day, and every other number is equal. A swap needs the challenger to score the threshold
more, so it moves to a mean at least ``threshold - 2a`` higher where the noise is at most ``a``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from reconciler.domain.catalog import Catalogue
from reconciler.domain.desired import DesiredState, Refresh, Slot
from reconciler.domain.estimate import Requirement
from reconciler.domain.plan import Action
from reconciler.domain.record import Record
from reconciler.domain.units import GB, Bytes
from reconciler.ranking.candidates import candidates
from reconciler.ranking.rank import rank
from tests.builders import (
    NOW,
    after,
    catalogue,
    desired,
    hardware,
    model,
    observation,
    pool,
    record,
    scaled,
    settle,
)

FAST = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
ADDRESS = "slot/a[0]"
MODELS = tuple(model(f"acme/m{index}", size_gb=1.0, params=2_000_000_000, lineage=f"m{index}") for index in range(6))

Noise = Callable[[int, str | None], dict[str, float]]
"""Round and incumbent to what is added to each model's mean."""


@dataclass(frozen=True)
class Swap:
    """A replacement of the model that fills the slot."""

    old: str
    new: str
    evicted: frozenset[str]


def one_slot(threshold: float) -> DesiredState:
    return desired(
        Slot(name="a"),
        pool=pool(disk_budget=Bytes(100 * GB)),
        approval="auto",
        refresh=Refresh(proposal_threshold=threshold),
    )


def filling(known: Record) -> str | None:
    return next((entry.model_id for entry in known.entries if ADDRESS in entry.slots), None)


def of_means(means: Sequence[float]) -> Catalogue:
    chosen = MODELS[: len(means)]
    return catalogue(*chosen, scores={one.id: mean for one, mean in zip(chosen, means, strict=True)})


def swaps(means: Sequence[float], threshold: float, noise: Noise, rounds: int) -> list[Swap]:
    """Plan and apply again and again while the scores jitter; what replaced what."""
    want, base = one_slot(threshold), of_means(means)
    by_id = {one.id: mean for one, mean in zip(MODELS, means, strict=False)}
    seen, known = observation(base), record(applied_digest="d1")
    found: list[Swap] = []
    for index in range(rounds):
        before = filling(known)
        moved = {name: by_id[name] + added for name, added in noise(index, before).items()}
        seen = seen.model_copy(update={"catalogue": scaled(base, moved)})
        plan, seen = settle(want, seen, known)
        seen, known = after(plan, seen, known)
        now = filling(known)
        assert now is not None
        gone = frozenset(row.model_id or "" for row in plan.changes if row.action is Action.EVICT)
        if before not in (None, now):
            found.append(Swap(str(before), now, gone))
        else:
            assert not gone
    return found


def drawn(noise: Sequence[Sequence[float]]) -> Noise:
    return lambda index, _: {one.id: each for one, each in zip(MODELS, noise[index % len(noise)], strict=False)}


def against_the_incumbent(names: Iterable[str], amount: float) -> Noise:
    """The worst there is: whatever fills the slot looks as bad, and everything else as good, as noise allows."""
    known = tuple(names)
    return lambda _, incumbent: {name: -amount if name == incumbent else amount for name in known}


@st.composite
def jittering(draw: st.DrawFn) -> tuple[list[float], float, float, list[list[float]]]:
    """Means, threshold, noise and the noise of each round and model."""
    threshold = draw(st.floats(2.0, 30.0))
    amount = draw(st.floats(0.0, 0.45)) * threshold
    count = draw(st.integers(2, len(MODELS)))
    means = draw(st.lists(st.floats(amount, 100.0 - amount), min_size=count, max_size=count))
    jitter = st.lists(st.floats(-amount, amount), min_size=count, max_size=count)
    return means, threshold, amount, draw(st.lists(jitter, min_size=3, max_size=6))


def never_back(found: Sequence[Swap]) -> None:
    left: set[str] = set()
    for swap in found:
        left |= {swap.old} | swap.evicted
        assert swap.new not in left


def test_the_scores_of_the_ranking_are_the_numbers_that_jitter() -> None:
    known = of_means([60.0, 45.5])
    rows = rank(candidates(known), Requirement(), hardware(), known, NOW.date())
    assert [round(row.score, 6) for row in rows] == [60.0, 45.5]


@FAST
@given(jittering())
def test_noise_of_less_than_half_the_threshold_swaps_a_few_times_at_most(made) -> None:
    means, threshold, amount, noise = made
    found = swaps(means, threshold, drawn(noise), rounds=12)
    assert len(found) <= 100 / (threshold - 2 * amount)
    never_back(found)


@FAST
@given(jittering())
def test_nor_does_noise_that_is_always_against_the_incumbent(made) -> None:
    means, threshold, amount, _ = made
    names = [one.id for one in MODELS[: len(means)]]
    found = swaps(means, threshold, against_the_incumbent(names, amount), rounds=12)
    assert len(found) <= 100 / (threshold - 2 * amount)
    never_back(found)
    by_id = dict(zip(names, means, strict=True))
    assert all(by_id[swap.new] - by_id[swap.old] >= threshold - 2 * amount - 1e-6 for swap in found)


@FAST
@given(jittering(), st.floats(0.0, 0.999))
def test_nothing_is_swapped_while_every_gap_of_means_is_below_what_noise_leaves_of_the_threshold(made, share) -> None:
    means, threshold, amount, noise = made
    low, gap = min(means), (threshold - 2 * amount) * share
    spread = max(means) - low
    assume(spread > 0)
    close = [low + (mean - low) / spread * gap for mean in means]
    assume(max(close) + amount <= 100)
    names = [one.id for one in MODELS[: len(means)]]
    assert swaps(close, threshold, drawn(noise), rounds=6) == []
    assert swaps(close, threshold, against_the_incumbent(names, amount), rounds=6) == []


def test_a_challenger_that_really_is_better_does_win() -> None:
    """The properties above would hold of a plan that never swaps."""
    names = [one.id for one in MODELS[:3]]
    first: Noise = lambda index, _: dict(zip(names, (0.0, -40.0, -60.0) if index == 0 else (0.0,) * 3, strict=True))  # noqa: E731
    found = swaps([40.0, 60.0, 85.0], 5.0, first, rounds=4)
    assert [(swap.old, swap.new, swap.evicted) for swap in found] == [(names[0], names[2], frozenset({names[0]}))]


def test_a_ladder_of_challengers_is_climbed_and_never_descended() -> None:
    names, means = [one.id for one in MODELS], [15.0, 30.0, 45.0, 60.0, 75.0, 90.0]

    def rising(index: int, _: str | None) -> dict[str, float]:
        return {name: 0.0 if place <= index else 1.0 - means[place] for place, name in enumerate(names)}

    found = swaps(means, 10.0, rising, rounds=10)
    assert [swap.new for swap in found] == names[1:]
    never_back(found)
