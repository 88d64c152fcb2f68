from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.integrations.runtimes.ollama_api import Loaded
from reconciler.integrations.runtimes.ollama_use import busy, keep_alive_of, last_use

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MOMENTS = st.none() | st.integers(-600, 600).map(lambda seconds: NOW + timedelta(seconds=seconds))
ROWS = st.builds(
    Loaded,
    name=st.sampled_from(["a:1b", "b:1b", "c:1b"]),
    expires_at=MOMENTS,
    context=st.just(4096),
    digest=st.sampled_from([None, "0" * 64, "1" * 64]),
)
LOOKS = st.lists(ROWS, max_size=4)


def row(seconds, name="a:1b", **more) -> Loaded:
    return Loaded(name, None if seconds is None else NOW + timedelta(seconds=seconds), 4096, **more)


@pytest.mark.parametrize(
    ("first", "second", "is_busy"),
    [
        (row(299.5), row(300), True),  # the first use runs: now + keep_alive at every look
        (row(-5), row(-5), True),  # a later use has outlived the old time
        (row(200), row(200), False),
        (row(200), row(300), True),  # it went idle between the looks
        (row(None), row(None), True),
        (row(200, digest="0"), row(200, digest="1"), True),  # another content under the name
    ],
)
def test_what_moves_or_is_past_is_in_use(first, second, is_busy):
    assert bool(busy([first], [second], NOW)) == is_busy


def test_what_was_just_loaded_may_be_in_use():
    assert busy([], [row(200)], NOW) == {row(200)}
    assert busy([row(200)], [], NOW) == frozenset()


@given(LOOKS, LOOKS)
def test_idle_is_only_what_stood_still_and_lies_ahead(first, second):
    idle = set(second) - busy(first, second, NOW)
    for item in idle:
        assert item.expires_at is not None
        assert item.expires_at > NOW
        assert item in first


@given(LOOKS, LOOKS, st.integers(0, 10_000))
def test_a_later_clock_finds_no_fewer_in_use(first, second, seconds):
    assert busy(first, second, NOW) <= busy(first, second, NOW + timedelta(seconds=seconds))


@given(LOOKS, LOOKS, st.permutations(range(4)))
def test_the_order_of_a_look_does_not_matter(first, second, order):
    shuffled = [first[place] for place in order if place < len(first)]
    assert busy(shuffled, second, NOW) == busy(first, second, NOW)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5m", 300), ("1h30m", 5400), ("90", 90), ("0.5h", 1800), ("500ms", 0.5), ("24h", 86400)],
)
def test_a_keep_alive_is_seconds_or_a_duration(text, seconds):
    assert keep_alive_of(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "-1", "0", "-5m", "soon", "5 m", "m", ".", "1.2.3", "9" * 32, "5m3"])
def test_a_keep_alive_that_says_nothing(text):
    assert keep_alive_of(text) is None


@given(st.text(max_size=40))
def test_any_keep_alive_is_a_time_or_none(text):
    found = keep_alive_of(text)
    assert found is None or found > timedelta()


def test_the_last_use_is_told_where_the_keep_alive_is_known():
    assert last_use(row(200), timedelta(seconds=300), NOW) == NOW - timedelta(seconds=100)
    assert last_use(row(200), None, NOW) is None
    assert last_use(row(None), timedelta(seconds=300), NOW) is None
    assert last_use(row(9_000), timedelta(seconds=300), NOW) is None, "a request asked for a longer time"
