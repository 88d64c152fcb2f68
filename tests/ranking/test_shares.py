import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.ranking.scales import Scale
from reconciler.ranking.shares import RAW, UNLISTED, at_most, bounds

PLACED = Scale(50, 10, 50, 14, lower_is_better=False, as_is=False, takers=20)
FEW = Scale(50, 10, 50, 14, lower_is_better=False, as_is=False, takers=5)
AS_IS = Scale(0, 1, 0, 1, lower_is_better=False, as_is=True, takers=2)
BOARD = {("livebench_average", "2026-06"): PLACED}


def test_a_benchmark_of_the_table_has_no_bound_however_few_took_its_release():
    assert bounds(BOARD | {("arena_text", None): FEW}) == {}


@pytest.mark.parametrize(("scale", "bound"), [(PLACED, UNLISTED), (FEW, 5 / 32), (AS_IS, 2 / 32)])
def test_a_benchmark_nobody_knows_has_one(scale, bound):
    assert bounds(BOARD | {("quiz", None): scale}) == {("quiz", None): bound}


def test_a_known_name_does_not_make_a_raw_percentage_more():
    assert bounds(BOARD | {("livebench_average", None): AS_IS}) == {("livebench_average", None): 2 / 32}


@pytest.mark.parametrize("alone", [{}, {("quiz", None): AS_IS}, {("livebench_average", None): AS_IS}])
def test_where_nothing_else_is_known_there_are_none(alone):
    assert bounds(alone) == {}


def test_one_benchmark_or_ten_of_a_kind_cover_the_same_part():
    assert at_most([1.0], [0.5], [RAW]) == [0.25]
    assert at_most([1.0] * 10, [0.5] * 10, [RAW] * 10) == pytest.approx([0.025] * 10)


def test_the_more_models_took_it_the_more_it_says():
    assert at_most([1.0, 1.0], [0.5, 0.5], [1 / 32, 5 / 32]) == [1 / 32, 5 / 32]


def test_a_fresh_percentage_does_not_outweigh_an_old_leaderboard():
    fresh, old = at_most([1.0, 1.0], [1.0, 0.05], [RAW, 1.0])
    assert old == 1.0
    assert fresh / (fresh + 0.05 * old) == pytest.approx(0.25)


@given(
    st.lists(
        st.tuples(st.floats(0.01, 1.0), st.floats(0.01, 1.0), st.sampled_from([RAW, UNLISTED, 1.0])),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_no_share_grows_and_no_bound_is_passed(parts):
    shares, weights, most = map(list, zip(*parts, strict=True))
    kept = at_most(shares, weights, most)
    assert all(new <= old + 1e-12 for new, old in zip(kept, shares, strict=True))
    for bound in (RAW, UNLISTED):
        loose = [index for index, own in enumerate(most) if own <= bound]
        assert sum(kept[index] for index in loose) <= bound + 1e-9
    weighed = [share * weight for share, weight in zip(kept, weights, strict=True)]
    unlisted = sum(said for said, own in zip(weighed, most, strict=True) if own <= UNLISTED)
    assert min(1.0, sum(kept)) * unlisted / sum(weighed) <= UNLISTED + 1e-9
    firm = [index for index, own in enumerate(most) if own == 1.0]
    assert [kept[index] for index in firm] == [shares[index] for index in firm]
