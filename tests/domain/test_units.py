"""Sizes and durations, in and out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.units import GB, GIB, parse_duration, parse_size, show_bytes, show_duration


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("120GB", 120 * GB),
        ("20 GiB", 20 * GIB),
        ("1.5TB", 1500 * GB),
        ("0B", 0),
        ("7kb", 7000),
        ("2MiB", 2 * 2**20),
        (" 1KiB ", 1024),
    ],
)
def test_a_size_is_a_number_and_a_unit(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "GB", "12", "1.5", "-3GB", "12XB", "1,5GB", "12 G B", "twelve GB", "1e3GB"])
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a size|needs a unit"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("24h", 86_400), ("10m", 600), ("1h30m", 5400), ("500ms", 0.5), ("1d", 86_400), ("1.5s", 1.5), ("1w", 604_800)],
)
def test_a_duration_is_numbers_with_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "10", "10 minutes", "-1h", "1h 30m", "1y"])
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (9_013_000_000, "9.0 GB"),
        (98_362_432, "98.4 MB"),
        (512, "512 B"),
        (0, "0 B"),
        (-2_000_000_000, "-2.0 GB"),
        (1500, "1.5 KB"),
        (12 * 10**12, "12.0 TB"),
    ],
)
def test_sizes_are_shown_in_decimal_units(count: int, text: str) -> None:
    assert show_bytes(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(5400, "1h30m"), (0.25, "250ms"), (90_061, "1d1h"), (60, "1m")])
def test_durations_are_shown_by_their_two_largest_units(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


@given(st.integers(1, 10**6), st.sampled_from(["B", "KB", "MB", "GB", "KiB", "MiB", "GiB"]))
def test_case_and_blanks_do_not_matter(number: int, unit: str) -> None:
    assert parse_size(f"{number}{unit}") == parse_size(f" {number} {unit.lower()} ")


@given(st.integers(1, 10**7))
def test_whole_seconds_survive_when_two_units_say_them(seconds: int) -> None:
    shown = show_duration(seconds)
    assert 0 <= seconds - parse_duration(shown) < 3600
