"""Visible-device lists."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.integrations.hardware.visible import visible_positions

CARDS = [("GPU-aaaa",), ("GPU-bbbb",), ("GPU-bbcc",)]


def test_unset_and_all_show_everything() -> None:
    assert visible_positions(CARDS, None) == visible_positions(CARDS, "all") == (0, 1, 2)


def test_order_is_the_lists() -> None:
    assert visible_positions(CARDS, "2, 0") == (2, 0)


def test_a_repeated_card_counts_once() -> None:
    assert visible_positions(CARDS, "1,1") == (1,)


def test_an_ambiguous_beginning_names_no_card() -> None:
    assert visible_positions(CARDS, "GPU-bb") == ()
    assert visible_positions(CARDS, "gpu-BBBB") == (1,)


@given(st.text(max_size=40))
def test_positions_are_always_of_cards(listed: str) -> None:
    positions = visible_positions(CARDS, listed)
    assert len(set(positions)) == len(positions)
    assert set(positions) <= {0, 1, 2}
